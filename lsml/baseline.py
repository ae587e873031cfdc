"""The per-pixel logistic regression that a network has to beat before it has learnt anything from context."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from lsml.crossval import FoldOutcome, result_key
from lsml.data.folds import FoldData
from lsml.errors import DataError
from lsml.metrics import places

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


@dataclass(frozen=True)
class PixelRegression:
    """A `lsml.crossval.Learner`: the baseline, fitted to each fold's patches; it takes seconds and no checkpoint."""

    def key(self, data: FoldData, seed: int) -> str:
        """The drawn pixels and the versions of what fits them."""
        versions = {"scikit-learn": sklearn.__version__, "numpy": np.__version__}
        return result_key("pixel regression", data, seed, pixels=_PIXELS, versions=versions)

    def learn(self, data: FoldData, seed: int, checkpoint: Path | None) -> FoldOutcome:
        """Fits once: its history is one entry, with nothing but the time that it took.

        Raises:
            DataError: the training pixels drawn are of one class.
        """
        started = time.perf_counter()
        fitted = fit_pixel_baseline(data.train, seed=seed)
        seconds = time.perf_counter() - started
        held_out = (data.validation.image(index)[None] for index in range(len(data.validation)))
        judged = np.stack([places(fitted.predict(image)[0, ..., 0]) for image in held_out])
        return FoldOutcome([{"epoch_seconds": seconds}], judged)

    def environment(self) -> dict[str, str]:
        """`device` (always cpu) and `backend`."""
        return {"device": "cpu", "backend": f"scikit-learn {sklearn.__version__}"}


def _draw(train: Patches, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Bands (P, C) and classes (P,) of the drawn pixels, patch by patch, so that one patch is in memory at a time."""
    first, _ = train.batch([0])
    size = first.shape[1] * first.shape[2]
    total = len(train) * size
    drawn = np.sort(rng.choice(total, min(total, _PIXELS), replace=False))
    patches, pixels = np.divmod(drawn, size)
    for index in np.unique(patches):
        image, mask = train.batch([int(index)])
        here = pixels[patches == index]
        yield image.reshape(size, -1)[here], mask.reshape(size)[here] > 0
