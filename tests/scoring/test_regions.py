"""Scores by region, of tables made up by hand."""

import pytest

from lsml.scoring.metrics import PatchScore, to_csv
from lsml.scoring.regions import RegionScore, patch_rows


def patch(name: str, region: str, hits: int, misses: int, alarms: int) -> PatchScore:
    """Of 100 pixels."""
    return PatchScore(name, (hits + misses) / 100, hits, misses, alarms, None, region)


# In b: 3 hits, 3 misses, 0 alarms, all in one patch; in a: two patches; in c: no landslide, 2 alarms.
PATCHES = (
    patch("1", "b", 3, 3, 0),
    patch("2", "a", 4, 0, 0),
    patch("3", "a", 0, 0, 4),
    patch("4", "c", 0, 0, 2),
)


def test_a_region_is_scored_by_its_own_patches() -> None:
    """Pooled over its pixels, with an interval by its patches; the worst is that of the lowest F1 with landslides."""
    a, b, c = RegionScore.of_patches(PATCHES)
    assert [(each.region, each.patches) for each in (a, b, c)] == [("a", 2), ("b", 1), ("c", 1)]
    # a: 8 / (8 + 4), precision 4 / 8. A draw of its two patches has F1 1 (both the first), 2/3, or 0.
    assert a.scores["f1"].value == pytest.approx(2 / 3)
    assert a.scores["f1"].interval == (0, 1)
    assert (a.scores["precision"].value, a.scores["recall"].value, a.landslide_share) == (0.5, 1.0, 0.02)
    # b: 6 / 9, and IoU 3 / 6; one patch tells nothing of others.
    assert (b.scores["iou"].value, b.scores["iou"].interval) == (0.5, (0, 1))
    assert c.landslide_share == 0
    assert RegionScore.worst((a, b._replace(scores=b.scores | {"f1": a.scores["f1"]}), c)) is a
    assert RegionScore.worst((c,)) is None
    assert b.describe() == "b, F1 0.6667 (0.0000 to 1.0000) over 1 patch"


def test_a_table_of_patches_is_read_back() -> None:
    """As the same scores; a table without regions has no such column, and no scores by region."""
    assert RegionScore.read(to_csv(patch_rows(PATCHES))) == RegionScore.of_patches(PATCHES)
    unknown = [score._replace(region="") for score in PATCHES]
    assert "region" not in patch_rows(unknown)[0]
    assert RegionScore.read(to_csv(patch_rows(unknown))) == ()
    with pytest.raises(ValueError, match="no table of patches: 'hits'"):
        RegionScore.read("id,landslide_share\n1,0.5\n")


def test_metrics_have_names_that_a_run_can_hold() -> None:
    """Letters, digits, spaces, dots and dashes stay; the rest becomes an underscore."""
    (found,) = RegionScore.of_patches([patch("1", "Népal (2015), 28.1N", 1, 1, 0)])
    metrics = found.metrics("test")
    assert metrics["test_region_Népal _2015__ 28.1N_f1"] == pytest.approx(2 / 3)
    assert {name.rpartition("_")[2] for name in metrics} == {"f1", "iou", "precision", "recall", "low", "high", "share"}
