"""Choosing among configurations and correcting for it, on tables that are worked out by hand."""

from collections.abc import Sequence

import numpy as np
import pytest

from lsml.scoring.comparison import PatchCounts
from lsml.scoring.selection import Candidate, choose, corrected, repeated_difference

# Of each patch TP, FP, FN. F1 of any number of them: 2 x 6 / (12 + 4 + 4) = .6, and 2 x 8 / (16 + 2 + 2) = .8.
FAIR, GOOD = (6, 4, 4), (8, 2, 2)
# 2 x 7 / (14 + 3 + 3) = .7.
BETTER = (7, 3, 3)


def table(rows: Sequence[tuple[int, int, int]]) -> PatchCounts:
    """Of patches `0`, `1`, ..."""
    return PatchCounts(tuple(map(str, range(len(rows)))), np.array(rows, np.int64))


def candidate(
    label: str, *repeats: Sequence[tuple[int, int, int]], parameters: int = 9, differing: int = 1
) -> Candidate:
    """One table a repeat."""
    return Candidate(label, [table(rows) for rows in repeats], parameters, differing)


def test_a_difference_is_of_counts_pooled_over_repeats() -> None:
    """Two repeats of two patches: F1 of the sums, not the mean of F1."""
    first, second = [[(5, 0, 0), (0, 0, 5)], [(1, 9, 4), (5, 0, 0)]], [[FAIR] * 2] * 2
    found = repeated_difference(*([table(rows) for rows in tables] for tables in (first, second)))
    # TP 11, FP 9, FN 9: 22 / 40 = .55.
    assert found.value == pytest.approx(0.55 - 0.6)
    assert not found.is_ahead


def test_repeats_are_resampled_as_well_as_patches() -> None:
    """Where all patches of a repeat are alike, two repeats have three means of draws: the seeds' part is seen.

    Half of the draws have each repeat once, a quarter one of them twice: .8 - .6, .6 - .6. About the difference .1, the
    quantiles at 2.5 % and 97.5 % lie .1 off; stretched by sqrt(4 / 3) x 3.182 / 1.960 = 1.875 for four patches.
    """
    first, second = [table([GOOD] * 4), table([FAIR] * 4)], [table([FAIR] * 4)] * 2
    found = repeated_difference(first, second)
    assert found.value == pytest.approx(0.1)
    assert found.interval == pytest.approx((0.1 - 0.1875, 0.1 + 0.1875), abs=1e-3)
    # Without repeats nothing is left to chance: patches are all alike.
    assert repeated_difference(first[:1], second[:1]).interval == pytest.approx((0.2, 0.2))
    # The width over 2 x 1.960.
    assert found.standard_error == pytest.approx(0.1875 / 1.96, abs=1e-3)


def test_what_was_not_scored_alike_is_not_compared() -> None:
    """Other patches, other numbers of patches or of repeats."""
    two, other = table([FAIR] * 2), PatchCounts(("0", "z"), np.array([FAIR] * 2))
    three = table([FAIR] * 3)
    for first, second in (([two], [other]), ([two, other], [two, two]), ([two], [three]), ([two], [two, two])):
        with pytest.raises(ValueError, match="not of the same patches"):
            repeated_difference(first, second)


def test_the_base_stays_where_a_tuned_configuration_may_be_ahead_by_chance() -> None:
    """Higher on the whole, but by one patch of six: without that patch there is no difference."""
    base = candidate("base", [FAIR] * 6, differing=0)
    lucky = candidate("trial 3", [FAIR] * 5 + [(10, 0, 0)])
    found = choose([base, lucky])
    assert (found.chosen, found.compared[0].ahead.value > 0) == (0, True)
    assert found.compared[0].why == "no clear difference"
    assert choose([base]) == (0, ())


def test_a_tuned_configuration_wins_where_it_is_ahead_on_every_patch() -> None:
    """The better of two that are ahead without doubt, though it is not as simple."""
    base = candidate("base", [FAIR] * 6, differing=0)
    tuned = [candidate("trial 2", [BETTER] * 6, parameters=1), candidate("trial 5", [GOOD] * 6, parameters=99)]
    found = choose([base, *tuned])
    assert found.chosen == 2
    assert [each.ahead.value for each in found.compared] == pytest.approx([0.1, 0.2])
    assert [each.why for each in found.compared] == [
        "ahead, but more than one standard error behind trial 5",
        "the best",
    ]
    assert found.compared[1].describe() == "+0.2000 (+0.2000 to +0.2000) to the base: the best"


# As good as GOOD over every two patches, with F1 that differs: 2 x 16 / (32 + 8) = .8, or with one pixel less 31 / 40.
UNEVEN, NEARLY = [(10, 0, 0), (6, 4, 4)] * 6, [(10, 0, 0), (6, 4, 4)] * 5 + [(10, 0, 0), (5, 5, 5)]


@pytest.mark.parametrize(
    ("simple", "wins"),
    [
        ((UNEVEN, 8, 3), 2),  # as good, with fewer weights
        ((NEARLY, 8, 3), 2),  # nearly as good, with fewer weights
        ((UNEVEN, 9, 1), 2),  # as good, as many weights, closer to the base
        ((UNEVEN, 9, 2), 1),  # alike in all: the earlier
        ((UNEVEN, 10, 0), 1),  # more weights
    ],
)
def test_the_simplest_within_one_standard_error_is_taken(
    simple: tuple[list[tuple[int, int, int]], int, int], wins: int
) -> None:
    """Fewest weights, then fewest fields that differ, then the earlier trial."""
    rows, parameters, differing = simple
    base = candidate("base", [(2, 8, 8)] * 12, differing=0)
    best = candidate("trial 1", [GOOD] * 12, parameters=9, differing=2)
    found = choose([base, best, candidate("trial 2", rows, parameters=parameters, differing=differing)])
    assert found.chosen == wins
    assert found.compared[wins - 1].why.endswith("the best" if wins == 1 else "within one standard error of trial 1")
    assert found.compared[2 - wins].why.endswith(f"not as simple as trial {wins}")


def test_one_patch_and_no_landslide_prove_nothing() -> None:
    """One patch has an interval of all that is possible; without landslide every F1 is 0."""
    for perfect, bad in (([(10, 0, 0)], [(0, 10, 10)]), ([(0, 0, 0)] * 3, [(0, 9, 0)] * 3)):
        found = choose([candidate("base", bad, differing=0), candidate("trial 1", perfect)])
        assert found.chosen == 0
    (one,) = choose([candidate("base", [FAIR]), candidate("trial 1", [GOOD])]).compared
    assert (one.ahead.value, one.ahead.interval) == (pytest.approx(0.2), (-1, 1))


HIT, MISS = (10, 0, 0), (0, 0, 10)


def test_what_choosing_added_is_what_is_lost_on_patches_left_out() -> None:
    """Two trials, each perfect on one patch and blind on the other: whichever is best on one patch misses the other."""
    searched = [table([HIT, MISS]), table([MISS, HIT])]
    found = corrected(searched[:1], searched)
    # Either has 20 / (20 + 10) = 2/3. Left out, both patches are missed: F1 0.
    assert (found.drop, found.value, found.trials) == (pytest.approx(2 / 3), 0, 2)
    assert found.interval == (0, pytest.approx(1 / 3))
    assert found.describe() == "after correction for 2 trials 0.0000 (0.0000 to 0.3333)"


def test_where_choosing_changes_nothing_nothing_is_taken_off() -> None:
    """One trial; equal trials; one that is the best of any patches: the score of the confirmation stays."""
    base, best = table([FAIR] * 4), table([GOOD] * 4)
    for searched, first in (([base], None), ([base] * 5, None), ([base, best, base], None), ([base, best], 0)):
        found = corrected([best, table([BETTER] * 4)], searched, base=first)
        # TP 15, FP 5, FN 5: 30 / 40.
        assert (found.value, found.drop, found.trials) == (pytest.approx(0.75), 0, len(searched))
        assert found.interval.low < 0.75 < found.interval.high


def test_where_the_base_stays_its_score_was_not_chosen() -> None:
    """The two trials above: by two patches neither can be ahead of the other, so in every draw the base stays."""
    searched = [table([HIT, MISS]), table([MISS, HIT])]
    assert corrected(searched[:1], searched, base=0)[:2] == (pytest.approx(2 / 3), 0)


def test_a_tuned_configuration_that_some_draws_miss_loses_a_little() -> None:
    """Ten patches on which it is better, two on which it is blind: draws with more of these keep the base.

    Left out, the ten are then better than on the whole, as often the tuned one is chosen; the base's share of draws
    lowers them. The highest score alone would be chosen in every draw but a few.
    """
    searched = [table([FAIR] * 12), table([(9, 1, 1)] * 10 + [(4, 6, 6)] * 2)]
    careful, greedy = (corrected(searched[1:], searched, base=base).drop for base in (0, None))
    # F1 of the tuned one .9 and .4 on patches of 20 pixels each: 98 x 2 / 240 = .8167, the base .6 everywhere.
    assert 0 <= greedy < careful < 0.8167 - 0.6


def test_one_patch_and_no_landslide_have_no_correction() -> None:
    """Nothing is left out of draws of one patch, and everything may be; a score of 0 stays 0."""
    for base in (0, None):
        found = corrected([table([GOOD])], [table([GOOD]), table([FAIR])], base=base)
        assert found == (pytest.approx(0.8), 0, (0, 1), 2)
    empty = [table([(0, 5, 0), (0, 0, 0)])] * 2
    assert corrected(empty, empty)[:3] == (0, 0, (0, 0))
    with pytest.raises(ValueError, match="not of the same patches"):
        corrected([table([GOOD])], [table([GOOD] * 2)])
