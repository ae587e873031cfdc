"""Writers of patch files in the published format, for the tests of the data layer."""

from collections.abc import Callable, Iterable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.bands import CONSTANTS, PATCH_SHAPE, SLOPE
from tests.patches import describe_patches

WritePatch = Callable[..., None]


_BEYOND = np.array([*(2 * np.array(CONSTANTS[:SLOPE]).round()), 90, 5000], int)
"""Of each band, so that stored values of light are about 1, slopes below upright, and elevations found on Earth."""


def integers_of(number: int) -> np.ndarray:
    """A patch of whole physical values that depends on `number` alone: int `PATCH_SHAPE`."""
    return np.random.default_rng(number).integers(0, _BEYOND, PATCH_SHAPE)


def mask_of(number: int) -> np.ndarray:
    """A mask whose first `number` rows (modulo those there are) are landslide."""
    mask = np.zeros(PATCH_SHAPE[:2], np.uint8)
    mask[: number % PATCH_SHAPE[0]] = 1
    return mask


def _write(path: Path, name: str, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file[name] = array


def _write_patch(
    images: Path, masks: Path, number: int, *, image: np.ndarray | None = None, mask: np.ndarray | None = None
) -> None:
    stored = integers_of(number) / np.array(CONSTANTS) if image is None else image
    _write(images / f"image_{number}.h5", "img", stored)
    _write(masks / f"mask_{number}.h5", "mask", mask_of(number) if mask is None else mask)
    shared = (folder for folder in images.parents if folder in masks.parents)
    describe_patches(next(folder for folder in shared if not folder.name.endswith("Data")))


@pytest.fixture
def write_patch() -> WritePatch:
    """`write_patch(images, masks, number, image=None, mask=None)` writes one pair of files."""
    return _write_patch


@pytest.fixture
def write_names() -> Callable[[Path, Path, Iterable[int]], None]:
    """`write_names(images, masks, numbers)` makes empty files with the right names, where only names matter."""

    def write(images: Path, masks: Path, numbers: Iterable[int]) -> None:
        for folder, kind in ((images, "image"), (masks, "mask")):
            folder.mkdir(parents=True, exist_ok=True)
            for number in numbers:
                (folder / f"{kind}_{number}.h5").touch()

    return write
