"""Trains one configuration to the end: the model of its best epoch, calibrated, and its scores on validation."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import expit

from lsml.config.schema import TrainConfig
from lsml.data.splits import Split, TrainingData
from lsml.data.statistics import BandStatistics
from lsml.models.export import ModelFile, costs, export
from lsml.models.kernels import trace_once
from lsml.models.unet import with_probability
from lsml.names import Metric
from lsml.scoring.calibration import Calibration, calibrate
from lsml.scoring.metrics import Metrics, PooledCounts, best_epoch
from lsml.training.outcome import Laps, Report
from lsml.training.trainer import Stop, Trainer


@dataclass(frozen=True)
class FitResult:
    """The result of a training.

    Attributes:
        model: the network of the best weights, float32, with the temperature of `calibration`.
        calibration: fitted to validation by the best weights; its threshold is that of their best F1, rescaled.
        best_epoch: the first epoch with the highest `val_f1`, from 1.
        metrics: of the best epoch as they were reported, but for the scores on validation: these are of the network of
            `model`, before its temperature.
        epochs: how many were trained, over all resumes.
        stopped: all epochs done, no better F1 for `patience` epochs, or ended by `report`.
        probabilities: float32 `(N, H, W)`, of the validation patches in their order, by `model`.
        environment: `device` (cpu or gpu), `device_name`, `backend`, `precision` and `xla`, `devices` where several
            shared out each batch, and where the encoder started from a file, its `weights_sha256`.
        costs: of `model`, see `lsml.models.export.costs`.
        laps: where the time of the epochs went that this process trained.
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
    laps: Laps

    @property
    def threshold(self) -> float:
        """The probability by `model` from which a pixel counts as landslide."""
        return self.calibration.threshold


def fit(config: TrainConfig, data: TrainingData, report: Report, *, checkpoint: Path | None = None) -> FitResult:
    """Trains a network and keeps the weights of its best epoch.

    A run that was killed resumes from its last whole epoch when it is called again with the same `checkpoint`,
    after every epoch before has been reported again, and ends as if it had never been killed.

    Args:
        checkpoint: a file to write after each epoch and to resume from; one that is damaged, or of another
            configuration, data, arithmetic or keras, is ignored and replaced.

    Raises:
        TrainingDiverged: a loss or an output became NaN or infinite.
        ModelError: pretrained weights cannot be had, or do not fit.
        StorageError: the checkpoint cannot be written.
    """
    run = Trainer(
        config, data.train, data.statistics, validation=data.validation, keep=best_epoch, checkpoint=checkpoint
    )
    return _result(run, data.validation, data.statistics, run.train(report))


def _result(run: Trainer, validation: Split, statistics: BandStatistics, stopped: Stop) -> FitResult:
    """The best weights in a float32 network that gives probabilities, and its scores on validation."""
    best = best_epoch(run.history)
    network = run.kept()
    # Validation comes in batches, the patch that the latency is measured with alone.
    trace_once(network, validation.mask(0).shape)
    logits, truth = map(np.concatenate, zip(*run.outputs(network, validation), strict=True))
    counts = PooledCounts()
    counts.update(truth, expit(logits))
    # The network that was trained may have computed in bfloat16: what is kept is scored by its own answers.
    metrics = {**run.history[best - 1], **counts.validation_metrics()}
    calibration = calibrate(counts, metrics[Metric.VAL_THRESHOLD])
    model = with_probability(network, calibration.temperature)
    return FitResult(
        model=export(model, statistics.sensor.with_typical(statistics.median)),
        calibration=calibration,
        best_epoch=best,
        metrics=metrics,
        epochs=len(run.history),
        stopped=stopped,
        probabilities=expit(logits[..., 0] * np.float32(1 / calibration.temperature)),
        environment=run.environment,
        # Without its last layer, a sigmoid of each pixel, it is not traced again.
        costs=costs(network, validation.batch([0])[0]),
        laps=run.laps,
    )
