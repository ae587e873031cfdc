"""Which of a study's configurations is registered, and what is left of its score when choosing is allowed for.

The highest of many noisy scores is too high, and its configuration often no better than the one that the study began
with. So those that are compared are scored again, all with the same fresh seeds and partitions, and a tuned one has to
be ahead of the base by more than these patches could bring about by chance (`choose`). What is left is that the search
had looked at the same patches (`corrected`).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lsml.scoring.bootstrap import (
    Difference,
    Interval,
    difference,
    interval_of,
    intervals,
    patch_weights,
    with_interval,
)
from lsml.scoring.comparison import PatchCounts
from lsml.scoring.metrics import f1


class Candidate(NamedTuple):
    """A configuration that was cross-validated in the same partitions as the others.

    Attributes:
        label: names it, such as `trial 3`.
        tables: of its patches, one a repeat.
        parameters: weights of its network.
        differing: fields in which it differs from the base.
    """

    label: str
    tables: Sequence[PatchCounts]
    parameters: int
    differing: int


class _ComparedCandidate(NamedTuple):
    """A tuned configuration beside the base.

    Attributes:
        label: that of the candidate.
        ahead: its F1 above the base's, see `repeated_difference`.
        why: why it was chosen or not.
    """

    label: str
    ahead: Difference
    why: str

    def describe(self) -> str:
        """`+0.0123 (-0.0012 to +0.0260) to the base: no clear difference`."""
        return f"{with_interval(self.ahead.value, self.ahead.interval, '+')} to the base: {self.why}"


class _Selection(NamedTuple):
    """What was chosen.

    Attributes:
        chosen: the candidate's number; 0 is the base.
        compared: the tuned candidates in their order, all but the first.
    """

    chosen: int
    compared: tuple[_ComparedCandidate, ...]


def repeated_difference(first: Sequence[PatchCounts], second: Sequence[PatchCounts]) -> Difference:
    """By how much the first one's F1, pooled over patches and repeats, is higher; both resampled alike.

    Args:
        first: tables of one configuration, one a repeat.
        second: those of the other, in the same partitions.

    Raises:
        ValueError: the tables are not all of the same patches, or not of as many repeats.
    """
    return difference(_stacked(first, second[0].ids), _stacked(second, first[0].ids), f1)


def choose(candidates: Sequence[Candidate]) -> _Selection:
    """The base, unless tuned configurations are ahead of it beyond the 95 % interval; of these the simplest good one.

    Among those within one standard error of the best of them, by their difference to it, it is the one with the fewest
    weights, then with the fewest fields that differ from the base, then the first: the rule of Breiman et al. 1984,
    "Classification and Regression Trees", 3.4.3, on differences, since all have the same patches.

    Args:
        candidates: the base, then the tuned configurations, in the order of their trials.

    Raises:
        ValueError: they were not scored on the same patches equally often.
    """
    base, *tuned = candidates
    ahead = [repeated_difference(each.tables, base.tables) for each in tuned]
    better = [number for number, found in enumerate(ahead) if found.is_ahead]
    if not better:
        return _Selection(0, tuple(map(_behind, tuned, ahead)))
    best = max(better, key=lambda number: ahead[number].value)
    near = [number for number in better if _is_near(tuned[number], tuned[best])]
    chosen = min(near, key=lambda number: (tuned[number].parameters, tuned[number].differing, number))
    reasons = dict.fromkeys(better, f"ahead, but more than one standard error behind {tuned[best].label}")
    reasons |= dict.fromkeys(near, f"ahead, but not as simple as {tuned[chosen].label}")
    reasons[chosen] = "the best" if chosen == best else f"the simplest within one standard error of {tuned[best].label}"
    compared = (
        _ComparedCandidate(each.label, found, reasons[number]) if number in reasons else _behind(each, found)
        for number, (each, found) in enumerate(zip(tuned, ahead, strict=True))
    )
    return _Selection(chosen + 1, tuple(compared))


class _AheadBaseline(NamedTuple):
    """A baseline that is ahead of a network on the same patches.

    Attributes:
        label: names it.
        ahead: its F1 above the network's.
    """

    label: str
    ahead: Difference

    def describe(self) -> str:
        """`gradient boosting is ahead by +0.0500 (95 % interval +0.0100 to +0.0900)`."""
        return f"{self.label} is ahead by {self.ahead.describe()}"


def furthest_ahead(
    network: Sequence[PatchCounts], baselines: Mapping[str, Sequence[PatchCounts]]
) -> _AheadBaseline | None:
    """Of the baselines that are ahead of a network beyond the 95 % interval, the one with the highest F1; else None.

    Args:
        network: its tables, one a repeat.
        baselines: their tables by name, in the same partitions.

    Raises:
        ValueError: they were not scored on the same patches equally often.
    """
    compared = [_AheadBaseline(label, repeated_difference(tables, network)) for label, tables in baselines.items()]
    ahead = [found for found in compared if found.ahead.is_ahead]
    return max(ahead, key=lambda found: found.ahead.value, default=None)


class CorrectedScore(NamedTuple):
    """The F1 to be expected on other patches.

    Attributes:
        value: that of the chosen configuration, less `drop`, 0..1.
        drop: what choosing has added to it, 0 or more.
        interval: of `value`, by patches and repeats resampled.
        trials: among which the search chose.
    """

    value: float
    drop: float
    interval: Interval
    trials: int

    def describe(self) -> str:
        """`after correction for 12 trials 0.6400 (0.4500 to 0.7600)`."""
        trials = f"{self.trials} trial{'s' * (self.trials != 1)}"
        return f"after correction for {trials} {with_interval(self.value, self.interval)}"


def corrected(
    chosen: Sequence[PatchCounts], searched: Sequence[PatchCounts], *, base: int | None = None
) -> CorrectedScore:
    """The F1 of the chosen configuration without what choosing among trials on the same patches added to it.

    Args:
        chosen: its tables, one a repeat, of the confirmation; without folds, its one table of validation patches.
        searched: the table of each complete trial of the search, summed over repeats, in the order of the trials.
        base: the trial among them that stays unless another is ahead of it beyond the interval, as in `choose`; None
            where the highest score is taken.

    Raises:
        ValueError: the tables are not all of the same patches.
    """
    counts = _stacked(chosen, searched[0].ids)
    drop = _optimism(_stacked(searched, chosen[0].ids), base)
    interval = intervals(counts, {"f1": f1})["f1"]
    value, low, high = (max(0.0, end - drop) for end in (float(f1(counts.sum(axis=(0, 1)))), *interval))
    return CorrectedScore(value, drop, Interval(low, high), len(searched))


def _optimism(tables: np.ndarray, base: int | None) -> float:
    """By how much the F1 of what is chosen among some trials exceeds that of the choice itself, 0 or more.

    The bootstrap bias-corrected cross-validation of Tsamardinos et al. 2018 (Machine Learning 107:1895): of each draw
    of patches one trial is chosen as on all of them, and scored on those left out. Scores of a few patches are unlike
    those of many, so what is left out is pooled: a patch has the mean counts of the trials chosen without it.

    Args:
        tables: counts `(T, N, 3)`.
        base: as of `corrected`.
    """
    patches, whole = tables.shape[1], f1(tables.sum(axis=1))
    scores = np.concatenate([f1(np.tensordot(weights, tables, (1, 1))) for weights in patch_weights(patches, seed=0)])
    needed = _needed(whole, scores, patches, base)
    best, taken = _taken(whole[None], needed, base)[0], iter(_taken(scores, needed, base))
    times = np.zeros(tables.shape[:2])
    for weights in patch_weights(patches, seed=0):
        np.add.at(times, [next(taken) for _ in weights], weights == 0)
    # A patch that no draw left out, as one alone, stays as the best trial has it.
    times[best, ~times.any(axis=0)] = 1
    unseen = np.einsum("tn,tnk->k", times / times.sum(axis=0), tables)
    return max(0.0, float(whole[best] - f1(unseen)))


def _needed(whole: np.ndarray, scores: np.ndarray, patches: int, base: int | None) -> np.ndarray:
    """By how much each trial `(T,)` must be above the base to be ahead of it beyond the interval.

    Args:
        whole: F1 of each trial on all patches, `(T,)`.
        scores: on each draw of them, `(D, T)`.
    """
    if base is None:
        return np.zeros(len(whole))
    lead, leads = whole - whole[base], scores - scores[:, [base]]
    lows = [interval_of(lead[trial], leads[:, trial], patches, lowest=-1.0).low for trial in range(len(whole))]
    return lead - np.array(lows)


def _taken(scores: np.ndarray, needed: np.ndarray, base: int | None) -> np.ndarray:
    """The trial chosen on each draw, `(D,)`, by F1 `(D, T)`: the best of those far enough above the base, or that."""
    if base is None:
        return scores.argmax(axis=1)
    ahead = np.where(scores - scores[:, [base]] > needed, scores, -np.inf)
    ahead[:, base] = -1  # below every trial that is ahead, above all others
    return ahead.argmax(axis=1)


def _behind(candidate: Candidate, ahead: Difference) -> _ComparedCandidate:
    return _ComparedCandidate(candidate.label, ahead, "behind" if ahead.interval.high < 0 else "no clear difference")


def _is_near(candidate: Candidate, best: Candidate) -> bool:
    """Whether it is at most one standard error of their difference behind the best."""
    behind = repeated_difference(best.tables, candidate.tables)
    return behind.value <= behind.standard_error


def _stacked(tables: Sequence[PatchCounts], ids: Sequence[str]) -> np.ndarray:
    """Counts of all repeats, int64 `(R, N, 3)`, of patches with these ids."""
    if any(table.ids != ids for table in tables):
        raise ValueError("the tables are not of the same patches")
    return np.stack([table.confusion for table in tables])
