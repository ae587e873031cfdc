"""Patches whose values look wrong at every command that opens them: refused, or taken by --force and said so."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest

from tests.end_to_end.conftest import EXPERIMENT, client, runs
from tests.processes import lsml

_FORCED = "--force takes them as they are"


def _changed(dataset: Path, target: Path, edit) -> Path:
    """A copy of the dataset, each image edited in place by its path and stored values."""
    shutil.copytree(dataset, target)
    for path in sorted(target.glob("*/img/*.h5")):
        with h5py.File(path, "r+") as file:
            stored = file["img"][()]
            edit(path, stored)
            file["img"][...] = stored
    return target


class Forced(NamedTuple):
    """A training on patches whose values are ten times too large, in a folder of its own."""

    folder: Path
    data: Path
    run: str
    said: list[str]


@pytest.fixture(scope="module")
def forced(dataset: Path, tmp_path_factory: pytest.TempPathFactory, new_store: Callable[[Path], str]) -> Forced:
    """One epoch, with --force."""
    folder = tmp_path_factory.mktemp("forced")
    new_store(folder)
    (folder / "tiny.yaml").write_text(EXPERIMENT.replace("epochs: 4", "epochs: 1"))
    data = _changed(dataset, folder / "data", lambda path, stored: np.multiply(stored, 10, out=stored))
    done = lsml(folder, "train", "tiny.yaml", "--data", "data", "--force")
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("lsml: ")]
    return Forced(folder, data, done.stdout.splitlines()[-1].removeprefix("run: "), said)


def test_a_forced_training_says_what_it_took_and_keeps_it_as_a_tag(forced: Forced) -> None:
    """One warning a split on standard error, and a tag each of the run."""
    assert len(forced.said) == 2
    for line, split in zip(forced.said, ("train", "validation"), strict=True):
        assert line.startswith(f"lsml: warning: {split} split: optical bands are about ")
        assert "looks multiplied by ten" in line
        assert "looks multiplied by ten" in client(forced.folder).get_run(forced.run).data.tags[f"lsml.forced.{split}"]


@pytest.mark.parametrize(
    "command",
    [
        ("train", "tiny.yaml", "--data", "data"),
        ("tune", "tiny.yaml", "--data", "data", "--trials", "1"),
        ("refit", "RUN"),
        ("promote", "RUN"),
        ("data", "pack", "data"),
    ],
    ids=lambda command: command[0],
)
def test_what_looks_wrong_is_refused_by_each_command_that_trains(forced: Forced, command: tuple[str, ...]) -> None:
    """In one line that names --force, exit code 3; nothing is written into MLflow."""
    before = len(runs(forced.folder))
    done = lsml(forced.folder, *(forced.run if word == "RUN" else word for word in command))
    assert done.returncode == 3
    assert [line for line in done.stderr.splitlines() if "lsml: error" in line] == [done.stderr.splitlines()[-1]]
    assert "looks multiplied by ten" in done.stderr
    assert done.stderr.splitlines()[-1].endswith(_FORCED)
    assert len(runs(forced.folder)) == before


def test_a_forced_refit_and_promotion_keep_it_as_tags(forced: Forced) -> None:
    """Of the new run, and of the version that became champion; a forced pack is made."""
    done = lsml(forced.folder, "refit", forced.run, "--force", "--json")
    assert done.returncode == 0, done.stderr
    tags = client(forced.folder).get_run(json.loads(done.stdout)["run_id"]).data.tags
    assert "looks multiplied by ten" in tags["lsml.forced.train"]
    done = lsml(forced.folder, "promote", forced.run, "--force")
    assert done.returncode == 0, done.stderr
    champion = client(forced.folder).get_model_version_by_alias("tiny", "champion")
    assert "looks multiplied by ten" in champion.tags["lsml.forced.validation"]
    assert lsml(forced.folder, "data", "pack", "data", "--force").returncode == 0


def test_a_model_refuses_patches_in_another_scale_than_it_was_trained_on(forced: Forced, dataset: Path) -> None:
    """Ten times its training patches' values is what the study's model has; evaluate and predict take it by --force."""
    evaluate = ("evaluate", "--run-id", forced.run, "--data", str(dataset), "--split", "valid")
    predict = ("predict", str(dataset / "TestData/img"), "--run-id", forced.run)
    for command in (evaluate, predict):
        done = lsml(forced.folder, *command)
        assert done.returncode == 3
        assert "times those of the patches that the model was trained on" in done.stderr
        assert done.stderr.splitlines()[-1].endswith(_FORCED)
        done = lsml(forced.folder, *command, "--force")
        assert done.returncode == 0, done.stderr
        assert "lsml: warning: " in done.stderr
    tags = client(forced.folder).get_run(forced.run).data.tags
    assert "times those of the patches" in tags["lsml.forced.valid"]


def test_what_is_only_unusual_is_one_warning_and_a_tag_of_the_study(
    dataset: Path, tmp_path: Path, new_store: Callable[[Path], str]
) -> None:
    """Two holes in one patch, and masks of 0 and 255 beside such of 0 and 1: the study runs, exit code 0."""

    def holes(path: Path, stored: np.ndarray) -> None:
        if path.match("TrainData/img/image_1.h5"):
            stored[0, :2, 12] = np.nan

    new_store(tmp_path)
    data = _changed(dataset, tmp_path / "data", holes)
    marked = next(path for path in sorted(data.glob("TrainData/mask/*")) if _mask(path).any())
    with h5py.File(marked, "r+") as file:
        file["mask"][...] = 255 * file["mask"][()]
    (tmp_path / "tiny.yaml").write_text(EXPERIMENT.replace("trials: 3", "trials: 1").replace("epochs: 4", "epochs: 2"))
    done = lsml(tmp_path, "tune", "tiny.yaml", "--data", "data")
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stderr.splitlines() if line.startswith("lsml: warning: ")]
    assert len(warnings) == 2
    assert "masks: masks are in several forms" in warnings[0]
    assert warnings[1].startswith("lsml: warning: train split: NaN or infinite values: 2 in slope;")
    (parent,) = runs(tmp_path, "tags.`lsml.role` = 'study'")
    assert parent.data.tags["lsml.warning.train"].startswith("NaN or infinite values: 2 in slope;")
    assert "of 0 and 255" in parent.data.tags["lsml.warning.masks"]


def _mask(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return np.asarray(file["mask"][()])
