"""Band statistics gathered patch by patch, against NumPy on all of the values at once."""

import json
from collections.abc import Iterator

import numpy as np
import pytest

from lsml.bands import BANDS
from lsml.data.encoding import as_integers, as_stored
from lsml.data.statistics import BandStatistics, band_statistics
from lsml.errors import DataError


def test_agrees_with_numpy_on_concatenated_patches() -> None:
    """Values of both signs and many magnitudes, with NaN and inf that must not count."""
    rng = np.random.default_rng(0)
    patches = [(rng.normal(size=(16, 16, 14)) * 10.0 ** rng.integers(-3, 4, 14)).astype(np.float32) for _ in range(5)]
    patches[0][:3, :, 2] = np.nan
    patches[1][5, 5, :] = np.inf
    patches[4][..., 7] = -np.inf
    statistics = band_statistics(lambda: iter(patches))
    together = np.concatenate(patches).reshape(-1, 14).astype(np.float64)
    for band in range(14):
        values = together[np.isfinite(together[:, band]), band]
        assert statistics.mean[band] == pytest.approx(values.mean(), rel=1e-9, abs=1e-12 * np.abs(values).max())
        assert statistics.std[band] == pytest.approx(values.std(), rel=1e-9)
        assert statistics.minimum[band] == values.min()
        assert statistics.maximum[band] == values.max()
        assert statistics.median[band] == np.sort(values)[(len(values) - 1) // 2]


def test_median_is_the_lower_one() -> None:
    """Of 1, 2, 3, 4 the two middle values are 2 and 3: 2 occurs, 2.5 does not."""
    patch = np.repeat(np.array([4, 1, 3, 2], np.float32).reshape(2, 2, 1), 14, axis=2)
    statistics = band_statistics(lambda: iter([patch]))
    assert statistics.median == (2.0,) * 14
    assert statistics.mean == (2.5,) * 14
    assert statistics.std == pytest.approx((1.25**0.5,) * 14)  # ((1.5² + .5²) * 2) / 4 = 1.25


def test_large_offset_costs_no_precision() -> None:
    """Sums of squares would lose the spread of values near 1e6; in float32 1e6 + 0 and 1e6 + 1 have std .5."""
    patch = np.full((2, 2, 14), 1e6, np.float32)
    patch[0] += 1
    statistics = band_statistics(lambda: iter([patch] * 50))
    assert statistics.std == pytest.approx((0.5,) * 14, rel=1e-9)
    assert statistics.mean == pytest.approx((1e6 + 0.5,) * 14, rel=1e-12)


def test_one_patch_is_held_at_a_time() -> None:
    """Patches come from a generator, in two passes of one each."""
    passes = []

    def patches() -> Iterator[np.ndarray]:
        passes.append(1)
        yield from (np.full((2, 2, 14), value, np.float32) for value in range(3))

    assert band_statistics(patches).maximum == (2.0,) * 14
    assert len(passes) == 2


def test_band_without_a_finite_value_is_named() -> None:
    """There is no median to replace anything with."""
    patch = np.ones((2, 2, 14), np.float32)
    patch[..., 12] = np.nan
    with pytest.raises(DataError, match="band slope: no finite value"):
        band_statistics(lambda: iter([patch]))


def test_survives_json() -> None:
    """What the manifest holds gives back the same numbers; a part of it does not pass."""
    patch = np.random.default_rng(1).random((4, 4, len(BANDS))).astype(np.float32)
    statistics = band_statistics(lambda: iter([patch]))
    tree = json.loads(json.dumps(statistics.to_dict()))
    assert BandStatistics.from_dict(tree) == statistics
    tree["std"].pop()
    with pytest.raises(ValueError, match="not 14 values"):
        BandStatistics.from_dict(tree)


def test_integers_over_constants_are_recognised() -> None:
    """Exact products and products that went through float32 count as integers; others do not."""
    integers = np.random.default_rng(2).integers(0, 65536, (32, 32, 14))
    stored = as_stored(integers.astype(np.uint16))
    np.testing.assert_array_equal(as_integers(stored), integers)
    np.testing.assert_array_equal(as_integers(stored.astype(np.float64)), integers)
    for wrong in (-1.0, 65536.0, 2000.01):
        shifted = stored.astype(np.float64)
        shifted[3, 4, 5] = wrong / BANDS[5].constant
        assert as_integers(shifted) is None
