"""Baselines: classifiers of single pixels and a threshold of NDVI and slope, to compare networks with."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import sklearn
from scipy.special import expit
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from lsml.data.loader import DRAWN_PIXELS, draw_pixels
from lsml.data.sensor import NEAR_INFRARED, RED, SLOPE, Sensor
from lsml.data.splits import FoldData, Split
from lsml.data.statistics import BandStatistics
from lsml.errors import DataError
from lsml.scoring.metrics import f1, grid_index
from lsml.training.crossval import FoldOutcome, result_key

if TYPE_CHECKING:
    import keras

_LIMITS = 201


@dataclass(frozen=True)
class _NdviSlopeRule:
    """Landslide is where NDVI is at most one limit and the slope at least another.

    Attributes:
        ndvi: the limit of NDVI, -1..1.
        slope: the limit of the slope in degrees.
        ndvi_spread: standard deviation of NDVI over the training pixels.
        slope_spread: that of the slope in degrees.
        sensor: which bands it finds them in.
    """

    ndvi: float
    slope: float
    ndvi_spread: float
    slope_spread: float
    sensor: Sensor

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Scores 0..1, float32 (B, H, W, 1), of stored bands (B, H, W, C); no probabilities.

        A score is the sigmoid of how far inside both limits a pixel is, in standard deviations of the training
        pixels, by the nearer limit. So `score >= .5` is the rule itself, and any other threshold is the rule with both
        limits moved by the same number of standard deviations, inward above .5 and outward below.
        """
        index, slope = _ndvi_and_slope(images, self.sensor)
        inside = np.minimum((self.ndvi - index) / self.ndvi_spread, (slope - self.slope) / self.slope_spread)
        return expit(inside).astype(np.float32)[..., None]

    def network(self, statistics: BandStatistics) -> "keras.Model":
        """Logits of the scores; see `lsml.models.pixels.rule_network`."""
        # Here, because it loads Keras, which the rule does without.
        from lsml.models.pixels import rule_network

        return rule_network((self.ndvi, self.slope), (self.ndvi_spread, self.slope_spread), statistics)


def _fit_ndvi_slope(bands: np.ndarray, labels: np.ndarray, sensor: Sensor) -> _NdviSlopeRule:
    """The limits of the highest F1 among 201 quantiles of either, both of landslide pixels.

    Between two landslide pixels a limit only takes in background: no other value can be better than a quantile of all.

    Args:
        bands: stored values of pixels (P, C).
        labels: whether each is landslide, (P,), of both classes.
    """
    index, slope = _ndvi_and_slope(bands, sensor)
    landslide = labels.astype(bool)
    shares = np.linspace(0, 1, _LIMITS)
    lowest, steepest = (
        np.unique(np.quantile(values[landslide], shares, method="inverted_cdf")) for values in (index, slope)
    )
    hits = _called(index[landslide], slope[landslide], lowest, steepest)
    false_alarms = _called(index[~landslide], slope[~landslide], lowest, steepest)
    scores = f1(np.stack([hits, false_alarms, landslide.sum() - hits], axis=-1))
    row, column = np.unravel_index(np.argmax(scores), scores.shape)
    return _NdviSlopeRule(float(lowest[row]), float(steepest[column]), _spread(index), _spread(slope), sensor)


def _ndvi_and_slope(bands: np.ndarray, sensor: Sensor) -> tuple[np.ndarray, np.ndarray]:
    """NDVI, -1..1 (Rouse et al. 1974), and slope in degrees, float64 (...), of stored bands (..., C)."""
    red, infrared, slope = np.moveaxis(sensor.physical(bands, RED, NEAR_INFRARED, SLOPE), -1, 0)
    return (infrared - red) / np.maximum(infrared + red, sensor.least_sum(RED, NEAR_INFRARED)), slope


def _called(index: np.ndarray, slope: np.ndarray, lowest: np.ndarray, steepest: np.ndarray) -> np.ndarray:
    """How many pixels each pair of limits calls landslide, int64 (limits of NDVI, limits of slope)."""
    rows = np.searchsorted(lowest, index, side="left")
    columns = np.searchsorted(steepest, slope, side="right")
    # A pixel meets the limits of NDVI from its row on, and those of the slope before its column.
    shape = (len(lowest) + 1, len(steepest) + 1)
    table = np.bincount(np.ravel_multi_index((rows, columns), shape), minlength=shape[0] * shape[1]).reshape(shape)
    below = table.cumsum(axis=0)[:-1]
    return below[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]


def _spread(values: np.ndarray) -> float:
    """The standard deviation, or 1 where all values are the same."""
    return float(values.std()) or 1.0


Kind = Literal["regression", "boosting", "rule"]
"""Logistic regression, gradient boosting, or the limits of NDVI and slope."""


class _PixelModel(Protocol):
    """Anything that predicts pixels one by one."""

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Scores 0..1, float32 (B, H, W, 1), of stored bands (B, H, W, C)."""

    def network(self, statistics: BandStatistics) -> "keras.Model":
        """Stored bands float32 (B, H, W, C), finite or not, to the logits of these scores (B, H, W, 1)."""


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

    def network(self, statistics: BandStatistics) -> "keras.Model":
        """Logits of the probabilities; see `lsml.models.pixels`."""
        # Here, because it loads Keras, which the classifiers do without.
        from lsml.models.pixels import boosting_network, regression_network

        if isinstance(self.classifier, HistGradientBoostingClassifier):
            return boosting_network(self.classifier, statistics)
        return regression_network(self.classifier, statistics)


def fit_pixel_baseline(train: Split, *, seed: int = 0) -> PixelBaseline:
    """Fits a logistic regression to at most 200,000 pixels, drawn evenly from all of `train` without replacement.

    Classes keep their natural weight, so its probabilities are calibrated and its threshold is far below .5.

    Raises:
        DataError: `train` is empty, or the drawn pixels are of one class.
    """
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return PixelBaseline(classifier.fit(*_drawn(train, seed)))


def _fit_boosting(train: Split, *, seed: int = 0) -> PixelBaseline:
    """Fits gradient boosted trees to the pixels that `fit_pixel_baseline` draws, with scikit-learn's own settings.

    All of its 100 trees are grown: to stop early it would set drawn pixels apart, whose neighbours it trains on.

    Raises:
        DataError: as of `fit_pixel_baseline`.
    """
    classifier = HistGradientBoostingClassifier(early_stopping=False, random_state=seed)
    bands, labels = _drawn(train, seed)
    with _one_thread():
        return PixelBaseline(classifier.fit(bands, labels))


def _fit_rule(train: Split, *, seed: int = 0) -> _NdviSlopeRule:
    """Chooses the limits of NDVI and slope by F1 on the pixels that `fit_pixel_baseline` draws.

    Raises:
        DataError: as of `fit_pixel_baseline`.
    """
    return _fit_ndvi_slope(*_drawn(train, seed), train.sensor)


@dataclass(frozen=True)
class PixelLearner:
    """A `Learner`: one of the three, fitted to each fold's patches; it takes seconds, no checkpoint."""

    kind: Kind = "regression"

    def key(self, data: FoldData, seed: int) -> str:
        """The drawn pixels and the versions of what fits them."""
        versions = {"scikit-learn": sklearn.__version__, "numpy": np.__version__}
        return result_key(f"pixel {self.kind}", data, seed, pixels=DRAWN_PIXELS, versions=versions)

    def learn(self, data: FoldData, seed: int, checkpoint: Path | None) -> FoldOutcome:
        """Fits once: its history is one entry, with nothing but the time that it took.

        Raises:
            DataError: the training pixels drawn are of one class.
        """
        started = time.perf_counter()
        fitted = self.fit(data.train, seed)
        seconds = time.perf_counter() - started
        held_out = (data.validation.image(index)[None] for index in range(len(data.validation)))
        predicted = np.stack([grid_index(fitted.predict(image)[0, ..., 0]) for image in held_out])
        return FoldOutcome([{"epoch_seconds": seconds}], predicted)

    def fit(self, train: Split, seed: int) -> _PixelModel:
        """Learns from `train` alone.

        Raises:
            DataError: the training pixels drawn are of one class.
        """
        fitters: dict[Kind, Callable[..., _PixelModel]] = {
            "regression": fit_pixel_baseline,
            "boosting": _fit_boosting,
            "rule": _fit_rule,
        }
        return fitters[self.kind](train, seed=seed)

    def environment(self) -> dict[str, str]:
        """`device` (always cpu), `classifier`, and the `backend` of the network that is made of it."""
        import keras

        classifier = f"scikit-learn {sklearn.__version__}"
        return {"device": "cpu", "classifier": classifier, "backend": keras.backend.backend()}


def _one_thread() -> threadpool_limits:
    """Threads that wait for each other on cores that others use too take many times longer than one does."""
    return threadpool_limits(1, "openmp")


def _drawn(train: Split, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Bands (P, C) and classes (P,) of the drawn pixels, of both classes."""
    if not len(train):
        raise DataError("pixel baseline", "the train split is empty", "add patches")
    drawn = list(draw_pixels(train, np.random.default_rng(seed)))
    bands = np.concatenate([pixels for pixels, _ in drawn])
    labels = np.concatenate([classes for _, classes in drawn])
    if len(np.unique(labels)) < 2:
        kind = "landslide" if labels.any() else "background"
        raise DataError(
            "pixel baseline",
            f"all {len(labels)} pixels drawn from the train split are {kind}",
            "train on patches with and without landslide",
        )
    return bands, labels
