"""Bootstrap intervals: by hand on tables that have few outcomes, and against draws made one at a time."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from lsml.scoring.bootstrap import DRAWS, difference, intervals
from lsml.scoring.metrics import METRICS, average_precision, f1


def test_patches_that_are_all_alike_leave_no_doubt() -> None:
    """Whatever is drawn from equal patches, the scores are those of one of them."""
    found = intervals(np.tile([6, 2, 1], (10, 1)), METRICS)
    # TP 6, FP 2, FN 1: precision 6/8, recall 6/7, F1 12/15, IoU 6/9
    for name, value in (("precision", 0.75), ("recall", 6 / 7), ("f1", 0.8), ("iou", 6 / 9)):
        assert found[name] == pytest.approx((value, value)), name


def test_two_patches_by_hand() -> None:
    """A perfect patch and a missed one: a quarter of the draws has the one twice, a quarter the other, half both."""
    low, high = intervals(np.array([[10, 0, 0], [0, 0, 10]]), {"f1": f1})["f1"]
    # F1 is 1, 2 x 10 / (20 + 10) = 2/3 or 0; 2.5 % and 97.5 % lie within the outer quarters.
    assert (low, high) == (0.0, 1.0)


def test_draws_are_of_whole_patches_with_replacement() -> None:
    """The interval is that of draws made one by one with a generator of its own, to sampling error."""
    random = np.random.default_rng(3)
    counts = random.poisson([30, 10, 12], size=(50, 3)) * random.integers(0, 5, size=(50, 1))
    slow = np.random.default_rng(4)
    scores = [f1(counts[slow.integers(0, 50, 50)].sum(axis=0, keepdims=True).astype(float))[0] for _ in range(4000)]
    value = f1(counts.sum(axis=0))
    # Fifty patches: sqrt(50 / 49) x 2.0096 / 1.9600 = 1.0357 times as far from the score.
    expected = value + 1.0357 * (np.quantile(scores, [0.025, 0.975]) - value)
    # An end of the interval is known to about 2 sqrt(.025 x .975 / 2000) / density, here some .003.
    np.testing.assert_allclose(intervals(counts, {"f1": f1})["f1"], expected, atol=0.01)


def test_the_seed_decides() -> None:
    """The same seed gives the same interval, another one another."""
    counts = np.random.default_rng(0).integers(0, 99, (20, 3))
    first, again, other = (intervals(counts, {"f1": f1}, seed=seed)["f1"] for seed in (1, 1, 2))
    assert first == again != other


def test_few_patches_widen_an_interval() -> None:
    """Twelve patches, every second perfect: F1 .5 of draws that are binomial, and an interval 1.17 times as wide."""
    counts = np.array([[10, 0, 0], [0, 10, 10]] * 6)
    low, high = intervals(counts, {"f1": f1})["f1"]
    # k of 12 perfect: F1 is k / 12. 3..9 have all but 2 x 1.9 % of the chance, so the percentiles are 3/12 and 9/12;
    # sqrt(12 / 11) x 2.2010 / 1.9600 = 1.1729 times .25 on either side.
    assert (low, high) == pytest.approx((0.5 - 0.2932, 0.5 + 0.2932), abs=1e-4)
    # Of one patch nothing is known of others.
    assert intervals(counts[:1], {"f1": f1})["f1"] == (0, 1)
    assert difference(counts[:1], counts[:1], f1).interval == (-1, 1)


def test_repeats_of_the_same_patches_are_no_more_patches() -> None:
    """Two equal repeats have the interval of one of them; the score is of both."""
    counts = np.random.default_rng(0).integers(0, 99, (20, 3))
    twice, once = (intervals(table, {"f1": f1})["f1"] for table in (np.stack([counts] * 2), counts))
    assert twice == pytest.approx(once)


def test_no_landslide_scores_0_and_no_patch_is_refused() -> None:
    """Sums of zeros divide by nothing; an empty table has no interval."""
    found = intervals(np.zeros((5, 3), int), METRICS)
    assert set(found.values()) == {(0.0, 0.0)}
    with pytest.raises(ValueError, match="no patches"):
        intervals(np.zeros((0, 3), int), METRICS)


def test_a_difference_is_resampled_in_pairs() -> None:
    """One better by the same two hits on every patch wins in every draw, though both scores vary widely."""
    base = np.array([[10, 5, 10], [80, 20, 40], [3, 0, 9], [40, 90, 10]] * 5)
    better = base + np.array([2, 0, -2])
    found = difference(better, base, f1)
    # F1 of the sums: 2 x 141 / (282 + 115 + 61) - 2 x 133 / (266 + 115 + 69)
    assert found.value == pytest.approx(282 / 458 - 266 / 450)
    assert found.first_higher == 1.0
    assert 0 < found.interval.low < found.value < found.interval.high
    same = difference(base, base, f1)
    assert same == (0.0, (0.0, 0.0), 0.5)
    with pytest.raises(ValueError, match="not of the same patches"):
        difference(base, base[:3], f1)


def test_average_precision_of_a_table_is_scikit_learns() -> None:
    """On probabilities of the table's own thresholds, over the pixels of all patches."""
    random = np.random.default_rng(0)
    truth = random.random((6, 200)) < 0.2
    level = np.clip(random.integers(0, 20, truth.shape) + 4 * truth, 0, 19)
    table = np.stack(
        [
            np.concatenate([np.bincount(level[i][truth[i] == kind], minlength=20) for kind in (False, True)])
            for i in range(6)
        ]
    )
    expected = average_precision_score(truth.ravel(), level.ravel())
    assert average_precision(table.sum(axis=0, keepdims=True).astype(float))[0] == pytest.approx(expected, abs=1e-12)
    low, high = intervals(table, {"ap": average_precision})["ap"]
    assert low < expected < high
    assert DRAWS >= 1000
