"""Metrics: pixel counts of both classes for a fixed grid of thresholds, pooled over any number of patches.

F1, IoU, precision, recall, average precision, the best threshold and the calibration error all come out of the
same counts, so training, evaluation and reports cannot disagree.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from lsml.data.sensor import IGNORED, landslide_share
from lsml.names import OBJECTIVE, Metric

Metrics = dict[str, float]
"""Metrics of an epoch or a fold, by name."""

_LOGIT_LIMIT, _LOGIT_STEP = 16.0, 0.01
_COARSE = 4


def _thresholds() -> np.ndarray:
    """0, 1 and between them the sigmoid of -16..16 in steps of .01, as far as float32 tells them apart.

    Uniform in the logit, because a network's probabilities crowd at both ends; float32, because probabilities
    are, so that `probability >= threshold` compares the same two numbers everywhere.
    """
    steps = round(_LOGIT_LIMIT / _LOGIT_STEP)
    logits = np.arange(-steps, steps + 1) * _LOGIT_STEP
    inner = (1 / (1 + np.exp(-logits))).astype(np.float32)
    grid = np.unique(np.concatenate([np.array([0, 1], np.float32), inner]))
    grid.flags.writeable = False
    return grid


THRESHOLDS = _thresholds()
"""The grid, float32 in rising order, with .5 in it."""


def _precision(counts: ArrayLike) -> np.ndarray:
    """TP / (TP + FP) of counts `(..., 3)` of TP, FP and FN, or with TN `(..., 4)`; 0 where nothing was predicted."""
    true_positive, false_positive, _ = _columns(counts)
    return _ratio(true_positive, true_positive + false_positive)


def _recall(counts: ArrayLike) -> np.ndarray:
    """TP / (TP + FN) of counts as of `_precision`; 0 without landslides."""
    true_positive, _, false_negative = _columns(counts)
    return _ratio(true_positive, true_positive + false_negative)


def f1(counts: ArrayLike) -> np.ndarray:
    """2 TP / (2 TP + FP + FN), the Dice coefficient, of counts as of `_precision`; 0 where all three are."""
    true_positive, false_positive, false_negative = _columns(counts)
    return _ratio(2 * true_positive, 2 * true_positive + false_positive + false_negative)


def _iou(counts: ArrayLike) -> np.ndarray:
    """TP / (TP + FP + FN), the Jaccard index, of counts as of `_precision`; 0 where all three are."""
    true_positive, false_positive, false_negative = _columns(counts)
    return _ratio(true_positive, true_positive + false_positive + false_negative)


METRICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "f1": f1,
    "iou": _iou,
    "precision": _precision,
    "recall": _recall,
}
"""Every score of counts of pixels, 0..1, by its name in logs, tables and intervals: add a line to add one."""


def average_precision(pixels: np.ndarray) -> np.ndarray:
    """Sum over falling thresholds of (recall gained) x precision, as scikit-learn's; 0 without landslides.

    Args:
        pixels: `(..., 2 T)`, background pixels between T rising thresholds, then landslide pixels.
    """
    background, landslide = (np.cumsum(side[..., ::-1], axis=-1) for side in np.split(pixels, 2, axis=-1))
    gained = np.diff(landslide, axis=-1, prepend=0)
    return _ratio((gained * _ratio(landslide, landslide + background)).sum(axis=-1), landslide[..., -1])


def _columns(counts: ArrayLike) -> np.ndarray:
    return np.moveaxis(np.asarray(counts), -1, 0)[:3]


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(np.shape(part)), where=whole > 0)


def grid_index(probability: np.ndarray) -> np.ndarray:
    """uint16, of the input's shape: the index in the grid of the last threshold that a probability reaches.

    Half of float32's bytes, and nothing lost: `THRESHOLDS[grid_index(p)]` counts as `p` does at every threshold.

    Args:
        probability: 0..1.
    """
    return (np.searchsorted(THRESHOLDS, probability, side="right") - 1).astype(np.uint16)


def coarse_counts(truth: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """One patch's pixels between every fourth threshold of the grid, background and then landslide, int64 `(2 T,)`.

    Few enough numbers to keep those of every patch, and average precision of their sums is within .002 of the pixels'.

    Args:
        truth: 0 or 1; where it is `IGNORED`, a pixel is left out.
        probability: 0..1, of the same shape.
    """
    length, known = len(THRESHOLDS) // _COARSE + 1, truth != IGNORED
    index = grid_index(probability[known]) // _COARSE + (truth[known] == 1) * length
    return np.bincount(index, minlength=2 * length)


class PatchScore(NamedTuple):
    """One patch at a threshold, in pixels; `f1` is None where there is neither landslide nor alarm.

    `region` is empty where it is not known.
    """

    id: str
    landslide_share: float
    hits: int
    misses: int
    false_alarms: int
    f1: float | None
    region: str = ""

    @classmethod
    def of(cls, name: str, truth: np.ndarray, probability: np.ndarray, threshold: float, *, region: str = "") -> Self:
        """How one patch came out, where `probability >= threshold` is called landslide.

        Args:
            name: the patch's id.
            truth: 0, 1 or `IGNORED`, `(H, W)`, or `(R, H, W)` where it was predicted several times; pixels are summed.
            probability: 0..1, of the same shape.
        """
        landslide, called = truth == 1, (probability >= threshold) & (truth != IGNORED)
        hits = int((landslide & called).sum())
        misses, false_alarms = int((landslide & ~called).sum()), int((~landslide & called).sum())
        score = float(f1((hits, false_alarms, misses))) if hits or misses or false_alarms else None
        return cls(name, landslide_share(truth), hits, misses, false_alarms, score, region)


def per_image_mean_f1(scores: Sequence[PatchScore]) -> float:
    """The mean of the patches' own F1, 0..1; 0 without patches. Not comparable with the pooled F1.

    A patch with neither landslide nor alarm counts 1, and one without landslide but with alarms 0, as with the
    smoothing term of a Dice loss. So a patch that is rightly left empty counts as much as a landslide found completely.
    """
    return sum(1.0 if score.f1 is None else score.f1 for score in scores) / max(len(scores), 1)


def best_epoch(history: Sequence[Metrics]) -> int:
    """The first epoch with the highest objective, from 1."""
    return 1 + max(range(len(history)), key=lambda index: history[index][OBJECTIVE])


class Confusion(NamedTuple):
    """Pixels by truth and prediction at one threshold; every ratio without a pixel to divide by is 0.

    So a split without landslides scores 0, whatever is predicted: it can't show that a model finds any.
    """

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def precision(self) -> float:
        """`precision` of the landslide class."""
        return float(_precision(self))

    @property
    def recall(self) -> float:
        """`recall` of the landslide class."""
        return float(_recall(self))

    @property
    def f1(self) -> float:
        """`f1` of the landslide class."""
        return float(f1(self))

    @property
    def iou(self) -> float:
        """`iou` of the landslide class."""
        return float(_iou(self))

    def scores(self) -> dict[str, float]:
        """All of `METRICS`, each 0..1."""
        return {name: float(metric(np.array(self))) for name, metric in METRICS.items()}

    @property
    def two_class_mean_f1(self) -> float:
        """The mean of the landslide's and the background's F1; not comparable with `f1`.

        Nearly all pixels are background, whose F1 is then close to 1: the mean is about (1 + `f1`) / 2.
        """
        return (self.f1 + self._swapped.f1) / 2

    @property
    def two_class_mean_iou(self) -> float:
        """The mean of the landslide's and the background's IoU, often called mIoU; not comparable with `iou`."""
        return (self.iou + self._swapped.iou) / 2

    @property
    def _swapped(self) -> "Confusion":
        """As if background were what is looked for."""
        return Confusion(self.true_negative, self.false_negative, self.false_positive, self.true_positive)


class _Curve(NamedTuple):
    """Scores at every threshold of the grid, each `(len(THRESHOLDS),)`, of the landslide class.

    Attributes:
        precision: NaN where nothing is predicted.
        recall: NaN without landslides.
        f1: 0 without landslides.
    """

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray


class Reliability(NamedTuple):
    """Pixels in equally wide bins of probability, each `(bins,)`.

    Attributes:
        pixels: how many there are, int64.
        landslide: how many of them are landslide, int64.
        probability: the sum of their probabilities, each taken as the middle of its step of the grid.
    """

    pixels: np.ndarray
    landslide: np.ndarray
    probability: np.ndarray


class PooledCounts:
    """Counts of background and landslide pixels between the thresholds of the grid.

    Examples:
        >>> counts = PooledCounts()
        >>> counts.update(np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.4, 0.9]))
        >>> counts.scores(0.5)["f1"]
        0.5

    Attributes:
        pixels: int64 `(2, len(THRESHOLDS))`, by class (0 background, 1 landslide) and by the last threshold that
            the probability reaches.
    """

    def __init__(self) -> None:
        self.pixels = np.zeros((2, len(THRESHOLDS)), np.int64)

    def update(self, truth: np.ndarray, probability: np.ndarray) -> None:
        """Takes in pixels: truth 0, 1 or `IGNORED`, which counts nowhere, probability 0..1, arrays of one shape.

        Raises:
            ValueError: shapes differ, truth is none of these, or a probability is NaN or outside 0..1.
        """
        truth, probability = np.asarray(truth), np.asarray(probability)
        if truth.shape != probability.shape:
            raise ValueError(f"truth has shape {truth.shape}, probability {probability.shape}")
        if not truth.size:
            return
        if not (probability.min() >= 0 and probability.max() <= 1):
            raise ValueError("probabilities must lie in 0..1")
        background, landslide = truth == 0, truth == 1
        if not np.all(background | landslide | (truth == IGNORED)):
            raise ValueError(f"truth must be 0, 1 or {IGNORED}")
        for pixels, kind in zip(self.pixels, (background, landslide), strict=True):
            # Looking up thresholds among sorted pixels is faster than each pixel among thresholds.
            below = np.searchsorted(np.sort(probability[kind]), THRESHOLDS, side="left")
            pixels += np.diff(below, append=np.count_nonzero(kind))

    def merge(self, other: "PooledCounts") -> None:
        """Adds the pixels that another one has seen."""
        self.pixels += other.pixels

    def at(self, threshold: float) -> Confusion:
        """The pixels by truth and prediction, where `probability >= threshold` is predicted landslide.

        A threshold between two of the grid's counts as the nearer one.
        """
        return self._at(int(np.abs(THRESHOLDS.astype(np.float64) - threshold).argmin()))

    def best_threshold(self) -> float:
        """The grid's threshold of the highest F1, but for 0, at which all is landslide whatever a model says.

        Of several with that F1, the one nearest to .5; of two equally near, the higher.
        """
        scores = self.curve().f1[1:]
        best = THRESHOLDS[1:][scores == scores.max()].astype(np.float64)
        return float(min(best, key=lambda threshold: (abs(threshold - 0.5), -threshold)))

    def average_precision(self) -> float:
        """`average_precision` over the grid's thresholds."""
        return float(average_precision(self.pixels.ravel()))

    def calibration_error(self, bins: int = 15) -> float:
        """Expected calibration error over equally wide bins of probability, 0..1; 0 without pixels.

        Sum over bins of (share of pixels) x |landslide share - mean probability| (Guo et al. 2017, "On calibration
        of modern neural networks"). A pixel's probability is taken as the middle of its step of the grid.
        """
        binned = self.reliability(bins)
        return float(np.abs(binned.landslide - binned.probability).sum() / max(int(binned.pixels.sum()), 1))

    def reliability(self, bins: int = 15) -> Reliability:
        """What a reliability diagram shows."""
        low = THRESHOLDS.astype(np.float64)
        probability = (low + np.append(low[1:], 1.0)) / 2
        total = self.pixels.sum(axis=0)
        bin_of = np.minimum((probability * bins).astype(np.int64), bins - 1)

        def binned(weights: np.ndarray) -> np.ndarray:
            return np.bincount(bin_of, weights=weights, minlength=bins)

        return Reliability(
            binned(total).astype(np.int64), binned(self.pixels[1]).astype(np.int64), binned(probability * total)
        )

    def curve(self) -> _Curve:
        """Precision, recall and F1 at every threshold."""
        false_positive, true_positive = np.cumsum(self.pixels[:, ::-1], axis=1)[:, ::-1]
        landslide = int(self.pixels[1].sum())
        counts = np.stack([true_positive, false_positive, landslide - true_positive], axis=-1)
        return _Curve(
            precision=np.where(true_positive + false_positive > 0, _precision(counts), np.nan),
            recall=_recall(counts) if landslide else np.full(len(THRESHOLDS), np.nan),
            f1=f1(counts),
        )

    def scores(self, threshold: float) -> dict[str, float]:
        """All of `METRICS` at a threshold, `average_precision` and `calibration_error`, each 0..1.

        The last one alone is the better the lower.
        """
        return self.at(threshold).scores() | self.scores_of_all_thresholds()

    def scores_of_all_thresholds(self) -> dict[str, float]:
        """`average_precision` and `calibration_error`, each 0..1."""
        return {"average_precision": self.average_precision(), "calibration_error": self.calibration_error()}

    def validation_metrics(self) -> Metrics:
        """`val_threshold`, the one of the highest F1, and as `val_...` all of `scores` there."""
        threshold = self.best_threshold()
        return {
            **{f"{Metric.VAL}{name}": value for name, value in self.scores(threshold).items()},
            Metric.VAL_THRESHOLD: threshold,
        }

    def rows(self) -> list[dict[str, str | int]]:
        """The counts as a table: `threshold`, and how many `background` and `landslide` pixels reach it as their last.

        Thresholds that no pixel has as its last are left out. `PooledCounts.read` takes it back without loss.
        """
        filled = np.flatnonzero(self.pixels.any(axis=0))
        return [
            {"threshold": str(THRESHOLDS[index]), "background": int(background), "landslide": int(landslide)}
            for index, (background, landslide) in zip(filled, self.pixels[:, filled].T, strict=True)
        ]

    @classmethod
    def read(cls, text: str) -> Self:
        """The counts whose `rows` stand in `text` as CSV.

        Raises:
            ValueError: it is not such a table.
        """
        counts = cls()
        try:
            for row in csv.DictReader(io.StringIO(text)):
                index = grid_index(np.array(row["threshold"], np.float32))
                counts.pixels[:, int(index)] += int(row["background"]), int(row["landslide"])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ValueError(f"no table of pixels: {error}") from None
        return counts

    def _at(self, index: int) -> Confusion:
        false_positive, true_positive = (int(side) for side in self.pixels[:, index:].sum(axis=1))
        background, landslide = (int(side) for side in self.pixels.sum(axis=1))
        return Confusion(true_positive, false_positive, landslide - true_positive, background - false_positive)


def to_csv(rows: Sequence[Mapping[str, object]]) -> str:
    """The rows as CSV text with a header; all have the columns of the first."""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(rows[0]) if rows else [])
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
