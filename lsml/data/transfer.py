"""Downloads one file over HTTP, resuming what an interruption left, and unpacks archives of patches without trust.

`NAME.part` holds what has arrived of `NAME`, `NAME.part.json` what the server said about the file then. The next
request asks for the rest (RFC 9110, section 14: `Range`, guarded by `If-Range`); a server that knows no ranges, or has
another file by now, sends all of it and the part starts anew. `NAME` itself appears only when it is whole and its
checksum is the expected one. No library does this for both sources: pooch does not resume, and huggingface_hub knows
no other server than its own and leaves the errors in one line, and the checksums, to its caller.
"""

import hashlib
import json
import re
import shutil
import stat
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import requests

from lsml.errors import DataError
from lsml.names import VERSION
from lsml.workspace import rename_durably

_Arrived = Callable[[int, int | None], None]
"""Called with the bytes that have arrived and those of the whole file, None where the server does not say."""

AGAIN = "run the same command again: it resumes"
_AGENT = {"User-Agent": f"lsml/{VERSION}", "Accept-Encoding": "identity"}
_TIMEOUT = (15.0, 30.0)
"""Seconds to connect, and between two pieces of an answer."""
_PAUSES = (1, 2, 4, 8, 15, 30)
"""Seconds before each new attempt; whenever something has arrived, they start anew."""
_LONGEST_PAUSE = 300
_BUSY = (429, 500, 502, 503, 504)
_DISTRUST = "do not use that server"
_PIECE = 1 << 14
"""Bytes at a time: what has arrived of a piece is lost when the connection breaks in it."""
_PATCH = re.compile(r"(?:[^/]+/)?(img/image_[0-9]+\.h5|mask/mask_[0-9]+\.h5)")
_MOST_FILES = 50_000
_MOST_BYTES = 4 * 2**20
"""Of one file; a published image has 1,837,056 bytes."""
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, RuntimeError)
_REMOVE = "remove it and run the same command again"
_DISTRUST_ARCHIVE = "the archive is refused: take it from another source"
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class Expected(NamedTuple):
    """What is known of a file beforehand.

    Attributes:
        algorithm: `md5`, `sha256`, or `git` for the SHA-1 that git gives a file; None where nothing is published.
        digest: in hex.
        size: in bytes, None where it is not known.
        limit: more bytes than this are refused.
    """

    algorithm: str | None
    digest: str
    size: int | None
    limit: int


class NetworkError(DataError):
    """A server that cannot be reached, or does not send what it is asked for."""


class NoAnswerError(NetworkError):
    """A server that was reached, and answered something else than what was asked."""


class _Lost(Exception):
    """An attempt that is worth another one; `pause` in seconds where the server asked for one."""

    def __init__(self, why: str, pause: float | None = None) -> None:
        super().__init__(why)
        self.pause = pause


def download_file(
    session: requests.Session,
    url: str,
    target: Path,
    expected: Expected,
    arrived: _Arrived,
    *,
    pause: Callable[[float], object] = time.sleep,
) -> None:
    """Brings `url` to `target`, going on from what an earlier attempt left beside it.

    Args:
        pause: waits for some seconds before another attempt; what it raises ends the attempts.

    Raises:
        NetworkError: no network, a connection that breaks again and again, or an answer that is no such file.
        DataError: a full disk, or a file whose size or checksum is not the expected one.
    """
    part = Path(f"{target}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _attempts(session, url, part, expected, arrived, pause)
        _check(url, part, expected)
        rename_durably(part, target)
        _note_of(part).unlink(missing_ok=True)
    except OSError as error:
        size = "" if expected.size is None else f" ({expected.size:,} bytes)"
        raise DataError(
            f"file {target}{size}", f"cannot be written: {error.strerror or error}", "free space there"
        ) from None


def get_json(session: requests.Session, url: str) -> tuple[object, str | None]:
    """The JSON at `url`, and the address of the next page of it, if there is one.

    Raises:
        NoAnswerError: the server answers something else.
        NetworkError: no network.
    """
    try:
        with session.get(url, headers=_AGENT, timeout=_TIMEOUT) as answer:
            if answer.status_code != 200:
                raise NoAnswerError(f"address {url}", f"HTTP {answer.status_code}", "try again later")
            return answer.json(), answer.links.get("next", {}).get("url")
    except requests.exceptions.JSONDecodeError:
        raise NoAnswerError(f"address {url}", "the answer is no JSON", "try again later") from None
    except requests.RequestException as error:
        raise _unreachable(url, error) from None


def _unreachable(url: str, error: Exception) -> NetworkError:
    host = urlsplit(url).netloc
    return NetworkError(f"download from {host}", f"no network, or no way to that server ({_cause(error)})", AGAIN)


def file_digest(path: Path, algorithm: str) -> str:
    """The digest of a file in hex, by an algorithm of `Expected`."""
    if algorithm == "git":
        # git hashes a file as an object: with a header of its kind and size.
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    else:
        digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _attempts(
    session: requests.Session,
    url: str,
    part: Path,
    expected: Expected,
    arrived: _Arrived,
    pause: Callable[[float], object],
) -> None:
    failures = 0
    while True:
        before = _size(part)
        try:
            _receive(session, url, part, expected, arrived)
            return
        except _Lost as lost:
            failures = 1 if _size(part) > before else failures + 1
            if failures > len(_PAUSES):
                have, whole = _size(part), expected.size
                of = f" of {whole:,}" if whole else ""
                raise NetworkError(f"download of {url}", f"{lost}, {have:,}{of} bytes have arrived", AGAIN) from None
            pause(_PAUSES[failures - 1] if lost.pause is None else lost.pause)


def _receive(session: requests.Session, url: str, part: Path, expected: Expected, arrived: _Arrived) -> None:
    """One request for what is missing. Comes back when the file is whole; raises `_Lost` when it is not."""
    headers, have = dict(_AGENT), _size(part)
    note = _read_note(part, url) if have else {}
    if have and note.get("size") == have:
        return
    if note:
        headers["Range"] = f"bytes={have}-"
        guard = _guard(note)
        if guard:
            headers["If-Range"] = guard
    try:
        with session.get(url, headers=headers, timeout=_TIMEOUT, stream=True) as answer:
            _store(answer, url, part, note, expected, arrived)
    except requests.exceptions.ChunkedEncodingError:
        raise _Lost("the connection broke off") from None
    except requests.RequestException as error:
        if isinstance(error, requests.ConnectionError) and _size(part) == 0:
            raise _unreachable(url, error) from None
        raise _Lost(f"the connection broke ({_cause(error)})") from None


def _store(
    answer: requests.Response, url: str, part: Path, note: dict[str, object], expected: Expected, arrived: _Arrived
) -> None:
    if answer.status_code in _BUSY:
        raise _Lost(f"the server is busy (HTTP {answer.status_code})", _asked_pause(answer))
    have = _size(part)
    going_on = answer.status_code == 206 and _fits(answer, note, have)
    if answer.status_code in (206, 416) and not going_on:
        part.unlink(missing_ok=True)
        raise _Lost("the file on the server has changed", 0.0)
    if answer.status_code not in (200, 206):
        raise NoAnswerError(f"download of {url}", f"HTTP {answer.status_code}", "look whether the file is still there")
    size = note.get("size") if going_on else _declared(answer)
    whole = size if isinstance(size, int) else expected.size
    if not going_on:
        part.unlink(missing_ok=True)
        _write_note(part, url, answer, whole)
        have = 0
    limit = expected.limit if whole is None else min(whole, expected.limit)
    if (expected.size is not None and whole != expected.size) or (whole or 0) > expected.limit:
        part.unlink(missing_ok=True)
        wanted = f"limit {expected.limit:,}" if expected.size is None else f"expected {expected.size:,}"
        raise DataError(f"download of {url}", f"the server offers {whole:,} bytes, {wanted}", _DISTRUST)
    with part.open("ab") as file:
        for piece in answer.iter_content(_PIECE):
            have += len(piece)
            if have > limit:
                raise DataError(f"download of {url}", f"more than {limit:,} bytes arrive", _DISTRUST)
            file.write(piece)
            arrived(have, whole)
    if whole is not None and have < whole:
        raise _Lost("the connection broke off")


def _check(url: str, part: Path, expected: Expected) -> None:
    """Refuses, and removes, a file whose checksum is another one: going on from it could never succeed."""
    if expected.algorithm is None:
        return
    found = file_digest(part, expected.algorithm)
    if found != expected.digest:
        part.unlink()
        _note_of(part).unlink(missing_ok=True)
        why = f"checksum differs: {expected.algorithm} {found}, expected {expected.digest}"
        raise DataError(f"download of {url}", why, "it was removed; run the same command again, or use another source")


def _guard(note: dict[str, object]) -> str | None:
    """What `If-Range` may carry: a strong entity tag, else the date of the last change."""
    etag, changed = note.get("etag"), note.get("last_modified")
    if isinstance(etag, str) and not etag.startswith("W/"):
        return etag
    return changed if isinstance(changed, str) else None


def _fits(answer: requests.Response, note: dict[str, object], have: int) -> bool:
    """Whether a partial answer goes on with this file at this place; size and validators have to agree."""
    match = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != have or int(match[2]) != note.get("size"):
        return False
    now = _validators(answer)
    return all(now[key] is None or note.get(key) is None or now[key] == note[key] for key in now)


def _validators(answer: requests.Response) -> dict[str, str | None]:
    return {"etag": answer.headers.get("ETag"), "last_modified": answer.headers.get("Last-Modified")}


def _declared(answer: requests.Response) -> int | None:
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _asked_pause(answer: requests.Response) -> float | None:
    seconds = answer.headers.get("Retry-After", "")
    return float(min(int(seconds), _LONGEST_PAUSE)) if seconds.isdecimal() else None


def _note_of(part: Path) -> Path:
    return Path(f"{part}.json")


def _write_note(part: Path, url: str, answer: requests.Response, size: int | None) -> None:
    _note_of(part).write_text(json.dumps({"url": url, "size": size} | _validators(answer)), encoding="utf-8")


def _read_note(part: Path, url: str) -> dict[str, object]:
    """What the server said about the file that the part belongs to; nothing where that cannot be gone on from."""
    try:
        note = json.loads(_note_of(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) and note.get("url") == url and isinstance(note.get("size"), int) else {}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _cause(error: Exception) -> str:
    """The innermost reason of a chain of wrapped errors, in a few words."""
    reason: object = error
    while isinstance(reason, Exception):
        inner = getattr(reason, "reason", None) or (reason.args[0] if reason.args else None)
        if not isinstance(inner, Exception):
            break
        reason = inner
    text = getattr(reason, "strerror", None) or str(reason).rpartition(": ")[2] or type(reason).__name__
    return " ".join(str(text).split())[:120]


def unpack_patches(archive: Path, folder: Path, progress: Callable[[int, int], None]) -> dict[str, tuple[int, str]]:
    """Writes the patches in `archive` below `folder`, which must not exist, as `img/image_N.h5` and `mask/mask_N.h5`.

    Whatever else is in the archive (notes, a file manager's own files) is left in it.

    Args:
        progress: called with (files written, files in all).

    Returns:
        Bytes and SHA-256 of each file written, by its path below `folder`.

    Raises:
        DataError: an archive that is damaged, leaves the folder, holds links, is encrypted, is larger than its kind
            can be, or has no patches; or a full disk. `folder` does not exist then.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _members(archive, opened)
            needed = sum(member.file_size for member in members.values())
            require_space(folder, needed, f"unpacking {archive.name}")
            return _extract(opened, members, folder, progress)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise DataError(f"folder {folder}", f"cannot be written: {error.strerror}", "free space there") from None
        if isinstance(error, _DAMAGED):
            raise DataError(f"archive {archive}", f"damaged: {error}", _REMOVE) from None
        raise


def require_space(folder: Path, needed: int, what: str) -> None:
    """Raises DataError where the disk of `folder`, or of what exists of its path, has fewer bytes than `needed`."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if needed > (free := shutil.disk_usage(existing).free):
        raise DataError(what, f"needs {needed:,} bytes, {free:,} are free", f"free space on the disk of {existing}")


def _members(archive: Path, opened: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """What is to be unpacked, by its path below the folder, once every entry of the archive has been looked at."""
    entries = opened.infolist()
    if len(entries) > _MOST_FILES:
        raise DataError(f"archive {archive}", f"{len(entries):,} files, limit {_MOST_FILES:,}", _DISTRUST_ARCHIVE)
    members: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        _refuse_unsafe(archive, entry)
        match = _PATCH.fullmatch(entry.filename)
        if match is None or entry.is_dir() or entry.filename.startswith("__MACOSX/"):
            continue
        if match[1] in members:
            raise DataError(f"archive {archive}", f"two files are called {match[1]}", _DISTRUST_ARCHIVE)
        members[match[1]] = entry
    if not members:
        raise DataError(f"archive {archive}", "no img/image_<number>.h5 in it", _DISTRUST_ARCHIVE)
    return members


def _refuse_unsafe(archive: Path, entry: zipfile.ZipInfo) -> None:
    # ZipInfo cuts a name off at its first NUL; what stood in the file is in orig_filename.
    shown = "".join(character if character.isprintable() else "?" for character in entry.orig_filename[:100])
    what = f"archive {archive}"
    parts = entry.orig_filename.replace("\\", "/").split("/")
    if parts[0] == "" or ".." in parts or ":" in parts[0] or "\0" in entry.orig_filename:
        raise DataError(what, f"'{shown}' points outside the folder", _DISTRUST_ARCHIVE)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise DataError(what, f"'{shown}' is a link or a device", _DISTRUST_ARCHIVE)
    if entry.flag_bits & 1:
        raise DataError(what, f"'{shown}' is encrypted", _DISTRUST_ARCHIVE)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(what, f"'{shown}' has compression {entry.compress_type}", _DISTRUST_ARCHIVE)
    if entry.file_size > _MOST_BYTES and _PATCH.fullmatch(entry.filename):
        raise DataError(what, f"'{shown}' declares {entry.file_size:,} bytes, limit {_MOST_BYTES:,}", _DISTRUST_ARCHIVE)


def _extract(
    opened: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], folder: Path, progress: Callable[[int, int], None]
) -> dict[str, tuple[int, str]]:
    """Reading stops at the declared size, whatever the compressed stream goes on with, and checks the CRC there."""
    folder.mkdir(parents=True)
    written: dict[str, tuple[int, str]] = {}
    for name, member in members.items():
        path, digest = folder / name, hashlib.sha256()
        path.parent.mkdir(exist_ok=True)
        with opened.open(member) as source, path.open("xb") as target:
            while piece := source.read(_PIECE):
                digest.update(piece)
                target.write(piece)
        written[name] = (member.file_size, digest.hexdigest())
        progress(len(written), len(members))
    return written
