"""What trainings exchange: the attempt, its task, the steps it reports, the outcome, the checkpoint it resumes from."""

import contextlib
import hashlib
import io
import json
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar, cast

import numpy as np

from lsml.config.fields import Scalar
from lsml.config.schema import TrainConfig
from lsml.data.splits import Steps, StudyData
from lsml.errors import StorageError
from lsml.models.export import ModelFile
from lsml.names import OBJECTIVE, Metric, StageRole
from lsml.scoring.calibration import rescale_threshold
from lsml.workspace import replace_atomically

_Item = TypeVar("_Item")

_MAGIC = b"lsml checkpoint 1\n"
_DIGEST_BYTES = 32


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
    role: StageRole
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
    """What a worker needs for one attempt; `checkpoint` belongs to the slot, so a later attempt resumes from it."""

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
    """The result of a trial.

    Attributes:
        value: the objective, F1 pooled over pixels at `threshold`: of the best epoch on validation patches, or of
            all folds on the patches that they held out.
        stopped: why it ended.
        steps: epochs or folds that it reported, by that noun.
        best_epoch: the epoch of the best value, from 1; the mean over folds where there are folds.
        threshold: the probability from which a pixel counts as landslide, chosen on the same pixels as `value`: by
            `model`, or where there is none, by the networks in folds.
        temperature: what `model`'s logits are divided by; of folds, what those of a network trained on all patches
            are to be divided by.
        metrics: all metrics of the best epoch, or over all folds, and `val_object_hit_rate` and `val_object_precision`
            of `lsml.scoring.objects.ObjectCounts` at `threshold`. `val_threshold` is `threshold`; where there is a
            model, `val_raw_threshold` is that of before temperature scaling.
        environment: device, backend, precision and versions, and the SHA-256 of a file of weights.
        model: None where folds left many networks and none that saw all patches.
        panels: pictures of patches that the network did not train on.
        tables: CSV texts by file name.
        files: other contents by file name.
        costs: of a network, `parameters` and `latency_ms`, see `lsml.models.export.costs`.
        epoch_seconds: where the time of the epochs went, as `Laps.summary`; empty of folds.
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
    epoch_seconds: Mapping[str, tuple[float, float]] = field(default_factory=dict)


class Laps:
    """Where the time of each epoch went: seconds by what was done, in the order in which it began.

    Attributes:
        epochs: one entry an epoch that has ended; `else` is what nothing was measured of.
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []
        self._now: dict[str, float] = {}

    def begin(self) -> None:
        """An epoch begins."""
        self._now = {}

    def end(self, seconds: float) -> None:
        """It took so long."""
        self.epochs.append({**self._now, "else": seconds - sum(self._now.values())})

    def summary(self) -> dict[str, tuple[float, float]]:
        """Seconds of the first epoch, which traces and compiles, and the median of the others, by what was done."""
        if not self.epochs:
            return {}
        epochs = [{**epoch, "together": sum(epoch.values())} for epoch in self.epochs]
        later = epochs[1:] or epochs
        return {what: (epochs[0][what], statistics.median(epoch[what] for epoch in later)) for what in epochs[0]}

    @contextlib.contextmanager
    def measure(self, what: str) -> Iterator[None]:
        """Adds how long this takes to `what`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._now[what] = self._now.get(what, 0.0) + time.perf_counter() - started

    def waiting(self, what: str, items: Iterable[_Item]) -> Iterator[_Item]:
        """The items, and adds to `what` how long each lets wait."""
        iterator, none = iter(items), object()
        while True:
            with self.measure(what):
                item = next(iterator, none)
            if item is none:
                return
            yield cast(_Item, item)


class StepEvent(NamedTuple):
    """An epoch or a fold that ended, once its checkpoint is on disk.

    Attributes:
        step: from 1; folds are counted through all repeats.
        metrics: what is known after it, see `lsml.training.trainer.Trainer` and `lsml.training.crossval`.
        replayed: whether it ended before a resume, and its metrics come from the checkpoint.
    """

    step: int
    metrics: Mapping[str, float]
    replayed: bool = False


Report = Callable[[StepEvent], bool]
"""Called after each epoch or fold: True goes on, False ends the training now, as pruned."""

TrialFunction = Callable[[TrialTask, Report], TrialOutcome]


@dataclass(frozen=True)
class TrialFunctions:
    """The functions that workers run at each stage of a study.

    Attributes:
        search: one configuration; also to confirm it.
        refit: one configuration on all patches.
        baselines: simple models to compare networks with, by name.
        fold_baselines: more of them where there are folds.
    """

    search: TrialFunction
    refit: Callable[..., TrialOutcome]
    baselines: Mapping[str, TrialFunction]
    fold_baselines: Mapping[str, TrialFunction]


class CvSummary(NamedTuple):
    """What cross-validating a configuration gave for the network that is then trained on all patches.

    Attributes:
        value: F1 over all out-of-fold pixels at `threshold`; the network trained on all patches has none of its own.
        threshold: the probability by the folds' networks, which have no temperature, from which a pixel counts as
            landslide.
        epochs: the mean over folds of the best epoch.
        temperature: what the logits of the exported network are divided by, fitted to all out-of-fold pixels.
    """

    value: float
    threshold: float
    epochs: int
    temperature: float = 1.0

    @property
    def exported_threshold(self) -> float:
        """`threshold` for the exported network's probabilities."""
        return rescale_threshold(self.threshold, self.temperature)

    @property
    def metrics(self) -> dict[str, float]:
        """As a run of the exported network has them."""
        return {
            OBJECTIVE: self.value,
            Metric.VAL_THRESHOLD: self.exported_threshold,
            Metric.VAL_RAW_THRESHOLD: self.threshold,
        }


@dataclass(frozen=True)
class Checkpoint:
    """A training run after an epoch.

    Attributes:
        key: names what is trained; a checkpoint serves only the run with the same key.
        history: metrics of every epoch so far.
        arrays: groups of variables, each in the order of the network or optimizer that they belong to.
    """

    key: str
    history: Sequence[Mapping[str, float]]
    arrays: Mapping[str, Sequence[np.ndarray]]

    def save(self, path: Path) -> None:
        """Replaces the checkpoint at `path`; a process killed at any moment leaves the old one or the new one.

        Raises:
            StorageError: the file cannot be written; the last checkpoint is still there.
        """
        content = _encode(self)
        try:
            replace_atomically(path, content)
        except OSError as error:
            raise StorageError(
                f"checkpoint {path}",
                f"{error.strerror or error} ({len(content):,} bytes to write)",
                "free space there; the same command resumes from the last epoch that was saved",
            ) from None

    @staticmethod
    def load(path: Path, key: str) -> "Checkpoint | None":
        """The checkpoint at `path`; None where there is none, it is not whole, or its key is another."""
        try:
            content = path.read_bytes()
        except OSError:
            return None
        digest, body = content[len(_MAGIC) :][:_DIGEST_BYTES], content[len(_MAGIC) + _DIGEST_BYTES :]
        if not content.startswith(_MAGIC) or hashlib.sha256(body).digest() != digest:
            return None
        checkpoint = _decode(body)
        return checkpoint if checkpoint.key == key else None


def _encode(checkpoint: Checkpoint) -> bytes:
    header = {
        "key": checkpoint.key,
        "history": [dict(metrics) for metrics in checkpoint.history],
        "groups": {name: len(arrays) for name, arrays in checkpoint.arrays.items()},
    }
    body = io.BytesIO()
    named = {f"{name}.{i}": array for name, arrays in checkpoint.arrays.items() for i, array in enumerate(arrays)}
    np.savez(body, allow_pickle=False, header=np.frombuffer(json.dumps(header).encode(), np.uint8), **named)
    return _MAGIC + hashlib.sha256(body.getbuffer()).digest() + body.getbuffer()


def _decode(body: bytes) -> Checkpoint:
    with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
        header = json.loads(arrays["header"].tobytes())
        groups = {name: tuple(arrays[f"{name}.{i}"] for i in range(count)) for name, count in header["groups"].items()}
    return Checkpoint(header["key"], tuple(header["history"]), groups)
