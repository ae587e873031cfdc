"""Classifiers of single pixels, which a network has to beat before it has learnt anything from context."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import sklearn
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from lsml.bare_slope import BareSlopeRule, fit_bare_slope
from lsml.crossval import FoldOutcome, result_key
from lsml.data.folds import FoldData
from lsml.errors import DataError
from lsml.metrics import places

Kind = Literal["regression", "boosting", "rule"]
"""Logistic regression, gradient boosting, or the limits of NDVI and slope."""

_PIXELS = 200_000


class Patches(Protocol):
    """What the baseline asks of a split; `lsml.data.pack.PackedSplit` is one."""

    def __len__(self) -> int: ...

    def batch(self, indices: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Images (B, H, W, C) and masks (B, H, W, 1) of 0 and 1."""


class PixelModel(Protocol):
    """Anything that judges pixels one by one."""

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Scores 0..1, float32 (B, H, W, 1), of stored bands (B, H, W, C)."""


@dataclass(frozen=True)
class PixelBaseline:
    """A fitted classifier of the bands of one pixel."""

    classifier: ClassifierMixin

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Landslide probabilities, float32 (B, H, W, 1), of stored bands (B, H, W, C)."""
        pixels = images.reshape(-1, images.shape[-1])
        with _one_thread():
            probability = self.classifier.predict_proba(pixels)[:, 1]
        return probability.astype(np.float32).reshape(*images.shape[:-1], 1)


def fit_pixel_baseline(train: Patches, *, seed: int = 0) -> PixelBaseline:
    """Fits a logistic regression to at most 200,000 pixels, drawn evenly from all of `train` without replacement.

    Classes keep their natural weight, so its probabilities are calibrated and its threshold is far below .5.

    Raises:
        DataError: `train` is empty, or the drawn pixels are of one class.
    """
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return PixelBaseline(classifier.fit(*_drawn(train, seed)))


def fit_boosting(train: Patches, *, seed: int = 0) -> PixelBaseline:
    """Fits gradient boosted trees to the pixels that `fit_pixel_baseline` draws, with scikit-learn's own settings.

    All of its 100 trees are grown: to stop early it would set drawn pixels apart, whose neighbours it trains on.

    Raises:
        DataError: as of `fit_pixel_baseline`.
    """
    classifier = HistGradientBoostingClassifier(early_stopping=False, random_state=seed)
    bands, labels = _drawn(train, seed)
    with _one_thread():
        return PixelBaseline(classifier.fit(bands, labels))


def fit_rule(train: Patches, *, seed: int = 0) -> BareSlopeRule:
    """Chooses the limits of NDVI and slope by F1 on the pixels that `fit_pixel_baseline` draws.

    Raises:
        DataError: as of `fit_pixel_baseline`.
    """
    return fit_bare_slope(*_drawn(train, seed))


@dataclass(frozen=True)
class PixelLearner:
    """A `lsml.crossval.Learner`: one of the three, fitted to each fold's patches; it takes seconds, no checkpoint."""

    kind: Kind = "regression"

    def key(self, data: FoldData, seed: int) -> str:
        """The drawn pixels and the versions of what fits them."""
        versions = {"scikit-learn": sklearn.__version__, "numpy": np.__version__}
        return result_key(f"pixel {self.kind}", data, seed, pixels=_PIXELS, versions=versions)

    def learn(self, data: FoldData, seed: int, checkpoint: Path | None) -> FoldOutcome:
        """Fits once: its history is one entry, with nothing but the time that it took.

        Raises:
            DataError: the training pixels drawn are of one class.
        """
        started = time.perf_counter()
        fitted = self.fit(data.train, seed)
        seconds = time.perf_counter() - started
        held_out = (data.validation.image(index)[None] for index in range(len(data.validation)))
        judged = np.stack([places(fitted.predict(image)[0, ..., 0]) for image in held_out])
        return FoldOutcome([{"epoch_seconds": seconds}], judged)

    def fit(self, train: Patches, seed: int) -> PixelModel:
        """Learns from `train` alone.

        Raises:
            DataError: the training pixels drawn are of one class.
        """
        if self.kind == "regression":
            return fit_pixel_baseline(train, seed=seed)
        if self.kind == "boosting":
            return fit_boosting(train, seed=seed)
        return fit_rule(train, seed=seed)

    def environment(self) -> dict[str, str]:
        """`device` (always cpu) and `backend`."""
        return {"device": "cpu", "backend": f"scikit-learn {sklearn.__version__}"}


def _one_thread() -> threadpool_limits:
    """Threads that wait for each other on cores that others use too take many times longer than one does."""
    return threadpool_limits(1, "openmp")


def _drawn(train: Patches, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Bands (P, C) and classes (P,) of the drawn pixels, of both classes."""
    if not len(train):
        raise DataError("pixel baseline", "the train split is empty", "give it patches")
    drawn = list(draw(train, np.random.default_rng(seed)))
    bands = np.concatenate([pixels for pixels, _ in drawn])
    labels = np.concatenate([classes for _, classes in drawn])
    if len(np.unique(labels)) < 2:
        kind = "landslide" if labels[0] else "background"
        raise DataError(
            "pixel baseline",
            f"all {len(labels)} pixels drawn from the train split are {kind}",
            "train on patches with and without landslide",
        )
    return bands, labels


def draw(train: Patches, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
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
