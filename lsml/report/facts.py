"""What a study's report is made of, as plain values: read from MLflow and the study's database by others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lsml.config.fields import Scalar
from lsml.config.schema import TrainConfig
from lsml.names import State
from lsml.report.summary import ArchitectureBest, FrontTrial, Standing, TrialFacts, with_interval
from lsml.scoring.bootstrap import Difference, Interval
from lsml.scoring.comparison import PatchCounts
from lsml.scoring.metrics import PooledCounts


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
class ScoredRun:
    """A training and its scores of patches that it did not see.

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


class TopTrial(NamedTuple):
    """One of the best trials: its learning curves, and its pictures of the patches that all trials draw.

    Attributes:
        noun: the step of its curves: `epoch` or `fold`.
        curves: by metric, the steps and the values.
        pictures: panels of `lsml.plots.patches.panel` as PNG, by the patch's id.
    """

    name: str
    f1: float
    noun: str
    curves: Mapping[str, tuple[Sequence[int], Sequence[float]]]
    pictures: Mapping[str, bytes]


class EvaluatedRun(NamedTuple):
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
        """How many patches it was scored on, as far as that is known."""
        return len(self.counts.ids) if self.counts else None

    def text(self, name: str) -> str:
        """A score with its interval, as far as it has them."""
        if name not in self.scores:
            return ""
        value, low, high = self.scores[name]
        return with_interval(value, None if low is None or high is None else Interval(low, high))

    def f1_above(self, reference: "EvaluatedRun") -> Difference | None:
        """By how much F1 is higher, both resampled by the same patches; None of itself or of other patches."""
        if reference is self or self.counts is None or reference.counts is None:
            return None
        return None if self.counts.disagreement(reference.counts) else self.counts.f1_above(reference.counts)


class SplitFacts(NamedTuple):
    """A split that the study trained on or scored.

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
        source: how they were found, as text.
        split_protocol: how the scored patches were held out, as text.
    """

    root: str
    source: str
    split_protocol: str
    splits: Sequence[SplitFacts]


@dataclass(frozen=True)
class StudyFacts:
    """All that the report of a study shows.

    Attributes:
        state: of the study's run, as text.
        settings: of the study, by name.
        base: the first trial's configuration.
        searched: the values of each searched field, as text; `logarithmic` those that are searched so.
        choices: the choices of each field that has them.
        importance: share of the variance of F1 that each field explains.
        best: what is registered, or the best so far; None before a trial has completed.
        best_run_id: the run with its model.
        rivals: what it is compared with, scored in the same way: the base configuration, the next best, baselines.
        cost_unit: of the second objective; None where there is one objective.
        limit: the highest value of it that may be registered; None for any.
        front, standings, best_per_architecture: as in `TuneResult`.
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
    best: ScoredRun | None
    best_run_id: str | None
    registered: str | None
    rivals: Sequence[ScoredRun] = ()
    top_trials: Sequence[TopTrial] = ()
    cost_unit: str | None = None
    limit: float | None = None
    front: Sequence[FrontTrial] = ()
    standings: Sequence[Standing] = ()
    best_per_architecture: Sequence[ArchitectureBest] = ()
    tests: Sequence[EvaluatedRun] = ()
    openings: Sequence[Mapping[str, str | None]] = ()

    @property
    def counted(self) -> list[TrialFacts]:
        """The trials without attempts that a later one replaced, in the order of their slots."""
        return sorted((trial for trial in self.trials if trial.state != State.SUPERSEDED), key=lambda trial: trial.slot)

    @property
    def complete(self) -> list[TrialFacts]:
        """The trials that ended with an F1 of a whole training."""
        return [trial for trial in self.counted if trial.state == State.COMPLETE and trial.f1 is not None]

    def describe_counts(self) -> str:
        """How many trials are in each state, such as `5 complete, 1 pruned`."""
        states = [trial.state for trial in self.counted]
        return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))

    def describe_scored_patches(self) -> str:
        """Which patches the best was scored on, and how many they are."""
        which = "out-of-fold" if self.standings else "validation"
        return f"{which}, {len(self.best.counts.ids)} patches" if self.best and self.best.counts else which
