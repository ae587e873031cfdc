"""Unpacks the patches of a ZIP archive without trusting the archive: no path, link or size of its own choice."""

import hashlib
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from lsml.errors import DataError

_PATCH = re.compile(r"(?:[^/]+/)?(img/image_[0-9]+\.h5|mask/mask_[0-9]+\.h5)")
_MOST_FILES = 50_000
_MOST_BYTES = 4 * 2**20
"""Of one file; a published image has 1,837,056 bytes."""
_DISTRUST = "the archive is refused: take it from another source"
_PIECE = 1 << 18


def unpack(archive: Path, folder: Path, progress: Callable[[int, int], None]) -> dict[str, tuple[int, str]]:
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
            _require_space(archive, folder, sum(member.file_size for member in members.values()))
            return _write(opened, members, folder, progress)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, RuntimeError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise DataError(f"archive {archive}", f"damaged: {error}", "remove it and run the same command again") from None
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise DataError(f"folder {folder}", f"cannot be written: {error.strerror}", "free space there") from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def require_space(folder: Path, needed: int, what: str) -> None:
    """Raises DataError where the disk of `folder`, or of what exists of its path, has fewer bytes than `needed`."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise DataError(what, f"needs {needed:,} bytes, {free:,} are free", f"free space on the disk of {there}")


def _require_space(archive: Path, folder: Path, needed: int) -> None:
    require_space(folder, needed, f"unpacking {archive.name}")


def _members(archive: Path, opened: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """What is to be unpacked, by its path below the folder, once every entry of the archive has been looked at."""
    entries = opened.infolist()
    if len(entries) > _MOST_FILES:
        raise DataError(f"archive {archive}", f"{len(entries):,} files, limit {_MOST_FILES:,}", _DISTRUST)
    members: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        _refuse_unsafe(archive, entry)
        match = _PATCH.fullmatch(entry.filename)
        if match is None or entry.is_dir() or entry.filename.startswith("__MACOSX/"):
            continue
        if match[1] in members:
            raise DataError(f"archive {archive}", f"two files are called {match[1]}", _DISTRUST)
        members[match[1]] = entry
    if not members:
        raise DataError(f"archive {archive}", "no img/image_<number>.h5 in it", _DISTRUST)
    return members


def _refuse_unsafe(archive: Path, entry: zipfile.ZipInfo) -> None:
    # ZipInfo cuts a name off at its first NUL; what stood in the file is in orig_filename.
    shown = "".join(character if character.isprintable() else "?" for character in entry.orig_filename[:100])
    what = f"archive {archive}"
    parts = entry.orig_filename.replace("\\", "/").split("/")
    if parts[0] == "" or ".." in parts or ":" in parts[0] or "\0" in entry.orig_filename:
        raise DataError(what, f"'{shown}' leaves the folder", _DISTRUST)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise DataError(what, f"'{shown}' is a link or a device", _DISTRUST)
    if entry.flag_bits & 1:
        raise DataError(what, f"'{shown}' is encrypted", _DISTRUST)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(what, f"'{shown}' has compression {entry.compress_type}", _DISTRUST)
    if entry.file_size > _MOST_BYTES and _PATCH.fullmatch(entry.filename):
        raise DataError(what, f"'{shown}' declares {entry.file_size:,} bytes, limit {_MOST_BYTES:,}", _DISTRUST)


def _write(
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
