"""Folds: contiguous, disjoint, and blind to the patches that they hold out."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lsml.data import sealed
from lsml.data.pack import PackedSplit
from lsml.data.regions import fold_indices
from lsml.data.splits import FoldData, FoldedData, _SplitView
from lsml.errors import DataError
from tests.bands import PATCH_SHAPE

from .conftest import WritePatch, mask_of

ROOT = Path(__file__).parents[2]


def level_of(number: int) -> np.ndarray:
    """A patch that is `number / 25` everywhere."""
    return np.full(PATCH_SHAPE, number / 25)


@pytest.fixture
def pack(tmp_path: Path, write_patch: WritePatch) -> PackedSplit:
    """The patches 1, 2, 10, 20 and 100 of a bare pair of folders, each of one level."""
    for number in (100, 20, 10, 2, 1):
        write_patch(tmp_path / "img", tmp_path / "mask", number, image=level_of(number))
    return FoldedData.prepare(tmp_path, tmp_path / ".cache", folds=2, repeats=1).train


@pytest.mark.parametrize(
    ("n", "folds", "expected"),
    [
        (10, 3, [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]),
        (4, 2, [[0, 1], [2, 3]]),
        (3, 3, [[0], [1], [2]]),
    ],
)
def test_folds_are_contiguous_blocks_of_nearly_one_size(n: int, folds: int, expected: list[list[int]]) -> None:
    """10 patches in 3 folds are 4, 3 and 3, in order, each patch once."""
    assert [block.tolist() for block in fold_indices(n, folds)] == expected


@pytest.mark.parametrize(
    ("n", "folds", "partition", "expected"),
    [
        # Blocks of 4 recur after 4 patches; .38 of 4 is 1.5, and 1 is the nearest number that shares no divisor with 4.
        (12, 3, 1, [[1, 2, 3, 4], [5, 6, 7, 8], [0, 9, 10, 11]]),
        (12, 3, 2, [[2, 3, 4, 5], [6, 7, 8, 9], [0, 1, 10, 11]]),
        (12, 3, 3, [[3, 4, 5, 6], [7, 8, 9, 10], [0, 1, 2, 11]]),
        # .38 of blocks of 5 is 1.9: 2 patches later each time, and so 4, 6 (which is 1) and 8 (3).
        (10, 2, 1, [[2, 3, 4, 5, 6], [0, 1, 7, 8, 9]]),
        (10, 2, 3, [[1, 2, 3, 4, 5], [0, 6, 7, 8, 9]]),
        # .38 of 7 / 3 patches is .9: 1.
        (7, 3, 1, [[1, 2, 3], [4, 5], [0, 6]]),
        # Each patch by itself has no other partition.
        (3, 3, 1, [[0], [1], [2]]),
    ],
)
def test_blocks_of_another_partition_begin_elsewhere(
    n: int, folds: int, partition: int, expected: list[list[int]]
) -> None:
    """The last block goes on with the first patches."""
    assert [block.tolist() for block in fold_indices(n, folds, partition=partition)] == expected


@pytest.mark.parametrize(("n", "folds", "different"), [(12, 3, 4), (12, 4, 3), (10, 3, 10), (40, 5, 8), (61, 4, 61)])
def test_partitions_differ_as_long_as_there_are_others(n: int, folds: int, different: int) -> None:
    """Blocks of n / folds patches can begin at that many places, those of two sizes at n.

    Each patch is held out once, sizes differ by one at most, and but for one that goes on from the end to the
    beginning all folds are blocks.
    """
    partitions = [fold_indices(n, folds, partition=partition) for partition in range(different)]
    assert len({frozenset(map(tuple, held_out)) for held_out in partitions}) == different
    for held_out in partitions:
        assert sorted(np.concatenate(held_out).tolist()) == list(range(n))
        assert {len(fold) for fold in held_out} <= {n // folds, -(-n // folds)}
        assert all((np.diff(fold) > 0).all() for fold in held_out)
        assert sum((np.diff(fold) > 1).any() for fold in held_out) <= 1


def test_early_partitions_part_in_the_middle_of_blocks() -> None:
    """Of blocks of 100 patches .38 are 38.2, and 39 is the nearest number that has no divisor in common with 100.

    So those of partitions 0 to 4 begin at 0, 39, 78, 117 and 156: within a block at 0, 17, 39, 56 and 78.
    """
    assert [int(fold_indices(500, 5, partition=partition)[0][0]) for partition in range(5)] == [0, 39, 78, 17, 56]


@pytest.mark.parametrize(("n", "folds", "says"), [(3, 4, "3 patches cannot fill 4 folds"), (3, 1, "1 asked for")])
def test_folds_that_do_not_fit_are_refused(n: int, folds: int, says: str) -> None:
    """One fold holds out everything, and a fold without a patch nothing."""
    with pytest.raises(DataError, match=says):
        fold_indices(n, folds)


def test_no_patch_is_in_the_fold_that_trains_on_it(pack: PackedSplit) -> None:
    """In numeric order the folds of 5 patches in 2 hold out 1, 2, 10 and 20, 100; the rest is trained on."""
    first, second = FoldData.of(pack, 0, 2), FoldData.of(pack, 1, 2)
    assert first.validation.ids == second.train.ids == ("image_1", "image_2", "image_10")
    assert second.validation.ids == first.train.ids == ("image_20", "image_100")


def test_folds_of_another_partition_are_other_data(pack: PackedSplit) -> None:
    """What a checkpoint is known by differs; folds of 3 and 2 begin with the second patch, which nobody trains on."""
    first, other = FoldData.of(pack, 0, 2), FoldData.of(pack, 0, 2, 1)
    assert other.validation.ids == ("image_2", "image_10", "image_20")
    assert other.train.ids == ("image_1", "image_100")
    assert {first.train.fingerprint, first.validation.fingerprint}.isdisjoint(
        {other.train.fingerprint, other.validation.fingerprint}
    )


def test_the_partition_is_part_of_what_a_score_is_of(pack: PackedSplit) -> None:
    """Scores in other folds are not taken for those of a search; without a partition all is said as before."""
    data = FoldedData(pack, 2, 3, "source")
    assert "partition" not in data.identity
    assert data.scored_patches.split == "2 contiguous folds, 3 repeats"
    other = data._replace(partition=1)
    assert other.identity == {**data.identity, "partition": 1}
    assert other.scored_patches.split == "2 contiguous folds, 3 repeats from partition 1 on"


def test_statistics_are_of_the_training_patches_alone(pack: PackedSplit) -> None:
    """With 20 and 100 held out, mean, median and range are those of 1, 2 and 10."""
    statistics = FoldData.of(pack, 1, 2).statistics
    # 25 times the levels is 1, 2 and 10: mean 13 / 3, standard deviation sqrt((3.33^2 + 2.33^2 + 5.67^2) / 3)
    np.testing.assert_allclose(np.array(statistics.mean) * 25, 13 / 3, rtol=1e-6)
    np.testing.assert_allclose(np.array(statistics.std) * 25, 4.0276819, rtol=1e-6)
    np.testing.assert_allclose(np.array(statistics.median) * 25, 2, rtol=1e-6)
    np.testing.assert_allclose(np.array(statistics.minimum) * 25, 1, rtol=1e-6)
    np.testing.assert_allclose(np.array(statistics.maximum) * 25, 10, rtol=1e-6)


def test_a_view_shows_the_packs_patches_by_its_own_numbers(pack: PackedSplit) -> None:
    """Images, masks, batches and landslide shares are the pack's at the chosen indices."""
    view = _SplitView(pack, (4, 1), "train")
    assert (len(view), view.ids, view.name) == (2, ("image_100", "image_2"), "train")
    np.testing.assert_allclose(view.image(0), level_of(100), rtol=1e-6)
    np.testing.assert_array_equal(view.mask(1), mask_of(2))
    images, masks = view.batch([1, 0, 1])
    np.testing.assert_array_equal(images, pack.batch([1, 4, 1])[0])
    np.testing.assert_array_equal(masks, pack.batch([1, 4, 1])[1])
    # 100 and 2 rows are landslide, of 96 rows 4 and 2.
    rows = PATCH_SHAPE[0]
    np.testing.assert_allclose(view.landslide_fractions, [100 % rows / rows, 2 / rows])


def test_a_view_is_pickled_by_path_and_indices(pack: PackedSplit) -> None:
    """It costs a task less than 1,000 bytes, and comes back as the same patches."""
    view = _SplitView(pack, (3, 0), "validation")
    sent = pickle.dumps(view)
    found = pickle.loads(sent)
    assert len(sent) < 1000
    assert (found.fingerprint, found.ids, found.name) == (view.fingerprint, view.ids, "validation")
    np.testing.assert_array_equal(found.image(0), view.image(0))


def test_a_views_fingerprint_is_that_of_its_patches_in_order(pack: PackedSplit) -> None:
    """Other indices, or the same in another order, are other data."""
    prints = {_SplitView(pack, indices, "train").fingerprint for indices in ((0, 1), (1, 0), (0,), (0, 1))}
    assert len(prints) == 3
    assert all(len(fingerprint) == 64 for fingerprint in prints)


def test_a_bare_pair_is_all_training_data(tmp_path: Path, pack: PackedSplit) -> None:
    """No patch is kept back for validation or test, and the source says so."""
    assert pack.ids == ("image_1", "image_2", "image_10", "image_20", "image_100")
    source = FoldedData.prepare(tmp_path, tmp_path / ".cache", folds=2, repeats=1).source
    assert source.startswith("bare img and mask: all 5 patches in folds, no test split")


def test_a_bare_pair_can_keep_a_test_split(tmp_path: Path, pack: PackedSplit) -> None:
    """15 % of 5 patches are .75, one: the last, which evaluation opens; what is in folds knows it of the others."""
    data = FoldedData.prepare(tmp_path, tmp_path / ".cache", folds=2, repeats=1, hold_out_test=True)
    assert data.train.ids == ("image_1", "image_2", "image_10", "image_20")
    assert [patch.id for patch in sealed.test_split(tmp_path)] == ["image_100"]
    assert "; the first two together, 4 patches, in folds" in data.source
    assert data.identity["hold_out_test"] is True
    assert data.identity["train"] != pack.fingerprint


def test_a_split_of_its_own_is_out_of_folds_anyway(tmp_path: Path, write_patch: WritePatch) -> None:
    """With or without it, the folds have the two train patches."""
    for folder in ("TrainData", "TestData"):
        for number in (1, 2):
            write_patch(tmp_path / folder / "img", tmp_path / folder / "mask", number)
    found = [
        FoldedData.prepare(tmp_path, tmp_path / ".cache", folds=2, repeats=1, hold_out_test=kept).train.path
        for kept in (False, True)
    ]
    assert found[0] == found[1]


PREPARE = """
import sys
from pathlib import Path
from lsml.data.formats import processes
# This process reads for itself, so that the hook sees it.
processes._READER.here = True
opened = []
events = ("open", "os.listdir", "os.scandir")
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event in events else None)
from lsml.data.splits import FoldedData
print(*FoldedData.prepare(Path(sys.argv[1]), Path(sys.argv[2]), folds=2, repeats=1).train.ids)
print("\\n".join(opened))
"""


@pytest.mark.parametrize("others", [["TestData"], ["ValidData", "TestData"]])
def test_of_a_layout_with_splits_only_train_is_opened(
    tmp_path: Path, write_patch: WritePatch, others: list[str]
) -> None:
    """With and without a validation split, an audit hook sees every train file opened, and no other patch."""
    root = tmp_path / "data"
    for folder in ["TrainData", *others]:
        for number in (1, 2):
            write_patch(root / folder / "img", root / folder / "mask", number)
    result = subprocess.run(
        [sys.executable, "-c", PREPARE, root, tmp_path / "cache"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    ids, *opened = result.stdout.splitlines()
    assert ids == "image_1 image_2"
    patches = {path for line in opened if (path := Path(line)).suffix == ".h5" and path.is_relative_to(root)}
    assert patches == set((root / "TrainData").rglob("*.h5"))
