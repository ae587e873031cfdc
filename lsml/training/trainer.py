"""Trains one configuration: configuration, data and an observer in, model and scores out."""

import gc
import hashlib
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import keras
import numpy as np
from keras import ops
from scipy.special import expit

from lsml.config.fields import flatten
from lsml.config.schema import TrainConfig, TrainingConfig
from lsml.data.loader import EpochLoader, SideBySideLoader, steps_per_epoch
from lsml.data.splits import Split, TrainingData
from lsml.data.statistics import BandStatistics
from lsml.errors import StudyError
from lsml.losses import CompoundLoss
from lsml.models.build import Networks, build_network, build_networks, with_probability
from lsml.models.ensemble import MembersLoss, member_seeds
from lsml.models.export import ModelFile, costs, export
from lsml.models.pretrained import carry
from lsml.models.trees import fit_trees
from lsml.models.unet import SupervisedLoss
from lsml.models.weights import identity, provenance
from lsml.scoring.calibration import Calibration, calibrate
from lsml.scoring.metrics import Metrics, PooledCounts, best_epoch
from lsml.training import checkpoint as checkpoints
from lsml.training.checkpoint import Checkpoint
from lsml.training.device import Arithmetic, choose_arithmetic
from lsml.training.optimizer import make_optimizer

GPU_LOADER_THREADS = 8

Stop = Literal["finished", "early", "pruned"]

Keep = Callable[[Sequence[Metrics]], int]
"""Of the metrics of all epochs so far, the epoch whose weights are to be kept, from 1."""


class EpochEvent(NamedTuple):
    """An epoch that ended.

    Attributes:
        epoch: from 1.
        metrics: `loss` (with deep supervision the weighted mean over levels; of the network without its trees),
            `val_loss`, `val_f1`, `val_iou`, `val_precision`, `val_recall` (at `val_threshold`, the best by F1),
            `val_average_precision`, `val_calibration_error`, `learning_rate`, `epoch_seconds`, `images_per_second`.
        replayed: whether it was trained before a resume, and its metrics come from the checkpoint.
    """

    epoch: int
    metrics: Metrics
    replayed: bool


class Observer(Protocol):
    """Hears of every epoch, once its checkpoint is on disk."""

    def epoch_ended(self, event: EpochEvent) -> bool:
        """True to go on; False ends training now, as pruned."""
        ...


class TrainingDiverged(StudyError):
    """A loss or an output became NaN or infinite."""

    def __init__(self, epoch: int, name: str, value: float) -> None:
        super().__init__("training", f"{name} became {value} in epoch {epoch}", "lower training.learning_rate")
        self._origin = (epoch, name, value)

    def __reduce__(self) -> tuple[type["TrainingDiverged"], tuple[int, str, float]]:
        # A worker sends it to the coordinator: it is made again from what made it.
        return type(self), self._origin


@dataclass(frozen=True)
class FitResult:
    """What came of a training run.

    Attributes:
        model: the network of the best weights, float32, with the temperature of `calibration`.
        calibration: fitted to validation by the best weights; its threshold is moved from the one of the best epoch's
            best F1.
        best_epoch: the first epoch with the highest `val_f1`, from 1.
        metrics: of the best epoch, as its event had them.
        epochs: how many were trained, over all resumes.
        stopped: all epochs done, no better F1 for `patience` epochs, or the observer's word.
        probabilities: float32 `(N, H, W)`, of the validation patches in their order, by `model`.
        environment: `device` (cpu or gpu), `device_name`, `backend`, `precision` and `xla`, in words, and where the
            encoder started from a file, its `weights_sha256`.
        costs: of `model`, see `lsml.models.export.costs`.
    """

    model: ModelFile
    calibration: Calibration
    best_epoch: int
    metrics: Metrics
    epochs: int
    stopped: Stop
    probabilities: np.ndarray
    environment: dict[str, str]
    costs: dict[str, float]

    @property
    def threshold(self) -> float:
        """The probability by `model` from which a pixel counts as landslide."""
        return self.calibration.threshold


def fit(config: TrainConfig, data: TrainingData, observer: Observer, *, checkpoint: Path | None = None) -> FitResult:
    """Trains a network and keeps the weights of its best epoch.

    A run that was killed goes on from its last whole epoch when it is called again with the same `checkpoint`,
    after every epoch before has been told again to the observer, and ends as if it had never been killed.

    Args:
        checkpoint: a file to write after each epoch and to go on from; one that is damaged, or of another
            configuration, data, arithmetic or keras, is ignored and replaced.

    Raises:
        TrainingDiverged: a loss or an output became NaN or infinite.
        ModelError: pretrained weights cannot be had, or do not fit.
        StorageError: the checkpoint cannot be written.
    """
    run = TrainingRun(
        config, data.train, data.statistics, validation=data.validation, keep=best_epoch, checkpoint=checkpoint
    )
    return _result(run, data.validation, train(run, config.training, observer))


def train(run: "TrainingRun", config: TrainingConfig, observer: Observer) -> Stop:
    """Trains epoch by epoch until all are done, none is better any more, or the observer says so; and why it ended.

    Raises:
        TrainingDiverged: a loss or an output became NaN or infinite.
        StorageError: the checkpoint cannot be written.
    """
    for event in run.replay():
        if not observer.epoch_ended(event):
            return _end(run.history[: event.epoch], config) or "pruned"
    while not (stopped := _end(run.history, config)):
        if not observer.epoch_ended(run.epoch()):
            # A pruner that speaks after the last epoch has nothing left to prune.
            return _end(run.history, config) or "pruned"
    return stopped


def _result(run: "TrainingRun", validation: Split, stopped: Stop) -> FitResult:
    """The best weights in a float32 network that gives probabilities, and what it says of validation."""
    best = best_epoch(run.history)
    metrics = dict(run.history[best - 1])
    network = run.kept()
    logits, truth = map(np.concatenate, zip(*run.outputs(network, validation), strict=True))
    counts = PooledCounts()
    counts.update(truth, expit(logits))
    calibration = calibrate(counts, metrics["val_threshold"])
    model = with_probability(network, calibration.temperature)
    return FitResult(
        model=export(model),
        calibration=calibration,
        best_epoch=best,
        metrics=metrics,
        epochs=len(run.history),
        stopped=stopped,
        probabilities=expit(logits[..., 0] * np.float32(1 / calibration.temperature)),
        environment=run.environment,
        costs=costs(model, validation.batch([0])[0]),
    )


class TrainingRun:
    """Network, optimizer and what is known of the epochs so far.

    Between epochs `network` has the weights to judge by: with `training.weight_averaging` their moving average, and
    training goes on from the last ones. Batch normalisation's moments are those of the last weights in either case.

    Args:
        config: what to train; its `epochs` set the course of the learning rate, and whoever calls `epoch` counts.
        train: the patches to train on.
        statistics: of `train`.
        validation: patches to judge after each epoch; None where no epoch is judged.
        keep: which epoch's weights `model` is to have.
        checkpoint: a file to write after each epoch and to go on from; see `fit`.
        checkpoint_seconds: leaves out checkpoints that would come sooner after the last one than this.
    """

    def __init__(
        self,
        config: TrainConfig,
        train: Split,
        statistics: BandStatistics,
        *,
        validation: Split | None,
        keep: Keep,
        checkpoint: Path | None,
        checkpoint_seconds: float = 0.0,
    ) -> None:
        keras.utils.clear_session()
        gc.collect()
        self._config, self._train_split, self._validation = config, train, validation
        self._statistics, self._keep = statistics, keep
        self._path, self._pause, self._saved = checkpoint, checkpoint_seconds, time.monotonic()
        self.arithmetic = choose_arithmetic(config.training)
        self._loss = CompoundLoss(config.loss)
        networks = build_networks(config, statistics, precision=self.arithmetic.precision)
        self.network, self._trained = networks.judged, networks.trained
        carried = _carried(config, networks)
        if networks.trees is not None:
            # Again after a resume too: it takes a second, and the same trees grow of the same pixels.
            fit_trees(networks.trees, train, statistics, seed=config.seed)
        self._steps = steps_per_epoch(len(train), config.training.batch_size, asked=config.training.steps_per_epoch)
        self._optimizer = make_optimizer(config.training, self._steps, carried)
        # Built here, because keras would trace the training step twice otherwise, and to restore its state.
        self._optimizer.build(self._trained.trainable_variables)
        alone = self._trained is networks.members[0]
        loss = self._loss if alone else MembersLoss(SupervisedLoss(self._loss), len(networks.members))
        # What is judged is compiled by XLA like what is trained, also where they are two.
        self.network.jit_compile = self.arithmetic.xla
        self._trained.compile(self._optimizer, loss, jit_compile=self.arithmetic.xla)
        weights = identity(config.model)
        self.environment = {**self.arithmetic.in_words(), **provenance(weights)}
        self._key = run_key(config, train, validation, keep, self.arithmetic, weights)
        self._kept = _arrays(self.network.weights)
        self._last: list[np.ndarray] = []
        self.history: list[Metrics] = []
        self._restore()

    def replay(self) -> Iterator[EpochEvent]:
        """The epochs that the checkpoint holds."""
        for number, metrics in enumerate(self.history, start=1):
            yield EpochEvent(number, dict(metrics), replayed=True)

    def epoch(self) -> EpochEvent:
        """Trains one more epoch, judges it and saves the checkpoint."""
        number = len(self.history) + 1
        started = time.perf_counter()
        loader = self._loader(number)
        loss = finite(number, "loss", self._train(loader))
        trained = time.perf_counter()
        metrics = {"loss": loss}
        if self._validation is not None:
            metrics |= self._judge(number, self._validation)
        metrics["learning_rate"] = float(ops.convert_to_numpy(self._optimizer.learning_rate))
        metrics["epoch_seconds"] = time.perf_counter() - started
        metrics["images_per_second"] = loader.n_patches / (trained - started)
        self.history.append(metrics)
        if self._keep(self.history) == number:
            self._kept = _arrays(self.network.weights)
        self._save()
        return EpochEvent(number, dict(metrics), replayed=False)

    def _train(self, loader: EpochLoader | SideBySideLoader) -> float:
        """One pass over the loader's batches; gives their mean loss."""
        weights = self._trained.trainable_variables
        if self._last:
            _assign(weights, self._last)
        loss = train_pass(self._trained, loader)
        if self._config.training.weight_averaging:
            self._last = _arrays(weights)
            self._optimizer.finalize_variable_values(weights)
            # Copied, because under JAX weights and averages would share memory, which the next step gives away.
            _assign(weights, _arrays(weights))
        return loss

    def kept(self) -> keras.Model:
        """The kept weights in a float32 network that gives logits."""
        network = build_network(self._config, self._statistics)
        network.set_weights(self._kept)
        return network

    def model(self, temperature: float = 1.0) -> keras.Model:
        """`kept` with probabilities, its logits divided by `temperature`."""
        return with_probability(self.kept(), temperature)

    def outputs(self, model: keras.Model, split: Split) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """What `model` says of the patches of a split in order, and truth: batches of float32 `(B, H, W, 1)`."""
        size = min(self._config.training.batch_size, len(split))
        for start in range(0, len(split), size):
            # The last batch repeats patches to have the shape of the others: nothing is compiled twice.
            images, truth = split.batch(np.arange(start, start + size) % len(split))
            kept = min(size, len(split) - start)
            yield np.asarray(model.predict_on_batch(images))[:kept], truth[:kept]

    def _loader(self, epoch: int) -> EpochLoader | SideBySideLoader:
        """What each member sees of the epoch, in an order and an augmentation of its own."""
        seeds = member_seeds(self._config.seed, self._config.model.members)
        loaders = [self._loader_of(seed, epoch, len(seeds)) for seed in seeds]
        return loaders[0] if len(loaders) == 1 else SideBySideLoader(loaders)

    def _loader_of(self, seed: int, epoch: int, members: int) -> EpochLoader:
        # A CPU's cores are the network's; a GPU would wait for one thread's augmentation.
        threads = min(GPU_LOADER_THREADS, os.cpu_count() or 1) if self.arithmetic.device.kind == "gpu" else 1
        return EpochLoader(
            self._train_split,
            epoch=epoch,
            batch_size=self._config.training.batch_size,
            augment=self._config.augment,
            seed=seed,
            steps=self._steps,
            landslide_share=self._config.training.landslide_share,
            workers=max(1, threads // members),
        )

    def _judge(self, epoch: int, split: Split) -> Metrics:
        """Scores of the present weights on a split, pooled over its pixels."""
        counts, loss, patches = PooledCounts(), 0.0, 0
        for logits, truth in self.outputs(self.network, split):
            loss += finite(epoch, "val_loss", self._loss(truth, logits)) * len(truth)
            patches += len(truth)
            counts.update(truth, ops.convert_to_numpy(ops.sigmoid(logits)))
        threshold = counts.best_threshold()
        scores = {f"val_{name}": value for name, value in counts.scores(threshold).items()}
        return {"val_loss": loss / patches, **scores, "val_threshold": threshold}

    def _save(self) -> None:
        if self._path is None or time.monotonic() - self._saved < self._pause:
            return
        self._saved = time.monotonic()
        arrays = {
            "network": _arrays(self._trained.variables),
            "optimizer": _arrays(self._optimizer.variables),
            "kept": self._kept,
            "last": self._last,
        }
        checkpoints.save(self._path, Checkpoint(self._key, self.history, arrays))

    def _restore(self) -> None:
        found = checkpoints.load(self._path, self._key) if self._path is not None else None
        if found is None:
            return
        _assign(self._trained.variables, found.arrays["network"])
        _assign(self._optimizer.variables, found.arrays["optimizer"])
        self._kept, self._last = list(found.arrays["kept"]), list(found.arrays["last"])
        self.history = [dict(metrics) for metrics in found.history]


def _carried(config: TrainConfig, networks: Networks) -> frozenset[str]:
    """Gives each member its pretrained weights, where there are any, and the paths of the variables that have them."""
    if not config.model.pretrained:
        return frozenset()
    return frozenset().union(*(carry(config, member) for member in networks.members))


def train_pass(network: keras.Model, loader: EpochLoader | SideBySideLoader) -> float:
    """Trains a compiled network on the loader's batches; gives the mean of their losses.

    Not `fit`: with epochs as short as these it spends a quarter of the time on setting up each one, and on two
    cores it stalls in some of them (`bench/training.py`).
    """
    losses = []
    for images, truth in loader:
        network.reset_metrics()
        losses.append(float(network.train_on_batch(images, truth)))
    return statistics.fmean(losses)


def run_key(
    config: TrainConfig, train: Split, validation: Split | None, keep: Keep, arithmetic: Arithmetic, weights: str
) -> str:
    """Two runs with one key train the same network on the same data, in the same arithmetic; 64 hex digits.

    Args:
        weights: the `lsml.models.weights.identity` of what the encoder starts from.
    """
    parts = {
        "config": flatten(config),
        "train": train.fingerprint,
        "validation": validation.fingerprint if validation is not None else None,
        "weights": weights,
        "keep": keep.__name__,
        "arithmetic": arithmetic.identity,
        "trees": version("scikit-learn") if config.model.pixel_share else None,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def last_epoch(history: Sequence[Metrics]) -> int:
    """The last epoch, from 1."""
    return len(history)


def _end(history: list[Metrics], config: TrainingConfig) -> Stop | None:
    """Why training is over after these epochs; None where it is not."""
    if len(history) >= config.epochs:
        return "finished"
    if history and len(history) - best_epoch(history) >= config.patience:
        return "early"
    return None


def finite(epoch: int, name: str, value: object) -> float:
    """`value` as a number.

    Raises:
        TrainingDiverged: it is NaN or infinite.
    """
    number = float(ops.convert_to_numpy(value))
    if not math.isfinite(number):
        raise TrainingDiverged(epoch, name, number)
    return number


def _arrays(variables: Iterable[keras.Variable]) -> list[np.ndarray]:
    return [np.array(ops.convert_to_numpy(variable)) for variable in variables]


def _assign(variables: Iterable[keras.Variable], arrays: Iterable[np.ndarray]) -> None:
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
