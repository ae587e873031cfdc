"""Evaluates a model on patches: scores pooled over all pixels with intervals, a table of patches, pictures."""

import hashlib
import heapq
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lsml.data.pack import PackedSplit
from lsml.errors import ModelError
from lsml.plots.patches import panel
from lsml.scoring.bootstrap import CONFUSION, Interval, average_precision, intervals
from lsml.scoring.comparison import PatchCounts, read_counts
from lsml.scoring.metrics import (
    Confusion,
    PatchScore,
    PooledCounts,
    coarse_counts,
    per_image_mean_f1,
    score_patch,
    to_csv,
)
from lsml.scoring.objects import ObjectCounts, count_objects
from lsml.training.outcome import Panel

Predict = Callable[[np.ndarray], np.ndarray]
"""Stored bands float32 (B, H, W, 14) to landslide probability float32 (B, H, W, 1)."""

_BATCH = 16
_WORST, _MEDIAN = 8, 4


class Patch(NamedTuple):
    """A patch with its truth.

    Attributes:
        image: stored bands, float32 (H, W, 14).
        mask: uint8 (H, W), 0 or 1.
    """

    id: str
    image: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class Evaluation:
    """A model's scores on a split.

    Attributes:
        metrics: of `PooledCounts.scores` over all pixels and `ObjectCounts.scores` over all
            objects, at `threshold`.
        counts: all pixels, of which the scores at other thresholds and the curves are read off.
        other_averages: `two_class_mean_f1` and `two_class_mean_iou` of `lsml.scoring.metrics.Confusion` and
            `per_image_mean_f1` at `threshold`, for papers that report these; not comparable with the
            pooled `metrics`.
        objects: landslides by size, hits and false alarms at `threshold`.
        intervals: of F1, IoU, precision, recall and average precision, by patches resampled; too narrow to be relied on
            where there are fewer than `lsml.scoring.bootstrap.LEAST_PATCHES`.
        confusion: each patch's TP, FP and FN at `threshold`, int64 `(N, 3)`, in the order in which they came.
        patches: one score a patch, most wrong pixels first.
        panels: pictures of the patches with the most wrong pixels, worst first.
        fingerprint: SHA-256 of ids, images and masks, 64 hex digits.
    """

    threshold: float
    metrics: dict[str, float]
    counts: PooledCounts
    other_averages: dict[str, float]
    objects: ObjectCounts
    intervals: dict[str, Interval]
    confusion: np.ndarray
    patches: tuple[PatchScore, ...]
    panels: tuple[Panel, ...]
    fingerprint: str

    @property
    def median(self) -> tuple[str, ...]:
        """The ids of the four patches in the middle by wrong pixels, of those that `panels` leaves out."""
        start = max(0, (len(self.patches) - _MEDIAN) // 2)
        drawn = {patch.id for patch in self.patches[:_WORST]}
        return tuple(patch.id for patch in self.patches[start : start + _MEDIAN] if patch.id not in drawn)


def evaluate(predict: Predict, patches: Iterable[Patch], threshold: float, *, split: str) -> Evaluation:
    """Scores `predict` on `patches` in one pass, holding no more than a batch and the worst patches in memory.

    A pixel counts as landslide where its probability is at least `threshold`.
    """
    counts, objects, digest = PooledCounts(), ObjectCounts(), hashlib.sha256()
    scores: list[PatchScore] = []
    curves: list[np.ndarray] = []
    worst: list[tuple[int, int, Patch, np.ndarray]] = []
    for group, probabilities in _predictions(predict, patches):
        for patch, probability in zip(group, probabilities, strict=True):
            _update(digest, patch)
            counts.update(patch.mask, probability)
            curves.append(coarse_counts(patch.mask, probability))
            objects += count_objects(patch.mask, probability >= threshold)
            score = score_patch(patch.id, patch.mask, probability, threshold)
            wrong = score.misses + score.false_alarms
            heapq.heappush(worst, (wrong, -len(scores), patch, probability))
            if len(worst) > _WORST:
                heapq.heappop(worst)
            scores.append(score)
    pictures = [
        _picture(patch, probability, threshold, split)
        for _, _, patch, probability in sorted(worst, key=lambda entry: entry[:2], reverse=True)
    ]
    confusion = np.array([(score.hits, score.false_alarms, score.misses) for score in scores])
    # Not read off the counts: a threshold need not lie on their grid.
    hits, alarms, misses = (int(pixels) for pixels in confusion.sum(axis=0))
    pooled = Confusion(hits, alarms, misses, int(counts.pixels.sum()) - hits - alarms - misses)
    of_curves = intervals(np.array(curves), {"average_precision": average_precision})
    return Evaluation(
        threshold=threshold,
        metrics=pooled.scores() | counts.scores_of_all_thresholds() | objects.scores(),
        counts=counts,
        other_averages=_other_averages(pooled, scores),
        objects=objects,
        intervals=intervals(confusion, CONFUSION) | of_curves,
        confusion=confusion,
        patches=tuple(sorted(scores, key=lambda s: s.misses + s.false_alarms, reverse=True)),
        panels=tuple(pictures),
        fingerprint=digest.hexdigest(),
    )


def score_split(predict: Predict, split: PackedSplit, threshold: float) -> tuple[PatchScore, ...]:
    """How each patch of a split came out, where a probability of at least `threshold` is called landslide.

    Raises:
        ModelError: a probability is not in 0..1.
    """
    scores = []
    for start in range(0, len(split), _BATCH):
        indices = range(start, min(start + _BATCH, len(split)))
        found = np.asarray(predict(split.batch(indices)[0]))[..., 0]
        if not ((found >= 0) & (found <= 1)).all():
            raise ModelError("the model", "gives probabilities that are not in 0..1", "train it again")
        scores += [
            score_patch(split.ids[index], split.mask(index), probability, threshold)
            for index, probability in zip(indices, found, strict=True)
        ]
    return tuple(scores)


def draw(predict: Predict, patches: Sequence[Patch], threshold: float, *, split: str) -> tuple[Panel, ...]:
    """Pictures of some patches, with keys that line up with those of the same patches in other runs."""
    return tuple(
        _picture(patch, probability, threshold, split)
        for group, probabilities in _predictions(predict, patches)
        for patch, probability in zip(group, probabilities, strict=True)
    )


def _picture(patch: Patch, probability: np.ndarray, threshold: float, split: str) -> Panel:
    return Panel(f"{split}/{patch.id}", panel(patch.image, patch.mask, probability, threshold))


def _other_averages(pooled: Confusion, scores: Sequence[PatchScore]) -> dict[str, float]:
    return {
        "two_class_mean_f1": pooled.two_class_mean_f1,
        "two_class_mean_iou": pooled.two_class_mean_iou,
        "per_image_mean_f1": per_image_mean_f1(scores),
    }


def _predictions(predict: Predict, patches: Iterable[Patch]) -> Iterator[tuple[list[Patch], np.ndarray]]:
    iterator = iter(patches)
    while group := [patch for _, patch in zip(range(_BATCH), iterator, strict=False)]:
        yield group, predict(np.stack([patch.image for patch in group]))[..., 0]


def _update(digest: "hashlib._Hash", patch: Patch) -> None:
    digest.update(patch.id.encode() + b"\0")
    digest.update(np.ascontiguousarray(patch.image).tobytes())
    digest.update(np.ascontiguousarray(patch.mask).tobytes())


class FreshScores(NamedTuple):
    """What a model said in a process of its own.

    Attributes:
        counts: each patch's pixels at the model's threshold.
        backend, device_name: what it ran on, as `lsml.training.device` has them.
    """

    counts: PatchCounts
    backend: str
    device_name: str


def judged_afresh(path: Path, split: PackedSplit, threshold: float) -> FreshScores:
    """Loads a model file in a new process and scores it on a split there.

    Raises:
        ModelError: the file is refused, its probabilities are not in 0..1, or the process died of it.
    """
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
            return pool.submit(_judged, path, split, threshold).result()
    except BrokenProcessPool:
        raise ModelError(f"model file {path}", "the process that loaded it died", "see what it said above") from None


def _judged(path: Path, split: PackedSplit, threshold: float) -> FreshScores:
    from lsml.training import backend

    backend.load_keras()
    from lsml.models.export import load_file
    from lsml.training.device import describe_device

    scores = score_split(load_file(path).predict_on_batch, split, threshold)
    device = describe_device()
    counts = read_counts(to_csv([score._asdict() for score in scores]))
    return FreshScores(counts, device.backend, device.name)
