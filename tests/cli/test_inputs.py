"""What people hand to commands that is not what they take it for: one line and an exit code, never a traceback."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lsml.data.scan import scan_images
from lsml.data.synthetic import synthesize
from lsml.errors import DataError, DataWarning
from lsml.evaluation.predict import check_output_folder
from lsml.workflows.sources import open_dataset
from tests.processes import PATIENCE, environment, lsml

EXPERIMENT = "name: tiny\ndata: {path: unused}\nspace:\n  loss.jaccard: {low: 0.0, high: 1.0}\n"
TRAIN = ("train", "tiny.yaml", "--data", "data")


@pytest.fixture
def folder(patches: Path, tmp_path: Path) -> Path:
    """A working folder with an experiment, and a link to patches that nobody may change."""
    (tmp_path / "tiny.yaml").write_text(EXPERIMENT)
    (tmp_path / "data").symlink_to(patches)
    return tmp_path


@pytest.fixture(scope="module")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic dataset."""
    root = tmp_path_factory.mktemp("patches") / "data"
    synthesize(root, train=4, validation=2, test=2, seed=1)
    return root


def _line(folder: Path, *command: str, code: int, **env: str) -> str:
    """The one error of a command that leaves with this exit code."""
    done = lsml(folder, *command, env=environment(**env))
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("lsml: error: ")]
    return line.removeprefix("lsml: error: ")


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("mlflow.db", "MLFLOW_TRACKING_URI mlflow.db: names no database and no server; give the URL of one, such as "
         "sqlite:///mlflow.db"),
        ("./mlruns", "MLFLOW_TRACKING_URI ./mlruns: names no database and no server; "),
        ("file:///tmp/mlruns", "MLFLOW_TRACKING_URI file:///tmp/mlruns: names no database and no server; "),
        ("ftp://me:secret@host/x", "MLFLOW_TRACKING_URI ftp: names no database and no server; "),
        ("sqlite:///data", "MLflow store {data}: is a folder, not a database file; give a file in it"),
    ],
)  # fmt: skip
def test_a_store_that_is_none_is_named_at_once(uri: str, says: str, folder: Path, patches: Path) -> None:
    """Instead of MLflow's advice on its files, or two minutes of trying to open a folder."""
    line = _line(folder, "evaluate", "--run-id", "0" * 32, code=4, MLFLOW_TRACKING_URI=uri)
    assert line.startswith(says.format(data=patches))


def test_a_store_of_blanks_is_none_named(folder: Path) -> None:
    """The default is taken, which is not there."""
    line = _line(folder, "evaluate", "--run-id", "0" * 32, code=4, MLFLOW_TRACKING_URI="  ")
    assert f"{folder / 'mlflow.db'}: there is no such file" in line


def test_landslide4sense_needs_no_description(folder: Path, patches: Path) -> None:
    """A draft would make the known sensor an unknown one; of other values in the same form it is written."""
    done = lsml(folder, "data", "describe", "data")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("these are Landslide4Sense's 14 bands, by their values: no dataset.yaml is needed\n")
    assert not (patches / "dataset.yaml").exists()


# Root may write anywhere, but without these capabilities.
_ALL = "-dac_override,-dac_read_search"
_AS_OTHERS = ["setpriv", f"--bounding-set={_ALL}", f"--inh-caps={_ALL}"] if os.geteuid() == 0 else []


def test_training_where_nothing_can_be_written_says_so(folder: Path) -> None:
    """The pack is what is written first; its folder is not there and cannot be made."""
    folder.chmod(0o555)
    try:
        command = [*_AS_OTHERS, sys.executable, "-m", "lsml", *TRAIN]
        done = subprocess.run(
            command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    finally:
        folder.chmod(0o755)
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert "Permission denied (a pack of 4 patches takes " in line
    assert line.endswith("free space there, or choose another folder that can be written to")


def _fill(value: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(value)


@pytest.mark.parametrize("command", [TRAIN, ("tune", *TRAIN[1:]), ("data", "synth", "made"), ("data", "audit", "data")])
def test_a_negative_seed_is_a_usage_error(command: tuple[str, ...], folder: Path) -> None:
    """At every command that takes one."""
    assert "Invalid value for '--seed': -1 is below 0" in _line(folder, *command, "--seed", "-1", code=2)


@pytest.mark.parametrize(
    ("name", "make", "command", "code", "says"),
    [
        ("tiny.yaml", Path.mkdir, TRAIN, 2, "Is a directory"),
        ("tiny.yaml", _fill("a: " + "{a: " * 3000), TRAIN, 2, "not YAML"),
        ("tiny.yaml", _fill(EXPERIMENT.replace("tiny", "2024-01-01")), TRAIN, 2, "name: must be text"),
        ("mlflow.db", _fill("no database"), ("evaluate", "--run-id", "0" * 32), 4, "file is not a database"),
        (".lsml", _fill(""), TRAIN, 4, "Not a directory"),
        ("check.png", Path.mkdir, ("data", "check", "data"), 3, "Is a directory"),
        ("out", _fill(""), ("data", "synth", "out/x"), 3, "cannot be written"),
        ("out", _fill(""), ("data", "check", "out"), 3, "is no folder"),
        ("out", os.mkfifo, ("data", "check", "out"), 3, "is no folder"),
    ],
)
def test_what_stands_in_the_way_is_named(
    name: str, make: Callable[[Path], None], command: tuple[str, ...], code: int, says: str, folder: Path
) -> None:
    """A folder for a file, a file for a folder, a pipe, and files of another content than their names say."""
    (folder / name).unlink(missing_ok=True)
    make(folder / name)
    assert says in _line(folder, *command, code=code)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((64, 64), [("a", "f4")]), "not numbers"),
        (np.zeros((64, 64, 3), "M8[s]"), "not numbers"),
        (np.array([{}], object), "Python objects"),
        (np.zeros((0, 64, 3)), "holds nothing"),
        (np.full((64, 64, 3), np.nan), "no finite value"),
        (np.full((64, 64, 2), 1.0), "expected 3 bands"),
        (np.full((64, 64, 3), -3.4028234e38), "say so in dataset.yaml: nodata: -3.4028234"),
    ],
    ids=["records", "dates", "objects", "empty", "nothing measured", "another number of bands", "undeclared nodata"],
)
def test_arrays_that_are_no_images_are_refused(array: np.ndarray, says: str, tmp_path: Path) -> None:
    """Each as all images of a described dataset."""
    for kind, content in (("images", array), ("masks", np.eye(64, dtype=np.uint8))):
        (tmp_path / "data/train" / kind).mkdir(parents=True)
        for number in range(3):
            np.save(tmp_path / "data/train" / kind / f"{number}.npy", content, allow_pickle=True)
    (tmp_path / "data/dataset.yaml").write_text("bands: [{name: a}, {name: b}, {name: c}]")
    assert says in _line(tmp_path, "data", "pack", "data", code=3)


def test_an_image_of_two_splits_is_refused_at_the_doors(patches: Path, tmp_path: Path) -> None:
    """A copy under another number, which no link and no name tells; --force takes it and says so."""
    shutil.copytree(patches, tmp_path / "data")
    shutil.copy(tmp_path / "data/TrainData/img/image_2.h5", tmp_path / "data/ValidData/img/image_1.h5")
    says = "validation split: image_1 equals image_2 of train: leakage; keep it in one split; --force takes"
    (tmp_path / "tiny.yaml").write_text(EXPERIMENT)
    for command in (TRAIN, ("data", "pack", "data")):
        assert says in _line(tmp_path, *command, code=3)
    with pytest.raises(DataError, match="image_1 equals image_2 of train: leakage"):
        open_dataset(tmp_path / "data")
    done = lsml(tmp_path, "data", "pack", "data", "--force")
    assert done.returncode == 0, done.stderr
    assert "lsml: warning: validation split: image_1 equals image_2 of train" in done.stderr


def test_links_out_of_the_folder_of_a_prediction_are_named_and_into_its_output_refused(tmp_path: Path) -> None:
    """An output read as an input would be another file the next time."""
    images, out, elsewhere = (tmp_path / name for name in ("images", "out/mask", "elsewhere"))
    for folder in (images, out, elsewhere):
        folder.mkdir(parents=True)
    (images / "image_1.h5").touch()
    (elsewhere / "image_2.h5").touch()
    (images / "image_2.h5").symlink_to(elsewhere / "image_2.h5")
    with pytest.warns(DataWarning, match=r"links that lead out of it: image_2\.h5$"):
        patches = scan_images(images)
    check_output_folder(tmp_path / "out", [patch.image for patch in patches])
    (out / "mask_3.h5").touch()
    (images / "image_3.h5").symlink_to(out / "mask_3.h5")
    (tmp_path / "mlflow.db").touch()
    line = _line(tmp_path, "predict", "images", "--run-id", "0" * 32, "--out", "out", code=3)
    assert "image_3.h5: is in out, which this command writes to; choose another --out" in line
