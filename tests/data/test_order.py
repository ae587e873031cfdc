"""The order of an epoch: as it always was, in rounds, or in a share of two kinds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsml.data.loader import _epoch_order, _times_before
from lsml.data.splits import FoldData, FoldedData
from tests.bands import PATCH_SHAPE

from .conftest import WritePatch


class Shares:
    """A split of which only the landslide shares are known."""

    def __init__(self, *fractions: float) -> None:
        self.landslide_fractions = np.array(fractions)

    def __len__(self) -> int:
        return len(self.landslide_fractions)


class Unread:
    """A split of nine patches whose masks nobody may look at."""

    def __len__(self) -> int:
        return 9


MIXED = Shares(0, 0.3, 0, 0, 0.01, 0, 0, 1, 0, 0)
"""Patches 1, 4 and 7 of ten hold landslide."""


def _order(split: Any, draws: int, *, epoch: int = 1, seed: int = 0, positive_fraction: float = 0.0) -> list[int]:
    return _epoch_order(split, draws, seed=seed, epoch=epoch, positive_fraction=positive_fraction).tolist()


def test_without_a_share_the_order_is_what_it_was() -> None:
    """The permutation of (seed, 1, epoch), and past its end the generator's next; no mask is looked at."""
    for epoch in (1, 2):
        random = np.random.default_rng(np.random.SeedSequence(5, spawn_key=(1, epoch)))
        expected = [*random.permutation(9).tolist(), *random.permutation(9).tolist()]
        for draws in (4, 9, 15, 18):
            assert _order(Unread(), draws, seed=5, epoch=epoch) == expected[:draws]


@pytest.mark.parametrize("fractions", [(0.0,) * 6, (0.2,) * 6])
def test_a_split_of_one_kind_is_as_it_is_without_a_share(fractions: tuple[float, ...]) -> None:
    """There is nothing to balance."""
    assert _order(Shares(*fractions), 8, positive_fraction=0.7) == _order(Shares(*fractions), 8)


@pytest.mark.parametrize(
    ("draws", "share", "landslide"), [(10, 0.5, 5), (10, 0.05, 1), (10, 0.04, 0), (7, 0.5, 4), (40, 0.9, 36), (3, 1, 3)]
)
def test_the_share_is_exact_in_every_epoch(draws: int, share: float, landslide: int) -> None:
    """`share` of the draws, half a patch counting as one."""
    for epoch in range(1, 30):
        order = _order(MIXED, draws, epoch=epoch, positive_fraction=share)
        assert len(order) == draws
        assert sum(patch in (1, 4, 7) for patch in order) == landslide


def test_no_patch_comes_twice_before_all_of_its_kind_came_once() -> None:
    """Both kinds go through their patches in rounds, each round in an order of its own."""
    for epoch in range(1, 10):
        order = _order(MIXED, 40, epoch=epoch, positive_fraction=0.5)
        for kind in ((1, 4, 7), (0, 2, 3, 5, 6, 8, 9)):
            drawn = [patch for patch in order if patch in kind]
            assert len(drawn) == 20
            for start in range(0, 20, len(kind)):
                assert len(set(drawn[start : start + len(kind)])) == len(drawn[start : start + len(kind)])
    drawn = [patch for patch in _order(MIXED, 40, positive_fraction=0.5) if patch in (1, 4, 7)]
    assert len({tuple(drawn[start : start + 3]) for start in range(0, 18, 3)}) > 1


def test_an_order_derives_from_seed_and_epoch_alone() -> None:
    """The same key gives the same order, another seed or epoch another one; and kinds stand in no fixed places."""
    order = _order(MIXED, 20, positive_fraction=0.5)
    assert order == _order(MIXED, 20, positive_fraction=0.5)
    assert order != _order(MIXED, 20, positive_fraction=0.5, epoch=2)
    assert order != _order(MIXED, 20, positive_fraction=0.5, seed=1)
    kinds = np.array(
        [[p in (1, 4, 7) for p in _order(MIXED, 20, positive_fraction=0.5, epoch=e)] for e in range(1, 201)]
    )
    # Over 200 epochs each place has half landslide: four standard deviations are .142.
    assert np.abs(kinds.mean(0) - 0.5).max() < 0.142


def test_a_folds_view_is_balanced_by_its_own_patches(tmp_path: Path, write_patch: WritePatch) -> None:
    """Of six packed patches the first two have landslide; the fold that holds out 0 and 1 has one kind left."""
    mask = np.zeros(PATCH_SHAPE[:2], "uint8")
    mask[5, 5] = 1
    for number in range(6):
        write_patch(tmp_path / "img", tmp_path / "mask", number, mask=mask * (number < 2))
    pack = FoldedData.prepare(tmp_path, tmp_path / "cache", folds=3, repeats=1).train
    first, second = (FoldData.of(pack, fold, 3).train for fold in (0, 1))
    assert _order(first, 8, positive_fraction=0.75) == _order(first, 8)
    order = _order(second, 8, positive_fraction=0.75)
    # In the view without 2 and 3, places 0 and 1 are those with landslide.
    assert sorted(patch for patch in order if patch < 2) == [0, 0, 0, 1, 1, 1]
    assert len({patch for patch in order if patch >= 2}) == 2


def test_times_before_counts_each_patch_by_itself() -> None:
    """Worked out by hand."""
    assert _times_before(np.array([3, 1, 3, 3, 0, 1])).tolist() == [0, 0, 1, 2, 0, 1]
    assert _times_before(np.array([], int)).tolist() == []
