"""Compares models on the same patches, from counts by patch and without inference; published results beside them."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np

from lsml.errors import DataError
from lsml.names import OWN, POOLED, UNKNOWN, ScoredSplit
from lsml.scoring.bootstrap import Difference, Interval, difference, intervals
from lsml.scoring.metrics import METRICS, f1

_COLUMNS = ("hits", "false_alarms", "misses")
_FACTS = {"split": "split", "patches": "patches", "averaging": "averaging", "threshold": "source of the threshold"}
# Enough of a fingerprint to tell it apart; all other facts are shorter.
_SHOWN = 40


class PooledScore(NamedTuple):
    """One score of the sums over all patches, 0..1, with its interval."""

    value: float
    interval: Interval


class PatchCounts(NamedTuple):
    """A model's pixels on each patch.

    Attributes:
        ids: of the patches, in rising order of their text.
        confusion: TP, FP and FN of each, int64 `(N, 3)`.
    """

    ids: tuple[str, ...]
    confusion: np.ndarray

    @classmethod
    def read(cls, text: str) -> Self:
        """Reads a table of `lsml.scoring.metrics.PatchScore` from CSV text.

        Raises:
            ValueError: it is not such a table, is empty, or has a patch twice.
        """
        return cls._of_rows(_rows(text))

    @classmethod
    def read_repeats(cls, text: str) -> list[Self]:
        """Reads the tables of several repeats, told apart by their column `repeat`, from CSV text.

        Raises:
            ValueError: as of `read`.
        """
        by_repeat: dict[str | None, list[dict[str, str]]] = {}
        for row in _rows(text):
            by_repeat.setdefault(row.get("repeat"), []).append(row)
        return [cls._of_rows(rows) for rows in by_repeat.values()]

    @classmethod
    def _of_rows(cls, rows: Iterable[Mapping[str, str]]) -> Self:
        ordered = sorted(rows, key=lambda row: str(row.get("id")))
        try:
            ids = tuple(row["id"] for row in ordered)
            confusion = np.array([[int(row[column]) for column in _COLUMNS] for row in ordered], np.int64)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"no table of patches: {error}") from None
        if not ids or len(set(ids)) < len(ids):
            raise ValueError("no patches" if not ids else "a patch is listed twice")
        return cls(ids, confusion)

    def disagreement(self, other: "PatchCounts") -> str | None:
        """Why two tables are not of the same patches scored equally often, as the rest of a sentence; None if they are.

        Landslide pixels of a patch, TP + FN, are the same for every model; those of a trial that was pruned amid its
        folds are fewer.
        """
        if self.ids != other.ids:
            return f"their tables name different patches ({len(self.ids)} and {len(other.ids)} of them)"
        landslide = [table.confusion[:, [0, 2]].sum(axis=1) for table in (self, other)]
        if apart := np.flatnonzero(landslide[0] != landslide[1]).tolist():
            here, there = (int(pixels[apart[0]]) for pixels in landslide)
            pixels_in_both = f"{here} landslide pixels in one table and {there} in the other"
            return f"one was not scored as often: {self.ids[apart[0]]} has {pixels_in_both}"
        return None

    def scores(self) -> dict[str, PooledScore]:
        """All of `METRICS` over all pixels, each with its interval by resampled patches."""
        ends, pooled = intervals(self.confusion, METRICS), self.confusion.sum(axis=0)
        return {name: PooledScore(float(metric(pooled)), ends[name]) for name, metric in METRICS.items()}

    def f1_above(self, reference: "PatchCounts") -> Difference:
        """By how much the F1 is higher than that of `reference`, both resampled by the same patches.

        Raises:
            ValueError: the tables are not of the same patches.
        """
        return mean_f1_above([self], [reference])


def mean_f1_above(tables: Sequence[PatchCounts], references: Sequence[PatchCounts]) -> Difference:
    """By how much the mean F1 of some tables is higher than that of others, all resampled by the same patches.

    With one table on each side it is `PatchCounts.f1_above`. The interval tells how far other patches would move the
    difference, not how far other seeds would.

    Raises:
        ValueError: the tables are not all of the same patches.
    """
    both = [*tables, *references]
    if any(table.ids != both[0].ids for table in both):
        raise ValueError("the tables are not of the same patches")

    def mean(sums: np.ndarray) -> np.ndarray:
        return np.mean([f1(part) for part in np.split(sums, sums.shape[1] // 3, axis=1)], axis=0)

    def one_side(side: Sequence[PatchCounts]) -> np.ndarray:
        return np.hstack([table.confusion for table in side])

    return difference(one_side(tables), one_side(references), mean)


def _rows(text: str) -> Iterator[dict[str, str]]:
    return csv.DictReader(io.StringIO(text))


class ScoredModel(NamedTuple):
    """A model by its scores on a split.

    Attributes:
        run_id: the run that has the scores.
        counts: its table of patches.
        kind: what its scores are scores of.
    """

    run_id: str
    counts: PatchCounts
    kind: "ScoreKind"

    def check_comparable(self, others: Iterable["ScoredModel"], *, split: ScoredSplit) -> None:
        """Checks that the scores of others are of the same kind and patches; that is equality, so all are comparable.

        Raises:
            DataError: they are not.
        """
        for other in others:
            if why := self.kind.obstacle(other.kind) or self.counts.disagreement(other.counts):
                raise DataError(
                    f"{split} scores of runs {self.run_id} and {other.run_id} are not comparable",
                    why,
                    "name models that were evaluated in the same way on the same patches",
                )


class ComparedRun(NamedTuple):
    """One run among those compared.

    Attributes:
        run_id: the run whose scores these are; of a study the run of what it registered.
        name: of that run, told apart from the others'.
        scores: `f1`, `iou`, `precision`, `recall` over all pixels.
        ahead: F1 above that of the reference; None of the reference itself.
    """

    run_id: str
    name: str
    scores: Mapping[str, PooledScore]
    ahead: Difference | None


def rank_runs(names: Mapping[str, str], counts: Mapping[str, PatchCounts]) -> list[ComparedRun]:
    """The runs by their F1, the highest first; of equal scores the one that was given first comes first.

    Args:
        names: of each run, by its id; the first is the reference.
        counts: likewise, of the same patches.
    """
    reference = next(iter(names))
    runs = [
        ComparedRun(
            run_id,
            name,
            counts[run_id].scores(),
            None if run_id == reference else counts[run_id].f1_above(counts[reference]),
        )
        for run_id, name in names.items()
    ]
    return sorted(runs, key=lambda run: -run.scores["f1"].value)


def differing_parameters(params: Sequence[Mapping[str, str]], *, network_field: str) -> dict[str, list[str | None]]:
    """The parameters whose values differ, each with the value of every run, None where a run has no such parameter.

    A baseline and an ensemble have parameters of their own: those of networks are listed where networks differ.

    Args:
        params: of each run.
        network_field: a parameter that every network has and no other run.
    """
    networks = [values for values in params if network_field in values]
    of_networks = {name for values in networks for name in values}
    names = sorted({name for values in params for name in values})
    differ = [
        name
        for name in names
        if len({values.get(name) for values in (networks if name in of_networks else params)}) > 1
    ]
    return {name: [values.get(name) for values in params] for name in differ}


OFFICIAL_PATCHES: dict[ScoredSplit, int] = {"validation": 245, "test": 800}
"""Patches of the official splits (github.com/iarai/Landslide4Sense-2022, "Data Description")."""

_BENCHMARK = "https://github.com/iarai/Landslide4Sense-2022"
_COMPETITION = "https://arxiv.org/abs/2209.02556"
_CLAY = "https://arxiv.org/abs/2606.14081"


class PublishedScore(NamedTuple):
    """One result.

    Attributes:
        split: the official one, or a description of another.
        f1: of the landslide class, 0..1.
        spread: what was published about its uncertainty.
        averaging: over what; only `POOLED` is the benchmark's.
        source: where it was read.
    """

    system: str
    split: ScoredSplit | str
    f1: float
    spread: str
    averaging: str
    source: str


PUBLISHED = (
    PublishedScore("2022 competition, first place", "test", 0.7454, "", POOLED, _COMPETITION),
    PublishedScore("2022 competition, second place", "test", 0.7399, "", POOLED, _COMPETITION),
    PublishedScore("2022 competition, third place", "test", 0.7350, "", POOLED, _COMPETITION),
    PublishedScore("U-Net with Clay's features, LoRA", "test", 0.645, "± 0.018 over 3 seeds", POOLED, _CLAY),
    PublishedScore("U-Net baseline", "test", 0.599, "", POOLED, _CLAY),
    PublishedScore("U-Net baseline", "validation", 0.5782, "", POOLED, _BENCHMARK),
    # Five re-runs; the scores of the others lie between these two.
    *(
        PublishedScore(
            "six-input U-Net of public notebooks", "random 20 % of train", f1, f"{which} of five re-runs",
            "mean over batches", "public notebooks",
        )
        for f1, which in ((0.719, "highest"), (0.697, "lowest"))
    ),
)  # fmt: skip

NOT_COMPARABLE = tuple(score for score in PUBLISHED if score.averaging != POOLED or score.split not in OFFICIAL_PATCHES)
"""Published results of another split or averaging, which no run is ranked beside."""


class Board(NamedTuple):
    """One official split.

    Attributes:
        f1: the run's.
        published: results on the same split with the same averaging, the highest first.
        place: the run's among them, from 1.
    """

    split: ScoredSplit
    patches: int
    f1: PooledScore
    published: tuple[PublishedScore, ...]
    place: int

    @classmethod
    def of(cls, split: ScoredSplit, counts: PatchCounts) -> Self:
        """Where a run with these counts of an official split stands among the published results."""
        f1 = counts.scores()["f1"]
        same = [score for score in PUBLISHED if score.split == split and score.averaging == POOLED]
        published = sorted(same, key=lambda score: -score.f1)
        return cls(split, len(counts.ids), f1, tuple(published), 1 + sum(score.f1 > f1.value for score in published))


class ScoreKind(NamedTuple):
    """What a score is a score of; two may be ranked only where all four facts agree, and `UNKNOWN` agrees with nothing.

    Attributes:
        split: the split protocol, see `lsml.data.holdout`.
        patches: the fingerprint of the patches.
        averaging: over what, pooled over pixels for all of lsml.
        threshold: which patches it was chosen on, same or other.
    """

    split: str
    patches: str
    averaging: str
    threshold: str

    def obstacle(self, other: "ScoreKind") -> str | None:
        """Why two scores must not be ranked, as the rest of a sentence; None where they may."""
        for fact, words in _FACTS.items():
            here, there = getattr(self, fact), getattr(other, fact)
            if UNKNOWN in (here, there):
                silent = "first" if here == UNKNOWN else "second"
                which = "neither says" if here == there else f"the {silent} does not say"
                return f"{which} its {words}, as runs of an older lsml do not"
            if here != there:
                return f"their {words} differ: {here[:_SHOWN]} and {there[:_SHOWN]}"
        return None

    def why_unofficial(self, split: ScoredSplit, patches: int) -> str | None:
        """Why a score of that many patches stands beside no published one, as a sentence; None where it does."""
        if self.split != OWN:
            return f"its {split} patches are not the official ones: {self.split}"
        if self.averaging != POOLED:
            return f"its {split} score is not {POOLED}: {self.averaging}"
        wanted = OFFICIAL_PATCHES[split]
        return None if patches == wanted else f"it has {patches} {split} patches, the official {wanted}"
