"""Tiles on a fixed grid, and maps put together of them."""

import numpy as np
import pytest

from lsml.errors import ConfigError
from lsml.scenes.tiling import Blend, Tiling


def test_tiles_by_hand() -> None:
    """Squares of 128 that share 64 begin at 0, 64, 128...; the fewest that reach the last pixel."""
    tiling = Tiling.of(200, 128, tile=128, overlap=64)
    # 128 pixels take one; 200 take three: the second ends at 192.
    assert (list(tiling.tops), list(tiling.lefts)) == ([0, 64, 128], [0])
    assert [tiling.rows(place) for place in range(3)] == [slice(0, 64), slice(64, 128), slice(128, 200)]
    assert list(Tiling.of(5, 129, tile=128, overlap=64).lefts) == [0, 64]


@pytest.mark.parametrize(("tile", "overlap"), [(100, 0), (128, 32), (64, 64), (0, 0), (128, -64)])
def test_tiles_that_a_network_would_pool_otherwise_are_refused(tile: int, overlap: int) -> None:
    """Both are multiples of 64, and no pixel is in more than two tiles a side."""
    with pytest.raises(ConfigError, match="give"):
        Tiling.of(500, 500, tile=tile, overlap=overlap)


@pytest.mark.parametrize(("height", "width"), [(5, 9), (64, 128), (200, 333), (130, 65)])
@pytest.mark.parametrize("overlap", [0, 64])
def test_tiles_that_agree_give_what_they_say(height: int, width: int, overlap: int) -> None:
    """Weights of all tiles over a pixel are 1 in sum: a map that is cut up comes back, row for row."""
    tiling = Tiling.of(height, width, tile=128, overlap=overlap)
    scene = np.random.default_rng(0).random((tiling.tops[-1] + 128, tiling.lefts[-1] + 128), np.float32)
    blend, rows = Blend(tiling), []
    for place, top in enumerate(tiling.tops):
        for left in tiling.lefts:
            blend.add(place, left, scene[top : top + 128, left : left + 128])
        rows.append(blend.finish(place))
    np.testing.assert_allclose(np.concatenate(rows), scene[:height, :width], rtol=0, atol=1e-6)


def test_where_tiles_disagree_the_map_goes_over_smoothly() -> None:
    """Two tiles of 128 on 192 columns, the left says 1: its weight is cos**2 over the 64 columns that they share."""
    tiling = Tiling.of(64, 192, tile=128, overlap=64)
    blend = Blend(tiling)
    blend.add(0, 0, np.ones((128, 128), np.float32))
    blend.add(0, 64, np.zeros((128, 128), np.float32))
    row = blend.finish(0)[0]
    assert row[:64].tolist() == [1] * 64
    assert row[128:].tolist() == [0] * 64
    # Between the middles of the 32nd and the 33rd shared pixel both count a half.
    assert row[95] + row[96] == pytest.approx(1)
    # cos(pi / 2 * 16.5 / 64) ** 2 = cos(.404971) ** 2 = .919113 ** 2
    assert row[64 + 16] == pytest.approx(0.844768, abs=1e-5)
    assert np.abs(np.diff(row)).max() < np.pi / 2 / 64 + 1e-6
