"""The input layers against values worked out by hand."""

import keras
import numpy as np
import pytest

from lsml.config import InputConfig
from lsml.data.statistics import BandStatistics
from lsml.models.inputs import replace_nonfinite, scale


def _scaled(stored: np.ndarray, scaling: str, statistics: BandStatistics) -> np.ndarray:
    bands = keras.Input((None, None, 14))
    finite = replace_nonfinite(bands, statistics.median)
    model = keras.Model(bands, scale(finite, InputConfig(scaling=scaling), statistics))
    return np.asarray(model(stored[None, None, None].astype("float32")))[0, 0, 0]


def test_standard_scaling_subtracts_the_mean_and_divides_by_the_deviation(statistics: BandStatistics) -> None:
    """A value one deviation above the mean is 1, and the constant band is only shifted."""
    stored = np.array(statistics.mean) + 0.5
    # (mean + .5 - mean) / .5 = 1; the last: (3.5 - 3) / 1
    np.testing.assert_allclose(_scaled(stored, "standard", statistics), [1.0] * 13 + [0.5], atol=1e-6)


def test_minmax_scaling_runs_from_0_to_1(statistics: BandStatistics) -> None:
    """A quarter of the way from the least to the greatest value is .25; a constant band is 0."""
    stored = np.array([1.0] * 13 + [3.0])
    np.testing.assert_allclose(_scaled(stored, "minmax", statistics), [0.25] * 13 + [0.0], atol=1e-6)


@pytest.mark.parametrize(("scaling", "limits"), [("standard", (-10, 10)), ("minmax", (-1, 2))])
def test_far_values_are_cut_off(scaling: str, limits: tuple[int, int], statistics: BandStatistics) -> None:
    """A damaged value of a million counts as far out, and no further."""
    np.testing.assert_array_equal(_scaled(np.full(14, -1e6), scaling, statistics), [limits[0]] * 14)
    np.testing.assert_array_equal(_scaled(np.full(14, 1e6), scaling, statistics), [limits[1]] * 14)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nonfinite_values_become_the_median(value: float, statistics: BandStatistics) -> None:
    """NaN and infinities give what the band's train median gives."""
    expected = _scaled(np.array(statistics.median), "standard", statistics)
    # (median - mean) / std = -.1 / .5; the last band's median is its mean
    np.testing.assert_allclose(expected, [-0.2] * 13 + [0.0], atol=1e-6)
    np.testing.assert_array_equal(_scaled(np.full(14, value), "standard", statistics), expected)
