"""The rule of promotion on differences worked out by hand."""

import numpy as np
import pytest

from lsml.errors import DataError
from lsml.scoring.bootstrap import Difference, Interval
from lsml.scoring.comparison import PatchCounts, ScoredModel, ScoreKind, mean_f1_above
from lsml.scoring.promotion_policy import MARGIN, _decide_by_difference, decide


def ahead(value: float, low: float, high: float) -> Difference:
    return Difference(value, Interval(low, high), 0.5)


@pytest.mark.parametrize(
    ("difference", "shortfall", "not_worse", "left"),
    [
        (ahead(0.02, -0.01, 0.05), 0.0, True, 0.0),
        (ahead(0.0, 0.0, 0.0), 0.0, True, 0.0),
        # Half of the margin below, and it may be luck.
        (ahead(-0.0025, -0.01, 0.01), 0.0, True, 0.0025),
        # As little, but not by luck.
        (ahead(-0.0025, -0.004, -0.001), 0.0, False, 0.0025),
        # It may be luck, on few patches, but it is too much.
        (ahead(-0.05, -0.2, 0.1), 0.0, False, 0.05),
        # Twice .003 is more than .005: what the champion gave away counts.
        (ahead(-0.003, -0.01, 0.01), 0.003, False, 0.006),
        # .004 won back of .003 given away leaves nothing.
        (ahead(0.004, -0.01, 0.01), 0.003, True, 0.0),
    ],
)
def test_a_model_is_worse_by_its_interval_or_by_the_margin(
    difference: Difference, shortfall: float, not_worse: bool, left: float
) -> None:
    """Both bounds hold by themselves, and small steps down add up."""
    found = _decide_by_difference(difference, shortfall=shortfall, called="champion")
    assert found.not_worse is not_worse
    assert found.shortfall == pytest.approx(left)
    assert found.why.startswith("not worse" if not_worse else "worse")


def test_many_small_steps_down_are_refused_in_the_end() -> None:
    """Each model .002 below the one before it: the third would be .006 below the first, more than .005."""
    shortfall, steps = 0.0, []
    for _ in range(3):
        found = _decide_by_difference(ahead(-0.002, -0.01, 0.01), shortfall=shortfall, called="champion")
        steps.append(found.not_worse)
        shortfall = found.shortfall
    assert steps == [True, True, False]
    assert shortfall > MARGIN


def table(*rows: tuple[int, int, int]) -> PatchCounts:
    return PatchCounts(tuple(f"image_{n}" for n in range(len(rows))), np.array(rows))


def test_the_mean_over_seeds_is_held_against_the_champion() -> None:
    """F1 6/8 and 2/8 of two seeds against 4/8: the mean is equal, and each alone is f1_above."""
    # TP, FP, FN of one patch each: 2 TP / (2 TP + FP + FN).
    high, low, champion = table((3, 1, 1)), table((1, 3, 3)), table((2, 2, 2))
    assert mean_f1_above([high, low], [champion]).value == pytest.approx(0)
    assert mean_f1_above([high], [champion]) == high.f1_above(champion)
    assert mean_f1_above([high], [champion]).value == pytest.approx(0.25)
    assert mean_f1_above([high], [low, champion]).value == pytest.approx(6 / 8 - 3 / 8)
    with pytest.raises(ValueError, match="same patches"):
        mean_f1_above([high], [PatchCounts(("image_9",), champion.confusion)])


KIND = ScoreKind("own", "a" * 64, "pooled", "same")


def test_fresh_seeds_that_are_worse_refuse_what_is_not_worse_itself() -> None:
    """The model equals the champion, F1 4/8, but its configuration's mean over two seeds is 2/8 below it."""
    low, high = (ScoredModel(name, table(row), KIND) for name, row in (("low", (1, 3, 3)), ("high", (2, 2, 2))))
    assert decide(high, None).not_worse
    assert decide(high, high).not_worse
    refused = decide(high, high, repeats=[low, low])
    assert (refused.not_worse, refused.shortfall, refused.why[:23]) == (False, 0.0, "over fresh seeds worse:")
    assert refused.repeats is not None
    assert refused.repeats.value == pytest.approx(-2 / 8)
    assert decide(high, high, repeats=[low, low], champion_repeats=[low]).not_worse


def test_models_that_were_scored_otherwise_are_not_compared() -> None:
    """Of another split, or on other patches: both runs are named, also where a repeat of the champion is the one."""
    champion = ScoredModel("one", table((2, 2, 2)), KIND)
    elsewhere = champion._replace(run_id="two", kind=KIND._replace(split="random"))
    for other in (elsewhere, ScoredModel("two", table((2, 2, 2), (1, 1, 1)), KIND)):
        with pytest.raises(DataError, match="runs one and two are not comparable"):
            decide(other, champion)
        with pytest.raises(DataError, match="and two are not"):
            decide(champion, champion, repeats=[champion], champion_repeats=[other])
