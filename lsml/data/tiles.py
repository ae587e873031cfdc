"""Parts of a whole: squares of one size that cover an image, and a few places evenly over many."""

import itertools
from collections.abc import Callable

import numpy as np

_TOGETHER = 4
"""Squares that are predicted in one call, always: nothing is compiled twice."""


def corners(height: int, width: int, tile: int) -> list[tuple[int, int]]:
    """First row and column of the fewest squares of side `tile` that cover an image, evenly apart, row by row.

    An image that is smaller than a square has one, which lies over its edge.
    """
    starts = (
        np.linspace(0, max(length - tile, 0), -(-length // tile)).round().astype(int).tolist()
        for length in (height, width)
    )
    return list(itertools.product(*starts))


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of the indices 0..count-1, evenly over all, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int)).tolist()


def cut(array: np.ndarray, row: int, column: int, tile: int) -> np.ndarray:
    """The square `(tile, tile, ...)` of an array `(H, W, ...)` from that corner; beyond the edge it is mirrored."""
    part = array[row : row + tile, column : column + tile]
    lacking = [(0, tile - length) for length in part.shape[:2]]
    return np.pad(part, [*lacking, *[(0, 0)] * (array.ndim - 2)], mode="symmetric") if np.any(lacking) else part


def tiled(predict: Callable[[np.ndarray], np.ndarray], tile: int) -> Callable[[np.ndarray], np.ndarray]:
    """A predictor of images of any size by one of squares, `(B, H, W, C)` to `(B, H, W, 1)`.

    Squares overlap by half a side. Where several see a pixel, each counts by how far the pixel is from its edge: a
    network knows less at the edge than in the middle.
    """
    ramp = np.minimum(np.arange(1, tile + 1), np.arange(tile, 0, -1)).astype(np.float64)
    weight = np.minimum(ramp[:, None], ramp[None])[..., None]

    def whole(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        total, weights = np.zeros((2, max(height, tile), max(width, tile), 1))
        places = _overlapping(height, width, tile)
        for start in range(0, len(places), _TOGETHER):
            group = places[start : start + _TOGETHER]
            squares = np.stack([cut(image, row, column, tile) for row, column in group])
            filled = np.concatenate([squares, np.repeat(squares[:1], _TOGETHER - len(group), axis=0)])
            for (row, column), probability in zip(group, predict(filled), strict=False):
                here = np.s_[row : row + tile, column : column + tile]
                total[here] += weight * probability
                weights[here] += weight
        return (total / weights)[:height, :width].astype(np.float32)

    return lambda images: np.stack([whole(image) for image in images])


def _overlapping(height: int, width: int, tile: int) -> list[tuple[int, int]]:
    """Corners of squares that overlap by at least half, from edge to edge."""
    lasts = [max(length - tile, 0) for length in (height, width)]
    starts = (np.linspace(0, last, -(-2 * last // tile) + 1).round().astype(int).tolist() for last in lasts)
    return list(itertools.product(*starts))
