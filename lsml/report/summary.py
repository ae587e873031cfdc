"""What a study's report is made of, as plain values: read from MLflow and the study's database by others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lsml.config.fields import Scalar
from lsml.config.schema import TrainConfig
from lsml.scoring.comparison import PatchCounts
from lsml.scoring.metrics import PooledCounts


class TrialFacts(NamedTuple):
    """One attempt at a trial of the search, as the study's database has it.

    Attributes:
        f1: None while it has none.
        cost: its second objective; None where there is one objective.
        values: what the search chose.
    """

    slot: int
    ordinal: int
    state: str
    f1: float | None
    cost: float | None
    values: Mapping[str, Scalar]
    run_id: str | None
    reason: str


class SpentTime(NamedTuple):
    """How long one attempt of any stage ran.

    Attributes:
        role: the stage, such as `trial` or `confirm`.
        state: how it ended, in lsml's words.
    """

    role: str
    slot: int
    state: str
    seconds: float


@dataclass(frozen=True)
class JudgedRun:
    """A training that was judged on patches that it did not see.

    Attributes:
        name: for people.
        f1: over all pixels at the threshold.
        config: None where the run has none of lsml's, as a baseline's.
        threshold: the probability from which a pixel counts as landslide.
        counts: each patch's pixels at the threshold; None where the run has no such table.
        pixels: all of them by probability; None for runs of an older lsml.
        environment: device, versions, code, by name.
    """

    name: str
    run_id: str
    f1: float
    config: TrainConfig | None
    threshold: float | None
    counts: PatchCounts | None
    pixels: PooledCounts | None
    environment: Mapping[str, str]


class Contender(NamedTuple):
    """One of the best trials: how it came about, and what it makes of the patches that all trials draw.

    Attributes:
        noun: what it reported: `epoch` or `fold`.
        curves: by metric, the steps and the values.
        pictures: panels of `lsml.plots.patches.panel` as PNG, by the patch's id.
    """

    name: str
    f1: float
    noun: str
    curves: Mapping[str, tuple[Sequence[int], Sequence[float]]]
    pictures: Mapping[str, bytes]


class Evaluated(NamedTuple):
    """One run's scores of the test split.

    Attributes:
        counts: its pixels on each patch; None where their table is gone.
        scores: value, low and high end of the interval, by name; ends are None where there is no interval.
        baseline_f1: of the logistic regression on the same patches, where it was asked for.
    """

    name: str
    run_id: str
    counts: PatchCounts | None
    scores: Mapping[str, tuple[float, float | None, float | None]]
    baseline_f1: float | None

    @property
    def patches(self) -> int | None:
        """How many it was judged on, as far as that is known."""
        return len(self.counts.ids) if self.counts else None


class SplitFacts(NamedTuple):
    """A split that the study trained on or judged on.

    Attributes:
        empty: patches without landslide; it and the share of landslide pixels are None in runs of an older lsml.
        fingerprint: SHA-256 in hex digits.
    """

    name: str
    patches: int
    empty: int | None
    landslide_share: float | None
    fingerprint: str


class DataFacts(NamedTuple):
    """Where the patches come from.

    Attributes:
        root: their folder.
        source: how they were found, in words.
        set_apart: how those that scores are of were set apart, in words.
    """

    root: str
    source: str
    set_apart: str
    splits: Sequence[SplitFacts]


class Objective(NamedTuple):
    """The second objective, its unit in words, and what may be registered."""

    metric: str
    unit: str
    limit: float | None


@dataclass(frozen=True)
class StudyFacts:
    """All that the report of a study tells.

    Attributes:
        state: of the study's run, in words.
        settings: of the study, by name.
        base: the first trial's configuration.
        searched: the values of each searched field, in words; `logarithmic` those that are searched so.
        choices: the choices of each field that has them.
        importance: share of the variance of F1 that each field explains.
        best: what is registered, or the best so far, as it was judged; None before a trial has completed.
        best_run_id: the run with its model.
        rivals: what it is held against, judged in the same way: the base configuration, the next best, baselines.
        front, standings, champions: as in `lsml.workflows.finalize.TuneResult`.
        openings: of the test split, in the order of time.
    """

    study: str
    experiment: str
    description: str
    state: str
    run_id: str
    settings: Mapping[str, str]
    base: TrainConfig | None
    searched: Mapping[str, str]
    logarithmic: frozenset[str]
    choices: Mapping[str, Sequence[Scalar]]
    data: DataFacts
    trials: Sequence[TrialFacts]
    spent: Sequence[SpentTime]
    importance: Mapping[str, float]
    best: JudgedRun | None
    best_run_id: str | None
    registered: str | None
    rivals: Sequence[JudgedRun] = ()
    contenders: Sequence[Contender] = ()
    objective: Objective | None = None
    front: Sequence[Mapping[str, Any]] = ()
    standings: Sequence[Mapping[str, Any]] = ()
    champions: Sequence[Mapping[str, Any]] = ()
    tests: Sequence[Evaluated] = ()
    openings: Sequence[Mapping[str, Any]] = field(default_factory=tuple)

    @property
    def counted(self) -> list[TrialFacts]:
        """The trials without attempts that a later one replaced, in the order of their slots."""
        return sorted((trial for trial in self.trials if trial.state != "superseded"), key=lambda trial: trial.slot)

    @property
    def complete(self) -> list[TrialFacts]:
        """The trials that ended with an F1 of a whole training."""
        return [trial for trial in self.counted if trial.state == "complete" and trial.f1 is not None]
