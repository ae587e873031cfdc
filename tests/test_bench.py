"""What bench/defaults.py chooses base configurations by, and which licences bench/licences.py lets in."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsml.config.experiment import load_experiment
from lsml.config.schema import TrainConfig, with_values
from lsml.scoring.metrics import grid_index

ROOT = Path(__file__).parents[1]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of bench/defaults.py."""
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    return runpy.run_path(str(ROOT / "bench" / "defaults.py"))


class _Pack:
    """Two patches of four pixels, of no known region."""

    regions = ()
    masks = np.array([[[1, 1, 0, 0]], [[1, 0, 0, 0]]], np.uint8)

    def __len__(self) -> int:
        return len(self.masks)

    def mask(self, patch: int) -> np.ndarray:
        return self.masks[patch]


def test_the_threshold_of_a_block_comes_from_the_other_blocks(bench: dict[str, Any]) -> None:
    """The mean of two seeds is scored at thresholds that other patches chose, not at the best for itself."""
    seeds = np.array(
        [[[[0.9, 0.7, 0.3, 0.1]], [[0.5, 0.2, 0.1, 0.1]]], [[[0.9, 0.9, 0.1, 0.1]], [[0.3, 0.4, 0.1, 0.1]]]]
    )
    ground = bench["Ground"]("two patches", _Pack(), folds=2, pieces=1, real=True)
    f1, precision, thresholds = bench["_cross_fitted"](ground, grid_index(seeds))
    # The means are .9 .8 .2 .1 and .4 .3 .1 .1. The second patch is told apart from above .3 to .4, which is nearest
    # to .5: the first patch read at .4 has both its landslide pixels. The first is told apart by .5, where the second
    # has none of its one: 2 hits, 1 miss, 2 * 2 / (2 * 2 + 1) = .8. A threshold of .4 for both would flatter it by .2.
    assert thresholds == pytest.approx([0.4, 0.5], abs=3e-3)
    assert f1 == pytest.approx(0.8)
    # All three landslide pixels are above all others.
    assert precision == pytest.approx(1)


def test_ranks_count_on_all_grounds_and_losses_break_ties(bench: dict[str, Any]) -> None:
    """A configuration that is far ahead on one ground alone is no winner."""
    scores = {"lucky": (0.9, 0.4, 0.4), "steady": (0.6, 0.6, 0.7), "other": (0.5, 0.7, 0.6)}
    rows = {
        name: {str(ground): bench["Score"](f1, f1, f1, (0.5, 0.5), 1.0) for ground, f1 in enumerate(row)}
        for name, row in scores.items()
    }
    # Ranks: lucky 1, 3, 3; steady 2, 2, 1; other 3, 1, 2: medians 3, 2, 2. On the first ground steady loses .3 to the
    # best, other .4.
    standings = bench["ranked"](rows)
    assert [(one.name, one.rank) for one in standings] == [("steady", 2), ("other", 2), ("lucky", 3)]
    assert [one.worst for one in standings] == pytest.approx([0.3, 0.4, 0.3])


def test_borders_of_blocks_move_with_the_seed_and_regions_stay(bench: dict[str, Any]) -> None:
    """Twelve patches in two folds: the second of three seeds holds out the last two with the first four."""
    pack = _Pack()
    pack.masks = np.zeros((12, 1, 4), np.uint8)
    ground = bench["Ground"]("patches", pack, folds=2, pieces=1, real=True)
    assert ground.partition(0, 3) is pack
    # By 1 x 12 patches / 2 folds / 3 seeds.
    assert "".join(ground.partition(1, 3).regions) == "000011111100"
    # Of four patches in three pieces each, 1 x 4 / 2 / 3 is less than a patch, and 2 x 4 / 2 / 3 is one.
    cut = ground._replace(pieces=3)
    assert "".join(cut.partition(1, 3).regions) == "000000111111"
    assert "".join(cut.partition(2, 3).regions) == "000111111000"
    pack.regions = ("a", "b") * 6
    assert ground.partition(1, 3) is pack


def test_the_base_of_a_dozen_patches_is_one_that_was_measured(bench: dict[str, Any]) -> None:
    """Whoever changes it measures it."""
    measured = with_values(TrainConfig(), bench["WHOLE_PATCHES"]["long, 3 levels"])
    assert load_experiment(ROOT / "experiments" / "few_patches.yaml").base == measured


LICENCES = runpy.run_path(str(ROOT / "bench" / "licences.py"))


def test_the_licence_of_each_locked_package_is_known_and_allowed() -> None:
    """Each package of each lock has its row, and each exception its package."""
    packages = LICENCES["locked"]()
    rows, wrong = LICENCES["review"]({package: LICENCES["said"](package) for package in packages})
    assert wrong == []
    assert [package for package, *_ in rows] == packages
    assert len(packages) > 150


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("MIT AND Apache-2.0 OR GPL-3.0-only", True),
        ("GPL-3.0-only AND (MIT OR Apache-2.0)", False),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND GPL-3.0-only", False),
        ("AGPL-3.0-or-later", False),
        ("MIT License, but not for you", False),
        ("", False),
    ],
)
def test_one_of_the_alternatives_of_a_licence_has_to_be_allowed(licence: str, allowed: bool) -> None:
    """As SPDX writes them: AND binds closer than OR. One that is not stands in a line with its package."""
    assert LICENCES["is_allowed"](licence) is allowed
    _, wrong = LICENCES["review"]({"some": licence})
    assert [line for line in wrong if line.startswith("some: ")] == (
        []
        if allowed
        else [f"some: licence {licence or 'not named'}; allow it in bench/licences.py with the reason, or do without"]
    )


def test_a_package_that_is_not_installed_and_an_idle_exception_are_said() -> None:
    _, wrong = LICENCES["review"]({"some": None})
    assert wrong[0].startswith("some: not installed, so its licence is not known;")
    assert "certifi: an exception of no locked package; remove it" in wrong
