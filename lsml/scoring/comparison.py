"""Compares models on the same patches, from counts by patch and without inference; published results beside them."""

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lsml.data.splits import POOLED, ScoredSplit
from lsml.scoring.bootstrap import CONFUSION, Difference, Interval, difference, f1, intervals

_COLUMNS = ("hits", "false_alarms", "misses")


class PatchCounts(NamedTuple):
    """A model's pixels on each patch.

    Attributes:
        ids: of the patches, in rising order of their text.
        confusion: TP, FP and FN of each, int64 `(N, 3)`.
    """

    ids: tuple[str, ...]
    confusion: np.ndarray


class PooledScore(NamedTuple):
    """One score of the sums over all patches, 0..1, with its interval."""

    value: float
    interval: Interval


def read_counts(text: str) -> PatchCounts:
    """The table of `lsml.scoring.metrics.PatchScore` that stands in `text` as CSV.

    Raises:
        ValueError: it is not such a table, is empty, or has a patch twice.
    """
    rows = sorted(csv.DictReader(io.StringIO(text)), key=lambda row: str(row.get("id")))
    try:
        ids = tuple(row["id"] for row in rows)
        confusion = np.array([[int(row[column]) for column in _COLUMNS] for row in rows], np.int64)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"no table of patches: {error}") from None
    if not ids or len(set(ids)) < len(ids):
        raise ValueError("no patches" if not ids else "a patch stands in it twice")
    return PatchCounts(ids, confusion)


def disagreement(first: PatchCounts, second: PatchCounts) -> str | None:
    """Why two tables are not of the same patches judged equally often, as the rest of a sentence; None if they are.

    Landslide pixels of a patch, TP + FN, are the same for every model; those of a trial that was pruned amid its
    folds are fewer.
    """
    if first.ids != second.ids:
        return f"their tables name different patches ({len(first.ids)} and {len(second.ids)} of them)"
    landslide = [table.confusion[:, [0, 2]].sum(axis=1) for table in (first, second)]
    if apart := np.flatnonzero(landslide[0] != landslide[1]).tolist():
        one, other = (int(pixels[apart[0]]) for pixels in landslide)
        name = first.ids[apart[0]]
        return f"one was not judged as often: {name} has {one} landslide pixels in one table and {other} in the other"
    return None


def pooled_scores(counts: PatchCounts) -> dict[str, PooledScore]:
    """F1, IoU, precision and recall over all pixels, each with its interval by resampled patches."""
    found = intervals(counts.confusion, CONFUSION)
    whole = counts.confusion.sum(axis=0, keepdims=True).astype(np.float64)
    return {name: PooledScore(float(statistic(whole)[0]), found[name]) for name, statistic in CONFUSION.items()}


def f1_above(counts: PatchCounts, reference: PatchCounts) -> Difference:
    """By how much the F1 is higher than that of `reference`, both resampled by the same patches.

    Raises:
        ValueError: the tables are not of the same patches.
    """
    if counts.ids != reference.ids:
        raise ValueError("the tables are not of the same patches")
    return difference(counts.confusion, reference.confusion, f1)


def mean_f1_above(tables: Sequence[PatchCounts], references: Sequence[PatchCounts]) -> Difference:
    """By how much the mean F1 of some tables is higher than that of others, all resampled by the same patches.

    With one table on each side it is `f1_above`. The interval tells how far other patches would move the difference,
    not how far other seeds would.

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


OFFICIAL_PATCHES: dict[ScoredSplit, int] = {"validation": 245, "test": 800}
"""Patches of the official splits (github.com/iarai/Landslide4Sense-2022, "Data Description")."""

_BENCHMARK = "https://github.com/iarai/Landslide4Sense-2022"
_COMPETITION = "https://arxiv.org/abs/2209.02556"
_CLAY = "https://arxiv.org/abs/2606.14081"


class PublishedScore(NamedTuple):
    """One result.

    Attributes:
        split: the official one, or in words another.
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
