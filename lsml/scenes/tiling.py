"""Squares on a fixed grid over a scene, and how what a network says of each becomes one map without seams."""

from dataclasses import dataclass

import numpy as np

from lsml.errors import ConfigError

_ALIGNED = 64
"""Pixels: 2**depth divides it for every depth, so that a network pools the same pixels together in every tile."""


@dataclass(frozen=True)
class Tiling:
    """Squares of side `tile` that cover a scene, the first at its first pixel; the last ones may lie over its edge.

    Attributes:
        height, width: of the scene, in pixels.
        tile: their side.
        overlap: how many pixels neighbours share.
    """

    height: int
    width: int
    tile: int
    overlap: int

    @classmethod
    def of(cls, height: int, width: int, *, tile: int, overlap: int) -> "Tiling":
        """The tiling of a scene.

        Raises:
            ConfigError: a side or an overlap that is no multiple of 64, or an overlap of more than half a side.
        """
        given = f"{tile} pixels overlapping by {overlap}"
        if tile < _ALIGNED or overlap < 0 or tile % _ALIGNED or overlap % _ALIGNED:
            raise ConfigError("tiles", given, f"give multiples of {_ALIGNED} with --tile and --overlap")
        if 2 * overlap > tile:
            raise ConfigError("tiles", given, "give an --overlap of at most half a --tile")
        return cls(height, width, tile, overlap)

    @property
    def stride(self) -> int:
        """From a tile to the next, in pixels."""
        return self.tile - self.overlap

    @property
    def tops(self) -> range:
        """The first row of each row of tiles."""
        return self._starts(self.height)

    @property
    def lefts(self) -> range:
        """The first column of each column of tiles."""
        return self._starts(self.width)

    def _starts(self, length: int) -> range:
        count = max(-(-(length - self.overlap) // self.stride), 1)
        return range(0, count * self.stride, self.stride)

    def rows(self, place: int) -> slice:
        """The rows of the scene that are known once the row of tiles at `place` is, and were not before."""
        top = self.tops[place]
        return slice(top, self.height if place == len(self.tops) - 1 else top + self.stride)


class Blend:
    """Sums the tiles of a scene into its map, a row of tiles at a time.

    Where tiles overlap, the weight of one falls with sin**2 as that of the other rises with cos**2: it is 1 in sum, and
    changes without an edge. A pixel that a scene lacks counts nowhere, so a tile of such pixels may be left out.
    """

    def __init__(self, tiling: Tiling) -> None:
        self._tiling = tiling
        self._sums = np.zeros((tiling.tile, tiling.lefts[-1] + tiling.tile), np.float32)
        rising = np.sin((np.arange(tiling.overlap) + 0.5) * np.pi / (2 * max(tiling.overlap, 1))) ** 2
        self._rising = rising.astype(np.float32)

    def add(self, place: int, left: int, probability: np.ndarray) -> None:
        """Adds a tile `(tile, tile)` that begins at a column, of the row of tiles at `place`."""
        tops, lefts = self._tiling.tops, self._tiling.lefts
        down = self._weights(first=place == 0, last=place == len(tops) - 1)
        across = self._weights(first=left == 0, last=left == lefts[-1])
        self._sums[:, left : left + self._tiling.tile] += probability * down[:, None] * across

    def _weights(self, *, first: bool, last: bool) -> np.ndarray:
        """float32 `(tile,)`: full at the edges of the scene, as nobody else knows of these pixels."""
        weights, overlap = np.ones(self._tiling.tile, np.float32), self._tiling.overlap
        if not first:
            weights[:overlap] = self._rising
        if not last:
            weights[len(weights) - overlap :] = self._rising[::-1]
        return weights

    def finish(self, place: int) -> np.ndarray:
        """The map's `rows(place)`, float32 `(rows, width)` in 0..1; keeps what the next row of tiles adds to."""
        rows, overlap = self._tiling.rows(place), self._tiling.overlap
        finished = self._sums[: rows.stop - rows.start, : self._tiling.width].copy()
        self._sums[:overlap] = self._sums[self._tiling.stride :].copy()
        self._sums[overlap:] = 0
        return np.clip(finished, 0, 1)
