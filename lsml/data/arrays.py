"""NumPy files and archives, opened without trusting them, and files of many patches, which act as folders of them.

Of such a file the path `train_images.npy/00012` is the patch of that number, from 0.
"""

import contextlib
import io
import itertools
import math
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from lsml.errors import DataError

NUMPY, NPZ = (".npy",), (".npz",)
"""Endings of the files of one array and of several that are read, in small letters."""

_MAGIC, _ZIPPED = b"\x93NUMPY", b"PK\x03\x04"
_LONGEST_HEADER, _MOST_ARRAYS = 10_000, 64
"""Bytes of an array's header, and arrays of an archive: so much is looked at."""
_REPLACE = "replace it by an intact copy"


def beginning(path: Path) -> bytes:
    """The first six bytes of a file; of a pipe or a device they might never come.

    Raises:
        DataError: it is no regular file.
        OSError: it cannot be read.
    """
    if path.exists() and not path.is_file():
        raise DataError(f"file {path}", "not a regular file", "give a folder of patches")
    with path.open("rb") as file:
        return file.read(len(_MAGIC))


def unreadable(path: Path, error: Exception) -> DataError:
    """What a library says of a file, in one line."""
    # Libraries name the file again, some over several lines.
    said = getattr(error, "strerror", None) or next(iter(str(error.__cause__ or error).splitlines()), "damaged")
    why = said.removeprefix(f"{path}").strip(" :,")[:200]
    fix = "check the path and its permissions" if isinstance(error, (FileNotFoundError, PermissionError)) else _REPLACE
    return DataError(f"file {path}", f"cannot be read: {why}", fix)


def mapped(path: Path) -> np.ndarray:
    """What a NumPy file holds, or one patch of many, memory-mapped: but for the header nothing is read.

    Raises:
        DataError: it is no such file, cannot be read, or has no such patch.
    """
    file = file_of(path)
    with _understood(path):
        if beginning(file) != _MAGIC:
            raise DataError(f"file {file}", "not an array as numpy.save writes it", _REPLACE)
        with file.open("rb") as stream:
            dtype, shape = _header(stream)
            have, declared = file.stat().st_size, stream.tell() + dtype.itemsize * math.prod(shape)
        if have < declared:
            raise DataError(f"file {file}", f"truncated: {have} of {declared} bytes", _REPLACE)
        array: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
        return array if file == path else array[int(path.name)]


@contextlib.contextmanager
def _understood(path: Path) -> Iterator[None]:
    """Says in one line what is wrong with a file of NumPy's."""
    try:
        yield
    except DataError:
        raise
    except (OSError, ValueError, EOFError, LookupError, ArithmeticError, RuntimeError) as error:
        raise unreadable(path, error) from None
    except (zipfile.BadZipFile, zlib.error) as error:
        raise unreadable(path, error) from None
    except Exception:  # noqa: BLE001 - what else NumPy's parser raises of a header says nothing to anybody
        raise DataError(f"file {file_of(path)}", "has a damaged header", _REPLACE) from None


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    with _understood(path):
        if not beginning(path).startswith(_ZIPPED):
            raise DataError(f"file {path}", "not an archive as numpy.savez writes it", _REPLACE)
        with zipfile.ZipFile(path) as archive:
            yield archive


def arrays_in(path: Path) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
    """Type and shape of each array in an archive as `numpy.savez` writes it; but for headers nothing is read.

    Raises:
        DataError: it is no such file, or cannot be read.
    """
    with _opened(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(NUMPY)]
        found = {}
        for name in itertools.islice(names, _MOST_ARRAYS):
            with archive.open(name) as file:
                found[name[: -len(NUMPY[0])]] = _header(io.BytesIO(file.read(_LONGEST_HEADER)))
        return found


def _header(stream: IO[bytes]) -> tuple[np.dtype, tuple[int, ...]]:
    """Type and shape that an array's header declares; the stream is then where its values begin."""
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, _, dtype = read(stream)
    return dtype, shape


def array_in(path: Path, name: str) -> np.ndarray:
    """An array of an archive whose size and type, by its header, were found to be sound.

    Raises:
        DataError: it cannot be read.
    """
    with _opened(path) as archive, archive.open(f"{name}{NUMPY[0]}") as file:
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
        return array


def is_stack(file: Path, kind: str) -> bool:
    """Whether a NumPy file holds many images `(N, H, W, C)` or `(N, C, H, W)`, or masks `(N, H, W)`, by its header.

    Raises:
        DataError: it cannot be read.
    """
    shape = mapped(file).shape
    return len(shape) == 4 or (kind == "mask" and len(shape) == 3 and 1 not in (shape[0], shape[2]))


def patches_in(file: Path) -> list[Path]:
    """The paths of the patches in a file of many."""
    return [file / f"{number:05d}" for number in range(len(mapped(file)))]


def file_of(path: Path) -> Path:
    """The file that a patch is in: itself, or the one of many that its path leads through."""
    return path.parent if path.parent.suffix.lower() in NUMPY and path.name.isdecimal() else path
