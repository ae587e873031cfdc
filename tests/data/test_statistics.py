"""Band statistics gathered patch by patch, against NumPy on all of the values at once."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lsml.data.layout import PatchFiles
from lsml.data.packing import pack_split
from lsml.data.statistics import PERCENTS, BandStatistics, IntegerCounts
from lsml.errors import DataError
from tests.bands import BANDS, CONSTANTS, N_BANDS, SENSOR, SLOPE
from tests.data.conftest import WritePatch


def test_agrees_with_numpy_on_concatenated_patches() -> None:
    """Values of both signs and many magnitudes, with NaN and inf that must not count."""
    rng = np.random.default_rng(0)
    patches = [
        (rng.normal(size=(16, 16, N_BANDS)) * 10.0 ** rng.integers(-3, 4, N_BANDS)).astype(np.float32) for _ in range(5)
    ]
    patches[0][:3, :, 2] = np.nan
    patches[1][5, 5, :] = np.inf
    patches[4][..., -2] = -np.inf
    statistics = BandStatistics.of(lambda: iter(patches), SENSOR)
    together = np.concatenate(patches).reshape(-1, N_BANDS).astype(np.float64)
    for band in range(N_BANDS):
        values = together[np.isfinite(together[:, band]), band]
        assert statistics.mean[band] == pytest.approx(values.mean(), rel=1e-9, abs=1e-12 * np.abs(values).max())
        assert statistics.std[band] == pytest.approx(values.std(), rel=1e-9)
        assert statistics.minimum[band] == values.min()
        assert statistics.maximum[band] == values.max()
        assert statistics.median[band] == np.sort(values)[(len(values) - 1) // 2]


def test_median_is_the_lower_one() -> None:
    """Of 1, 2, 3, 4 the two middle values are 2 and 3: 2 occurs, 2.5 does not."""
    patch = np.repeat(np.array([4, 1, 3, 2], np.float32).reshape(2, 2, 1), N_BANDS, axis=2)
    statistics = BandStatistics.of(lambda: iter([patch]), SENSOR)
    assert statistics.median == (2.0,) * N_BANDS
    assert statistics.mean == (2.5,) * N_BANDS
    assert statistics.std == pytest.approx((1.25**0.5,) * N_BANDS)  # ((1.5² + .5²) * 2) / 4 = 1.25


def test_large_offset_costs_no_precision() -> None:
    """Sums of squares would lose the spread of values near 1e6; in float32 1e6 + 0 and 1e6 + 1 have std .5."""
    patch = np.full((2, 2, N_BANDS), 1e6, np.float32)
    patch[0] += 1
    statistics = BandStatistics.of(lambda: iter([patch] * 50), SENSOR)
    assert statistics.std == pytest.approx((0.5,) * N_BANDS, rel=1e-9)
    assert statistics.mean == pytest.approx((1e6 + 0.5,) * N_BANDS, rel=1e-12)


def test_quantiles_agree_with_numpy() -> None:
    """To 1/128 of a value in both tails and between, of either sign; the extremes are exact, NaN does not count."""
    rng = np.random.default_rng(3)
    patches = [(rng.gamma(0.5, size=(32, 32, N_BANDS)) - np.arange(N_BANDS)).astype(np.float32) for _ in range(8)]
    patches[2][:5, :, 3] = np.nan
    quantiles = np.array(BandStatistics.of(lambda: iter(patches), SENSOR).quantiles)
    assert PERCENTS[0] == 0
    assert PERCENTS[-1] == 100
    assert list(PERCENTS) == sorted(set(PERCENTS))
    together = np.concatenate(patches).reshape(-1, N_BANDS).astype(np.float64)
    for band in range(N_BANDS):
        values = together[np.isfinite(together[:, band]), band]
        # Between neighbours in rank numpy takes the lower one, as the selection here does.
        expected = np.percentile(values, PERCENTS, method="lower")
        np.testing.assert_allclose(quantiles[:, band], expected, rtol=1 / 128, atol=1e-6)
        assert quantiles[0, band] == values.min()
        assert quantiles[-1, band] == values.max()


def test_clipped_statistics_are_those_of_clipped_values() -> None:
    """A tail of a thousandth that is a hundred times too bright does not widen the scale; a constant band stays one."""
    patch = np.random.default_rng(4).normal(10, 2, (100, 100, N_BANDS)).astype(np.float32)
    patch[0, :10] = 1000.0
    patch[..., -1] = 3.0
    statistics = BandStatistics.of(lambda: iter([patch]), SENSOR)
    clipped = statistics.clipped(0.5)
    values = patch.reshape(-1, N_BANDS)[:, :-1].astype(np.float64)
    cut = np.clip(values, *np.percentile(values, [0.5, 99.5], axis=0))
    np.testing.assert_allclose(clipped.mean[:-1], cut.mean(axis=0), rtol=0.01)
    np.testing.assert_allclose(clipped.std[:-1], cut.std(axis=0), rtol=0.03)
    assert min(statistics.std[:-1]) > 25 > 3 > max(clipped.std[:-1])
    assert max(clipped.maximum[:-1]) < 20
    assert [getattr(clipped, name)[-1] for name in ("mean", "std", "minimum", "maximum", "median")] == [3, 0, 3, 3, 3]


def test_clipping_by_hand() -> None:
    """Quantiles on a line from 0 to 100, where a percentile is its number."""
    line = (0.0,) * N_BANDS, (0.0,) * N_BANDS, (0.0,) * N_BANDS, (100.0,) * N_BANDS, (50.0,) * N_BANDS
    clipped = BandStatistics(SENSOR, *line, quantiles=tuple((percent,) * N_BANDS for percent in PERCENTS)).clipped(10)
    assert (clipped.minimum[0], clipped.maximum[0], clipped.median[0]) == (10, 90, 50)
    assert clipped.mean[0] == pytest.approx(50)
    # .8 of the values lie evenly in 50 -+ 40, mean square 1600 / 3; .1 at each end, 1600: .8 * 1600 / 3 + .2 * 1600
    assert clipped.std[0] == pytest.approx((0.8 * 1600 / 3 + 0.2 * 1600) ** 0.5)


def test_a_pack_made_before_quantiles_is_made_again(tmp_path: Path, write_patch: WritePatch) -> None:
    """A manifest without them, whole in itself, is no reason to fail: the same fingerprint comes back with them."""
    write_patch(tmp_path / "img", tmp_path / "mask", 1)
    files = [PatchFiles("image_1", tmp_path / "img" / "image_1.h5", tmp_path / "mask" / "mask_1.h5")]
    first = pack_split("train", files, tmp_path / "packs", SENSOR, fill=None)
    manifest = first.path / "manifest.json"
    content = json.loads(manifest.read_text())["pack"]
    del content["statistics"]["quantiles"]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    manifest.write_text(json.dumps({"sha256": digest, "pack": content}))
    again = pack_split("train", files, tmp_path / "packs", SENSOR, fill=None)
    assert (again.path, again.fingerprint, again.statistics) == (first.path, first.fingerprint, first.statistics)


def test_one_patch_is_held_at_a_time() -> None:
    """Patches come from a generator, in two passes of one each."""
    passes = []

    def patches() -> Iterator[np.ndarray]:
        passes.append(1)
        yield from (np.full((2, 2, N_BANDS), value, np.float32) for value in range(3))

    assert BandStatistics.of(patches, SENSOR).maximum == (2.0,) * N_BANDS
    assert len(passes) == 2


def test_band_without_a_finite_value_is_named() -> None:
    """There is no median to replace anything with."""
    patch = np.ones((2, 2, N_BANDS), np.float32)
    patch[..., SLOPE] = np.nan
    with pytest.raises(DataError, match="band slope: no finite value"):
        BandStatistics.of(lambda: iter([patch]), SENSOR)


def test_survives_json() -> None:
    """What the manifest holds gives back the same numbers; a part of it does not pass."""
    patch = np.random.default_rng(1).random((4, 4, len(BANDS))).astype(np.float32)
    statistics = BandStatistics.of(lambda: iter([patch]), SENSOR)
    tree = json.loads(json.dumps(statistics.to_dict()))
    assert BandStatistics.from_dict(tree, SENSOR) == statistics
    shorter = {**tree, "quantiles": tree["quantiles"][:-1]}
    with pytest.raises(ValueError, match=f"not {len(PERCENTS)} quantiles"):
        BandStatistics.from_dict(shorter, SENSOR)
    tree["std"].pop()
    with pytest.raises(ValueError, match=f"not {N_BANDS} values"):
        BandStatistics.from_dict(tree, SENSOR)


def test_every_integer_is_decoded_to_the_float32_nearest_to_the_quotient() -> None:
    """All 65,536 integers of all bands, although they are multiplied by an inverse that is rounded itself."""
    integers = np.repeat(np.arange(65536, dtype=np.uint16)[:, None], len(BANDS), axis=1)
    np.testing.assert_array_equal(SENSOR.as_stored(integers), (integers / np.array(CONSTANTS)).astype(np.float32))


def test_integers_over_constants_are_recognised() -> None:
    """Exact products and products that went through float32 count as integers; others do not."""
    integers = np.random.default_rng(2).integers(0, 65536, (32, 32, N_BANDS))
    stored = SENSOR.as_stored(integers.astype(np.uint16))
    np.testing.assert_array_equal(SENSOR.as_integers(stored), integers)
    np.testing.assert_array_equal(SENSOR.as_integers(stored.astype(np.float64)), integers)
    for wrong in (-1.0, 65536.0, 2000.01):
        shifted = stored.astype(np.float64)
        shifted[3, 4, -1] = wrong / CONSTANTS[-1]
        assert SENSOR.as_integers(shifted) is None


def test_integers_are_counted_exactly() -> None:
    """Mean and deviation to 1e-12, and every quantile as NumPy has them of the stored float32 values themselves.

    Zeros that stand for values that were not finite are left out: 40 of 64 in band 3, where 24 are left.
    """
    rng = np.random.default_rng(5)
    patches = [
        rng.integers(0, 1 + 3 ** np.arange(N_BANDS) % 60000, (8, 8, N_BANDS)).astype(np.uint16) for _ in range(3)
    ]
    patches[0][:5, :, 3] = 0
    patches[1][0, 0] = 65535
    absent = np.zeros(N_BANDS, np.int64)
    absent[3] = 40
    counts = IntegerCounts(len(SENSOR))
    for patch in patches:
        counts.add(patch)
    statistics = BandStatistics.of_integers(counts.less_zeros(absent), SENSOR)
    stored = np.concatenate([SENSOR.as_stored(patch).reshape(-1, N_BANDS) for patch in patches]).astype(np.float64)
    for band in range(N_BANDS):
        values = stored[40:, band] if band == 3 else stored[:, band]
        assert statistics.mean[band] == pytest.approx(values.mean(), rel=1e-12)
        assert statistics.std[band] == pytest.approx(values.std(), rel=1e-12)
        assert (statistics.minimum[band], statistics.maximum[band]) == (values.min(), values.max())
        assert statistics.median[band] == np.sort(values)[(len(values) - 1) // 2]
        quantiles = [row[band] for row in statistics.quantiles]
        np.testing.assert_array_equal(quantiles, np.percentile(values, PERCENTS, method="lower"))


def test_integers_of_which_none_is_left_are_named() -> None:
    """A band of nothing but zeros that stand for NaN."""
    counts = IntegerCounts(len(SENSOR))
    counts.add(np.zeros((2, 2, N_BANDS), np.uint16))
    absent = np.zeros(N_BANDS, np.int64)
    absent[SLOPE] = 4
    with pytest.raises(DataError, match="band slope: no finite value"):
        BandStatistics.of_integers(counts.less_zeros(absent), SENSOR)
