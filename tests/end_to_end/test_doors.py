"""Patches whose values look wrong at every command that opens them: refused, or taken by --force and said so."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest

from lsml.data.sensor import LANDSLIDE4SENSE
from lsml.data.synthetic import synthetic_patch
from tests.bands import CONSTANTS, ELEVATION, SLOPE
from tests.end_to_end.conftest import EXPERIMENT, Study, client, copy_study, runs
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
    champion = client(forced.folder).get_model_version_by_alias("tiny-train", "champion")
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


def _swapped(stored: np.ndarray) -> None:
    stored[..., [SLOPE, ELEVATION]] = stored[..., [ELEVATION, SLOPE]]


_FAULTS = {
    "raw": (lambda stored: np.multiply(stored, CONSTANTS, out=stored), "looks like raw reflectance x 10,000"),
    "times ten": (lambda stored: np.multiply(stored, 10, out=stored), "looks multiplied by ten"),
    "tenth": (lambda stored: np.divide(stored, 10, out=stored), "divided by ten"),
    "swapped": (_swapped, "slope and elevation look swapped"),
}
_DOORS = {
    "data check": "data check DATA",
    "data pack": "data pack DATA",
    "train": "train tiny.yaml --data DATA",
    "tune": "tune tiny.yaml --data DATA --trials 1",
    # Of a run that was forced to train on them.
    "refit": "refit OWN",
    "evaluate": "evaluate SOUND --data DATA --split valid",
    "predict": "predict IMAGES SOUND",
}
_ONE_EPOCH = EXPERIMENT.replace("epochs: 4", "epochs: 1").replace("min_epochs: 2", "min_epochs: 1")


def _said_at_each_door(folder: Path, data: Path, images: Path, sound: str) -> dict[str, tuple[int, str]]:
    """Exit code and output of every command that opens the data; `sound` is a run that was trained on others."""
    (folder / "tiny.yaml").write_text(_ONE_EPOCH)
    forced = lsml(folder, "train", "tiny.yaml", "--data", str(data), "--force")
    assert forced.returncode == 0, forced.stderr
    own = forced.stdout.splitlines()[-1].removeprefix("run: ")
    words = {"DATA": str(data), "IMAGES": str(images), "OWN": own, "SOUND": sound}
    said = {}
    for door, command in _DOORS.items():
        done = lsml(folder, *(words.get(word, word) for word in command.split()))
        said[door] = done.returncode, done.stdout + done.stderr
    return said


@pytest.mark.full
@pytest.mark.parametrize("fault", _FAULTS)
def test_each_fault_is_named_at_each_door(fault: str, dataset: Path, study: Study, tmp_path: Path) -> None:
    """By its own words where a rule knows the sensor, before anything is computed of it, exit code 3."""
    edit, says = _FAULTS[fault]
    data, folder = _changed(dataset, tmp_path / "data", lambda path, stored: edit(stored)), tmp_path / "study"
    copy_study(study.folder, folder)
    said = _said_at_each_door(folder, data, data / "ValidData" / "img", study.best_run)
    for door, (code, text) in said.items():
        assert (code, says in text) == (3, True), (door, code, text)


def _pictures(root: Path, order: tuple[int, int, int]) -> Path:
    """Bands of synthetic patches as pictures of 8 bits, eight to train on and five to validate on; 0, 1, 2 is RGB."""
    patches = [synthetic_patch("train", number) for number in range(1, 14)]
    light = [np.clip(LANDSLIDE4SENSE.physical(image, "red", "green", "blue"), 0, None) for image, _ in patches]
    white = np.percentile(np.concatenate([picture.ravel() for picture in light]), 99.9)
    for number, (picture, (_, mask)) in enumerate(zip(light, patches, strict=True)):
        split = root / ("train" if number < 8 else "val")
        for kind, array in (("images", np.clip(255 * picture / white, 0, 255)[..., order]), ("masks", mask)):
            (split / kind).mkdir(parents=True, exist_ok=True)
            np.save(split / kind / f"{number}.npy", array.astype(np.uint8))
    return root


@pytest.mark.full
def test_blue_first_is_named_at_each_door(tmp_path: Path) -> None:
    """A warning where the pictures alone speak, exit code 0; refused where a model was trained on red first."""
    (tmp_path / "tiny.yaml").write_text(_ONE_EPOCH)
    sound = lsml(tmp_path, "train", "tiny.yaml", "--data", str(_pictures(tmp_path / "rgb", (0, 1, 2))))
    assert sound.returncode == 0, sound.stderr
    assert "swapped" not in sound.stderr
    data = _pictures(tmp_path / "bgr", (2, 1, 0))
    run = sound.stdout.splitlines()[-1].removeprefix("run: ")
    for door, (code, text) in _said_at_each_door(tmp_path, data, data / "val" / "images", run).items():
        refused = door in ("evaluate", "predict")
        says = "red, blue look swapped" if refused else "red and blue look swapped, blue first"
        assert (code, says in text) == (3 if refused else 0, True), (door, code, text)
