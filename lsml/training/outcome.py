"""What passes between a study and its workers: the attempt, its task, and the outcome of a trial."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from lsml.config.fields import Scalar
from lsml.config.schema import TrainConfig
from lsml.data.splits import Steps, StudyData
from lsml.models.export import ModelFile

if TYPE_CHECKING:
    pass

Role = Literal["trial", "confirm", "refit", "baseline"]
"""Which stage of a study an attempt belongs to: the search, or what comes after it."""

State = Literal["complete", "pruned", "failed", "superseded"]
"""How an attempt ended; a superseded one was lost or interrupted, and its slot has a later attempt."""

PATCH_TABLE = "validation_patches.csv"
"""Each patch's pixels by truth and prediction, of patches that were not trained on: what runs are compared by."""

PIXEL_TABLE = "validation_pixels.csv"
"""The same patches' pixels by truth and probability, as `PooledCounts.rows`: what curves are drawn from."""


@dataclass(frozen=True)
class Attempt:
    """One try at one slot of a stage of a study.

    Attributes:
        number: the trial's number in the stage's database, unique within the stage.
        slot: which of the stage's slots this is, from 0.
        ordinal: which try at the slot this is, from 1.
        role: the stage.
        label: names the slot within its stage.
        config: what to train.
        searched: the values in `config` that the search chose, by dotted field name.
        params: what its run shows as parameters.
    """

    number: int
    slot: int
    ordinal: int
    role: Role
    label: str
    config: TrainConfig
    searched: Mapping[str, Scalar]
    params: Mapping[str, Scalar]

    @property
    def title(self) -> str:
        """For people: `trial 3`, `confirm trial 3`, `refit trial 3`."""
        return f"{self.role} {self.label}"


@dataclass(frozen=True)
class TrialTask:
    """What a worker needs for one attempt; `checkpoint` belongs to the slot, so a later attempt goes on."""

    config: TrainConfig
    data: StudyData
    checkpoint: Path | None
    keep_probabilities: bool = False


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
        value: the objective, F1 pooled over pixels at `threshold`: of the best epoch on validation patches, or of
            all folds on the patches that they held out.
        stopped: why it ended.
        steps: epochs or folds that it reported, by that noun.
        best_epoch: the epoch of the best value, from 1; the mean over folds where there are folds.
        threshold: the probability from which a pixel counts as landslide, chosen on the same pixels as `value`.
        temperature: what `model`'s logits are divided by; of folds, what those of a network trained on all patches
            are to be divided by.
        metrics: all metrics of the best epoch, or over all folds, and `val_object_hit_rate` and `val_object_precision`
            of `lsml.scoring.objects.ObjectCounts` at `threshold`.
        environment: device, backend, precision and versions in words, and the SHA-256 of a file of weights.
        model: None where folds left many networks and none that saw all patches.
        panels: pictures of patches that the network did not train on.
        tables: CSV texts by file name.
        files: other contents by file name.
        costs: of a network, `parameters` and `latency_ms`, see `lsml.models.export.costs`.
    """

    value: float
    stopped: Literal["finished", "early", "pruned"]
    steps: Steps
    best_epoch: int
    threshold: float
    metrics: Mapping[str, float]
    environment: Mapping[str, str]
    temperature: float = 1.0
    model: ModelFile | None = None
    panels: tuple[Panel, ...] = ()
    tables: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)


Report = Callable[[int, Mapping[str, float], bool], bool]
"""`report(step, metrics, replayed)` tells of an epoch or fold that ended; False in return means stop."""

TrialFunction = Callable[[TrialTask, Report], TrialOutcome]


class Earned(NamedTuple):
    """What a configuration's folds came to: how long to train it on all patches, and what then goes with it.

    Attributes:
        value: F1 over all out-of-fold pixels at `threshold`; the network trained on all patches has none of its own.
        threshold: the probability from which a pixel counts as landslide.
        epochs: the mean over folds of the best epoch.
        temperature: what the logits of the network are divided by, fitted to all out-of-fold pixels; `threshold` is
            that of the networks in folds, before it.
    """

    value: float
    threshold: float
    epochs: int
    temperature: float = 1.0
