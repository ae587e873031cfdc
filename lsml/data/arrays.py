"""NumPy files, opened without trusting them, and those of many patches, which act as folders of them.

Of such a file the path `train_images.npy/00012` is the patch of that number, from 0.
"""

from pathlib import Path

import numpy as np

from lsml.errors import DataError

NUMPY = (".npy",)
"""Endings of the files that are read, in small letters."""

_MAGIC = b"\x93NUMPY"
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
    return DataError(f"file {path}", f"cannot be read: {why}", _REPLACE)


def mapped(path: Path) -> np.ndarray:
    """What a NumPy file holds, or one patch of many, memory-mapped: but for the header nothing is read.

    Raises:
        DataError: it is no such file, cannot be read, or has no such patch.
    """
    file = file_of(path)
    try:
        if beginning(file) != _MAGIC:
            raise DataError(f"file {file}", "not an array as numpy.save writes it", _REPLACE)
        array: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
        return array if file == path else array[int(path.name)]
    except DataError:
        raise
    except (OSError, ValueError, EOFError, OverflowError, IndexError) as error:
        raise unreadable(path, error) from None
    except Exception:  # noqa: BLE001 - what else NumPy's parser raises of a header says nothing to anybody
        raise DataError(f"file {file}", "has a damaged header", _REPLACE) from None


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
