"""Pictures: known pixels have known colours, and the same input gives the same picture."""

import io

import numpy as np
import pytest
from matplotlib.image import imread

from lsml.data.sensor import IGNORED
from lsml.plots import curves, png
from lsml.plots import patches as figures
from lsml.scoring.metrics import PooledCounts
from tests.bands import BLUE, CONSTANTS, GREEN, NEAR_INFRARED, RED, SENSOR

pytestmark = pytest.mark.landslide4sense("colours are worked out by hand from its visible bands")


def stored(**reflectances: float) -> np.ndarray:
    """A patch (128, 128, 14) of one colour, from reflectances x 10,000."""
    bands = {"blue": BLUE, "green": GREEN, "red": RED, "near": NEAR_INFRARED}
    image = np.zeros((128, 128, 14))
    for name, value in reflectances.items():
        image[..., bands[name]] = value / CONSTANTS[bands[name]]
    return image


@pytest.fixture
def four_outcomes() -> tuple[np.ndarray, np.ndarray]:
    """Truth and probability whose quarters are, clockwise from the top left: hit, false alarm, background, miss."""
    truth, probability = np.zeros((128, 128), np.uint8), np.zeros((128, 128), np.float32)
    truth[:, :64] = 1
    probability[:64] = 0.9
    return truth, probability


def test_true_colour_stretches_each_band() -> None:
    """Black and white points map to 0 and 255, the middle to 255 * .5 ** .7, and what lies outside is clipped."""
    np.testing.assert_array_equal(figures.true_colour(stored(red=150, green=380, blue=570), SENSOR), 0)
    np.testing.assert_array_equal(figures.true_colour(stored(red=1901, green=1801, blue=9000), SENSOR), 255)
    # Middle of 150..1900 is 1025; 255 * .5 ** .7 = 156.97.
    assert figures.true_colour(stored(red=1025), SENSOR)[0, 0].tolist() == [156, 0, 0]


def test_false_colour_shows_vegetation_red() -> None:
    """Near infrared goes to red, red to green, green to blue."""
    picture = figures._composite(stored(near=4501, red=0, green=1090), figures._FALSE_COLOUR, SENSOR)
    # Green's middle, (380 + 1800) / 2 = 1090, gives 156 as above.
    assert picture.dtype == np.uint8
    assert picture.shape == (128, 128, 3)
    assert picture[5, 7].tolist() == [255, 0, 156]


def test_missing_values_are_black() -> None:
    """A patch with NaN can be looked at."""
    image = stored(red=1901, green=1801, blue=1701)
    image[3, 4] = np.nan
    assert figures.true_colour(image, SENSOR)[3, 4].tolist() == [0, 0, 0]
    assert figures.true_colour(image, SENSOR)[3, 5].tolist() == [255, 255, 255]


def test_outcomes_have_their_colours(four_outcomes: tuple[np.ndarray, np.ndarray]) -> None:
    """Hit, miss and false alarm are coloured; the rest is grey: 30 where dark, 30 + .45 * 255 where bright."""
    truth, probability = four_outcomes
    dark = figures._outcome_map(stored(), truth, probability, 0.5, SENSOR)
    assert tuple(dark[10, 10]) == figures.HIT
    assert tuple(dark[10, 100]) == figures.FALSE_ALARM
    assert tuple(dark[100, 10]) == figures.MISS
    assert tuple(dark[100, 100]) == (30, 30, 30)
    bright = figures._outcome_map(stored(red=1901, green=1801, blue=1701), truth, probability, 0.5, SENSOR)
    assert tuple(bright[100, 100]) == (144, 144, 144)


def test_outlines_are_the_edges_of_landslides() -> None:
    """Of a square of 3 by 3 pixels all but the middle are coloured; at the patch's edge a landslide is outlined too."""
    mask = np.zeros((128, 128), np.uint8)
    mask[10:13, 20:23] = mask[0:2, 50] = 1
    picture = figures._outlined(stored(), mask, SENSOR)
    coloured = (picture == figures.FALSE_ALARM).all(-1)
    assert coloured[10:13, 20:23].tolist() == [[True, True, True], [True, False, True], [True, True, True]]
    assert coloured[0:2, 50].all()
    assert coloured.sum() == 10
    assert (picture[~coloured] == 0).all()


def test_augmented_patches_are_a_row_each() -> None:
    """Two patches in three versions are six pictures: a column is 210 pixels wide, a row 230 high."""
    images, masks = np.stack([stored(red=1901), stored()]), np.zeros((2, 128, 128), np.uint8)
    drawn = imread(io.BytesIO(figures.draw_augmented([(images, masks)] * 3, ["a", "b"], ["x", "y", "z"], SENSOR)))
    assert drawn.shape[:2] == (460, 630)
    red = (drawn[..., :3] == (1, 0, 0)).all(-1)
    # The first row is red in three pictures; titles and the black second row are not.
    assert red[:230].sum() > 3 * 180**2
    assert not red[230:].any()


def test_the_threshold_itself_counts_as_landslide() -> None:
    """A pixel at the threshold is a hit, one just below it a miss."""
    truth = np.ones((1, 2))
    outcome = figures._outcome_map(stored()[:1, :2], truth, np.array([[0.5, 0.4999]]), 0.5, SENSOR)
    assert [tuple(pixel) for pixel in outcome[0]] == [figures.HIT, figures.MISS]


def test_panel_shows_four_pictures(four_outcomes: tuple[np.ndarray, np.ndarray]) -> None:
    """Each picture of the panel is 256 pixels wide, and known places in it have the colours of what they show."""
    truth, probability = four_outcomes
    panel = figures.panel(stored(red=1901), truth, probability, 0.5, SENSOR)
    assert panel.dtype == np.uint8
    assert panel.shape == (602, 536, 3)
    # Pictures start at x = 8 and 272, and at y = 24 and 304; the middles of their quarters lie at 64 and 192.
    pictures = {"colour": (24, 8), "truth": (24, 272), "probability": (304, 8), "outcome": (304, 272)}

    def at(picture: str, y: int, x: int) -> tuple[int, ...]:
        top, left = pictures[picture]
        return tuple(panel[top + y, left + x])

    hit, alarm, miss = (64, 64), (64, 192), (192, 64)
    assert at("colour", *hit) == (255, 0, 0)
    assert at("truth", *hit) == (255, 255, 255)
    assert at("truth", *alarm) == (0, 0, 0)
    assert at("outcome", *hit) == figures.HIT
    assert at("outcome", *alarm) == figures.FALSE_ALARM
    assert at("outcome", *miss) == figures.MISS
    # Viridis runs from dark violet to yellow: .9 is brighter than 0.
    assert sum(map(int, at("probability", *hit))) > sum(map(int, at("probability", *miss)))


def test_what_nobody_knows_is_grey_in_every_picture_and_in_the_legend(
    four_outcomes: tuple[np.ndarray, np.ndarray],
) -> None:
    """Whatever is predicted there; without such pixels the legend does not speak of them."""
    truth, probability = four_outcomes
    grey = np.array([154, 163, 173])  # #9AA3AD
    some = np.where(probability == probability.max(), IGNORED, truth)
    image = stored(red=900)
    for drawn in (
        figures._outcome_map(image, some, probability, 0.5, SENSOR),
        figures._overlay(image, some, SENSOR),
        figures._outlined(image, some, SENSOR),
    ):
        np.testing.assert_array_equal((drawn == grey).all(-1), some == IGNORED)
    legend = np.s_[-42:, 272:]
    with_legend, without = (figures.panel(image, mask, probability, 0.5, SENSOR)[legend] for mask in (some, truth))
    assert (with_legend == grey).all(-1).sum() >= 140  # a square of 10 x 14
    assert not (without == grey).all(-1).any()


def test_panel_is_deterministic(four_outcomes: tuple[np.ndarray, np.ndarray]) -> None:
    """The same input gives the same bytes, so panels of two runs differ only where their probabilities do."""
    truth, probability = four_outcomes
    first, again = (figures.panel(stored(red=900), truth, probability, 0.5, SENSOR) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = figures.panel(stored(red=900), truth, probability, 0.95, SENSOR)
    assert (first != other).any()


def test_draw_patches_gives_one_png(four_outcomes: tuple[np.ndarray, np.ndarray]) -> None:
    """A row a patch: the picture grows with their number, is a PNG, and is the same each time."""
    truth, _ = four_outcomes
    images, masks = np.stack([stored(red=900), stored(red=1800)]), np.stack([truth, truth])
    one = figures.draw_patches(images[:1], masks[:1], ["image_1"], SENSOR)
    two = figures.draw_patches(images, masks, ["image_1", "image_2"], SENSOR)
    assert one.startswith(b"\x89PNG\r\n")
    assert two == figures.draw_patches(images, masks, ["image_1", "image_2"], SENSOR)
    # 10.4 x 2.75 inches a row at 100 pixels an inch; imread gives (rows, columns, channels).
    assert imread(io.BytesIO(one)).shape[:2] == (275, 1040)
    assert imread(io.BytesIO(two)).shape[:2] == (550, 1040)


@pytest.mark.parametrize("landslide", [True, False], ids=["landslide", "none"])
def test_curves_are_drawn_with_and_without_landslide(landslide: bool) -> None:
    """The chosen threshold's colour is in the picture; without landslide there is no curve, and words in its place."""
    counts = PooledCounts()
    probability = np.linspace(0, 1, 1000)
    counts.update((probability > 0.6) & landslide, probability)
    drawn = {
        "precision and recall": png(curves.plot_precision_recall(counts, 0.5, "test split, 1 patch")),
        "f1": png(curves.plot_f1(counts, 0.5, "test split, 1 patch")),
        "reliability": png(curves.plot_reliability(counts, "test split, 1 patch")),
    }
    for name, content in drawn.items():
        pixels = (255 * imread(io.BytesIO(content))[..., :3]).round().astype(int)
        blue, orange = ((pixels == colour).all(-1).sum() for colour in ((0, 114, 178), figures.FALSE_ALARM))
        # A curve or its legend is hundreds of pixels; the reliability diagram shows the zeros that there are.
        assert (blue > 100) == (landslide or name == "reliability"), name
        assert (orange > 100) == (landslide and name != "reliability"), name
        assert (pixels.sum(-1) < 200).sum() > 1000, name
