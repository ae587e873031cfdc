"""Reads every patch of a dataset once and keeps what the measures of the audit need: a few kilobytes a patch.

The test split is read here too, as by `lsml.data.checks`, and stays sealed all the same: what leaves the audit is
distances, one number on how separable two splits are, and pictures of the closest pairs. No model that lsml trains or
registers sees any of it, and only the command that prints the audit imports it (a test holds that).
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lsml.data.description import describe
from lsml.data.formats import read_image, read_mask
from lsml.data.layout import PatchFiles, below
from lsml.data.listing import SPLITS
from lsml.data.scan import Scan
from lsml.data.sensor import ELEVATION, GREEN, IGNORED, NEAR_INFRARED, RED, SHORT_WAVE_INFRARED_2, SLOPE, Sensor
from lsml.errors import DataError
from lsml.workspace import Progress

_THUMBNAIL = 16
"""Side of a thumbnail: each of its pixels is the mean of a square, so noise of single pixels is gone."""

_SEEN = (GREEN, RED, NEAR_INFRARED, SHORT_WAVE_INFRARED_2, SLOPE, ELEVATION)
"""Bands of a thumbnail, as far as the sensor has them, or else its first: two acquisitions of one place differ in the
first four, hardly in the ground's shape."""

_PERCENTILES = (5, 50, 95)
_EVERY = 4
_PIXELS, _PIXELS_OF_ONE = 100_000, 2048
_REACHES = (4, 16)


class PatchFacts(NamedTuple):
    """What is kept of one patch.

    Attributes:
        split: `train`, `validation` or `test`.
        file: of the image, below the dataset's folder.
        digest: SHA-256 of all values; equal only where the images are.
        thumbnail: float32 `(bands, 16, 16)`, each band with mean 0 and standard deviation 1, or 0 where it is constant.
        summary: float32 `(4 C,)`: mean and the 5th, 50th and 95th percentile of each of the C bands.
    """

    split: str
    file: str
    digest: bytes
    thumbnail: np.ndarray
    summary: np.ndarray


class TrainPixels(NamedTuple):
    """Pixels drawn evenly from each train patch that has a mask, the same number from each.

    Attributes:
        features: float32 `(N, P, 3 C)`: the C bands, and their means over 9 x 9 and 33 x 33 pixels around.
        labels: bool `(N, P)`: whether each is landslide.
    """

    features: np.ndarray
    labels: np.ndarray


class Facts(NamedTuple):
    """All that was read of a dataset below `root`."""

    root: Path
    sensor: Sensor
    patches: tuple[PatchFacts, ...]
    pixels: TrainPixels

    @classmethod
    def read(cls, root: Path, *, seed: int, progress: Progress) -> "Facts":
        """Reads every image below `root`, and the masks of train.

        Args:
            seed: which pixels of a train patch are drawn.
            progress: called with ("patches", patches read, patches in all).

        Raises:
            DataError: no dataset, or an image or mask that cannot be read.
        """
        scan = Scan.of(root, SPLITS)
        sensor = describe((scan.root, scan.base), scan.images)
        listed = [(split, patch) for split in scan.splits for patch in scan.patches(split)]
        if not scan.splits["train"].images:
            raise DataError(f"dataset {scan.root}", "no train patches", "lsml data check says what is wrong with it")
        masked = sum(patch.mask is not None for patch in scan.patches("train"))
        # Pixels of one patch are alike: more of them tell little more.
        count = min(_PIXELS_OF_ONE, _PIXELS // max(masked, 1) + 1)
        patches: list[PatchFacts] = []
        features: list[np.ndarray] = []
        labels: list[np.ndarray] = []
        for done, (split, patch) in enumerate(listed, start=1):
            image, facts = _facts(scan.root, split, patch, sensor)
            patches.append(facts)
            if split == "train" and patch.mask is not None:
                mask = read_mask(patch.mask, sensor).reshape(-1)
                random = np.random.default_rng([seed, len(labels)])
                if (known := np.flatnonzero(mask != IGNORED)).size:
                    drawn = known[random.choice(known.size, count, replace=known.size < count)]
                    features.append(_in_context(image, drawn))
                    labels.append(mask[drawn] == 1)
            progress("patches", done, len(listed))
        pixels = TrainPixels(_stacked(features, np.float32), _stacked(labels, np.bool_))
        return cls(scan.root, sensor, tuple(patches), pixels)

    def of(self, split: str) -> list[PatchFacts]:
        """The patches of one split, in numeric order."""
        return [patch for patch in self.patches if patch.split == split]


def _facts(root: Path, split: str, patch: PatchFiles, sensor: Sensor) -> tuple[np.ndarray, PatchFacts]:
    stored = read_image(patch.image, sensor)
    digest = hashlib.sha256(stored.tobytes()).digest()
    image = _finite(stored)
    return image, PatchFacts(split, below(root, patch.image), digest, _thumbnail(image, sensor), _summary(image))


def _finite(stored: np.ndarray) -> np.ndarray:
    """Float64, with the band's median over the patch where a value is not finite; 0 where there is none."""
    holes = ~np.isfinite(stored)
    if not holes.any():
        return stored
    known = np.where(holes, np.nan, stored)
    empty = holes.all(axis=(0, 1))
    medians = np.zeros(stored.shape[-1])
    medians[~empty] = np.nanmedian(known[..., ~empty], axis=(0, 1))
    return np.where(holes, medians, stored)


def _thumbnail(image: np.ndarray, sensor: Sensor) -> np.ndarray:
    """The thumbnail of `PatchFacts`, of finite stored values `(H, W, C)`, of each of which it shows whole squares."""
    seen = [sensor.place(role) for role in _SEEN if sensor.has(role)] or [0]
    height, width = (length // _THUMBNAIL for length in image.shape[:2])
    squares = image[: height * _THUMBNAIL, : width * _THUMBNAIL, seen]
    blocks = squares.reshape(_THUMBNAIL, height, _THUMBNAIL, width, len(seen)).mean(axis=(1, 3))
    bands = np.moveaxis(blocks, -1, 0)
    bands = bands - bands.mean(axis=(1, 2), keepdims=True)
    spread = bands.std(axis=(1, 2), keepdims=True)
    # What rounding leaves of a constant band is no picture of anything.
    return np.where(spread > 1e-9, bands / np.maximum(spread, 1e-9), 0).astype(np.float32)


def _summary(image: np.ndarray) -> np.ndarray:
    thinned = image[::_EVERY, ::_EVERY].reshape(-1, image.shape[-1])
    return np.concatenate([image.mean(axis=(0, 1)), *np.percentile(thinned, _PERCENTILES, axis=0)]).astype(np.float32)


def _in_context(image: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """The features of `TrainPixels` of the drawn pixels, `(P, 3 C)`."""
    height, width, bands = image.shape
    rows, columns = np.divmod(drawn, width)
    # Sums over all pixels above and to the left: four of them give the sum over any rectangle.
    sums = np.zeros((height + 1, width + 1, bands))
    np.cumsum(image, axis=0, out=sums[1:, 1:])
    np.cumsum(sums, axis=1, out=sums)
    around = [_mean_around(sums, rows, columns, reach) for reach in _REACHES]
    return np.concatenate([image[rows, columns], *around], axis=1).astype(np.float32)


def _mean_around(sums: np.ndarray, rows: np.ndarray, columns: np.ndarray, reach: int) -> np.ndarray:
    """Means `(P, C)` over the squares of 2 `reach` + 1 pixels, as far as they lie in the patch."""
    height, width = (length - 1 for length in sums.shape[:2])
    top, bottom = np.maximum(rows - reach, 0), np.minimum(rows + reach + 1, height)
    left, right = np.maximum(columns - reach, 0), np.minimum(columns + reach + 1, width)
    total = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return total / ((bottom - top) * (right - left))[:, None]


def _stacked(arrays: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    return np.stack(arrays) if arrays else np.zeros((0, 0), dtype)
