"""What trainings exchange: the attempt, its task, the steps it reports, the outcome, the checkpoint it resumes from."""

import contextlib
import hashlib
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
from lsml.workspace import replace_whole

_Item = TypeVar("_Item")

_MAGIC = b"lsml checkpoint 2\n"
_DIGEST_BYTES, _SIZE_BYTES = 32, 8


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
            `model`, in folds from their mean over repeats; or where there is none, by the networks in folds.
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
        epoch_seconds: where the time of the epochs went, as `Laps.summary`; of folds, of the last.
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

    def final_scores(self) -> dict[str, float]:
        """The reproducible metrics: scores of the best epoch, and the number of epochs or folds."""
        scores = {f"{Metric.BEST}{name}": value for name, value in self.metrics.items() if name.startswith(Metric.VAL)}
        return scores | {Metric.BEST_EPOCH: self.best_epoch, f"{self.steps.noun}s": self.steps.total}


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
    def measure(self, what: str, *, but: str = "") -> Iterator[None]:
        """Adds how long this takes to `what`, without what `but` is added to meanwhile."""
        started, before = time.perf_counter(), self._now.get(but, 0.0)
        try:
            yield
        finally:
            within = self._now.get(but, 0.0) - before
            self._now[what] = self._now.get(what, 0.0) + time.perf_counter() - started - within

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
        search: one configuration.
        confirm: the same configuration in folds, which leaves a model.
        refit: one configuration on all patches.
        baselines: simple models to compare networks with, by name.
        fold_baselines: more of them where there are folds.
        roles: of the bands that a baseline cannot do without, by its name.
    """

    search: TrialFunction
    confirm: TrialFunction
    refit: Callable[..., TrialOutcome]
    baselines: Mapping[str, TrialFunction]
    fold_baselines: Mapping[str, TrialFunction]
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


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

        It does not wait for the disk: a power cut within the seconds after may leave a file that is not whole.

        Raises:
            StorageError: the file cannot be written; the last checkpoint is still there.
        """
        parts = _encode(self)
        try:
            replace_whole(path, parts)
        except OSError as error:
            raise StorageError(
                f"checkpoint {path}",
                f"{error.strerror or error} ({sum(map(len, parts)):,} bytes to write)",
                "free space there; the same command resumes from the last epoch that was saved",
            ) from None

    @staticmethod
    def load(path: Path, key: str) -> "Checkpoint | None":
        """The checkpoint at `path`; None where there is none, it is not whole, or its key is another."""
        try:
            content = path.read_bytes()
        except OSError:
            return None
        try:
            checkpoint = _decode(content)
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
            return None
        return checkpoint if checkpoint.key == key else None


def _encode(checkpoint: Checkpoint) -> list[bytes | memoryview]:
    """What a checkpoint's file consists of: a header with its digest, and the arrays that it names by theirs.

    Arrays of the same content are written once: moving averages are the network's weights, and often the kept ones.
    """
    stored: dict[str, memoryview] = {}

    def entry(array: np.ndarray) -> tuple[str, str, tuple[int, ...]]:
        content = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        digest = hashlib.sha256(content).hexdigest()
        stored.setdefault(digest, content)
        return digest, array.dtype.str, array.shape

    groups = {name: [entry(array) for array in arrays] for name, arrays in checkpoint.arrays.items()}
    history = [dict(metrics) for metrics in checkpoint.history]
    sizes = {digest: len(content) for digest, content in stored.items()}
    header = json.dumps({"key": checkpoint.key, "history": history, "groups": groups, "sizes": sizes}).encode()
    size = len(header).to_bytes(_SIZE_BYTES)
    return [_MAGIC, hashlib.sha256(size + header).digest(), size, header, *stored.values()]


def _decode(content: bytes) -> Checkpoint:
    """The checkpoint in a file.

    Raises:
        LookupError, TypeError, ValueError, AttributeError, RecursionError: any of its bytes differs from what was
            written, or something else than `_encode` wrote them.
    """
    start = len(_MAGIC) + _DIGEST_BYTES
    end = start + _SIZE_BYTES + int.from_bytes(content[start : start + _SIZE_BYTES])
    digest, described = content[len(_MAGIC) : start], content[start:end]
    if not content.startswith(_MAGIC) or hashlib.sha256(described).digest() != digest:
        raise ValueError("not a checkpoint, or its header is damaged")
    header = json.loads(described[_SIZE_BYTES:])
    stored, arrays = memoryview(content)[end:], {}
    for name, size in header["sizes"].items():
        arrays[name], stored = stored[:size], stored[size:]
    if stored or any(hashlib.sha256(array).hexdigest() != name for name, array in arrays.items()):
        raise ValueError("its arrays are damaged")
    groups = {
        name: tuple(np.frombuffer(arrays[digest], dtype).reshape(shape) for digest, dtype, shape in entries)
        for name, entries in header["groups"].items()
    }
    return Checkpoint(header["key"], tuple(header["history"]), groups)
