"""Trains one configuration, epoch by epoch: configuration and data in, weights and scores out."""

import functools
import hashlib
import json
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import keras
import numpy as np
from joblib import cpu_count
from keras import ops

from lsml.config.fields import flatten
from lsml.config.schema import TrainConfig, TrainingConfig
from lsml.data.loader import EpochLoader, Loader, LoaderProcesses, SideBySideLoader, steps_per_epoch
from lsml.data.sensor import Sensor
from lsml.data.splits import Split
from lsml.data.statistics import BandStatistics
from lsml.errors import ConfigError, StudyError
from lsml.losses import CompoundLoss
from lsml.models.ensemble import MembersLoss, member_seeds
from lsml.models.pretrained import identity, load_pretrained, provenance
from lsml.models.trees import fit_trees
from lsml.models.unet import Networks, SupervisedLoss, build_network, build_networks, with_probability
from lsml.names import Metric
from lsml.scoring.metrics import Metrics, PooledCounts, best_epoch
from lsml.training.device import Arithmetic
from lsml.training.optimizer import make_optimizer
from lsml.training.outcome import Checkpoint, Laps, Report, StepEvent

_MOST_PROCESSES = 8
_PATCHES_A_PROCESS = 2_000
"""Of a training, so that a process that prepares batches for a GPU is worth its start: it takes 2 ms a patch."""

_STEP = 2
"""Raised where a step, or the batches for it, have other last digits, or the optimizer other variables: then no
checkpoint of before is resumed."""

Stop = Literal["finished", "early", "pruned"]

_Keep = Callable[[Sequence[Metrics]], int]
"""Of the metrics of all epochs so far, the epoch whose weights are to be kept, from 1."""


class TrainingDiverged(StudyError):
    """A loss or an output became NaN or infinite."""

    def __init__(self, epoch: int, name: str, value: float) -> None:
        super().__init__("training", f"{name} became {value} in epoch {epoch}", "lower training.learning_rate")
        self._origin = (epoch, name, value)

    def __reduce__(self) -> tuple[type["TrainingDiverged"], tuple[int, str, float]]:
        # A worker sends it to the coordinator: it is made again from what made it.
        return type(self), self._origin


class Trainer:
    """Trains one network epoch by epoch: network, optimizer, and the metrics of the epochs so far.

    Between epochs `network` has the weights to predict with: with `training.weight_averaging` their moving average, and
    training continues from the last ones. Batch normalisation's moments are those of the last weights in either case.

    Args:
        config: what to train; its `epochs` set the course of the learning rate, and whoever calls `epoch` counts.
        train: the patches to train on.
        statistics: of `train`.
        validation: patches to score after each epoch; None where no epoch is scored.
        keep: which epoch's weights `model` is to have.
        checkpoint: a file to write after each epoch and to resume from; see `fit`.
        checkpoint_seconds: leaves out checkpoints that would come sooner after the last one than this.

    Raises:
        ConfigError: the network is too deep for the patches' size.
    """

    def __init__(
        self,
        config: TrainConfig,
        train: Split,
        statistics: BandStatistics,
        *,
        validation: Split | None,
        keep: _Keep,
        checkpoint: Path | None,
        checkpoint_seconds: float = 0.0,
    ) -> None:
        for split in (train, validation):
            if split is not None:
                _check_size(config, split)
        keras.utils.clear_session()
        self._config, self._train_split, self._validation = config, train, validation
        self._statistics, self._keep = statistics, keep
        self._path, self._pause, self._saved = checkpoint, checkpoint_seconds, time.monotonic()
        self.arithmetic = Arithmetic.choose(config.training)
        self._loss = CompoundLoss(config.loss, ignores=bool(train.sensor.ignore))
        self._together = self.arithmetic.together(min(config.training.batch_size, len(train)))
        with self._together():
            self._build(config, train, statistics)
        weights = identity(config.model)
        self.environment = {**self.arithmetic.describe(), **provenance(weights)}
        self._key = self.key(config, train, validation, keep, self.arithmetic, weights)
        self._kept = _arrays(self.network.weights)
        self._last: list[np.ndarray] = []
        self._loaders = [self._loaders_of(seed) for seed in member_seeds(config.seed, config.model.members)]
        self.laps = Laps()
        self.history: list[Metrics] = []
        self._restore()

    def _build(self, config: TrainConfig, train: Split, statistics: BandStatistics) -> None:
        """Makes networks and optimizer: all that has variables."""
        networks = build_networks(config, statistics, precision=self.arithmetic.precision)
        self.network, self._trained = networks.inference_model, networks.training_model
        pretrained = _load_pretrained(config, networks, statistics.sensor)
        if networks.trees is not None:
            # Again after a resume too: it takes a second, and the same trees grow of the same pixels.
            fit_trees(networks.trees, train, statistics, seed=config.seed)
        self._steps = steps_per_epoch(len(train), config.training.batch_size, asked=config.training.steps_per_epoch)
        self._optimizer = make_optimizer(config.training, self._steps, pretrained)
        # Built here, because keras would trace the training step twice otherwise, and to restore its state.
        self._optimizer.build(self._trained.trainable_variables)
        alone = self._trained is networks.members[0]
        loss = self._loss if alone else MembersLoss(SupervisedLoss(self._loss), len(networks.members))
        # The network for inference is compiled by XLA like the one that is trained, also where they are two.
        self.network.jit_compile = self.arithmetic.xla
        self._trained.compile(self._optimizer, loss, jit_compile=self.arithmetic.xla)

    @staticmethod
    def key(
        config: TrainConfig, train: Split, validation: Split | None, keep: _Keep, arithmetic: Arithmetic, weights: str
    ) -> str:
        """Two runs with one key train the same network on the same data, in the same arithmetic; 64 hex digits.

        Args:
            weights: the `lsml.models.pretrained.identity` of what the encoder starts from.
        """
        parts = {
            "config": flatten(config),
            "train": train.fingerprint,
            "validation": validation.fingerprint if validation is not None else None,
            "weights": weights,
            "keep": keep.__name__,
            "arithmetic": arithmetic.identity,
            "step": _STEP,
            "trees": version("scikit-learn") if config.model.tree_weight else None,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def train(self, report: Report) -> Stop:
        """Trains epoch by epoch until all are done, none is better any more, or `report` ends it; gives the reason.

        Raises:
            TrainingDiverged: a loss or an output became NaN or infinite.
            StorageError: the checkpoint cannot be written.
        """
        for event in self.replay():
            if not report(event):
                return _end(self.history[: event.step], self._config.training) or "pruned"
        while not (stopped := _end(self.history, self._config.training)):
            if not report(self.epoch()):
                # A pruner that answers after the last epoch has nothing left to prune.
                return _end(self.history, self._config.training) or "pruned"
        return stopped

    def replay(self) -> Iterator[StepEvent]:
        """The epochs that the checkpoint holds."""
        for number, metrics in enumerate(self.history, start=1):
            yield StepEvent(number, dict(metrics), replayed=True)

    def epoch(self) -> StepEvent:
        """Trains one more epoch, scores it on validation and saves the checkpoint.

        Its metrics are `loss` (with deep supervision the weighted mean over levels; of the network without its trees),
        `val_loss`, `val_f1`, `val_iou`, `val_precision`, `val_recall` (at `val_threshold`, the best by F1),
        `val_average_precision`, `val_calibration_error`, `learning_rate`, `epoch_seconds`, `images_per_second`.
        """
        number = len(self.history) + 1
        started = time.perf_counter()
        self.laps.begin()
        loader = self._loader(number)
        loss = _finite(number, "loss", self._train(loader))
        trained = time.perf_counter()
        metrics = {"loss": loss}
        if self._validation is not None:
            metrics |= self._validate(number, self._validation)
        metrics["learning_rate"] = float(ops.convert_to_numpy(self._optimizer.learning_rate))
        metrics["epoch_seconds"] = time.perf_counter() - started
        metrics["images_per_second"] = loader.n_patches / (trained - started)
        self.history.append(metrics)
        with self.laps.measure("weights and checkpoint"):
            if self._keep(self.history) == number:
                self._kept = _arrays(self.network.weights)
            self._save()
        self.laps.end(time.perf_counter() - started)
        return StepEvent(number, dict(metrics))

    def _train(self, loader: Loader | SideBySideLoader) -> float:
        """One pass over the loader's batches; gives their mean loss."""
        weights = self._trained.trainable_variables
        if self._last:
            _assign(weights, self._last)
        train = _fit if self.arithmetic.trains_by_fit else _train_on_batches
        with self._together():
            loss = train(self._trained, loader, self.laps)
        if self._config.training.weight_averaging:
            self._last = _arrays(weights)
            self._optimizer.put_averages(weights)
            # Copied, because under JAX weights and averages would share memory, which the next step gives away.
            _assign(weights, _arrays(weights))
        return loss

    @property
    def kept_weights(self) -> list[np.ndarray]:
        """The kept weights, in the order of those of `lsml.models.unet.build_network`."""
        return self._kept

    def kept(self) -> keras.Model:
        """The kept weights in a float32 network that gives logits."""
        network = build_network(self._config, self._statistics)
        network.set_weights(self._kept)
        return network

    def model(self, temperature: float = 1.0) -> keras.Model:
        """`kept` with probabilities, its logits divided by `temperature`."""
        return with_probability(self.kept(), temperature)

    def outputs(self, model: keras.Model, split: Split) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The outputs of `model` for the patches of a split in order, and truth: batches of float32 `(B, H, W, 1)`."""
        size = min(self._config.training.batch_size, len(split))
        for start in range(0, len(split), size):
            # The last batch repeats patches to have the shape of the others: nothing is compiled twice.
            images, truth = split.batch(np.arange(start, start + size) % len(split))
            kept = min(size, len(split) - start)
            yield np.asarray(model.predict_on_batch(images))[:kept], truth[:kept]

    def _loader(self, epoch: int) -> Loader | SideBySideLoader:
        """What each member sees of the epoch, in an order and an augmentation of its own."""
        loaders = [of_epoch(epoch=epoch) for of_epoch in self._loaders]
        return loaders[0] if len(loaders) == 1 else SideBySideLoader(loaders)

    def _loaders_of(self, seed: int) -> Callable[..., Loader]:
        """The loaders of a member, by epoch."""
        training = self._config.training
        of_epoch = functools.partial(
            EpochLoader,
            self._train_split,
            batch_size=training.batch_size,
            augment=self._config.augment,
            seed=seed,
            steps=self._steps,
            positive_fraction=training.positive_fraction,
        )
        # A CPU's cores are the network's; a GPU would wait for one thread's augmentation.
        patches = training.epochs * self._steps * min(training.batch_size, len(self._train_split))
        most = min(_MOST_PROCESSES, cpu_count()) // self._config.model.members
        processes = min(most, patches // _PATCHES_A_PROCESS)
        if self.arithmetic.device.kind != "gpu" or processes < 2:
            return of_epoch
        return LoaderProcesses(of_epoch, epochs=training.epochs, processes=processes)

    def _validate(self, epoch: int, split: Split) -> Metrics:
        """Scores of the present weights on a split, pooled over its pixels."""
        counts, loss, patches = PooledCounts(), 0.0, 0
        for logits, truth in self.laps.waiting("validation: forward pass", self.outputs(self.network, split)):
            with self.laps.measure("validation: scores"):
                loss += _finite(epoch, Metric.VAL_LOSS, self._loss(truth, logits)) * len(truth)
                patches += len(truth)
                counts.update(truth, ops.convert_to_numpy(ops.sigmoid(logits)))
        return {Metric.VAL_LOSS: loss / patches, **counts.validation_metrics()}

    def _save(self) -> None:
        if self._path is None or time.monotonic() - self._saved < self._pause:
            return
        self._saved = time.monotonic()
        arrays = {
            # Written before a step changes them, so that they need no memory of their own.
            "network": [np.asarray(variable) for variable in self._trained.variables],
            "optimizer": [np.asarray(variable) for variable in self._optimizer.variables],
            "kept": self._kept,
            "last": self._last,
        }
        Checkpoint(self._key, self.history, arrays).save(self._path)

    def _restore(self) -> None:
        saved = Checkpoint.load(self._path, self._key) if self._path is not None else None
        if saved is None:
            return
        _assign(self._trained.variables, saved.arrays["network"])
        _assign(self._optimizer.variables, saved.arrays["optimizer"])
        self._kept, self._last = list(saved.arrays["kept"]), list(saved.arrays["last"])
        self.history = [dict(metrics) for metrics in saved.history]


_LARGEST_STRIDE = 32
"""Pixels that one of a network's coarsest level stands for, each way, at most: any network takes such a square."""


def _check_size(config: TrainConfig, split: Split) -> None:
    """Whether every level of the network halves the patches evenly.

    Raises:
        ConfigError: it does not.
    """
    height, width = split.mask(0).shape
    downscale, depth = config.input.downscale, config.model.depth
    least, stride = math.gcd(height, width), downscale * 2**depth
    if _LARGEST_STRIDE % stride:
        why = f"{downscale} x 2**{depth} (model.depth) does not divide {_LARGEST_STRIDE}"
        raise ConfigError("input.downscale", why, "lower one of the two")
    if least % stride:
        after = f" after input.downscale={downscale}" if downscale > 1 else ""
        why = f"patches of {height} x {width} pixels cannot be halved {depth} times{after}: not divided by {stride}"
        most = ((least & -least) // downscale).bit_length() - 1
        raise ConfigError("model.depth", why, f"set it to at most {most}" if most > 0 else "set input.downscale=1")


def _load_pretrained(config: TrainConfig, networks: Networks, sensor: Sensor) -> frozenset[str]:
    """Gives each member its pretrained weights, where there are any, and the paths of the variables that have them."""
    if not config.model.pretrained:
        return frozenset()
    return frozenset().union(*(load_pretrained(config, member, sensor) for member in networks.members))


def _train_on_batches(network: keras.Model, loader: Loader | SideBySideLoader, laps: Laps) -> float:
    """Trains a compiled network on the loader's batches; gives the mean of their losses.

    Not `fit`: with epochs as short as these it spends a quarter of the time on setting up each one, and on two
    cores it stalls in some of them (`bench/training.py`).
    """
    losses = []
    for images, truth in laps.waiting(_WAITING, loader):
        with laps.measure(_STEPS):
            network.reset_metrics()
            losses.append(float(network.train_on_batch(images, truth)))
    return statistics.fmean(losses)


def _fit(network: keras.Model, loader: Loader | SideBySideLoader, laps: Laps) -> float:
    """As `_train_on_batches`, where a step is so short that reading its loss and weights takes longer.

    They stay on the device until the epoch is over, and batches go there ahead of their step.
    """
    with laps.measure(_STEPS, but=_WAITING):
        batches = laps.waiting(_WAITING, loader)
        losses = network.fit(batches, steps_per_epoch=len(loader), shuffle=False, verbose=0).history["loss"]
    return float(losses[0])


_STEPS, _WAITING = "training steps", "batches: waiting for them"
"""As the epoch's time is shown."""


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


def _finite(epoch: int, name: str, value: object) -> float:
    """`value` as a number.

    Raises:
        TrainingDiverged: it is NaN or infinite.
    """
    number = float(ops.convert_to_numpy(value))
    if not math.isfinite(number):
        raise TrainingDiverged(epoch, name, number)
    return number


def _arrays(variables: Iterable[keras.Variable]) -> list[np.ndarray]:
    return [np.array(variable) for variable in variables]


def _assign(variables: Iterable[keras.Variable], arrays: Iterable[np.ndarray]) -> None:
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
