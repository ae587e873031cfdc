"""Downloads Landslide4Sense into a folder: an interrupted download resumes, a finished one is verified.

While a download is under way everything lies in `DIR/.download`; a split appears in `DIR` by one rename once its
archive, or the whole copy, has arrived and its checksums are right. `DIR/checksums.json` then holds the size and the
SHA-256 of every file, and of every archive: a later download has to bring the very same ones.

Two sources. Neither could be reached while this was written: what is said of them comes from public descriptions, and
is checked where it matters as the files arrive.

- `zenodo`: record 10463239 with TrainData.zip, ValidData.zip and TestData.zip, asked for at
  `/api/records/10463239/files/NAME/content`. The record's JSON gives their sizes and MD5; where it does not answer,
  there is no published checksum and the first download counts as the true one. According to its description only the
  train split has masks.
- `huggingface`: the dataset repository `ibm-nasa-geospatial/Landslide4sense`, single files in
  `images/{train,validation,test}` and `annotations/{train,validation,test}`, listed page by page at
  `/api/datasets/REPOSITORY/tree/main?recursive=true` with their sizes and SHA-256 (git's SHA-1 for small files) and
  fetched from `/datasets/REPOSITORY/resolve/main/PATH`. Files of other names are left there: descriptions of the copy
  tell of a few stray `image_<number>.h5` among the masks, which training would refuse.

The licence of the data is not established: do not redistribute them.
"""

import json
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

import requests
from filelock import FileLock, Timeout

from lsml.data.layout import CHECKSUMS
from lsml.data.transfer import (
    AGAIN,
    Expected,
    NetworkError,
    NoAnswerError,
    download_file,
    file_digest,
    get_json,
    require_space,
    unpack_patches,
)
from lsml.errors import ConfigError, DataError
from lsml.workspace import Progress, rename_durably, replace_atomically

Source = Literal["zenodo", "huggingface"]

_ADDRESSES: dict[Source, str] = {"zenodo": "https://zenodo.org", "huggingface": "https://huggingface.co"}
_PAGES: dict[Source, str] = {
    "zenodo": "https://zenodo.org/records/10463239",
    "huggingface": "https://huggingface.co/datasets/ibm-nasa-geospatial/Landslide4sense",
}

_RECORD = "10463239"
_REPOSITORY = "ibm-nasa-geospatial/Landslide4sense"
_ARCHIVES = ("TrainData.zip", "ValidData.zip", "TestData.zip")
_GROWTH = 3.2
"""Bytes of unpacked patches a byte of archive: 7.05 GB from 2.5, .45 from .143, 1.47 from .471."""
_LARGEST_ARCHIVE = 16 * 10**9
_LARGEST_FILE = 4 * 2**20
_MOST_PAGES = 1_000
_AT_ONCE = 8
_TOPS = ("annotations", "images")
_UNFINISHED = ".download"
_WANTED = re.compile(
    r"images/(?:train|validation|test)/image_[0-9]+\.h5|annotations/(?:train|validation|test)/mask_[0-9]+\.h5"
)


class _Downloaded(NamedTuple):
    """What a download came to.

    Attributes:
        folder: the dataset.
        fetched: how many archives (zenodo) or files (huggingface) were brought this time.
        verified: how many files of the dataset were found as their checksums say.
        published: whether the source had checksums of its own to compare with.
    """

    folder: Path
    fetched: int
    verified: int
    published: bool


def download(folder: Path, *, source: Source, address: str | None, progress: Progress) -> _Downloaded:
    """Brings the dataset into `folder`, or resumes an earlier download; existing files are verified.

    Args:
        address: scheme and host to ask instead of the source's own, such as a mirror of it.
        progress: told of bytes in MB, and of files.

    Raises:
        ConfigError: `address` is no http(s) address.
        DataError: no network, no space, a wrong checksum, an unsafe archive, something else at the same place, or
            another download at work in the folder. What has arrived is kept, and nothing incomplete shows in `folder`.
    """
    base = (address or _ADDRESSES[source]).rstrip("/")
    if not re.fullmatch(r"https?://[^/]+(/.*)?", base):
        raise ConfigError(f"address {base!r}", "not an http:// or https:// address", "give one like https://zenodo.org")
    with _at_work(folder), requests.Session() as session:
        record = _Record.read(folder)
        if record.source not in (None, source):
            raise DataError(f"folder {folder}", f"holds a download from {record.source}", "choose another folder")
        record.source = source
        bring = {"zenodo": _from_zenodo, "huggingface": _from_hugging_face}[source]
        try:
            fetched, published = bring(session, base, folder, record, progress)
        except NetworkError as error:
            raise NetworkError(error.what, error.why, f"{error.fix}; by hand: {_by_hand(source, folder)}") from None
        return _Downloaded(folder, fetched, _verify(folder, record, progress), published)


def _by_hand(source: Source, folder: Path) -> str:
    what = f"the {len(_ARCHIVES)} archives, unpacked," if source == "zenodo" else "images and annotations"
    return f"put {what} of {_PAGES[source]} into {folder}"


@contextmanager
def _at_work(folder: Path) -> Iterator[None]:
    """Keeps a second download out of the folder; where nothing has arrived, none is left behind."""
    unfinished, existed = folder / _UNFINISHED, folder.exists()
    lock = unfinished / "lock"
    try:
        unfinished.mkdir(parents=True, exist_ok=True)
        with FileLock(lock, timeout=0):
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
    except Timeout:
        raise DataError(f"folder {folder}", "locked by another download", "wait until it has ended") from None
    except OSError as error:
        raise DataError(
            f"folder {folder}", f"cannot be written: {error.strerror or error}", "choose another folder"
        ) from None
    finally:
        # Folders with something in them stay: they cannot be removed in this way.
        with suppress(OSError):
            unfinished.rmdir()
            if not existed:
                folder.rmdir()


class _Record:
    """`checksums.json`: what was downloaded from where, with sizes and digests; replaced atomically when saved."""

    def __init__(self, path: Path, tree: dict[str, Any]) -> None:
        self._path = path
        self.source: str | None = tree.get("source")
        self.archives = _digests(tree.get("archives", {}))
        self.files = _digests(tree.get("files", {}))

    @classmethod
    def read(cls, folder: Path) -> "_Record":
        """The record of an earlier download, or an empty one."""
        path = folder / CHECKSUMS
        try:
            tree = json.loads(path.read_bytes())
            return cls(path, tree)
        except FileNotFoundError:
            return cls(path, {})
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise DataError(f"file {path}", f"unreadable: {error}", "remove it together with the patches") from None

    def save(self) -> None:
        tree = {"source": self.source, "archives": self.archives, "files": self.files}
        replace_atomically(self._path, json.dumps(tree, indent=1, sort_keys=True).encode())


def _digest_of(path: Path) -> dict[str, int | str]:
    return {"bytes": path.stat().st_size, "sha256": file_digest(path, "sha256")}


def _digests(tree: dict[str, Any]) -> dict[str, dict[str, int | str]]:
    return {name: {"bytes": int(file["bytes"]), "sha256": str(file["sha256"])} for name, file in tree.items()}


def _from_zenodo(
    session: requests.Session, base: str, folder: Path, record: _Record, progress: Progress
) -> tuple[int, bool]:
    missing = [name for name in _ARCHIVES if not _is_there(folder, record, name.removesuffix(".zip"))]
    if not missing:
        return 0, True
    published = _published_archives(session, base)
    whole = sum(published[name].size or 0 for name in missing)
    arrived = sum(path.stat().st_size for path in (folder / _UNFINISHED).glob("*.zip*"))
    require_space(folder, int((1 + _GROWTH) * whole) - arrived, f"downloading {', '.join(missing)}")
    for name in missing:
        url = f"{base}/api/records/{_RECORD}/files/{name}/content"
        _bring_archive(session, url, folder, name, published[name], record, progress)
    return len(missing), any(expected.algorithm for expected in published.values())


def _published_archives(session: requests.Session, base: str) -> dict[str, Expected]:
    """Size and MD5 of each archive as the record has them; unknown ones where it does not answer."""
    unknown = Expected(None, "", None, _LARGEST_ARCHIVE)
    try:
        tree, _ = get_json(session, f"{base}/api/records/{_RECORD}")
    except NoAnswerError:
        return dict.fromkeys(_ARCHIVES, unknown)
    published = dict.fromkeys(_ARCHIVES, unknown)
    for entry in _entries(tree.get("files") if isinstance(tree, dict) else None):
        algorithm, _, digest = str(entry.get("checksum", "")).partition(":")
        if entry.get("key") in published and algorithm == "md5" and re.fullmatch("[0-9a-f]{32}", digest):
            size = entry.get("size")
            published[entry["key"]] = Expected("md5", digest, size if isinstance(size, int) else None, _LARGEST_ARCHIVE)
    return published


def _entries(tree: object) -> list[dict[str, Any]]:
    return [entry for entry in tree if isinstance(entry, dict)] if isinstance(tree, list) else []


def _is_there(folder: Path, record: _Record, split: str) -> bool:
    """Whether a split was put there by an earlier download; one from elsewhere is not touched."""
    if not (folder / split).exists():
        return False
    if not any(name.startswith(f"{split}/") for name in record.files):
        raise DataError(
            f"folder {folder / split}", "already exists, and was not made by a download", "choose another folder"
        )
    return True


def _bring_archive(
    session: requests.Session,
    url: str,
    folder: Path,
    name: str,
    published: Expected,
    record: _Record,
    progress: Progress,
) -> None:
    """One archive: fetched, compared with what is published and recorded, unpacked aside, shown by one rename."""
    archive, split = folder / _UNFINISHED / name, name.removesuffix(".zip")
    if not archive.exists():
        download_file(session, url, archive, published, _megabytes(name, progress))
    digest = _digest_of(archive)
    if digest != record.archives.setdefault(name, digest):
        archive.unlink()
        why = f"checksum differs: sha256 {digest['sha256']}, at the first download {record.archives[name]['sha256']}"
        raise DataError(f"download of {url}", why, "the file at the source has changed: choose another folder")
    unpacked = folder / _UNFINISHED / split
    files = unpack_patches(archive, unpacked, lambda done, total: progress(f"unpacking {name}", done, total))
    record.files |= {f"{split}/{path}": {"bytes": size, "sha256": sha256} for path, (size, sha256) in files.items()}
    record.save()
    rename_durably(unpacked, folder / split)
    archive.unlink()


def _megabytes(name: str, progress: Progress) -> Callable[[int, int | None], None]:
    def arrived(have: int, whole: int | None) -> None:
        if whole:
            # Rounded up, so that only a whole file counts as done.
            progress(f"{name}, MB", -(-have // 10**6), -(-whole // 10**6))

    return arrived


def _from_hugging_face(
    session: requests.Session, base: str, folder: Path, record: _Record, progress: Progress
) -> tuple[int, bool]:
    there = [_is_there(folder, record, top) for top in _TOPS]
    if all(there):
        return 0, True
    wanted = _listed(session, base)
    staging = folder / _UNFINISHED / "files"
    missing = [path for path in wanted if not (staging / path).exists() and not (folder / path).exists()]
    require_space(folder, sum(wanted[path].size or 0 for path in missing), f"downloading {len(missing)} files")
    _bring_files(base, staging, {path: wanted[path] for path in missing}, progress)
    for done, path in enumerate(wanted, 1):
        digest = _digest_of(staging / path if (staging / path).exists() else folder / path)
        if digest != record.files.setdefault(path, digest):
            raise DataError(f"file {path}", "checksum differs from the first download", "choose another folder")
        progress("checksums", done, len(wanted))
    record.save()
    # The images come last: before they are there, nothing takes the folder for a dataset.
    for top in _TOPS:
        if (staging / top).exists():
            rename_durably(staging / top, folder / top)
    if staging.exists():
        staging.rmdir()
    return len(missing), True


def _listed(session: requests.Session, base: str) -> dict[str, Expected]:
    """Every patch file of the repository with its size and digest, from all pages of its tree."""
    url: str | None = f"{base}/api/datasets/{_REPOSITORY}/tree/main?recursive=true"
    wanted: dict[str, Expected] = {}
    for _ in range(_MOST_PAGES):
        if url is None:
            break
        tree, url = get_json(session, url)
        for entry in _entries(tree):
            path = str(entry.get("path"))
            if _WANTED.fullmatch(path):
                wanted[path] = _expected(path, entry)
    if not wanted:
        why = "no images/{train,validation,test}/image_<number>.h5 in it"
        raise DataError(f"repository {_REPOSITORY}", why, "use --source zenodo")
    return wanted


def _expected(path: str, entry: dict[str, Any]) -> Expected:
    """SHA-256 of a file in large file storage, git's own SHA-1 of another one."""
    large = entry.get("lfs")
    if isinstance(large, dict):
        algorithm, digest, size = "sha256", str(large.get("oid")).removeprefix("sha256:"), large.get("size")
    else:
        algorithm, digest, size = "git", str(entry.get("oid")), entry.get("size")
    if not isinstance(size, int) or not 0 < size <= _LARGEST_FILE or not re.fullmatch("[0-9a-f]{40,64}", digest):
        raise DataError(
            f"file {path} of {_REPOSITORY}", "no valid size and checksum is published", "use another source"
        )
    return Expected(algorithm, digest, size, _LARGEST_FILE)


def _bring_files(base: str, staging: Path, wanted: dict[str, Expected], progress: Progress) -> None:
    """Several files at a time, as most of the time of a small one is waiting; the first failure ends all."""
    own, ended = threading.local(), threading.Event()

    def pause(seconds: float) -> None:
        if ended.wait(seconds):
            raise NetworkError("download", "ended by another failure", AGAIN)

    def bring(path: str) -> None:
        if not hasattr(own, "session"):
            own.session = requests.Session()
        url = f"{base}/datasets/{_REPOSITORY}/resolve/main/{quote(path)}"
        download_file(own.session, url, staging / path, wanted[path], lambda have, whole: None, pause=pause)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            for done, _ in enumerate(pool.map(bring, wanted), 1):
                progress("files", done, len(wanted))
        except BaseException:
            ended.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _verify(folder: Path, record: _Record, progress: Progress) -> int:
    """Compares every file of the dataset with the record."""
    for done, (name, recorded) in enumerate(record.files.items(), 1):
        path = folder / name
        again = f"remove {folder / name.partition('/')[0]} and run the same command again"
        try:
            right = path.stat().st_size == recorded["bytes"] and _digest_of(path) == recorded
        except OSError as error:
            raise DataError(f"file {path}", f"cannot be read: {error.strerror}", again) from None
        if not right:
            raise DataError(f"file {path}", f"checksum differs from {folder / CHECKSUMS}", again)
        progress("verified files", done, len(record.files))
    return len(record.files)
