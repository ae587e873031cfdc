"""Squares of images of any size: where they lie, what they hold, and images put together of their predictions."""

from collections.abc import Callable

import numpy as np
import pytest

from lsml.data.tiles import corners, cut, tiled

LENGTHS = (1, 15, 16, 17, 31, 32, 33, 48, 95, 100, 257)
SIZES = [(5, 9), (16, 16), (16, 40), (47, 16), (33, 95), (64, 7)]


@pytest.mark.parametrize("tile", [16, 31])
def test_the_fewest_squares_cover_every_pixel(tile: int) -> None:
    """Rows by columns, each length by its quotient with the side, rounded up; none beyond an edge where it can be."""
    for height in LENGTHS:
        for width in (height, 16, 70):
            seen = np.zeros((height, width), bool)
            found = corners(height, width, tile)
            for row, column in found:
                seen[row : row + tile, column : column + tile] = True
                assert 0 <= row <= max(height - tile, 0)
                assert 0 <= column <= max(width - tile, 0)
            assert seen.all()
            assert len(found) == len(set(found)) == -(-height // tile) * -(-width // tile)
            assert found == sorted(found)


def test_corners_by_hand() -> None:
    """40 pixels take three squares of 16: from 0, 12 and 24."""
    assert corners(16, 40, 16) == [(0, 0), (0, 12), (0, 24)]
    assert corners(9, 9, 16) == [(0, 0)]


def test_beyond_the_edge_an_image_is_mirrored() -> None:
    """Columns 0 1 2 become 0 1 2 2 1 0 0; also of masks, which have no bands, and further than once across."""
    mask = np.tile(np.arange(3), (7, 1))
    assert cut(mask, 0, 0, 7)[0].tolist() == [0, 1, 2, 2, 1, 0, 0]
    image = np.arange(24).reshape(3, 4, 2)
    square = cut(image, 1, 2, 4)
    # Rows 1 2 2 1 and columns 2 3 3 2.
    np.testing.assert_array_equal(square, image[[1, 2, 2, 1]][:, [2, 3, 3, 2]])
    np.testing.assert_array_equal(cut(image, 0, 1, 3), image[:3, 1:4])


def whole(predict: Callable[[np.ndarray], np.ndarray], images: np.ndarray, tile: int = 16) -> np.ndarray:
    """What `tiled` makes of a predictor, which has to be given batches of one size throughout."""
    sizes = set()

    def watched(squares: np.ndarray) -> np.ndarray:
        sizes.add(squares.shape)
        return predict(squares)

    probability = tiled(watched, tile)(images)
    assert len(sizes) == 1
    assert sizes.pop()[1:] == (tile, tile, images.shape[-1])
    return probability


@pytest.mark.parametrize("size", SIZES)
def test_what_each_pixel_says_by_itself_stays(size: tuple[int, int]) -> None:
    """A predictor that gives the first band gives the first band of the whole, wherever squares lie."""
    images = np.random.default_rng(0).random((2, *size, 3)).astype("float32")
    probability = whole(lambda squares: squares[..., :1], images)
    assert probability.dtype == np.float32
    assert probability.shape == (2, *size, 1)
    np.testing.assert_allclose(probability, images[..., :1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_where_squares_differ_it_is_between_them(size: tuple[int, int]) -> None:
    """Each square says its own mean everywhere: no pixel lies outside the least and the largest of what was said."""
    said = []

    def means(squares: np.ndarray) -> np.ndarray:
        each = squares.mean(axis=(1, 2, 3), keepdims=True)
        said.extend(each.ravel().tolist())
        return np.broadcast_to(each, (*squares.shape[:3], 1))

    probability = whole(means, np.random.default_rng(1).random((1, *size, 2)).astype("float32"))
    assert min(said) - 1e-6 <= probability.min() <= probability.max() <= max(said) + 1e-6


def test_the_middle_of_a_square_counts_most() -> None:
    """Two squares of side 4 on six columns, from 0 and from 2, which say 0 and 1.

    In the second row, the third column lies two pixels inside the first square and one inside the other:
    (2 * 0 + 1 * 1) / 3. In the first row, every pixel is one pixel inside of both.
    """

    def second(squares: np.ndarray) -> np.ndarray:
        # What begins at column 2 says 1.
        return np.broadcast_to(squares[:, :1, :1, :1] == 2, (*squares.shape[:3], 1)).astype("float32")

    columns = np.broadcast_to(np.arange(6.0)[:, None], (1, 4, 6, 1))
    probability = whole(second, columns, tile=4)
    np.testing.assert_allclose(probability[0, 1, :, 0], [0, 0, 1 / 3, 2 / 3, 1, 1], atol=1e-6)
    np.testing.assert_allclose(probability[0, 0, :, 0], [0, 0, 1 / 2, 1 / 2, 1, 1], atol=1e-6)
