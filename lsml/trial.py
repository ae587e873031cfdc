"""One trial: what a worker is given, what it hands back, and the training in between."""

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from lsml.config import Scalar, TrainConfig
from lsml.data.pack import PackedSplit
from lsml.data.training import TrainingData

State = Literal["complete", "pruned", "failed", "superseded"]
"""How an attempt ended; a superseded one was lost or interrupted, and its slot has a later attempt."""

PANEL_PATCHES = 4


@dataclass(frozen=True)
class Attempt:
    """One try at one slot of a study.

    Attributes:
        number: the trial's number in the study's database, unique within the study.
        slot: which of the study's N trials this is, from 0.
        ordinal: which try at the slot this is, from 1.
        config: what to train.
        searched: the values that the search chose, by dotted field name.
    """

    number: int
    slot: int
    ordinal: int
    config: TrainConfig
    searched: Mapping[str, Scalar]


@dataclass(frozen=True)
class TrialTask:
    """What a worker needs to train one attempt; `checkpoint` belongs to the slot, so a later attempt goes on."""

    config: TrainConfig
    data: TrainingData
    checkpoint: Path | None


class Panel(NamedTuple):
    """One patch as a picture.

    Attributes:
        key: the same in every trial of a study, so that the pictures line up.
        image: uint8 (h, w, 3).
    """

    key: str
    image: np.ndarray


@dataclass(frozen=True)
class TrialOutcome:
    """What a worker hands back.

    Attributes:
        value: the objective: validation F1, pooled over pixels, at the best threshold of the best epoch.
        stopped: why training ended.
        best_epoch, epochs: the epoch of the best value and the last one, from 1.
        threshold: the probability from which a pixel counts as landslide, chosen on validation.
        metrics: all metrics of the best epoch.
        model: bytes of a `.keras` file that maps stored bands to landslide probability.
        sha256: of `model`, 64 hex digits.
        environment: device, backend, precision and versions in words.
    """

    value: float
    stopped: Literal["finished", "early", "pruned"]
    best_epoch: int
    epochs: int
    threshold: float
    metrics: Mapping[str, float]
    model: bytes
    sha256: str
    panels: tuple[Panel, ...]
    environment: Mapping[str, str]


Report = Callable[[int, Mapping[str, float], bool], bool]
"""`report(epoch, metrics, replayed)` tells of an epoch that ended; False in return means stop."""

TrialFunction = Callable[[TrialTask, Report], TrialOutcome]


def train_trial(task: TrialTask, report: Report) -> TrialOutcome:
    """Trains the task's configuration and packs up what came out.

    Raises:
        TrainingDiverged: the loss left the finite numbers.
    """
    from lsml.fit import EpochEvent, fit

    class _Observer:
        def epoch_ended(self, event: EpochEvent) -> bool:
            return report(event.epoch, event.metrics, event.replayed)

    result = fit(task.config, task.data, _Observer(), checkpoint=task.checkpoint)
    return TrialOutcome(
        value=result.metrics["val_f1"],
        stopped=result.stopped,
        best_epoch=result.best_epoch,
        epochs=result.epochs,
        threshold=result.threshold,
        metrics=result.metrics,
        model=result.model,
        sha256=result.sha256,
        panels=_panels(task.data.validation, result.probabilities, result.threshold),
        environment=result.environment | {"keras": version("keras"), "machine": platform.node()},
    )


def panel_patches(split: PackedSplit, count: int = PANEL_PATCHES) -> list[int]:
    """Which patches are drawn: evenly over the split ordered by landslide share, from none to most.

    The choice depends on the masks alone, so that every trial of a study draws the same.
    """
    order = np.argsort(split.landslide_fractions, kind="stable")
    return [int(order[place]) for place in np.unique(np.linspace(0, len(order) - 1, count).round().astype(int))]


def _panels(split: PackedSplit, probabilities: np.ndarray, threshold: float) -> tuple[Panel, ...]:
    from lsml.figures import panel

    return tuple(
        Panel(
            f"validation/{split.ids[index]}",
            panel(split.image(index), split.mask(index), probabilities[index], threshold),
        )
        for index in panel_patches(split)
    )
