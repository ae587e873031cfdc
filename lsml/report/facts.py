"""What a study came to and what its report is made of, as plain values: read from MLflow and its database by others."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from lsml.config.fields import Scalar
from lsml.config.schema import TrainConfig
from lsml.names import State
from lsml.scoring.bootstrap import Difference, Interval, with_interval
from lsml.scoring.comparison import PatchCounts
from lsml.scoring.metrics import PooledCounts
from lsml.scoring.regions import RegionScore
from lsml.scoring.selection import CorrectedScore

if TYPE_CHECKING:
    import pandas


class Standing(TypedDict):
    """How one configuration or baseline of a study did.

    Attributes:
        what: names it.
        f1: pooled over validation or out-of-fold pixels, at its own threshold, in 0..1; None where it failed.
        run_id: its run; None where it failed.
        reason: why it failed, or cannot be registered; else empty.
    """

    what: str
    f1: float | None
    run_id: str | None
    reason: str


class FrontTrial(TypedDict):
    """One trial of the Pareto front: its slot, both objectives, its run, and whether it is registered."""

    trial: int
    f1: float
    cost: float
    run_id: str | None
    registered: bool


class ArchitectureBest(TypedDict):
    """The best trial of one architecture; `state` is `complete` or `pruned`, `version` that of the registered model."""

    architecture: str
    f1: float
    state: str
    run_id: str
    version: str


class TrialFacts(NamedTuple):
    """One attempt at a trial of the search, as the study's database has it.

    Attributes:
        f1: None while it has none.
        cost: its second objective; None where there is one objective.
        values: what the search chose.
        epochs: how many it ran, or folds; None where it reported none.
        worker: on which worker and host it ran; empty where an older lsml ran it.
    """

    slot: int
    ordinal: int
    state: str
    f1: float | None
    cost: float | None
    values: Mapping[str, Scalar]
    run_id: str | None
    reason: str
    epochs: int | None = None
    worker: str = ""


@dataclass(frozen=True)
class TuneResult:
    """What a finished study leaves behind.

    Attributes:
        best_run_id: the run whose model is registered.
        best_value: F1 of its configuration, pooled over the pixels of validation or of all folds, in 0..1.
        label: where that configuration comes from, such as `trial 3` or `base`, or the name of a baseline that is
            registered.
        standings: how all configurations and baselines did in the folds, the registered one first; empty where there
            are no folds.
        baselines: those baselines, or how they did on the validation patches.
        best_per_architecture: where the architecture was searched and trials have models, each registered; the best
            first.
        counts: how many of the study's trials ended complete, pruned or failed.
        fresh: False when the study had all its trials before.
        trials_page: address of MLflow's page that compares the trials.
        best_page: address of the page that compares the best few; empty while fewer than two have a score.
        cost: the metric that is the second objective; None where there is one objective.
        limit: the highest value of it that may be registered; None for any.
        front: with two objectives the Pareto front, the best F1 first.
        network: the best configuration where a baseline is registered in its place; its `reason` says why.
        corrected: `best_value` without what choosing added; None of studies of an older lsml.
        against_base: by how much the best configuration is ahead of the base, with the interval, or that it is not;
            empty of studies of an older lsml.
        trials: a record of each attempt at a trial of the search, as `to_frame` has them.
        aliases: of the registered model, each in a line: which version has it now, and which had it before.
        stopped: why the search began no more trials, where it has fewer than it was allowed.
    """

    study: str
    study_run_id: str
    best_run_id: str
    best_value: float
    label: str
    standings: Sequence[Standing]
    best_per_architecture: Sequence[ArchitectureBest]
    model: str
    version: str
    counts: Mapping[str, int]
    fresh: bool
    trials_page: str
    best_page: str
    cost: str | None = None
    limit: float | None = None
    front: Sequence[FrontTrial] = ()
    baselines: Sequence[Standing] = ()
    network: Standing | None = None
    corrected: CorrectedScore | None = None
    aliases: Sequence[str] = ()
    against_base: str = ""
    trials: Sequence[Mapping[str, object]] = field(default=(), repr=False)
    stopped: str = ""

    def describe_score(self) -> str:
        """The score of what is registered, with and without what choosing added to it."""
        text = f"{'out-of-fold' if self.standings else 'validation'} F1 {self.best_value:.4f} (pooled over pixels)"
        if found := self.corrected:
            text += f"; {found.describe()}"
        return text

    @property
    def scored_run_id(self) -> str:
        """The run that the score is of: in folds, not that of the registered model, which has seen all patches."""
        return (self.standings[0]["run_id"] if self.standings else None) or self.best_run_id

    def to_frame(self) -> "pandas.DataFrame":
        """One row an attempt at a trial of the search: slot, attempt, state, val_f1 in 0..1, run_id, searched fields.

        A field that the attempt did not use is missing.
        """
        import pandas

        return pandas.DataFrame(self.trials)

    def record(self) -> dict[str, Any]:
        """What the study's database is to hold of it: all but the trials, which it has, and what is so of one call."""
        return {name: value for name, value in asdict(self).items() if name not in ("trials", "stopped")}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "TuneResult":
        """What the study's database holds; records of an older lsml say `champions` for the best per architecture."""
        values = dict(record)
        if "champions" in values:
            values["best_per_architecture"] = values.pop("champions")
        if corrected := values.get("corrected"):
            value, drop, interval, trials = corrected
            values["corrected"] = CorrectedScore(value, drop, Interval(*interval), trials)
        return cls(**values)


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
        regions: its scores by region; none where these are not known.
    """

    name: str
    run_id: str
    f1: float
    config: TrainConfig | None
    threshold: float | None
    counts: PatchCounts | None
    pixels: PooledCounts | None
    environment: Mapping[str, str]
    regions: Sequence[RegionScore] = ()

    @property
    def article(self) -> str:
        """Its name in a sentence."""
        return f"the {self.name}" if self.name.startswith("base") else self.name

    @property
    def at_threshold(self) -> str:
        """At which threshold it is scored, as the end of a sentence; empty where that is not known."""
        return "" if self.threshold is None else f" at threshold {self.threshold:.4g}, which validation chose"


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
        importance: how much each field decides whether a trial is among the best, together 1.
        best: what is registered, or the best so far; None before a trial has completed.
        best_run_id: the run with its model.
        promotion: what `lsml promote` said of what is registered, and when; empty where it was not asked.
        rivals: what it is compared with, scored in the same way: the base configuration, the next best, baselines,
            ensembles.
        cost_unit: of the second objective; None where there is one objective.
        limit: the highest value of it that may be registered; None for any.
        front, standings, best_per_architecture, network, corrected: as in `TuneResult`.
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
    promotion: str = ""
    rivals: Sequence[ScoredRun] = ()
    top_trials: Sequence[TopTrial] = ()
    cost_unit: str | None = None
    limit: float | None = None
    front: Sequence[FrontTrial] = ()
    standings: Sequence[Standing] = ()
    best_per_architecture: Sequence[ArchitectureBest] = ()
    network: Standing | None = None
    corrected: CorrectedScore | None = None
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

    def describe_openings(self) -> str:
        """How often the study opened the test split."""
        return "once" if len(self.openings) == 1 else f"{len(self.openings)} times"

    def describe_choice(self) -> list[tuple[str, str]]:
        """The score without what choosing added, and which network a baseline stands for, as far as there are such."""
        listed = [("F1", self.corrected.describe())] if self.corrected else []
        if self.network:
            listed.append(("Best network", f"{self.network['what']}, run {self.network['run_id']}"))
            listed.append(("Why not registered", self.network["reason"]))
        return listed

    def describe_scored_patches(self) -> str:
        """Which patches the best was scored on, and how many they are."""
        which = "out-of-fold" if self.standings else "validation"
        return f"{which}, {len(self.best.counts.ids)} patches" if self.best and self.best.counts else which


_IMPORTANCE_NEEDS = 10


def importance_caveat(complete: int) -> str:
    """What to say beside importances of so few complete trials; empty where they are enough."""
    return f" (a hint: of {complete} complete trials, fewer than {_IMPORTANCE_NEEDS})" * (complete < _IMPORTANCE_NEEDS)
