"""Cross-validates a learner over repeated folds: a network, a regression, a public recipe, all scored by the same code.

What may be chosen by looking at a held-out patch?

- **Nothing within a fold.** A learner predicts the held-out patches when it is done. So a network trains for all its
  epochs and its last weights predict: the best epoch of a dozen noisy scores would bias each fold optimistically, and
  most those learners whose scores vary most.
- **The threshold, once.** It is the best by F1 over all out-of-fold pixels of all repeats: one number out of all
  pixels, and the one that a refitted model carries. Every learner's score is read at its own.
- **The length of a refit.** Where a learner is scored on the held-out patches after every epoch, each fold has a best
  epoch; the mean over folds is how long a refit trains (`refit`). No score is read at those epochs,
  so looking costs nothing here; what the refitted model scores, only patches that no fold has seen can tell.

The value of a learner is the F1 of counts summed over all out-of-fold pixels, of all repeats: the same sum, so far,
that a pruner is shown after each fold.
"""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol

import numpy as np

from lsml.data.pack import PackedSplit
from lsml.data.splits import FoldData
from lsml.data.statistics import BandStatistics
from lsml.names import OBJECTIVE, Metric
from lsml.scoring.metrics import THRESHOLDS, Metrics, PooledCounts, best_epoch
from lsml.training.outcome import Checkpoint, Report, StepEvent

_SEED_STREAM = 3
"""Keeps the folds' seeds apart from other numbers of the same seed (weights, patch order 1, augmentation 2)."""

UNSEEN = np.uint16(np.iinfo(np.uint16).max)
"""Marks a patch that no fold has predicted yet; far above every index of the grid of thresholds."""


class FoldOutcome(NamedTuple):
    """What a learner makes of one fold.

    Attributes:
        history: metrics after each epoch, at least one entry, each with `epoch_seconds`; `loss`, `val_loss` and,
            where the held-out patches were scored after each epoch, `val_f1` are passed on if they are there.
        grid_indices: uint16 `(n, H, W)`, probabilities of the held-out patches in their order, see
            `lsml.scoring.metrics.grid_index`.
        weights: of the network that predicted them, where the learner keeps it.
        epoch_seconds: where the time of its epochs went, as `lsml.training.outcome.Laps.summary`; of a network alone.
    """

    history: Sequence[Metrics]
    grid_indices: np.ndarray
    weights: Sequence[np.ndarray] = ()
    epoch_seconds: Mapping[str, tuple[float, float]] = MappingProxyType({})


class FoldNetwork(NamedTuple):
    """What a fold's network is built from, beside its configuration: its patches' statistics, and its weights."""

    statistics: BandStatistics
    weights: Sequence[np.ndarray]


class Learner(Protocol):
    """Anything that learns from one part of the patches what to say of the other."""

    def key(self, data: FoldData, seed: int) -> str:
        """Two results of one key are the same result: it tells apart settings, patches, arithmetic and versions."""
        ...

    def learn(self, data: FoldData, seed: int, checkpoint: Path | None) -> FoldOutcome:
        """Learns from `data.train` and predicts `data.validation`, which has no influence on what is learnt.

        Args:
            seed: of every random choice.
            checkpoint: a file that it may write while under way, and resume from when it is called again.
        """
        ...

    def environment(self) -> dict[str, str]:
        """Describes what it runs on; `device` and `backend` at least."""
        ...


@dataclass(frozen=True)
class CrossValidation:
    """The result of cross-validating one learner.

    Attributes:
        value: F1 at `threshold`, of counts summed over all out-of-fold pixels of all repeats.
        threshold: the probability from which a pixel counts as landslide, the best by that F1.
        metrics: of the last fold's report.
        repeat_f1: F1 of each whole repeat by itself, at the same threshold; how far they differ is the seeds' part.
        length: mean over folds of the best epoch, rounded, at least 1: how long to refit.
        stopped: all folds done, or ended by `report`.
        grid_indices: uint16 `(R, N, H, W)`, out-of-fold probabilities of every repeat, see
            `lsml.scoring.metrics.grid_index`; `UNSEEN` where pruning came first.
        histories: each fold's metrics after each epoch, in the order of the steps.
        environment: the learner's.
        networks: of each fold, in the order of the steps; none where the learner keeps none.
        epoch_seconds: of the last fold; empty where a checkpoint had it.
    """

    value: float
    threshold: float
    metrics: Metrics
    repeat_f1: tuple[float, ...]
    length: int
    stopped: Literal["finished", "pruned"]
    grid_indices: np.ndarray
    histories: tuple[tuple[Metrics, ...], ...]
    environment: dict[str, str]
    networks: tuple[FoldNetwork, ...] = ()
    epoch_seconds: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def probability(self, repeat: int, index: int) -> np.ndarray | None:
        """float32 `(H, W)`: the prediction for this patch by a fold that had not seen it; None where pruning
        came first."""
        indices = self.grid_indices[repeat, index]
        return None if indices.flat[0] == UNSEEN else THRESHOLDS[indices]

    def mean_probability(self, index: int) -> np.ndarray:
        """float32 `(H, W)`: the mean over the repeats, none of which may have been pruned."""
        return THRESHOLDS[self.grid_indices[:, index]].mean(axis=0)


def cross_validate(
    learner: Learner,
    pack: PackedSplit,
    *,
    seed: int,
    folds: int,
    repeats: int,
    report: Report,
    partition: int = 0,
    checkpoint: Path | None = None,
) -> CrossValidation:
    """Lets `learner` learn once for each fold of each repeat, and predict every patch without having seen it.

    Fold k of repeat r has a seed that derives from (`seed`, r, k) alone. A run that was killed resumes when it is
    called again with the same `checkpoint`, and ends as if it had never been killed.

    Args:
        folds: contiguous blocks of patches, or several whole regions each, see `lsml.data.regions.fold_indices`.
        repeats: passes over all folds with other seeds, at least 1.
        report: called after each fold, with `val_f1`, `val_iou`, `val_precision`, `val_recall` (at `val_threshold`, the
            best by F1), `val_average_precision` and `val_calibration_error`, pooled over all out-of-fold pixels so far;
            of this fold alone `fold_f1` (at that threshold) and `fold_seconds`; and, of learners that have them, `loss`
            and `val_loss` of its last epoch and `fold_best_epoch`.
        partition: which folds, see `lsml.data.regions.fold_indices`; from 1 on, repeat r has those of `partition` + r,
            so that where the folds part plays no larger part in a score than the seeds do.
        checkpoint: a folder for the results of folds and for the fold under way; what is damaged there, or of
            another key, is ignored and replaced.

    Raises:
        DataError: `folds` does not fit the pack, or the learner cannot learn from a fold's patches.
        TrainingDiverged: a network's loss or output became NaN or infinite.
        StorageError: the checkpoint cannot be written.
    """
    partitions = [partition + repeat if partition else 0 for repeat in range(repeats)]
    data = {part: [FoldData.of(pack, fold, folds, part) for fold in range(folds)] for part in sorted(set(partitions))}
    # Before all folds: what it reads may be gone after them.
    environment = learner.environment()
    tally, networks = _Tally(pack, repeats), []
    stopped: Literal["finished", "pruned"] = "finished"
    for repeat, fold in itertools.product(range(repeats), range(folds)):
        file = checkpoint / f"repeat-{repeat}-fold-{fold}.result" if checkpoint is not None else None
        fold_data = data[partitions[repeat]][fold]
        outcome, replayed = _fold(learner, fold_data, _seed(seed, repeat, fold), file)
        metrics = tally.add(repeat, fold_data.validation.indices, outcome)
        if outcome.weights:
            networks.append(FoldNetwork(fold_data.statistics, outcome.weights))
        go_on = report(StepEvent(len(tally.histories), metrics, replayed))
        if not go_on and len(tally.histories) < folds * repeats:
            stopped = "pruned"
            break
    return CrossValidation(
        value=metrics[OBJECTIVE],
        threshold=metrics[Metric.VAL_THRESHOLD],
        metrics=metrics,
        repeat_f1=tally.repeat_f1(metrics[Metric.VAL_THRESHOLD], whole=len(tally.histories) // folds),
        length=_mean_best_length(tally.histories),
        stopped=stopped,
        grid_indices=tally.grid_indices,
        histories=tuple(tally.histories),
        environment=environment,
        networks=tuple(networks),
        epoch_seconds=outcome.epoch_seconds,
    )


def _mean_best_length(histories: Sequence[Sequence[Metrics]]) -> int:
    """The mean of the best epochs of some folds, rounded half up; of a fold without scores, the last counts."""
    return max(1, int(np.mean([_best_epoch(history) or len(history) for history in histories]) + 0.5))


def result_key(learner: str, data: FoldData, seed: int, **settings: object) -> str:
    """64 hex digits out of a learner's name, the patches, the seed, and all else that decides its result, as JSON."""
    parts = [learner, data.train.fingerprint, data.validation.fingerprint, seed, settings]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class _Tally:
    """Counts over the out-of-fold pixels so far, by repeat."""

    def __init__(self, pack: PackedSplit, repeats: int) -> None:
        self._pack = pack
        self._counts = [PooledCounts() for _ in range(repeats)]
        self.grid_indices = np.full((repeats, len(pack), *pack.mask(0).shape), UNSEEN)
        self.histories: list[tuple[Metrics, ...]] = []

    def add(self, repeat: int, indices: Sequence[int], outcome: FoldOutcome) -> Metrics:
        """Takes in a fold that ended; gives the metrics to report."""
        alone = PooledCounts()
        for index, predicted in zip(indices, outcome.grid_indices, strict=True):
            self.grid_indices[repeat, index] = predicted
            alone.update(self._pack.mask(index), THRESHOLDS[predicted])
        self._counts[repeat].merge(alone)
        self.histories.append(tuple(outcome.history))
        pooled = PooledCounts()
        for counts in self._counts:
            pooled.merge(counts)
        metrics = pooled.validation_metrics()
        return {**metrics, "fold_f1": alone.at(metrics[Metric.VAL_THRESHOLD]).f1, **_of_history(outcome.history)}

    def repeat_f1(self, threshold: float, *, whole: int) -> tuple[float, ...]:
        """F1 of each of the first `whole` repeats."""
        return tuple(counts.at(threshold).f1 for counts in self._counts[:whole])


def _of_history(history: Sequence[Metrics]) -> Metrics:
    """What is reported of a fold's epochs, as far as the learner has it."""
    found: Metrics = {name: history[-1][name] for name in ("loss", Metric.VAL_LOSS) if name in history[-1]}
    if best := _best_epoch(history):
        found["fold_best_epoch"] = float(best)
    return found | {"fold_seconds": sum(metrics["epoch_seconds"] for metrics in history)}


def _best_epoch(history: Sequence[Metrics]) -> int | None:
    """The first epoch with the highest objective, from 1; None where none was scored."""
    return best_epoch(history) if OBJECTIVE in history[0] else None


def _fold(learner: Learner, data: FoldData, seed: int, file: Path | None) -> tuple[FoldOutcome, bool]:
    """The outcome of one fold, and whether it was read from a checkpoint."""
    if file is None:
        return learner.learn(data, seed, None), False
    key = learner.key(data, seed)
    if saved := Checkpoint.load(file, key):
        history, weights = [dict(metrics) for metrics in saved.history], saved.arrays.get("weights", ())
        return FoldOutcome(history, saved.arrays["places"][0], weights), True
    under_way = file.with_name("fold.checkpoint")
    outcome = learner.learn(data, seed, under_way)
    Checkpoint(key, outcome.history, {"places": [outcome.grid_indices], "weights": outcome.weights}).save(file)
    under_way.unlink(missing_ok=True)
    return outcome, False


def _seed(seed: int, repeat: int, fold: int) -> int:
    """In 0..2**31-1."""
    sequence = np.random.SeedSequence(seed, spawn_key=(_SEED_STREAM, repeat, fold))
    return int(sequence.generate_state(1)[0] >> 1)
