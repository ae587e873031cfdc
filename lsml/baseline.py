"""The per-pixel logistic regression that a network has to beat before it has learnt anything from context."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from lsml.data.folds import fold_data
from lsml.data.pack import PackedSplit
from lsml.errors import DataError
from lsml.metrics import PooledCounts

_PIXELS = 200_000


class Patches(Protocol):
    """What the baseline asks of a split; `lsml.data.pack.PackedSplit` is one."""

    def __len__(self) -> int: ...

    def batch(self, indices: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Images (B, H, W, C) and masks (B, H, W, 1) of 0 and 1."""


@dataclass(frozen=True)
class PixelBaseline:
    """A fitted regression on the standardised bands of one pixel."""

    pipeline: Pipeline

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Landslide probabilities, float32 (B, H, W, 1), of stored bands (B, H, W, C)."""
        pixels = images.reshape(-1, images.shape[-1])
        return self.pipeline.predict_proba(pixels)[:, 1].astype(np.float32).reshape(*images.shape[:-1], 1)


def fit_pixel_baseline(train: Patches, *, seed: int = 0) -> PixelBaseline:
    """Fits the baseline to at most 200,000 pixels, drawn evenly from all of `train` without replacement.

    Classes keep their natural weight, so its probabilities are calibrated and its threshold is far below .5.

    Raises:
        DataError: `train` is empty, or the drawn pixels are of one class.
    """
    if not len(train):
        raise DataError("pixel baseline", "the train split is empty", "give it patches")
    drawn = list(_draw(train, np.random.default_rng(seed)))
    bands = np.concatenate([pixels for pixels, _ in drawn])
    labels = np.concatenate([classes for _, classes in drawn])
    if len(np.unique(labels)) < 2:
        kind = "landslide" if labels[0] else "background"
        raise DataError(
            "pixel baseline",
            f"all {len(labels)} pixels drawn from the train split are {kind}",
            "train on patches with and without landslide",
        )
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return PixelBaseline(pipeline.fit(bands, labels))


def baseline_folds(pack: PackedSplit, folds: int, *, seed: int = 0) -> dict[str, float]:
    """The baseline's out-of-fold scores, by the rule that networks are judged by (`lsml.crossval`).

    Each fold's regression judges the patches that it was not fitted to; counts are summed over all of them, and
    the one threshold is the best by their F1. It is not repeated: other seeds draw other pixels and change little.

    Returns:
        `val_f1`, `val_iou`, `val_precision`, `val_recall`, `val_average_precision` and `val_threshold`.

    Raises:
        DataError: `folds` does not fit the pack, or a fold's training pixels are of one class.
    """
    counts = PooledCounts()
    for fold in range(folds):
        data = fold_data(pack, fold, folds)
        fitted = fit_pixel_baseline(data.train, seed=seed)
        for index in range(len(data.validation)):
            image, mask = data.validation.batch([index])
            counts.update(mask, fitted.predict(image))
    threshold = counts.best_threshold()
    return {f"val_{name}": value for name, value in counts.scores(threshold).items()} | {"val_threshold": threshold}


def _draw(train: Patches, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Bands (P, C) and classes (P,) of the drawn pixels, patch by patch, so that one patch is in memory at a time."""
    first, _ = train.batch([0])
    size = first.shape[1] * first.shape[2]
    total = len(train) * size
    places = np.sort(rng.choice(total, min(total, _PIXELS), replace=False))
    patches, pixels = np.divmod(places, size)
    for index in np.unique(patches):
        image, mask = train.batch([int(index)])
        here = pixels[patches == index]
        yield image.reshape(size, -1)[here], mask.reshape(size)[here] > 0
