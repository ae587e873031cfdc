"""Prediction from the command line: the files that it writes, and what it refuses."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.end_to_end.conftest import Study, copy_study
from tests.processes import lsml


@pytest.fixture(scope="module")
def written(study: Study) -> Path:
    """Predictions of the test images by the registered model."""
    images = study.data / "TestData" / "img"
    done = lsml(study.folder, "predict", str(images), "--model", "first@candidate", "--out", "maps")
    assert done.returncode == 0, done.stderr
    assert f"model of run {study.best_run}" in done.stdout
    assert "3 patches" in done.stdout
    return study.folder / "maps"


@pytest.mark.landslide4sense("predictions of its HDF5 files are HDF5 files")
def test_masks_have_the_format_of_a_submission(written: Path) -> None:
    """One `mask_N.h5` an image, dataset `mask`, uint8 (128, 128): 1 where the probability reaches the threshold."""
    assert sorted(path.name for path in (written / "mask").iterdir()) == [f"mask_{n}.h5" for n in (1, 2, 3)]
    for number in (1, 2, 3):
        with h5py.File(written / "mask" / f"mask_{number}.h5") as file:
            mask = file["mask"][:]
        with h5py.File(written / "probability" / f"probability_{number}.h5") as file:
            probability = file["probability"][:]
        assert (mask.shape, mask.dtype) == ((128, 128), np.uint8)
        assert (probability.shape, probability.dtype) == ((128, 128), np.float32)
        called, not_called = probability[mask == 1], probability[mask == 0]
        assert called.size == 0 or not_called.size == 0 or called.min() > not_called.max()
        assert (written / "panel" / f"image_{number}.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_and_its_registered_model_say_the_same(study: Study, written: Path) -> None:
    """By run id instead of by name: equal probabilities. The folder may also be the one above `img`."""
    done = lsml(study.folder, "predict", str(study.data / "TestData"), "--run-id", study.best_run, "--out", "again")
    assert done.returncode == 0, done.stderr
    for path in (written / "probability").iterdir():
        with h5py.File(path) as one, h5py.File(study.folder / "again" / "probability" / path.name) as other:
            np.testing.assert_array_equal(one["probability"][:], other["probability"][:])


@pytest.mark.landslide4sense("predictions of its HDF5 files are HDF5 files")
def test_pictures_are_drawn_of_the_patches_with_most_landslide(study: Study, written: Path) -> None:
    """One of three on request, in place of those of an earlier call, whatever their names; then none. Masks stay."""
    shares, scenes = {}, study.folder / "scenes"
    scenes.mkdir()
    for path in (written / "mask").iterdir():
        with h5py.File(path) as file:
            shares[path.stem.replace("mask", "scene")] = file["mask"][:].mean()
        number = path.stem.removeprefix("mask_")
        shutil.copy(study.data / f"TestData/img/image_{number}.h5", scenes / f"scene_{number}.hdf5")
    command = ("predict", "scenes", "--run-id", study.best_run, "--out", "drawn", "--pictures")
    for count in (3, 1, 0):
        done = lsml(study.folder, *command, str(count))
        assert done.returncode == 0, done.stderr
        drawn = {path.stem for path in (study.folder / "drawn" / "panel").iterdir()}
        assert len(drawn) == count
        assert sorted((shares[name] for name in drawn), reverse=True) == sorted(shares.values(), reverse=True)[:count]
        assert len(list((study.folder / "drawn" / "mask").iterdir())) == 3
        assert (f"{count} pictures in {Path('drawn') / 'panel'}" in done.stdout) == (count > 0)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("DATA/TestData/img",), 2, "name a run, study or model, such as demo-000"),
        (("nowhere", "--model", "first@candidate"), 3, "no such folder"),
        (("DATA", "--model", "first@candidate"), 3, "holds no images"),
        (
            ("DATA/TestData/img", "--model", "first@champion"),
            4,
            "no registered model has that name with that alias or version",
        ),
        (("DATA/TestData/img", "--model", "first@candidate", "--out", "."), 3, "contains other files"),
    ],
)
def test_a_prediction_that_cannot_be_made_says_why(
    study: Study, arguments: tuple[str, ...], code: int, says: str
) -> None:
    """Wrong folders, unknown models and an output folder that contains other files are one line each."""
    done = lsml(study.folder, "predict", *(word.replace("DATA", str(study.data)) for word in arguments))
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("lsml: error: ")
    assert says in line


def test_a_study_whose_folder_was_renamed_evaluates_and_predicts(study: Study, tmp_path: Path) -> None:
    """From the files in it; another project that stands at its old place by now gets none."""
    old, new = tmp_path / "old", tmp_path / "new"
    copy_study(study.folder, old)
    old.rename(new)
    (old / "mlruns").mkdir(parents=True)
    for command in (
        ("study", "show", "first"),
        ("evaluate", "--run-id", study.best_run),
        ("predict", str(study.data / "TestData" / "img"), "--run-id", study.best_run, "--pictures", "0"),
    ):
        done = lsml(new, *command)
        assert done.returncode == 0, done.stderr
    assert list(old.rglob("*")) == [old / "mlruns"]
