"""The network of a configuration as a learner for cross-validation, and its refit on all patches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from keras import ops

from lsml.config.schema import TrainConfig, with_values
from lsml.data.pack import PackedSplit
from lsml.data.splits import FoldData, statistics_of
from lsml.models.ensemble import mean_network
from lsml.models.export import ModelFile, costs, export
from lsml.models.pretrained import identity, provenance
from lsml.models.unet import build_model, build_network
from lsml.scoring.metrics import Metrics, grid_index
from lsml.training.crossval import FoldNetwork, FoldOutcome
from lsml.training.device import Arithmetic
from lsml.training.outcome import Report
from lsml.training.trainer import Trainer, last_epoch

CHECKPOINT_SECONDS = 5.0
"""Between checkpoints within a fold: an epoch on a dozen patches takes less time than writing two of them."""


@dataclass(frozen=True)
class Network:
    """A `lsml.training.crossval.Learner`: the network that a configuration describes, but for its `seed`.

    It trains for all `training.epochs`, down the whole course of the learning rate, and its last weights predict;
    `training.patience` plays no part. A fold that was killed resumes from the last checkpoint, a few seconds before.
    """

    config: TrainConfig

    def key(self, data: FoldData, seed: int) -> str:
        """See `lsml.training.trainer.Trainer.key`."""
        config, weights = self._seeded(seed), identity(self.config.model)
        arithmetic = Arithmetic.choose(config.training)
        return Trainer.key(config, data.train, data.validation, last_epoch, arithmetic, weights)

    def learn(self, data: FoldData, seed: int, checkpoint: Path | None) -> FoldOutcome:
        """Trains, scores after each epoch; its history has what `lsml.training.trainer.Trainer.epoch` reports.

        Raises:
            TrainingDiverged: a loss or an output became NaN or infinite.
            StorageError: the checkpoint cannot be written.
        """
        run = self._trained(data, seed, checkpoint)
        return _outcome(run, data, run.network)

    def _trained(self, data: FoldData, seed: int, checkpoint: Path | None) -> Trainer:
        run = Trainer(
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
        return run

    def environment(self) -> dict[str, str]:
        """As that of `lsml.training.fit.FitResult`."""
        return {**Arithmetic.choose(self.config.training).describe(), **provenance(identity(self.config.model))}

    def costs(self, pack: PackedSplit) -> dict[str, float]:
        """What the exported network costs on a patch of `pack`, whatever its weights will be."""
        return costs(build_model(self.config, pack.statistics), pack.batch([0])[0])

    def _seeded(self, seed: int) -> TrainConfig:
        return with_values(self.config, {"seed": seed})


class KeptNetwork(Network):
    """A `Network` whose outcomes have each fold's weights too, so that `mean` can be exported."""

    def key(self, data: FoldData, seed: int) -> str:
        """Another one, as results without weights are not to be resumed from."""
        return f"{super().key(data, seed)} with weights"

    def learn(self, data: FoldData, seed: int, checkpoint: Path | None) -> FoldOutcome:
        """As that of a `Network`."""
        run = self._trained(data, seed, checkpoint)
        # What is kept is float32; where no network is, the one that was trained predicts without being built anew.
        return _outcome(run, data, run.kept())._replace(weights=run.kept_weights, epoch_seconds=run.laps.summary())

    def mean(self, networks: Sequence[FoldNetwork]) -> keras.Model:
        """The mean of the folds' networks: stored bands float32 `(B, H, W, C)` to logits float32 `(B, H, W, 1)`."""
        members = []
        for number, (statistics, weights) in enumerate(networks, start=1):
            network = build_network(self.config, statistics)
            network.set_weights(weights)
            # Under a name of its own: all have the same.
            members.append(keras.Model(network.input, network.output, name=f"network_{number}"))
        return mean_network(members, name="mean_of_folds")


@dataclass(frozen=True)
class _RefittedNetwork:
    """A network trained on all patches.

    Attributes:
        model: the network of the last weights, float32.
        epochs: how many were trained.
        metrics: of the last epoch: `loss`, `learning_rate`, `epoch_seconds`, `images_per_second`.
        environment: as that of `lsml.training.fit.FitResult`.
        costs: of `model`, see `lsml.models.export.costs`.
        epoch_seconds: as `lsml.training.outcome.Laps.summary`.
    """

    model: ModelFile
    epochs: int
    metrics: Metrics
    environment: dict[str, str]
    costs: dict[str, float]
    epoch_seconds: dict[str, tuple[float, float]]


def refit(
    config: TrainConfig,
    pack: PackedSplit,
    *,
    epochs: int,
    temperature: float = 1.0,
    report: Report,
    checkpoint: Path | None = None,
) -> _RefittedNetwork:
    """Trains `config` on all patches of a pack for exactly `epochs` epochs, and keeps the last weights.

    Args:
        epochs: the learning rate's course ends with the last one.
        temperature: what the exported network's logits are divided by.
        report: called after every epoch, also for those trained before a resume; its answer is ignored.
        checkpoint: a file to write after each epoch and to resume from.

    Raises:
        TrainingDiverged: a loss became NaN or infinite.
        StorageError: the checkpoint cannot be written.
    """
    run = Trainer(
        with_values(config, {"training.epochs": epochs}),
        pack,
        statistics_of(pack),
        validation=None,
        keep=last_epoch,
        checkpoint=checkpoint,
    )
    for event in run.replay():
        report(event)
    while len(run.history) < epochs:
        report(run.epoch())
    model = run.model(temperature)
    return _RefittedNetwork(
        model=export(model, pack.sensor.with_typical(pack.statistics.median)),
        epochs=len(run.history),
        metrics=dict(run.history[-1]),
        environment=run.environment,
        costs=costs(model, pack.batch([0])[0]),
        epoch_seconds=run.laps.summary(),
    )


def _outcome(run: Trainer, data: FoldData, network: keras.Model) -> FoldOutcome:
    return FoldOutcome(run.history, np.concatenate(list(_places(run, data, network))))


def _places(run: Trainer, data: FoldData, network: keras.Model) -> Iterator[np.ndarray]:
    """Of the held-out patches, by a network of the run, uint16 `(B, H, W)`."""
    for logits, _ in run.outputs(network, data.validation):
        yield grid_index(np.asarray(ops.convert_to_numpy(ops.sigmoid(logits[..., 0]))))
