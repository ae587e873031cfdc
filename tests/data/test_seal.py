"""What training is given, walked through for a way to the test split: objects, files below them, imports."""

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lsml.config.schema import TrainConfig
from lsml.data.splits import FoldData, FoldedData, StudyData, TrainingData, WholeData
from lsml.training.outcome import TrialTask
from tests.test_architecture import ROOT, imported_names, module_of, modules

from .conftest import WritePatch, integers_of

TEST_PATCHES = (7, 8)


@pytest.fixture
def root(tmp_path: Path, write_patch: WritePatch, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset in the official layout whose every patch has other values, seen from another folder."""
    found = tmp_path / "dataset"
    for folder, numbers in (("TrainData", (1, 2, 3, 4)), ("ValidData", (5, 6)), ("TestData", TEST_PATCHES)):
        for number in numbers:
            write_patch(found / folder / "img", found / folder / "mask", number)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return found


def reachable(start: object) -> Iterator[object]:
    """Everything that an object leads to: attributes, public or not, what its properties give, items and keys.

    Of arrays and numbers nothing is asked but what file they are mapped from.
    """
    pending, seen = [start], set()
    while pending:
        found = pending.pop()
        if id(found) in seen or isinstance(found, type | bytes | int | float | None | np.generic):
            continue
        seen.add(id(found))
        yield found
        if isinstance(found, np.ndarray):
            pending.append(getattr(found, "filename", None))
        elif isinstance(found, dict):
            pending += [*found, *found.values()]
        elif isinstance(found, tuple | list | set | frozenset):
            pending += found
        if type(found).__module__.startswith(("lsml.", "tests.")):
            pending += [getattr(found, name) for name in dir(found) if not name.startswith("__")]
        elif callable(found):
            pending.append(getattr(found, "__self__", None))


def ways_out(start: object, root: Path) -> list[str]:
    """What an object leads to that is in the dataset, above it, or names its test split."""
    found = []
    for thing in reachable(start):
        if not isinstance(thing, str | Path):
            continue
        path = Path(thing).absolute()
        if "TestData" in str(thing) or path.is_relative_to(root) or (path.exists() and root.is_relative_to(path)):
            found.append(str(thing))
    return found


def folders(start: object) -> set[Path]:
    """The folders that exist below any path that an object leads to."""
    paths = {Path(thing).absolute() for thing in reachable(start) if isinstance(thing, str | Path)}
    return {path if path.is_dir() else path.parent for path in paths if path.exists()}


def in_folds(root: Path, cache: Path) -> StudyData:
    return FoldedData.prepare(root, cache, folds=2, repeats=1)


@pytest.mark.parametrize("prepared", [TrainingData.prepare, WholeData.prepare, in_folds])
def test_nothing_that_training_is_given_leads_to_the_test_split(
    root: Path, tmp_path: Path, prepared: Callable[[Path, Path], StudyData]
) -> None:
    """A task as a worker gets it: no path into the dataset, and no test patch in any file that it leads to."""
    data = prepared(root, tmp_path / "elsewhere" / "packs")
    task = pickle.loads(pickle.dumps(TrialTask(TrainConfig(), data, tmp_path / "elsewhere" / "checkpoint")))
    given: list[Any] = [task, *(FoldData.of(pack, 0, 2) for pack in data.splits)]
    for thing in given:
        assert ways_out(thing, root) == []
    packs = folders(task)
    assert packs
    files = [path for folder in packs for path in folder.rglob("*") if path.is_file()]
    # Packed as whole numbers, band by band of a pixel: the first row of a patch is 3,584 bytes that no other has.
    rows = {number: integers_of(number)[0].astype(np.uint16).tobytes() for number in (1, *TEST_PATCHES)}
    contents = [path.read_bytes() for path in files]
    held = {number for number, row in rows.items() if any(row in content for content in contents)}
    assert held == {1}


class _Leaky:
    """Something that a careless hand gave to training."""

    def __init__(self, way: object) -> None:
        self._kept = [{"where": way}]


def test_the_walk_finds_what_is_planted(root: Path) -> None:
    """The dataset's folder, a file of it, a folder above it and words that name the split, however deep they lie."""
    for way in (root, root / "TestData" / "img", str(root / "TrainData"), root.parent, "images in TestData"):
        assert ways_out(_Leaky((1, way)), root) == [str(way)]
    assert ways_out(_Leaky(root / "TrainData" / "img" / "image_1.h5").__init__, root)
    assert ways_out(_Leaky("words"), root) == []


@pytest.mark.parametrize(
    "start", ["lsml.workflows.tune", "lsml.workflows.train", "lsml.workflows.retrain", "lsml.workflows.promote"]
)
def test_no_import_leads_from_training_to_the_seal(start: str) -> None:
    """Neither the module that finds the test split for a model nor the one that calls it is imported, by any detour."""
    known = modules(ROOT / "lsml")
    pending, seen = [start], set()
    while pending:
        if (name := pending.pop()) in seen or name not in known:
            continue
        seen.add(name)
        pending += [module_of(dotted, known) for _, dotted in imported_names(name, known[name])]
    assert {"lsml.data.splits"} <= seen
    assert not seen & {"lsml.data.sealed", "lsml.workflows.evaluate"}
