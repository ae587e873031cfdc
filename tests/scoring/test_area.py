"""Accuracy and area of a sample: a published example, and intervals that hold the truth as often as they say."""

import math

import numpy as np
import pytest

from lsml.scoring.area import Estimate, allocate, assess, sample_size

# Olofsson et al. 2014, tables 8 and 9: deforestation, forest gain, stable forest, stable non-forest.
PIXELS = (200_000, 150_000, 3_200_000, 6_450_000)
MATRIX = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])


def test_the_published_example_comes_out() -> None:
    """Section 5: overall .95 +- .02; user's with their margins, producer's; 235,086 pixels = 21,158 +- 6,158 ha.

    A pixel of 30 m has .09 ha. Published figures are rounded to two digits.
    """
    found = assess(MATRIX, [0.09 * pixels for pixels in PIXELS])
    assert [round(found.overall.value, 2), round(found.overall.margin, 2)] == [0.95, 0.02]
    assert [round(each.value, 2) for each in found.users] == [0.88, 0.73, 0.93, 0.96]
    assert [round(each.margin, 2) for each in found.users] == [0.07, 0.10, 0.04, 0.02]
    assert [round(each.value, 2) for each in found.producers] == [0.75, 0.85, 0.93, 0.96]
    assert round(found.areas[0].value / 0.09) == 235_086
    assert [round(found.areas[0].value), round(found.areas[0].margin)] == [21_158, 6_158]


def test_two_classes_by_hand() -> None:
    """Of 100 and 900 ha, 8 of 10 and 1 of 10 points are landslide.

    Landslide: .1 * .8 + .9 * .1 = .17. Its variance: .01 * .8 * .2 / 9 + .81 * .1 * .9 / 9 = .008278, of which the
    root is .09098. Overall .1 * .8 + .9 * .9 = .89; producer's .08 / .17 = .470588.
    """
    found = assess(np.array([[8, 2], [1, 9]]), (100, 900))
    assert found.shares[0].value == pytest.approx(0.17)
    assert found.shares[0].error == pytest.approx(0.090982, abs=1e-6)
    assert found.areas[0] == pytest.approx((170, 90.982), abs=1e-3)
    assert found.overall.value == pytest.approx(0.89)
    assert found.producers[0].value == pytest.approx(0.470588, abs=1e-6)
    assert found.areas[0].describe(0) == "170 +- 178"


def test_what_is_not_on_the_ground_has_no_producers_accuracy() -> None:
    """No point is landslide: nothing to find, which is neither right nor wrong."""
    found = assess(np.array([[0, 10], [0, 10]]), (1, 9))
    assert found.users[0] == Estimate(0, 0)
    assert math.isnan(found.producers[0].value)
    assert found.areas[0] == (0, 0)


def test_the_size_of_the_published_sample() -> None:
    """Section 5.1.1: user's accuracies of .7, .6, .9 and .95 are expected, and .01 wanted: 641 points."""
    assert sample_size(PIXELS, (0.7, 0.6, 0.9, 0.95), 0.01) == 641


@pytest.mark.parametrize(
    ("total", "areas", "points"),
    [
        (641, (2, 98), (75, 566)),  # 641 * .02 = 13 would tell nothing of landslides
        (1000, (20, 80), (200, 800)),
        (100, (1, 99), (50, 50)),  # half, below 150
        (641, (98, 2), (566, 75)),
    ],
)
def test_points_go_by_area_but_for_the_smaller_class(
    total: int, areas: tuple[float, float], points: tuple[int, int]
) -> None:
    """As in the example: so many that its user's accuracy is known, the rest by area."""
    assert allocate(total, areas) == points


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Of 1,000 samples of 2,400 points 93 to 97 % do.

    The map is right on 80 % of its landslides and 95 % of the rest. Landslide on the ground: .1 * .8 + .9 * .05 = .125;
    producer's accuracy .08 / .125 = .64.
    """
    rng = np.random.default_rng(0)
    truth = {"overall": 0.1 * 0.8 + 0.9 * 0.95, "users": 0.8, "producers": 0.64, "areas": 125.0}
    held = dict.fromkeys(truth, 0)
    for _ in range(1000):
        hits, misses = rng.binomial(600, 0.8), rng.binomial(1800, 0.05)
        found = assess(np.array([[hits, 600 - hits], [misses, 1800 - misses]]), (100, 900))
        estimates = {"overall": found.overall} | {name: getattr(found, name)[0] for name in list(truth)[1:]}
        for name, estimate in estimates.items():
            held[name] += abs(estimate.value - truth[name]) <= estimate.margin
    assert all(930 <= times <= 970 for times in held.values()), held
