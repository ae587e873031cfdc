"""Geometric changes of a training patch, each drawn by chance, applied together as one interpolation."""

import os
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import cv2
import numpy as np

from lsml.config.schema import AugmentConfig

# Without this, importing albumentations asks a server for its newest version.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations

Patch = tuple[np.ndarray, np.ndarray]
"""An image float32 `(H, W, C)` and its mask uint8 `(H, W)`."""

_MAX_ROTATION = 45.0
_MAX_ZOOM = 0.25
_MAX_STRETCH = 0.2
_SMALLEST_CROP = 0.5


class Operation:
    """A change of a patch that happens by chance.

    Args:
        p: its chance, 0..1.
    """

    def __init__(self, *, p: float) -> None:
        self.p = p
        self.set_random_seed(0)

    def set_random_seed(self, seed: int) -> None:
        """Everything drawn from here on follows from `seed`."""
        self._random = np.random.Generator(np.random.SFC64(seed))

    def should_apply(self) -> bool:
        """Whether it happens this time, as albumentations' transforms say it."""
        return bool(self._random.random() < self.p)


_ELASTIC = 0.02
"""Largest standard deviation of the displacement, as a share of the patch's side: Ronneberger et al. 2015 move tiles
of 512 pixels by 10."""

_GRID = 3
"""Displacements are drawn on 3 x 3 points and interpolated between them, as there."""


class _Elastic(Operation):
    """A distortion that happens by chance.

    Not albumentations' `ElasticTransform`: it smooths noise with its borders repeated, so that corners move by six
    times as much as the centre (measured at sigma 8 on 128 pixels), and takes nine times as long.

    Args:
        deviation: standard deviation of the displacement at the grid's points, as a share of the side.
        p: its chance, 0..1.
    """

    def __init__(self, deviation: float, *, p: float) -> None:
        super().__init__(p=p)
        self._deviation = deviation

    def displacement(self, size: tuple[int, int]) -> np.ndarray:
        """How far from its own place each pixel is taken: columns and rows, float32 `(H, W, 2)`."""
        height, width = size
        drawn = self._random.normal(0, self._deviation, (_GRID, _GRID, 2)) * (width, height)
        return np.asarray(cv2.resize(drawn.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC))


_Geometric: TypeAlias = albumentations.DualTransform | _Elastic


class Warp:
    """Geometric changes in a row as one: a pixel of the outcome is read where all of them together take it from.

    One interpolation blurs less than one after another, and takes the time of one. Image and mask outside the patch
    are its mirror image.

    Args:
        size: height and width of the patches, equal.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._columns, self._rows = np.meshgrid(*(np.arange(length, dtype=np.float32) for length in reversed(size)))

    def write(self, changes: Iterable[_Geometric], source: Patch, target: Patch) -> None:
        """Writes a patch to where it is to stand, changed; the image interpolated linearly, the mask by nearest pixels.

        Args:
            changes: in their order, distortions last; each tells by its `should_apply` whether it happens.
            source: not written to.
            target: contiguous arrays of the same shapes and types.
        """
        places = self._places(changes)
        for array, changed, interpolation in zip(source, target, (cv2.INTER_LINEAR, cv2.INTER_NEAREST), strict=True):
            if places is None:
                changed[:] = array
            else:
                # OpenCV wants its arrays contiguous.
                whole = np.ascontiguousarray(array)
                cv2.remap(whole, *places, interpolation, changed, cv2.BORDER_REFLECT_101)

    def _places(self, changes: Iterable[_Geometric]) -> tuple[np.ndarray, np.ndarray] | None:
        """Column and row of the patch that each pixel of the outcome is read from, float32 `(H, W)`.

        None where they are their own.
        """
        matrix, columns, rows = np.eye(3), self._columns, self._rows
        for change in changes:
            if not change.should_apply():
                continue
            if isinstance(change, _Elastic):
                moved = change.displacement(self._size)
                columns, rows = columns + moved[..., 0], rows + moved[..., 1]
            else:
                matrix = matrix @ self._source(change)
        if columns is self._columns and np.array_equal(matrix, np.eye(3)):
            return None
        (a, b, c), (d, e, f) = matrix[:2].astype(np.float32)
        return a * columns + b * rows + c, d * columns + e * rows + f

    def _source(self, change: albumentations.DualTransform) -> np.ndarray:
        """What takes (column, row, 1) of the outcome to that of the patch, by what the transform draws; `(3, 3)`."""
        height, width = self._size
        drawn = change.get_params_dependent_on_data({"shape": self._size}, {})
        match change:
            case albumentations.HorizontalFlip():
                return np.array([[-1, 0, width - 1], [0, 1, 0], [0, 0, 1]], float)
            case albumentations.VerticalFlip():
                return np.array([[1, 0, 0], [0, -1, height - 1], [0, 0, 1]], float)
            case albumentations.Transpose():
                return np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]], float)
            case albumentations.Affine():
                return np.linalg.inv(drawn["matrix"])
        left, top, right, bottom = drawn["crop_coords"]
        # Pixel centres lie half a pixel from their edges.
        across, down = (right - left) / width, (bottom - top) / height
        return np.array([[across, 0, left + across / 2 - 0.5], [0, down, top + down / 2 - 0.5], [0, 0, 1]])


def geometric(config: AugmentConfig, size: tuple[int, int]) -> Iterator[tuple[int, _Geometric]]:
    """The geometric changes at a strength above 0, in their order, each with its number; see `Augmentation`.

    Args:
        size: height and width of the patches, equal.
    """
    s = config.strength
    symmetry, angle, zoom, stretch = min(0.5, s) * config.flips, _MAX_ROTATION * s, _MAX_ZOOM * s, 1 + _MAX_STRETCH * s
    yield 0, albumentations.HorizontalFlip(p=symmetry)
    yield 1, albumentations.VerticalFlip(p=symmetry)
    yield 2, albumentations.Transpose(p=symmetry)
    yield (
        3,
        albumentations.Affine(
            rotate=(-angle, angle), scale=(1 - zoom, 1 + zoom), keep_ratio=True, p=s * config.rotation
        ),
    )
    yield (
        4,
        albumentations.RandomResizedCrop(
            size, scale=(1 - _SMALLEST_CROP * s, 1.0), ratio=(1 / stretch, stretch), p=s * config.crop
        ),
    )
    yield 8, _Elastic(_ELASTIC * s, p=s * config.elastic)
