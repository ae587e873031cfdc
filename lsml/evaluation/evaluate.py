"""Scores predictions of patches: metrics pooled over all pixels with intervals, objects, a table of patches, pictures.

Every score of a split comes from here, of a trial, a fold, a baseline, an ensemble or a registered model alike.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

import numpy as np

from lsml.data.formats import read_image, read_mask
from lsml.data.layout import PatchFiles
from lsml.data.pack import PackedSplit
from lsml.data.sensor import Sensor
from lsml.names import Artifact
from lsml.scoring.bootstrap import Difference, Interval, difference, intervals
from lsml.scoring.metrics import (
    METRICS,
    Confusion,
    PatchScore,
    PooledCounts,
    average_precision,
    coarse_counts,
    f1,
    per_image_mean_f1,
    to_csv,
)
from lsml.scoring.objects import ObjectCounts
from lsml.scoring.regions import RegionScore, patch_rows
from lsml.training.outcome import Panel
from lsml.workspace import Progress

if TYPE_CHECKING:
    import hashlib

    import pandas

SplitName = Literal["test", "valid"]

Predict = Callable[[np.ndarray], np.ndarray]
"""Stored bands float32 `(B, H, W, C)` to landslide probability float32 `(B, H, W, 1)`."""

_BATCH = 16
_WORST, _MEDIAN = 8, 4


class Patch(NamedTuple):
    """A patch with its truth.

    Attributes:
        image: stored bands, float32 `(H, W, C)`.
        mask: uint8 `(H, W)`, 0, 1 or `lsml.data.sensor.IGNORED`.
        sensor: what the bands are.
        region: where it comes from; empty where that is not known.
    """

    id: str
    image: np.ndarray
    mask: np.ndarray
    sensor: Sensor
    region: str = ""

    @classmethod
    def of_split(cls, split: PackedSplit, indices: Iterable[int] | None = None) -> Iterator[Self]:
        """The patches of a packed split, or those at some places in it."""
        for index in range(len(split)) if indices is None else indices:
            yield cls(split.ids[index], split.image(index), split.mask(index), split.sensor, split.region(index))

    def draw(self, probability: np.ndarray, threshold: float, *, split: str) -> Panel:
        """Its picture, whose key lines up with that of the same patch in other runs."""
        # Here, because it loads Matplotlib, which a process that coordinates a study does not need.
        from lsml.plots.patches import panel

        return Panel(f"{split}/{self.id}", panel(self.image, self.mask, probability, threshold, self.sensor))


class PredictedPatch(NamedTuple):
    """A patch's truth, and what was predicted for it.

    Attributes:
        mask: uint8 `(H, W)`, 0, 1 or `lsml.data.sensor.IGNORED`.
        probability: of landslide, float32 `(H, W)`, or `(R, H, W)` where it was predicted R times.
        region: where it comes from; empty where that is not known.
    """

    id: str
    mask: np.ndarray
    probability: np.ndarray
    region: str = ""

    @classmethod
    def of_split(cls, split: PackedSplit, probabilities: Iterable[np.ndarray]) -> Iterator[Self]:
        """The patches of a split in their order, each with what was predicted for it."""
        for index, probability in enumerate(probabilities):
            yield cls(split.ids[index], split.mask(index), probability, split.region(index))


@dataclass(frozen=True)
class Evaluation:
    """The scores of predictions on a split, where a pixel counts as landslide from `threshold` on.

    Attributes:
        counts: all pixels, of which the scores at other thresholds and the curves are read off.
        objects: landslides by size, hits and false alarms.
        patches: one score a patch, in the order in which they came; pixels predicted several times are summed.
        curves: each patch's `lsml.scoring.metrics.coarse_counts`, int64 `(N, 2 T)`.
    """

    threshold: float
    counts: PooledCounts
    objects: ObjectCounts
    patches: tuple[PatchScore, ...]
    curves: np.ndarray

    @cached_property
    def confusion(self) -> np.ndarray:
        """Each patch's TP, FP and FN, int64 `(N, 3)`."""
        return np.array([(score.hits, score.false_alarms, score.misses) for score in self.patches])

    @property
    def metrics(self) -> dict[str, float]:
        """Of `PooledCounts.scores` over all pixels and `ObjectCounts.scores` over all objects."""
        return self._pooled.scores() | self.counts.scores_of_all_thresholds() | self.objects.scores()

    @property
    def other_averages(self) -> dict[str, float]:
        """Averages of other kinds, for papers that report these; not comparable with the pooled `metrics`."""
        return {
            "two_class_mean_f1": self._pooled.two_class_mean_f1,
            "two_class_mean_iou": self._pooled.two_class_mean_iou,
            "per_image_mean_f1": per_image_mean_f1(self.patches),
        }

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """Of `METRICS` and average precision, by patches resampled.

        Too narrow to be relied on where there are fewer patches than `lsml.scoring.bootstrap.MIN_PATCHES`.
        """
        return intervals(self.confusion, METRICS) | intervals(self.curves, {"average_precision": average_precision})

    def named_metrics(self, prefix: str) -> dict[str, float]:
        """All scores and the ends of their intervals, each by its name in a run: `prefix` and an underscore first."""
        named = {f"{prefix}_{name}": value for name, value in (self.metrics | self.other_averages).items()}
        for name, (low, high) in self.intervals.items():
            named |= {f"{prefix}_{name}_low": low, f"{prefix}_{name}_high": high}
        return named

    @cached_property
    def worst_first(self) -> tuple[PatchScore, ...]:
        """`patches`, those with the most wrong pixels first."""
        return tuple(sorted(self.patches, key=lambda score: score.misses + score.false_alarms, reverse=True))

    @property
    def worst(self) -> tuple[str, ...]:
        """The ids of the eight patches with the most wrong pixels, the worst first."""
        return tuple(score.id for score in self.worst_first[:_WORST])

    @property
    def median(self) -> tuple[str, ...]:
        """The ids of the four patches in the middle by wrong pixels, without those of `worst`."""
        start = max(0, (len(self.patches) - _MEDIAN) // 2)
        return tuple(score.id for score in self.worst_first[max(start, _WORST) : start + _MEDIAN])

    def draw(self, split: SplitName, regions: Sequence[RegionScore] = ()) -> dict[str, bytes]:
        """Its curves, and its scores by region if any, as PNG, by their paths among the files of a run."""
        # Here, because it loads Matplotlib, which a process that coordinates a study does not need.
        from lsml.plots import png
        from lsml.plots.curves import plot_f1, plot_precision_recall, plot_reliability
        from lsml.plots.regions import plot_regions

        by_region = plot_regions(regions, f"{split} split by region") if RegionScore.worst(regions) else None
        title = f"{split} split, {len(self.patches)} patches"
        return {
            f"{split}/{Artifact.PRECISION_RECALL}": png(plot_precision_recall(self.counts, self.threshold, title)),
            f"{split}/{Artifact.F1_OVER_THRESHOLD}": png(plot_f1(self.counts, self.threshold, title)),
            f"{split}/{Artifact.RELIABILITY}": png(plot_reliability(self.counts, title)),
            **({f"{split}/{Artifact.REGION_SCORES}": png(by_region)} if by_region else {}),
        }

    @property
    def patch_table(self) -> str:
        """`patches` as CSV, by which runs are compared."""
        return to_csv(patch_rows(self.patches))

    @property
    def _pooled(self) -> Confusion:
        # Not read off the counts: a threshold need not lie on their grid.
        hits, alarms, misses = (int(pixels) for pixels in self.confusion.sum(axis=0))
        return Confusion(hits, alarms, misses, int(self.counts.pixels.sum()) - hits - alarms - misses)


def evaluate_predictions(predicted: Iterable[PredictedPatch], threshold: float) -> Evaluation:
    """Scores predictions in one pass, one patch in memory at a time; each patch comes once.

    Args:
        threshold: the probability from which a pixel counts as landslide.

    Raises:
        ValueError: a probability is not in 0..1.
    """
    counts, objects = PooledCounts(), ObjectCounts()
    scores, curves = [], []
    for name, mask, probability, region in predicted:
        probabilities = probability.reshape(-1, *mask.shape)
        truth = np.broadcast_to(mask, probabilities.shape)
        counts.update(truth, probabilities)
        objects = sum((ObjectCounts.of_patch(mask, one >= threshold) for one in probabilities), objects)
        scores.append(PatchScore.of(name, truth, probabilities, threshold, region=region))
        curves.append(coarse_counts(truth, probabilities))
    return Evaluation(threshold, counts, objects, tuple(scores), np.array(curves))


def choose_threshold(predicted: Iterable[PredictedPatch]) -> float:
    """The threshold of the highest F1 over all pixels, see `lsml.scoring.metrics.PooledCounts.best_threshold`."""
    counts = PooledCounts()
    for _, mask, probability, _ in predicted:
        counts.update(mask, probability)
    return counts.best_threshold()


def predictions(predict: Predict, patches: Iterable[Patch], *, batch: int = _BATCH) -> Iterator[PredictedPatch]:
    """What `predict` gives for each patch, a batch of one size at a time."""
    for _, alike in itertools.groupby(patches, lambda patch: patch.mask.shape):
        while group := list(itertools.islice(alike, batch)):
            probabilities = np.asarray(predict(np.stack([patch.image for patch in group])))[..., 0]
            for patch, probability in zip(group, probabilities, strict=True):
                yield PredictedPatch(patch.id, patch.mask, probability, patch.region)


@dataclass(frozen=True)
class StoredPatches:
    """The patches of a split, read anew each time that they are iterated over."""

    files: tuple[PatchFiles, ...]
    split: SplitName
    sensor: Sensor
    progress: Progress

    def __iter__(self) -> Iterator[Patch]:
        for done, patch in enumerate(self.files, start=1):
            assert patch.mask is not None
            image = read_image(patch.image, self.sensor).astype(np.float32)
            yield Patch(patch.id, image, read_mask(patch.mask, self.sensor), self.sensor, patch.region)
            self.progress(f"{self.split} patches", done, len(self.files))

    def hashed(self, digest: "hashlib._Hash") -> Iterator[Patch]:
        """The patches, of each of which `digest` takes in id, image and mask as it goes by."""
        for patch in self:
            digest.update(patch.id.encode() + b"\0")
            digest.update(np.ascontiguousarray(patch.image).tobytes())
            digest.update(np.ascontiguousarray(patch.mask).tobytes())
            yield patch

    def panels(self, predict: Predict, evaluation: Evaluation) -> tuple[Panel, ...]:
        """Of the worst and the median patches, which are known after the whole pass: read and predicted once more."""
        files = {file.id: file for file in self.files}
        shown = replace(self, files=tuple(files[name] for name in (*evaluation.worst, *evaluation.median)))
        predicted = zip(shown, predictions(predict, shown), strict=True)
        return tuple(
            patch.draw(prediction.probability, evaluation.threshold, split=self.split)
            for patch, prediction in predicted
        )


@dataclass(frozen=True)
class EvaluationReport:
    """An evaluation of a model, and what it is compared with.

    Attributes:
        run_id: the run that was asked for; `model_run_id` the one whose model was evaluated.
        data: the dataset's folder.
        panels: pictures of the worst patches, worst first, and of the median ones.
        figures: of `Evaluation.draw`.
        split_protocol: how the patches were held out, as text.
        fingerprint: SHA-256 of ids, images and masks, 64 hex digits.
        openings: how often this test split has been opened for the study so far, this time included; None of the
            validation split, which is not sealed.
        augmented: of the mean over the eight orientations of each patch, at the same threshold, which was chosen
            without test-time augmentation; None where it was not asked for.
        baseline: of the per-pixel logistic regression, where it was asked for.
        pixel_metres: the side of a pixel on the ground; None where it is not known.
        regions: its scores by region, where these were asked for.
        unreported: why the report of its study does not show it, in one line; empty where it does.
    """

    run_id: str
    model_run_id: str
    data: str
    split: SplitName
    evaluation: Evaluation
    panels: tuple[Panel, ...]
    figures: dict[str, bytes]
    split_protocol: str
    fingerprint: str
    openings: int | None
    augmented: Evaluation | None
    baseline: Evaluation | None
    pixel_metres: float | None
    regions: tuple[RegionScore, ...] = ()
    unreported: str = ""

    @property
    def metrics(self) -> dict[str, float]:
        """The model's scores by name, over all pixels and all objects of the split; ratios are in 0..1."""
        return self.evaluation.metrics

    @property
    def intervals(self) -> dict[str, Interval]:
        """95 % intervals of the pooled scores among `metrics`, by patches resampled: `(low, high)`."""
        return self.evaluation.intervals

    def to_frame(self) -> "pandas.DataFrame":
        """One row a patch, in the order of the split.

        `landslide_share` of its pixels in 0..1; `hits`, `misses` and `false_alarms` in pixels; `f1` in 0..1, missing
        where there is neither landslide nor alarm; `region` where regions are known.
        """
        import pandas

        return pandas.DataFrame(patch_rows(self.evaluation.patches))

    @property
    def gained(self) -> Difference | None:
        """By how much F1 is higher with test-time augmentation, over the same patches resampled."""
        return difference(self.augmented.confusion, self.evaluation.confusion, f1) if self.augmented else None

    @property
    def ahead(self) -> Difference | None:
        """By how much the model's F1 is higher than the baseline's, over the same patches resampled."""
        return difference(self.evaluation.confusion, self.baseline.confusion, f1) if self.baseline else None
