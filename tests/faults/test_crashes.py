"""A library that dies of a file costs that patch: one line names it, and the process that asked for it lives."""

import resource
import shutil
import signal
import sys
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest

from lsml.data.checks import check
from lsml.data.formats import hdf5, processes, read_image
from lsml.data.packing import arrays, pack_split
from lsml.data.scan import Scan, scan_images
from lsml.data.sensor import LANDSLIDE4SENSE
from lsml.data.synthetic import synthesize
from lsml.errors import DataError, ModelError
from lsml.evaluation.predict import predict_patches
from lsml.models.archive import load_weights
from tests.processes import ROOT, environment, lsml

ENDLESS = ROOT / "tests/fuzz/found/weights-a-header-without-end"
"""A file of weights of which one byte was changed: HDF5 reads a header of it for ever, and takes memory for it."""

DEADLY = """
import os, sys
def _hook(event, arguments):
    if event == "open" and str(arguments[0]).endswith("image_2.h5"):
        os.kill(os.getpid(), {signal})
sys.addaudithook(_hook)
"""
"""Python runs a `sitecustomize` on start: with this one whoever opens that file dies of it, as of a crafted file."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four patches to train on, two of each other split; of all splits number 2 kills, and one has a hole."""
    root = tmp_path_factory.mktemp("deadly") / "data"
    synthesize(root, train=4, validation=2, test=2, seed=1)
    with h5py.File(root / "TrainData/img/image_3.h5", "r+") as file:
        file["img"][0, 0, 0] = np.nan
    return root


def _deadly(folder: Path, number: int = signal.SIGABRT) -> Path:
    (folder / "sitecustomize.py").write_text(DEADLY.format(signal=int(number)))
    return folder


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that this one starts die of the file; this one would not, and must not need to."""
    monkeypatch.setattr(processes, "_READER", processes._Reader())
    monkeypatch.setenv("PYTHONPATH", str(_deadly(tmp_path)))


def test_a_command_that_would_die_itself_says_which_file_it_is(dataset: Path, tmp_path: Path) -> None:
    """All of its processes die of it: so the first opens none. What comes after the file is checked all the same."""
    done = lsml(tmp_path, "data", "check", str(dataset), python=sys.executable, env=environment(_deadly(tmp_path)))
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    said = done.stdout.replace("\n", " ")
    assert "the process that read it was killed by signal 6" in said
    assert "NaN or infinite values" in said


@pytest.mark.usefixtures("reader")
def test_a_check_counts_it_and_goes_on(dataset: Path) -> None:
    """Of each split one image cannot be read."""
    result = check(dataset)
    assert [summary.images_read for summary in result.splits] == [3, 1, 1]
    assert [finding.kind for finding in result.findings].count("unusable image") == 3


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("many", [False, True], ids=["one process", "several"])
def test_packing_names_it(many: bool, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it is one of a block of patches, which a process of several packs; no pack is left."""
    if many:
        monkeypatch.setattr(arrays, "_VALUES_A_PROCESS", 1)
        monkeypatch.setattr(arrays, "cpu_count", lambda: 2)
    files = Scan.of(dataset, ["train"]).require("train")
    with pytest.raises(DataError) as error:
        pack_split("train", files, tmp_path / "cache", LANDSLIDE4SENSE, fill=None)
    assert str(error.value) == (
        f"file {dataset}/TrainData/img/image_2.h5: the process that read it was killed by signal 6; "
        "replace it by an intact copy, or leave the patch out"
    )
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


@pytest.mark.usefixtures("reader")
def test_a_prediction_names_it(dataset: Path, tmp_path: Path) -> None:
    """And the same process predicts the others."""
    patches = scan_images(dataset / "TrainData/img")
    others = [patch for patch in patches if patch.image.name != "image_2.h5"]

    def predict(folder: str, chosen: list) -> int:
        options = {"sensor": LANDSLIDE4SENSE, "pictures": 0, "progress": lambda done, total: None}
        return len(predict_patches(lambda images: images[..., :1] * 0, chosen, 0.5, tmp_path / folder, **options))

    with pytest.raises(DataError, match=r"image_2\.h5: the process that read it was killed by signal 6"):
        predict("all", [*patches])
    assert predict("others", others) == 3


def test_a_reader_that_is_killed_is_no_fault_of_the_file(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the kernel does where memory runs out."""
    monkeypatch.setattr(processes, "_READER", processes._Reader())
    monkeypatch.setenv("PYTHONPATH", str(_deadly(tmp_path, signal.SIGKILL)))
    with pytest.raises(DataError, match="killed by signal 9; run the same command again"):
        read_image(dataset / "TrainData/img/image_2.h5", LANDSLIDE4SENSE)


class _Untouched:
    """A network to which nothing is brought."""

    def load_weights(self, path: Path) -> None:
        raise AssertionError(f"Keras opens {path}")


@pytest.mark.parametrize("packed", [False, True], ids=["weights", "archive"])
def test_weights_without_end_are_refused_before_keras_opens_them(
    packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that reads them gets so much processor time, here a second, and no more."""
    monkeypatch.setattr(hdf5, "_LIMITS", (1, 2**40))
    monkeypatch.setattr(processes, "_READER", processes._Reader())
    path = ENDLESS
    if packed:
        path = tmp_path / "a.keras"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("metadata.json", "{}")
            archive.writestr("config.json", "{}")
            archive.write(ENDLESS, "model.weights.h5")
    with pytest.raises(ModelError) as error:
        load_weights(_Untouched(), path, f"file {path}")
    assert str(error.value) == (
        f"file {path}: its weights are refused: the process that read it took too much processor time; "
        "give a model that lsml exported"
    )
    assert error.value.exit_code == 5


@pytest.mark.full
def test_a_study_refuses_weights_without_end(tmp_path: Path) -> None:
    """In one line with the file's name, before it makes anything."""
    values = ("architecture=resnet_unet", "encoder=resnet50", "filters=64", "weights=a.weights.h5")
    words = [word for value in values for word in ("--set", f"model.{value}")]
    shutil.copy(ENDLESS, tmp_path / "a.weights.h5")
    done = lsml(tmp_path, "tune", str(ROOT / "experiments/demo.yaml"), *words, python=sys.executable)
    assert (done.returncode, done.stdout) == (5, "")
    # Whether time or memory runs out first depends on the machine.
    *hints, line = done.stderr.splitlines()
    assert all("no longer searched" in hint or "not searched" in hint for hint in hints), hints
    assert line.startswith("lsml: error: model.weights a.weights.h5: its weights are refused: ")
    assert line.endswith("; give weights of a three-channel resnet50 with model.filters=64")
    assert [path.name for path in tmp_path.iterdir()] == ["a.weights.h5"]


def _hungry(path: Path, number: int) -> int:
    return np.ones(number, np.uint8).nbytes


def test_a_file_that_takes_too_much_memory_is_one_line() -> None:
    """A gigabyte where 100 MB are allowed; what takes less is read after it by the same process."""
    with pytest.raises(
        DataError, match=r"file big: takes more memory to read than there is, or than 100,000,000 bytes"
    ):
        processes.apart(_hungry, Path("big"), 10**9, limits=(30, 10**8))
    assert processes.apart(_hungry, Path("small"), 10**6, limits=(30, 10**8)) == 10**6


def test_limits_are_taken_back() -> None:
    """So that what a process does for the next file is not counted with this one's; a user's own limit stays."""

    def limits() -> tuple[int, int]:
        return resource.getrlimit(resource.RLIMIT_CPU)[0], resource.getrlimit(resource.RLIMIT_AS)[0]

    before = limits()
    with processes._limited((1000, 2**40)):
        outer = limits()
        assert outer[0] == pytest.approx(1000 + time.process_time(), abs=2)
        assert 2**40 < outer[1] < 2**40 + 2**36
        with processes._limited((2000, 2**41)):
            assert limits() == outer
    assert limits() == before


@pytest.mark.usefixtures("reader")
def test_a_reader_has_no_passwords(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "canary-5e1f07")
    monkeypatch.setenv("LSML_STORAGE", "postgresql://me:canary-5e1f07@host/d")
    read_image(dataset / "TrainData/img/image_1.h5", LANDSLIDE4SENSE)
    reader = processes._READER._process
    assert reader is not None
    variables = psutil.Process(reader._process.pid).environ()
    assert "PATH" in variables
    assert not {"PGPASSWORD", "LSML_STORAGE"} & variables.keys()


@pytest.mark.usefixtures("reader")
def test_a_reader_is_in_the_folder_of_whoever_asks(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was started elsewhere; paths below the working folder are those of each call."""
    for split in ("TrainData", "ValidData"):
        monkeypatch.chdir(dataset / split)
        assert read_image(Path("img/image_1.h5"), LANDSLIDE4SENSE).shape == (128, 128, 14)
