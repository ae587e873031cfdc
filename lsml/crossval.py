"""Cross-validates one configuration over repeated folds, and refits it on all patches.

What may be chosen by looking at a patch that is held out?

- **Not the epoch.** Every fold trains for all `training.epochs`, down the whole course of the learning rate, and the
  weights of the last epoch judge what was held out; `training.patience` plays no part. The best epoch of a dozen
  noisy scores would flatter each fold, and most those configurations whose scores jump most.
- **The threshold, once.** It is the best by F1 over all out-of-fold pixels of all repeats: one number out of all
  pixels, and the one that the refitted model carries. Every configuration's score is read at its own.
- **The length of the refit.** Each fold's scores after every epoch have a best epoch; the mean over folds is how
  long `refit` trains, with the learning rate's course fitted to it. No score is read at those epochs, so looking
  costs nothing here; what the refitted model scores, only patches that no fold has seen can tell.

The value of a configuration is the F1 of counts summed over all out-of-fold pixels, of all repeats: the same sum,
so far, that a pruner is shown after each fold.
"""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
from keras import ops

from lsml import checkpoint as checkpoints
from lsml.checkpoint import Checkpoint
from lsml.config import TrainConfig, with_values
from lsml.data.folds import FoldData, fold_data, statistics_of
from lsml.data.pack import PackedSplit
from lsml.device import choose_arithmetic
from lsml.fit import Metrics, TrainingRun, best_epoch, last_epoch, run_key
from lsml.metrics import THRESHOLDS, PooledCounts, places
from lsml.models.files import export_bytes

SEED_STREAM = 3
"""Keeps the folds' seeds apart from other numbers of the same seed (weights, patch order 1, augmentation 2)."""

UNSEEN = np.uint16(np.iinfo(np.uint16).max)
"""Stands where no fold has judged a patch yet; far above every place on the grid of thresholds."""


class FoldEvent(NamedTuple):
    """A fold that ended.

    Attributes:
        step: from 1, through all folds of the first repeat, then of the second.
        metrics: `val_f1`, `val_iou`, `val_precision`, `val_recall` (at `val_threshold`, the best by F1) and
            `val_average_precision`, pooled over all out-of-fold pixels so far; of this fold alone `fold_f1` (at
            that threshold), `loss` and `val_loss` of its last epoch, `fold_best_epoch` and `fold_seconds`.
        replayed: whether it was trained before a resume.
    """

    step: int
    metrics: Metrics
    replayed: bool


class FoldObserver(Protocol):
    """Hears of every fold, once its result is on disk."""

    def fold_ended(self, event: FoldEvent) -> bool:
        """True to go on; False ends the cross-validation now, as pruned."""
        ...


@dataclass(frozen=True)
class CrossValidation:
    """What came of cross-validating one configuration.

    Attributes:
        value: F1 at `threshold`, of counts summed over all out-of-fold pixels of all repeats.
        threshold: the probability from which a pixel counts as landslide, the best by that F1.
        metrics: of the last fold's event.
        repeat_f1: F1 of each whole repeat by itself, at the same threshold; how far they differ is the seeds' part.
        length: mean over folds of the best epoch, rounded, at least 1: how long to refit.
        stopped: all folds done, or the observer's word.
        places: uint16 `(R, N, H, W)`, out-of-fold probabilities of every repeat as `lsml.metrics.places`; `UNSEEN`
            where pruning came first.
        histories: each fold's metrics after each epoch, in the order of the steps.
        environment: as that of `lsml.fit.FitResult`.
    """

    value: float
    threshold: float
    metrics: Metrics
    repeat_f1: tuple[float, ...]
    length: int
    stopped: Literal["finished", "pruned"]
    places: np.ndarray
    histories: tuple[tuple[Metrics, ...], ...]
    environment: dict[str, str]

    def probability(self, repeat: int, index: int) -> np.ndarray | None:
        """float32 `(H, W)`: what the network that never saw this patch says of it; None where pruning came first."""
        found = self.places[repeat, index]
        return None if found.flat[0] == UNSEEN else THRESHOLDS[found]


@dataclass(frozen=True)
class RefitResult:
    """A network trained on all patches.

    Attributes:
        model: bytes of a `.keras` file: stored bands to landslide probability, float32.
        sha256: of `model`, 64 hex digits.
        threshold: as it was given.
        epochs: how many were trained.
        metrics: of the last epoch: `loss`, `learning_rate`, `epoch_seconds`, `images_per_second`.
        environment: as that of `lsml.fit.FitResult`.
    """

    model: bytes
    sha256: str
    threshold: float
    epochs: int
    metrics: Metrics
    environment: dict[str, str]


def cross_validate(
    config: TrainConfig,
    pack: PackedSplit,
    *,
    folds: int,
    repeats: int,
    observer: FoldObserver,
    checkpoint: Path | None = None,
) -> CrossValidation:
    """Trains `config` once for each fold of each repeat, and judges every patch by networks that never saw it.

    Fold k of repeat r has a seed that derives from (`config.seed`, r, k) alone. A run that was killed goes on when
    it is called again with the same `checkpoint`, and ends as if it had never been killed.

    Args:
        folds: contiguous blocks of patches, 2 to as many as there are patches.
        repeats: passes over all folds with other seeds, at least 1.
        checkpoint: a folder for the results of folds and for the fold under way; what is damaged there, or of
            another configuration, data, arithmetic or keras, is ignored and replaced.

    Raises:
        DataError: `folds` does not fit the pack.
        TrainingDiverged: a loss or an output became NaN or infinite.
        StorageError: the checkpoint cannot be written.
    """
    data = [fold_data(pack, fold, folds) for fold in range(folds)]
    tally = _Tally(pack, repeats)
    stopped: Literal["finished", "pruned"] = "finished"
    for repeat, fold in itertools.product(range(repeats), range(folds)):
        seeded = with_values(config, {"seed": _seed(config.seed, repeat, fold)})
        file = checkpoint / f"repeat-{repeat}-fold-{fold}.result" if checkpoint is not None else None
        result = _fold(seeded, data[fold], file)
        metrics = tally.add(repeat, data[fold].validation.indices, result)
        if not observer.fold_ended(FoldEvent(len(tally.results), metrics, result.replayed)):
            stopped = "pruned"
            break
    return CrossValidation(
        value=metrics["val_f1"],
        threshold=metrics["val_threshold"],
        metrics=metrics,
        repeat_f1=tally.repeat_f1(metrics["val_threshold"], whole=len(tally.results) // folds),
        length=mean_best_length([result.history for result in tally.results]),
        stopped=stopped,
        places=tally.places,
        histories=tuple(tuple(result.history) for result in tally.results),
        environment=choose_arithmetic(config.training).in_words(),
    )


def mean_best_length(histories: Sequence[Sequence[Metrics]]) -> int:
    """The mean of the best epochs of some folds, rounded half up."""
    return max(1, int(np.mean([best_epoch(history) for history in histories]) + 0.5))


def refit(
    config: TrainConfig, pack: PackedSplit, *, epochs: int, threshold: float, checkpoint: Path | None = None
) -> RefitResult:
    """Trains `config` on all patches of a pack for exactly `epochs` epochs, and keeps the last weights.

    Args:
        epochs: the learning rate's course ends with the last one.
        threshold: goes with the model; nothing here chooses it.
        checkpoint: a file to write after each epoch and to go on from.

    Raises:
        TrainingDiverged: a loss became NaN or infinite.
        StorageError: the checkpoint cannot be written.
    """
    run = TrainingRun(
        with_values(config, {"training.epochs": epochs}),
        pack,
        statistics_of(pack),
        validation=None,
        keep=last_epoch,
        checkpoint=checkpoint,
    )
    while len(run.history) < epochs:
        run.epoch()
    content = export_bytes(run.model())
    return RefitResult(
        model=content,
        sha256=hashlib.sha256(content).hexdigest(),
        threshold=threshold,
        epochs=len(run.history),
        metrics=dict(run.history[-1]),
        environment=run.arithmetic.in_words(),
    )


class _FoldResult(NamedTuple):
    """Metrics after each epoch, and the held-out patches' probabilities as places, uint16 `(n, H, W)`."""

    history: Sequence[Metrics]
    places: np.ndarray
    replayed: bool


class _Tally:
    """Counts over the out-of-fold pixels so far, by repeat."""

    def __init__(self, pack: PackedSplit, repeats: int) -> None:
        self._pack = pack
        self._counts = [PooledCounts() for _ in range(repeats)]
        self.places = np.full((repeats, len(pack), *pack.mask(0).shape), UNSEEN)
        self.results: list[_FoldResult] = []

    def add(self, repeat: int, indices: Sequence[int], result: _FoldResult) -> Metrics:
        """Takes in a fold that ended; gives the metrics of its event."""
        alone = PooledCounts()
        for index, found in zip(indices, result.places, strict=True):
            self.places[repeat, index] = found
            alone.update(self._pack.mask(index), THRESHOLDS[found])
        self._counts[repeat].merge(alone)
        self.results.append(result)
        pooled = PooledCounts()
        for counts in self._counts:
            pooled.merge(counts)
        threshold, last = pooled.best_threshold(), result.history[-1]
        return {
            **{f"val_{name}": value for name, value in pooled.scores(threshold).items()},
            "val_threshold": threshold,
            "fold_f1": alone.at(threshold).f1,
            "loss": last["loss"],
            "val_loss": last["val_loss"],
            "fold_best_epoch": float(best_epoch(result.history)),
            "fold_seconds": sum(metrics["epoch_seconds"] for metrics in result.history),
        }

    def repeat_f1(self, threshold: float, *, whole: int) -> tuple[float, ...]:
        """F1 of each of the first `whole` repeats."""
        return tuple(counts.at(threshold).f1 for counts in self._counts[:whole])


def _fold(config: TrainConfig, data: FoldData, file: Path | None) -> _FoldResult:
    """Trains one fold to its end and judges what it holds out, or reads what came of it before."""
    key = run_key(config, data.train, data.validation, last_epoch, choose_arithmetic(config.training))
    found = checkpoints.load(file, key) if file is not None else None
    if found is not None:
        history = [dict(metrics) for metrics in found.history]
        return _FoldResult(history, found.arrays["places"][0], replayed=True)
    under_way = file.with_name("fold.checkpoint") if file is not None else None
    run = TrainingRun(
        config, data.train, data.statistics, validation=data.validation, keep=last_epoch, checkpoint=under_way
    )
    while len(run.history) < config.training.epochs:
        run.epoch()
    result = _FoldResult(run.history, np.concatenate(list(_places(run, data))), replayed=False)
    if file is not None and under_way is not None:
        checkpoints.save(file, Checkpoint(key, result.history, {"places": [result.places]}))
        under_way.unlink(missing_ok=True)
    return result


def _places(run: TrainingRun, data: FoldData) -> Iterator[np.ndarray]:
    """Of the held-out patches, by the network as it is now, uint16 `(B, H, W)`."""
    for logits, _ in run.outputs(run.network, data.validation):
        yield places(np.asarray(ops.convert_to_numpy(ops.sigmoid(logits[..., 0]))))


def _seed(seed: int, repeat: int, fold: int) -> int:
    """In 0..2**31-1."""
    sequence = np.random.SeedSequence(seed, spawn_key=(SEED_STREAM, repeat, fold))
    return int(sequence.generate_state(1)[0] >> 1)
