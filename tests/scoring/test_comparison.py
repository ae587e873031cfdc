"""Scores side by side from tables of patches, by numbers worked out by hand, and the picture of them."""

import io

import numpy as np
import pytest
from matplotlib.image import imread

from lsml.plots.comparison import draw_comparison
from lsml.plots.patches import _panel_parts, panel
from lsml.scoring.comparison import ComparedRun, PatchCounts
from tests.bands import SENSOR

HEAD = "id,landslide_share,hits,misses,false_alarms,f1\n"
POOR = HEAD + "image_2,0.1,1,3,2,0.286\nimage_1,0.1,3,1,0,0.857\n"
GOOD = HEAD + "image_1,0.1,4,0,0,1.0\nimage_2,0.1,2,2,2,0.5\n"


def test_pooled_scores_and_intervals_by_hand() -> None:
    """Sums over both patches, of which two do not tell much of others."""
    scores = PatchCounts.read(POOR).scores()
    # TP 3 + 1 = 4, FP 0 + 2 = 2, FN 1 + 3 = 4: F1 8 / (8 + 2 + 4), IoU 4 / 10, precision 4 / 6, recall 4 / 8.
    assert {name: score.value for name, score in scores.items()} == pytest.approx(
        {"f1": 8 / 14, "iou": 0.4, "precision": 4 / 6, "recall": 0.5}
    )
    # image_2 alone: 2 / (2 + 2 + 3); image_1 alone: 6 / (6 + 1). Each is a quarter of the draws, so these are the ends,
    # each 2 / 7 from 4 / 7; stretched for two patches, sqrt(2) x 12.706 / 1.960 = 9.17 times, they are out of 0..1.
    assert scores["f1"].interval == (0, 1)


def test_the_difference_is_paired_by_patch_whatever_the_order_of_the_tables() -> None:
    """Rows are matched by id: 12 / 16 less 8 / 14, and between the differences on either patch alone."""
    ahead = PatchCounts.read(GOOD).f1_above(PatchCounts.read(POOR))
    assert ahead.value == pytest.approx(3 / 4 - 4 / 7)
    # image_1: 1 - 6/7; image_2: 4 / (4 + 2 + 2) - 2/7; both 1/28 from the difference. Unpaired, 1/2 - 6/7 and 1 - 2/7.
    # Stretched for two patches: sqrt(2) x 12.7062 / 1.95996 = 9.1682 times.
    assert ahead.interval == pytest.approx((5 / 28 - 9.1682 / 28, 5 / 28 + 9.1682 / 28), abs=1e-5)
    assert ahead.first_higher == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD.replace("image_2", "image_3"), "different patches (2 and 2 of them)"),
        (HEAD + "image_1,0.1,4,0,0,1.0\n", "different patches (2 and 1 of them)"),
        # ScoredPatches in one repeat of two: half of the landslide pixels.
        (GOOD.replace("2,2,2,0.5", "1,1,1,0.5"), "image_2 has 4 landslide pixels in one table and 2 in the other"),
    ],
)
def test_tables_of_other_patches_disagree(text: str, says: str) -> None:
    """Patches by name, and how often each was scored, must agree."""
    assert says in str(PatchCounts.read(POOR).disagreement(PatchCounts.read(text)))
    assert PatchCounts.read(POOR).disagreement(PatchCounts.read(GOOD)) is None


@pytest.mark.parametrize("text", ["", HEAD, "a,b\n1,2\n", HEAD + "x,0,1,2,?,0\n", GOOD + "image_1,0.1,4,0,0,1.0\n"])
def test_what_is_no_table_is_refused(text: str) -> None:
    """An empty file, a header alone, other columns, no number, a patch twice."""
    with pytest.raises(ValueError, match=r"patches|listed twice"):
        PatchCounts.read(text)


def test_a_panel_is_taken_apart_where_it_was_put_together() -> None:
    """The parts of a patch that is all hits are its colour and the colour of hits, to the edge."""
    image, everywhere = np.ones((128, 128, 14), np.float32), np.ones((128, 128))
    parts = _panel_parts(panel(image, everywhere, everywhere, 0.5, SENSOR))
    assert parts.true_colour.shape == parts.outcome.shape == (256, 256, 3)
    assert np.unique(parts.outcome.reshape(-1, 3), axis=0).tolist() == [[86, 180, 233]]
    assert len(np.unique(parts.true_colour.reshape(-1, 3), axis=0)) == 1
    other = np.zeros((10, 20, 3), np.uint8)
    assert _panel_parts(other).outcome is other


@pytest.mark.parametrize("patches", [[], ["image_1", "image_2"]])
def test_the_picture_holds_all_pictures_of_all_runs(patches: list[str]) -> None:
    """A PNG with two parts a patch and run in their own colours; without pictures it is lower."""
    bands = np.ones((128, 128, 14), np.float32)
    truth, called = np.ones((128, 128)), np.zeros((128, 128))
    png = io.BytesIO()
    from matplotlib.image import imsave

    imsave(png, panel(bands, truth, called, 0.5, SENSOR), format="png")
    counts = [PatchCounts.read(text) for text in (GOOD, POOR)]
    runs = [
        ComparedRun("1", "first", counts[0].scores(), None),
        ComparedRun("2", "second", counts[1].scores(), counts[1].f1_above(counts[0])),
    ]
    pictures = [dict.fromkeys(patches, png.getvalue())] * 2
    drawn = draw_comparison(runs, pictures, patches, split="validation", split_protocol="by hand", n=2)
    picture = (imread(io.BytesIO(drawn))[..., :3] * 255).round().astype(np.uint8)
    # All pixels of all pictures are misses, (240, 228, 66): one patch's take at least 150 x 150 pixels.
    missed = (picture == (240, 228, 66)).all(-1).sum()
    assert missed > len(runs) * len(patches) * 150**2 or (not patches and missed == 0)
