"""The input layers against values worked out by hand."""

import os
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from lsml.config.schema import InputConfig, TrainConfig
from lsml.data.formats import read_image
from lsml.data.sensor import GROUPS
from lsml.data.statistics import PERCENTS, BandStatistics
from lsml.errors import ConfigError
from lsml.models.inputs import NDVI, SETS, features_of, reflectance, replace_nonfinite, scale, spectral_index
from lsml.models.inputs import _six_inputs as six_inputs
from tests.bands import BANDS, BLUE, CONSTANTS, ELEVATION, GREEN, N_BANDS, NEAR_INFRARED, RED, SENSOR, SLOPE

pytestmark = pytest.mark.landslide4sense("indices and inputs are worked out by hand from its roles")


def _scaled(stored: np.ndarray, scaling: str, statistics: BandStatistics) -> np.ndarray:
    bands = keras.Input((None, None, N_BANDS))
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
    np.testing.assert_array_equal(_scaled(np.full(N_BANDS, -1e6), scaling, statistics), [limits[0]] * N_BANDS)
    np.testing.assert_array_equal(_scaled(np.full(N_BANDS, 1e6), scaling, statistics), [limits[1]] * N_BANDS)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nonfinite_values_become_the_median(value: float, statistics: BandStatistics) -> None:
    """NaN and infinities give what the band's train median gives."""
    expected = _scaled(np.array(statistics.median), "standard", statistics)
    # (median - mean) / std = -.1 / .5; the last band's median is its mean
    np.testing.assert_allclose(expected, [-0.2] * 13 + [0.0], atol=1e-6)
    np.testing.assert_array_equal(_scaled(np.full(N_BANDS, value), "standard", statistics), expected)


def _features(stored: np.ndarray, statistics: BandStatistics, **values: object) -> np.ndarray:
    """Of stored bands (14,), as the encoder gets them."""
    bands = keras.Input((None, None, N_BANDS))
    model = keras.Model(bands, features_of(bands, InputConfig.model_validate(values), statistics))
    return np.asarray(model(stored[None, None, None].astype("float32")))[0, 0, 0]


OFF = dict.fromkeys(GROUPS, False)


def test_every_band_is_in_one_group() -> None:
    """The groups are the true-or-false fields of the input layer, and together all bands of Landslide4Sense."""
    roles = [role for members in GROUPS.values() for role in members]
    assert sorted(roles) == sorted(band.role for band in BANDS)
    switches = {spec.name for spec in TrainConfig.fields() if spec.kind == "bool" and spec.name.startswith("input.")}
    assert switches == {f"input.{group}" for group in GROUPS}


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_turned_off_leaves_the_others_as_they_were(group: str, statistics: BandStatistics) -> None:
    """The bands of all other groups stay in their order; with it alone turned on there is nothing but its bands."""
    stored = np.array(statistics.mean) + np.arange(N_BANDS) / 20
    everything = _scaled(stored, "standard", statistics)
    own = [SENSOR.place(role) for role in GROUPS[group]]
    rest = [band for band in range(N_BANDS) if band not in own]
    np.testing.assert_array_equal(_features(stored, statistics), everything)
    np.testing.assert_array_equal(_features(stored, statistics, **{group: False}), everything[rest])
    np.testing.assert_array_equal(_features(stored, statistics, **(OFF | {group: True})), everything[own])


def test_with_nothing_to_look_at_there_is_no_network(statistics: BandStatistics) -> None:
    """All bands off and no index is one line that says what to set; an index alone will do."""
    with pytest.raises(ConfigError, match="all bands and indices are off") as caught:
        _features(np.ones(N_BANDS), statistics, **OFF)
    assert "\n" not in str(caught.value)
    assert _features(np.ones(N_BANDS), statistics, **OFF, indices="vegetation").shape == (2,)


def _stored(**reflectances: float) -> np.ndarray:
    """Stored bands of the given reflectances x 10,000, `B1` to `B12`; the others are 0."""
    physical = np.zeros(N_BANDS)
    for name, value in reflectances.items():
        physical[int(name[1:]) - 1] = value
    return physical / np.array(CONSTANTS)


def test_indices_by_hand(statistics: BandStatistics) -> None:
    """Each index is its formula of reflectances, not of stored values, and follows the bands."""
    stored = _stored(B2=500, B3=800, B4=1000, B5=1500, B8=3000, B11=2000, B12=1000)
    expected = [
        2000 / 4000,  # NDVI: (3000 - 1000) / (3000 + 1000)
        1500 / 4500,  # NDRE: (3000 - 1500) / (3000 + 1500)
        -2200 / 3800,  # NDWI: (800 - 3000) / (800 + 3000)
        1000 / 5000,  # NDMI: (3000 - 2000) / (3000 + 2000)
        2000 / 4000,  # NBR: (3000 - 1000) / (3000 + 1000)
        -500 / 6500,  # BSI: (2000 + 1000 - 3000 - 500) / (2000 + 1000 + 3000 + 500)
    ]
    found = _features(stored, statistics, indices="all")
    assert [index.name for index in SETS["all"]] == ["NDVI", "NDRE", "NDWI", "NDMI", "NBR", "BSI"]
    np.testing.assert_allclose(found[14:], expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found[:14], _features(stored, statistics))
    np.testing.assert_array_equal(_features(stored, statistics, indices="vegetation", **OFF), found[14:16])


@pytest.mark.parametrize("value", [0.0, -5.0, 1e-30, 3e38, np.nan, np.inf])
def test_indices_are_finite_whatever_is_stored(value: float, statistics: BandStatistics) -> None:
    """Dark, negative, damaged and missing pixels give indices in -1..1; two bands of 0 give 0."""
    found = _features(np.full(N_BANDS, value), statistics, indices="all", **OFF)
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 1
    if value <= 0:
        np.testing.assert_array_equal(found, np.zeros(6))


@pytest.mark.skipif("LSML_REAL_DATA" not in os.environ, reason="LSML_REAL_DATA names no folder of real patches")
def test_ndvi_of_the_real_patches() -> None:
    """Over all pixels of the twelve real patches NDVI averages .595, as forest has; of stored values -.02."""
    folder = Path(os.environ["LSML_REAL_DATA"]) / "landslide4sense" / "img"
    stored = np.stack([read_image(path, SENSOR) for path in sorted(folder.glob("*.h5"))]).astype("float32")
    assert len(stored) == 12
    bands = keras.Input((None, None, N_BANDS))
    found = np.asarray(keras.Model(bands, spectral_index(reflectance(bands, SENSOR), NDVI, SENSOR))(stored))
    red, near_infrared = stored[..., RED], stored[..., NEAR_INFRARED]
    assert found.mean(dtype=float) == pytest.approx(0.595, abs=0.001)
    assert ((near_infrared - red) / (near_infrared + red)).mean(dtype=float) == pytest.approx(-0.021, abs=0.001)


@pytest.mark.parametrize(("scaling", "low", "high"), [("standard", -1.698, 1.698), ("minmax", 0.0, 1.0)])
def test_values_beyond_the_percentiles_count_as_the_percentiles(
    scaling: str, low: float, high: float, statistics: BandStatistics
) -> None:
    """Of values evenly spread over 0..1 with a tail to 1000, those beyond 1 % and 99 % count as these two."""
    row = [min(percent / 100, 0.99) for percent in PERCENTS[:-1]] + [1000.0]
    tailed = replace(
        statistics,
        mean=(0.6,) * N_BANDS,
        std=(10.0,) * N_BANDS,
        minimum=(0.0,) * N_BANDS,
        maximum=(1000.0,) * N_BANDS,
        quantiles=tuple((value,) * N_BANDS for value in row),
    )
    # Mean .5; .98 of the values lie evenly in .5 -+ .49, .01 at either end:
    # variance .98 * .49^2 / 3 + .02 * .49^2 = .08324, and .49 / sqrt(.08324) = 1.698
    for value, expected in ((1000.0, high), (0.99, high), (0.01, low), (-3.0, low)):
        found = _features(np.full(N_BANDS, value), tailed, scaling=scaling, clip_percentile=1)
        np.testing.assert_allclose(found, np.full(N_BANDS, expected), atol=0.005)
    # Without clipping the tail makes .99 an average value: (.99 - .6) / 10
    np.testing.assert_allclose(_features(np.full(N_BANDS, 0.99), tailed), np.full(N_BANDS, 0.039), atol=1e-6)


def _patch() -> np.ndarray:
    """A 2 x 2 patch `(1, 2, 2, 14)`; bands that are not among the six inputs are 9 and would stand out."""
    bands = np.full((1, 2, 2, N_BANDS), 9, np.float32)
    bands[0, ..., BLUE] = [[1, 0], [2, 3]]
    bands[0, ..., GREEN] = [[2, 1], [1, 4]]
    bands[0, ..., RED] = [[1, 3], [2, 0]]
    bands[0, ..., NEAR_INFRARED] = [[3, 1], [2, 0]]
    bands[0, ..., SLOPE] = [[0, 1], [2, 5]]
    bands[0, ..., ELEVATION] = [[4, 3], [2, 1]]
    return bands


def test_the_six_inputs_by_hand() -> None:
    """Colours by half of their common maximum, NDVI of stored values, slope and elevation by half of their own."""
    inputs = ops.convert_to_numpy(six_inputs(ops.convert_to_tensor(_patch()), SENSOR))[0]
    # Largest of blue, green and red: 4, so 1 - x / 2.
    np.testing.assert_allclose(inputs[..., 0], [[0.5, -0.5], [0, 1]])
    np.testing.assert_allclose(inputs[..., 1], [[0, 0.5], [0.5, -1]])
    np.testing.assert_allclose(inputs[..., 2], [[0.5, 1], [0, -0.5]])
    # (3 - 1) / 4, (1 - 3) / 4, (2 - 2) / 4, and 0 where both are 0.
    np.testing.assert_allclose(inputs[..., 3], [[0.5, -0.5], [0, 0]])
    # 1 - x / 2.5
    np.testing.assert_allclose(inputs[..., 4], [[1, 0.6], [0.2, -1]], rtol=1e-6)
    # 1 - x / 2
    np.testing.assert_allclose(inputs[..., 5], [[-1, -0.5], [0, 0.5]])


def test_every_patch_is_scaled_by_itself() -> None:
    """A patch four times as high has the same inputs, and beside it in a batch the other keeps its own."""
    alone = ops.convert_to_numpy(six_inputs(ops.convert_to_tensor(_patch()), SENSOR))
    both = ops.convert_to_numpy(six_inputs(ops.convert_to_tensor(np.concatenate([4 * _patch(), _patch()])), SENSOR))
    np.testing.assert_allclose(both, np.concatenate([alone, alone]), rtol=1e-6)


def test_a_patch_of_zeros_has_finite_inputs() -> None:
    """Nothing is divided by zero: 1 - 0 for all but NDVI, which is 0."""
    inputs = ops.convert_to_numpy(six_inputs(ops.zeros((1, 2, 2, N_BANDS)), SENSOR))
    np.testing.assert_array_equal(inputs, np.broadcast_to([1, 1, 1, 0, 1, 1], (1, 2, 2, 6)))
