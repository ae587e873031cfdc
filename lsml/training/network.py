"""A configuration as cross-validation meets it, and its refit on all patches."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from keras import ops

from lsml.config.schema import TrainConfig, with_values
from lsml.data.folds import FoldData, statistics_of
from lsml.data.pack import PackedSplit
from lsml.models.build import build_model
from lsml.models.export import ModelFile, costs, export
from lsml.models.weights import identity, provenance
from lsml.scoring.metrics import Metrics, places
from lsml.training.crossval import FoldOutcome
from lsml.training.device import choose_arithmetic
from lsml.training.trainer import EpochEvent, TrainingRun, last_epoch, run_key

CHECKPOINT_SECONDS = 5.0
"""Between checkpoints within a fold: an epoch on a dozen patches takes less time than writing two of them."""


@dataclass(frozen=True)
class Network:
    """A `lsml.training.crossval.Learner`: the network that a configuration describes, but for its `seed`.

    It trains for all `training.epochs`, down the whole course of the learning rate, and its last weights judge;
    `training.patience` plays no part. A fold that was killed goes on from the last checkpoint, a few seconds before.
    """

    config: TrainConfig

    def key(self, data: FoldData, seed: int) -> str:
        """See `lsml.training.trainer.run_key`."""
        config, weights = self._seeded(seed), identity(self.config.model)
        arithmetic = choose_arithmetic(config.training)
        return run_key(config, data.train, data.validation, last_epoch, arithmetic, weights)

    def learn(self, data: FoldData, seed: int, checkpoint: Path | None) -> FoldOutcome:
        """Trains and judges after each epoch; its history has what `lsml.training.trainer.EpochEvent` tells.

        Raises:
            TrainingDiverged: a loss or an output became NaN or infinite.
            StorageError: the checkpoint cannot be written.
        """
        run = TrainingRun(
            self._seeded(seed),
            data.train,
            data.statistics,
            validation=data.validation,
            keep=last_epoch,
            checkpoint=checkpoint,
            checkpoint_seconds=CHECKPOINT_SECONDS,
        )
        while len(run.history) < self.config.training.epochs:
            run.epoch()
        return FoldOutcome(run.history, np.concatenate(list(_places(run, data))))

    def environment(self) -> dict[str, str]:
        """As that of `lsml.training.trainer.FitResult`."""
        return {**choose_arithmetic(self.config.training).in_words(), **provenance(identity(self.config.model))}

    def _seeded(self, seed: int) -> TrainConfig:
        return with_values(self.config, {"seed": seed})


@dataclass(frozen=True)
class RefitResult:
    """A network trained on all patches.

    Attributes:
        model: the network of the last weights, float32.
        epochs: how many were trained.
        metrics: of the last epoch: `loss`, `learning_rate`, `epoch_seconds`, `images_per_second`.
        environment: as that of `lsml.training.trainer.FitResult`.
        costs: of `model`, see `lsml.models.export.costs`.
    """

    model: ModelFile
    epochs: int
    metrics: Metrics
    environment: dict[str, str]
    costs: dict[str, float]


def costs_of(config: TrainConfig, pack: PackedSplit) -> dict[str, float]:
    """What the exported network of a configuration costs on a patch of `pack`, whatever its weights will be."""
    return costs(build_model(config, pack.statistics), pack.batch([0])[0])


def refit(
    config: TrainConfig,
    pack: PackedSplit,
    *,
    epochs: int,
    temperature: float = 1.0,
    epoch_ended: Callable[[EpochEvent], object],
    checkpoint: Path | None = None,
) -> RefitResult:
    """Trains `config` on all patches of a pack for exactly `epochs` epochs, and keeps the last weights.

    Args:
        epochs: the learning rate's course ends with the last one.
        temperature: what the exported network's logits are divided by.
        epoch_ended: hears of every epoch, also of those trained before a resume.
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
    for event in run.replay():
        epoch_ended(event)
    while len(run.history) < epochs:
        epoch_ended(run.epoch())
    model = run.model(temperature)
    return RefitResult(
        model=export(model),
        epochs=len(run.history),
        metrics=dict(run.history[-1]),
        environment=run.environment,
        costs=costs(model, pack.batch([0])[0]),
    )


def _places(run: TrainingRun, data: FoldData) -> Iterator[np.ndarray]:
    """Of the held-out patches, by the network as it is now, uint16 `(B, H, W)`."""
    for logits, _ in run.outputs(run.network, data.validation):
        yield places(np.asarray(ops.convert_to_numpy(ops.sigmoid(logits[..., 0]))))
