"""Object counts on masks drawn by hand."""

import numpy as np
import pytest

from lsml.scoring.objects import ObjectCounts


def _mask(drawing: str) -> np.ndarray:
    """Rows of a drawing, `#` where a pixel is set."""
    return np.array([[sign == "#" for sign in row] for row in drawing.split()], dtype="uint8")


def _bars(*lengths: int) -> np.ndarray:
    """Rows of so many pixels from the left border, a free row between, on 2 n - 1 rows of 200."""
    mask = np.zeros((2 * len(lengths) - 1, 200), dtype="uint8")
    for row, length in enumerate(lengths):
        mask[2 * row, :length] = 1
    return mask


def test_a_patch_by_hand() -> None:
    """Two landslides, of which the one with two of four pixels is hit; of four predicted objects one is false."""
    truth = _mask("""
        ##....#
        ##....#
        ......#
        #######
    """)
    found = _mask("""
        #..#...
        #..#...
        .......
        ##...##
    """)
    # Landslides: 4 pixels, 2 covered; 3 + 7 = 10 pixels, 4 covered. Predicted: 2 on the first, 2 on nothing, and two
    # of 2 on the second, which are objects of their own.
    assert ObjectCounts.of_patch(truth, found) == ObjectCounts(
        landslides=(2, 0, 0), hits=(1, 0, 0), predicted=4, false_alarms=1
    )
    assert ObjectCounts.of_patch(truth, found).scores() == {"object_hit_rate": 1 / 2, "object_precision": 3 / 4}


@pytest.mark.parametrize(
    ("covered", "hits"),
    # Half of five pixels is two and a half.
    [(0, 0), (1, 0), (2, 0), (3, 1), (5, 1)],
)
def test_half_of_the_pixels_is_a_hit(covered: int, hits: int) -> None:
    """From half of a landslide's pixels on, and not from the first one."""
    assert sum(ObjectCounts.of_patch(_bars(5), _bars(covered)).hits) == hits
    assert sum(ObjectCounts.of_patch(_bars(2), _bars(1)).hits) == 1


def test_pixels_that_meet_at_a_corner_are_one_object() -> None:
    """A diagonal of four pixels is one landslide, and one predicted object, in either direction."""
    diagonal = np.eye(4, dtype="uint8")
    for mask in (diagonal, diagonal[::-1]):
        found = ObjectCounts.of_patch(mask, mask)
        assert (found.landslides, found.hits, found.predicted) == ((1, 0, 0), (1, 0, 0), 1)
    # Opposite borders are far apart: nothing wraps around.
    assert ObjectCounts.of_patch(_mask("#..# #..#"), _mask("#... #...")) == ObjectCounts(
        landslides=(2, 0, 0), hits=(1, 0, 0), predicted=1
    )


def test_landslides_come_in_three_sizes() -> None:
    """Up to 10 pixels, up to 100, and more; each of them hit or not by itself."""
    truth = _bars(1, 10, 11, 100, 101, 200)
    # Bars of 1, 4, 11, 49, 51 and 100 pixels: 4 of 10 and 49 of 100 are less than half.
    found = ObjectCounts.of_patch(truth, _bars(1, 4, 11, 49, 51, 100))
    assert (found.landslides, found.hits) == ((2, 2, 2), (1, 1, 2))
    assert found.scores()["object_hit_rate"] == 4 / 6


def test_a_patch_without_landslide_gives_false_alarms_and_area() -> None:
    """Three objects on 100 x 100 pixels of 10 m, which are 1 km2; no share is made of no landslide."""
    found = np.zeros((100, 100), dtype=bool)
    found[0, 0] = found[50, 50:60] = found[99, 99] = True
    counts = ObjectCounts.of_patch(np.zeros((100, 100), "uint8"), found)
    assert counts == ObjectCounts(predicted=3, false_alarms=3, empty_false_alarms=3, empty_pixels=10_000)
    assert counts.empty_km2(10) == pytest.approx(1.0)
    assert counts.scores() == {"object_hit_rate": 0.0, "object_precision": 0.0}
    # With a landslide anywhere, the patch's alarms and area are not those of an empty one.
    truth = np.zeros((100, 100), dtype=bool)
    truth[20, 20] = True
    with_landslide = ObjectCounts.of_patch(truth, found)
    assert (with_landslide.false_alarms, with_landslide.empty_false_alarms, with_landslide.empty_pixels) == (3, 0, 0)


def test_nothing_predicted_and_everything_predicted() -> None:
    """Nothing hits nothing; everything is one object that hits all, or one false alarm where there is no landslide."""
    truth, nothing = _bars(3, 3), np.zeros((3, 200), dtype="uint8")
    assert ObjectCounts.of_patch(truth, nothing) == ObjectCounts(landslides=(2, 0, 0), hits=(0, 0, 0))
    everything = ObjectCounts.of_patch(truth, nothing + 1)
    assert everything == ObjectCounts(landslides=(2, 0, 0), hits=(2, 0, 0), predicted=1)
    assert everything.scores() == {"object_hit_rate": 1.0, "object_precision": 1.0}
    assert ObjectCounts.of_patch(nothing, nothing + 1) == ObjectCounts(
        predicted=1, false_alarms=1, empty_false_alarms=1, empty_pixels=600
    )
    assert ObjectCounts.of_patch(nothing, nothing) == ObjectCounts(empty_pixels=600)


def test_patches_add_up() -> None:
    """The sum over patches is field by field, in integers, and starts from nothing."""
    patches = [
        ObjectCounts.of_patch(_bars(5, 50), _bars(5, 1)),
        ObjectCounts.of_patch(_bars(0), _bars(7)),
        ObjectCounts(),
    ]
    total = sum(patches, ObjectCounts())
    assert total == ObjectCounts(
        landslides=(1, 1, 0), hits=(1, 0, 0), predicted=3, false_alarms=1, empty_false_alarms=1, empty_pixels=200
    )
    assert {type(value) for value in (*total.landslides, *total.hits, total.predicted, total.empty_pixels)} == {int}
