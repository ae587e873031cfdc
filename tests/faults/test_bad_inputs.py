"""What people or strangers hand to lsml: each row of it, through the command line and the API.

A row is refused in one line, the same from both, with its exit code, without a traceback, and leaves nothing behind.
"""

import shutil
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import lsml as api
from lsml.data.formats.hdf5 import encode
from lsml.data.synthetic import synthesize
from lsml.errors import ConfigError, DataError, DataWarning, StorageError
from lsml.workflows.studies import list_studies
from tests.processes import ROOT, environment, lsml

ELSEWHERE: dict[str, tuple[str, ...]] = {
    "empty, text, truncated or damaged files": (
        "data/test_formats.py::test_truncated_files_are_refused",
        "fuzz/test_fuzz.py::test_a_reader_accepts_an_input_or_refuses_it_in_one_line",
    ),
    "files at which a library dies, hangs or grows": (
        "faults/test_crashes.py::test_a_command_that_would_die_itself_says_which_file_it_is",
        "faults/test_crashes.py::test_a_study_refuses_weights_without_end",
    ),
    "arrays that are no images": ("cli/test_inputs.py::test_arrays_that_are_no_images_are_refused",),
    "values at the doors of trained models": (
        "data/test_pack.py::test_nan_and_inf_become_the_median_of_train",
        "end_to_end/test_doors.py::test_what_looks_wrong_is_refused_by_each_command_that_trains",
        "end_to_end/test_doors.py::test_a_model_refuses_patches_in_another_scale_than_it_was_trained_on",
        "end_to_end/test_doors.py::test_what_is_only_unusual_is_one_warning_and_a_tag_of_the_study",
    ),
    "sizes that are declared, and what unpacks to more": (
        "data/test_hdf5.py::test_chunk_that_unpacks_to_more_than_it_declares_is_refused",
        "data/test_formats.py::test_100_gib_are_refused_before_they_are_read",
    ),
    "files of the host": (
        "data/test_hdf5.py::test_files_of_the_host_are_never_opened",
        "data/test_formats.py::test_nothing_beside_a_picture_is_read",
        "data/test_formats.py::test_what_is_no_picture_is_refused",
        "data/test_formats.py::test_a_name_is_a_file_and_no_way_elsewhere",
        "data/test_download.py::test_an_archive_with_a_will_of_its_own_is_refused",
    ),
    "an image in two splits": (
        "cli/test_inputs.py::test_an_image_of_two_splits_is_refused_at_the_doors",
        "data/test_scan.py::test_a_file_in_two_places_is_refused",
        "data/test_scan.py::test_a_test_split_that_is_a_link_to_train_is_refused",
        "end_to_end/test_evaluate.py::test_test_patches_that_were_trained_on_are_refused",
    ),
    "links to and from what a command writes": (
        "cli/test_inputs.py::test_links_out_of_the_folder_of_a_prediction_are_named_and_into_its_output_refused",
    ),
    "24 a study that is resumed with something else": (
        "study/test_tune.py::test_a_study_is_resumed_with_what_it_was_started_with",
    ),
    "stores that are none, and passwords": (
        "cli/test_inputs.py::test_a_store_that_is_none_is_named_at_once",
        "study/test_tune.py::test_a_database_that_cannot_be_used_is_one_line_without_its_password",
        "cli/test_secrets.py::test_what_goes_into_a_run_has_no_passwords",
        "study/test_new_worker.py::test_a_worker_has_no_passwords",
        "faults/test_secrets.py::test_no_password_is_left_anywhere",
    ),
    "26 model files, and code in them": (
        "faults/test_bad_models.py::test_a_model_that_is_none_is_refused",
        "models/test_archive.py::test_a_crafted_file_is_refused_in_one_line",
        "models/test_crafted.py::test_a_crafted_file_is_refused_in_one_line",
        "end_to_end/test_crafted.py::test_every_command_refuses_it",
        "models/test_archive.py::test_there_is_no_other_way_in",
        "tracking/test_models.py::test_files_that_are_not_those_that_were_logged_are_refused",
        "tracking/test_models.py::test_a_record_that_is_not_signed_with_that_key_is_refused",
        "faults/test_bad_models.py::test_an_alias_that_is_not_signed_is_refused_where_a_key_is_configured",
    ),
    "27 runs that are none": (
        "faults/test_bad_models.py::test_row_27_runs_that_are_none",
        "faults/test_bad_models.py::test_row_27_a_run_of_another_project",
    ),
    "ports, and other users of the machine": (
        "study/test_tune.py::test_a_study_listens_on_loopback_only",
        "cli/test_private.py::test_databases_and_the_state_folder_are_private",
        "end_to_end/test_study.py::test_what_a_study_leaves_is_its_users_alone",
    ),
    "packages": ("test_bench.py::test_the_licence_of_each_locked_package_is_known_and_allowed",),
}
"""What the rows below leave to the tests of the rooms that it is about."""


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_what_is_tested_elsewhere_is(kind: str) -> None:
    for place in ELSEWHERE[kind]:
        file, _, name = place.partition("::")
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), place


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic dataset."""
    root = tmp_path_factory.mktemp("sound") / "data"
    synthesize(root, train=2, validation=1, test=1, seed=1)
    return root


IMAGE, MASK, OTHER = "TrainData/img/image_2.h5", "TrainData/mask/mask_2.h5", "ValidData/img/image_1.h5"
SHAPE = (128, 128, 14)

Craft = Callable[[Path], object]
"""What makes an unsound dataset of a sound one."""


def _holding(make: Callable[[h5py.File], object]) -> Craft:
    """Another file in the place of an image."""

    def craft(root: Path) -> None:
        with h5py.File(root / IMAGE, "w") as file:
            make(file)

    return craft


def _damaged(root: Path) -> None:
    """In the header of the root group, which begins at byte 96."""
    content = bytearray((root / IMAGE).read_bytes())
    content[96:140] = b"\xff" * 44
    (root / IMAGE).write_bytes(content)


def _reference(file: h5py.File) -> None:
    file.create_dataset("img", data=file.create_group("a").ref, dtype=h5py.ref_dtype)


def _bomb(file: h5py.File) -> None:
    """One chunk of it would be 4096 * 4096 * 7 * 8 bytes; a kilobyte of zeros lies there."""
    options = {"chunks": (4096, 4096, 7), "maxshape": (None, None, None), "compression": "gzip"}
    file.create_dataset("img", SHAPE, "f8", **options).id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(1000)))


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(SHAPE, "f8")
    layout[...] = h5py.VirtualSource("/etc/passwd", "img", SHAPE)
    file.create_virtual_dataset("img", layout)


def _through_another_file(file: h5py.File) -> None:
    file["out"] = h5py.ExternalLink("/etc/passwd", "/")
    file["img"] = h5py.SoftLink("/out/img")


def _masks(value: int) -> Craft:
    def craft(root: Path) -> None:
        for path in (root / "TrainData/mask").iterdir():
            path.write_bytes(encode("mask", np.full(SHAPE[:2], value, np.uint8)))

    return craft


def _raw(root: Path) -> None:
    for path in root.glob("*/img/*.h5"):
        with h5py.File(path, "r+") as file:
            file["img"][...] *= 10_000


def _again(how: Callable[[Path, Path], object], first: str = IMAGE, second: str = OTHER) -> Craft:
    """One file of a dataset in the place of another, as a copy or link."""

    def craft(root: Path) -> None:
        (root / second).unlink()
        how(root / first, root / second)

    return craft


def _link(target: Path, place: Path) -> None:
    place.symlink_to(target)


def _hard_link(target: Path, place: Path) -> None:
    place.hardlink_to(target)


UNREAD: dict[str, tuple[Craft, str]] = {
    "1 empty": (lambda root: (root / IMAGE).write_bytes(b""), "not an HDF5 file (0 bytes)"),
    "1 text": (lambda root: (root / IMAGE).write_text("no patch"), "not an HDF5 file (8 bytes)"),
    "2 truncated": (lambda root: (root / IMAGE).write_bytes((root / IMAGE).read_bytes()[:1000]), "truncated: 1000 of"),
    "3 damaged header": (_damaged, "unreadable structure"),
    "5 another name": (_holding(lambda file: file.update(a=[1], b=[2])), "no dataset 'img' (found: 'a', 'b')"),
    "6 a group": (_holding(lambda file: file.create_group("img")), "it is a group"),
    "7 another shape": (
        lambda root: (root / IMAGE).write_bytes(encode("img", np.zeros((8, 8, 3)))),
        "'img' has shape (8, 8, 3), expected (H, W, 14) numeric; describe its bands in dataset.yaml",
    ),
    "8 one number": (_holding(lambda file: file.update(img=1.0)), "has shape (), expected (H, W, 14) numeric"),
    "8 nothing": (
        _holding(lambda file: file.create_dataset("img", data=h5py.Empty("f8"))),
        "has shape null, expected (H, W, 14) numeric",
    ),
    "8 complex": (
        _holding(lambda file: file.update(img=np.ones(SHAPE, complex))),
        "has dtype complex128, expected (H, W, 14) numeric",
    ),
    "8 text": (_holding(lambda file: file.update(img="a")), "has dtype object, expected (H, W, 14) numeric"),
    "8 reference": (_holding(_reference), "has dtype object, expected (H, W, 14) numeric"),
    "11 107 GiB": (
        _holding(lambda file: file.create_dataset("img", (32_000, 32_000, 14), "f8", chunks=(128, 128, 14))),
        "declares 114,688,000,000 bytes, limit 67,108,864",
    ),
    "12 unpacks to 940 MB": (_holding(_bomb), "declares 939,524,096 bytes, limit 67,108,864"),
    "13 external storage": (
        _holding(
            lambda file: file.create_dataset("img", SHAPE, "f8", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])
        ),
        "has external storage: refused, not read",
    ),
    "14 external link": (
        _holding(lambda file: file.update(img=h5py.ExternalLink("/etc/passwd", "/"))),
        "is an external link: refused, not followed",
    ),
    "14 external link on the way": (_holding(_through_another_file), "is a soft link: refused, not followed"),
    "15 virtual dataset": (_holding(_virtual), "is a virtual dataset: refused, not followed"),
    "16 soft link to itself": (
        _holding(lambda file: file.update(img=h5py.SoftLink("/img"))),
        "is a soft link: refused",
    ),
    "16 loop": (_holding(lambda file: file.update(img=file["/"])), "it is a group"),
    "17 filter": (
        _holding(lambda file: file.create_dataset("img", data=np.ones(SHAPE, int), chunks=SHAPE, scaleoffset=0)),
        "filter 6 not allowed",
    ),
    "18 three values": (
        lambda root: (root / MASK).write_bytes(encode("mask", np.arange(128 * 128).reshape(128, 128) % 3)),
        "values {0, 1, 2}: which of them are landslide?",
    ),
    "19 no mask": (lambda root: (root / MASK).unlink(), "image_2.h5: no TrainData/mask/mask_2.h5"),
    "19 no image": (lambda root: (root / IMAGE).unlink(), "mask_2.h5: no TrainData/img/image_2.h5"),
    "20 a hard link": (_again(_hard_link), "is the same file as TrainData/img/image_2.h5"),
    "20 a link": (_again(_link), "is the same file as TrainData/img/image_2.h5"),
    "21 a link into the test split": (
        _again(_link, "TestData/img/image_1.h5", IMAGE),
        "image_2.h5: leads into TestData: leakage",
    ),
}
"""By row and what is wrong: how it is made, and what is said of it. No image of it is kept."""

UNUSABLE: dict[str, tuple[Craft, str]] = {
    "10 raw reflectance": (
        _raw,
        "looks like raw reflectance x 10,000; take the files as they were published, or describe",
    ),
    "18b no landslide": (_masks(0), "train split: not one landslide pixel: nothing to learn from or to score"),
    "18b nothing else": (_masks(1), "train split: every pixel is landslide: nothing to learn from or to score"),
    "20 a copy": (_again(shutil.copy), "validation split: image_1 equals image_2 of train: leakage"),
}
"""What is found once all files have been read and packed."""


def _refusal(folder: Path, craft: Craft, dataset: Path) -> str:
    """What the command and the function both say of a dataset."""
    shutil.copytree(dataset, folder / "data")
    craft(folder / "data")
    with pytest.raises(DataError) as error:
        api.open_dataset("data")
    done = lsml(folder, "data", "pack", "data")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.splitlines()[-1] == f"lsml: error: {error.value}"
    assert "Traceback" not in done.stderr
    assert {entry.name for entry in folder.iterdir()} <= {"data", ".lsml"}
    return str(error.value)


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _packs(folder: Path) -> list[str]:
    """What is kept of arrays."""
    kept = ("images.npy", "masks.npy", "manifest.json")
    return [entry.name for entry in (folder / ".lsml").rglob("*") if entry.name in kept]


@pytest.mark.parametrize("row", UNREAD)
def test_a_file_that_cannot_be_read_is_refused(row: str, dataset: Path, tmp_path: Path) -> None:
    """No pack is left."""
    craft, says = UNREAD[row]
    assert says in _refusal(tmp_path, craft, dataset)
    assert _packs(tmp_path) == []


@pytest.mark.parametrize("row", UNUSABLE)
def test_a_dataset_that_cannot_be_used_is_refused(row: str, dataset: Path, tmp_path: Path) -> None:
    """The packs stay, for they are what the files hold; nothing is trained on them."""
    craft, says = UNUSABLE[row]
    assert says in _refusal(tmp_path, craft, dataset)


def test_each_row_has_its_test() -> None:
    """Of 27, and 18b."""
    tables = (UNREAD, UNUSABLE, EXPERIMENTS, STORES, ELSEWHERE)
    rows = {name.split()[0] for table in tables for name in table}
    rows |= {name.split("_")[2] for name in globals() if name.startswith("test_row_")}
    assert {"18b", *map(str, range(1, 28))} <= rows


def test_row_4_flipped_bits_of_a_pack(dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "data")
    api.open_dataset("data")
    (packed,) = tmp_path.glob(".lsml/packs/train-*/images.npy")
    content = bytearray(packed.read_bytes())
    content[5000] ^= 1
    packed.write_bytes(content)
    done = lsml(tmp_path, "data", "pack", "data")
    assert (done.returncode, done.stdout) == (3, "")
    says = f"pack {packed.relative_to(tmp_path)}: checksum differs from the manifest; remove that folder"
    assert done.stderr.startswith(f"lsml: error: {says}")
    with pytest.raises(DataError, match=says):
        api.open_dataset("data")
    assert packed.read_bytes() == content


def test_row_9_nan_is_replaced_and_counted(dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "data")
    with h5py.File(tmp_path / "data" / IMAGE, "r+") as file:
        file["img"][:2, 0, 3] = np.nan, np.inf
    says = "train split: NaN or infinite values: 2 in B4 red 665 nm; the train median of their band stands for them"
    done = lsml(tmp_path, "data", "pack", "data")
    assert done.returncode == 0
    assert f"lsml: warning: {says}" in done.stderr.splitlines()
    with pytest.warns(DataWarning, match="2 in B4 red 665 nm"):
        api.open_dataset("data")


def test_row_18b_a_folder_that_is_not_used_is_named(dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "data")
    shutil.copytree(dataset / "TrainData", tmp_path / "data/Extra")
    done = lsml(tmp_path, "data", "check", "data")
    assert done.returncode == 0
    assert "warning: not used: Extra: belongs to no split" in done.stdout
    assert "not used: Extra" in api.open_dataset("data").source


def test_row_20_copies_of_train_in_test_are_found_by_check_and_not_by_training(dataset: Path, tmp_path: Path) -> None:
    """What prepares training never opens a test file, so it cannot know; an evaluation refuses them."""
    shutil.copytree(dataset, tmp_path / "data")
    _again(shutil.copy, IMAGE, "TestData/img/image_1.h5")(tmp_path / "data")
    with warnings.catch_warnings(action="error"):
        api.open_dataset("data")
    done = lsml(tmp_path, "data", "check", "data")
    assert done.returncode == 3
    assert f"TestData/img/image_1.h5 equals {IMAGE}: leakage between train and test" in done.stdout


SPACE = "\nspace: {loss.jaccard: {low: 0.0, high: 1.0}}\n"

EXPERIMENTS: dict[str, tuple[str, str]] = {
    "22 tag": ("name: !!python/object/apply:os.system ['touch ran']", "could not determine a constructor for the tag"),
    "22 unknown key": ("nmae: a", "unknown key 'nmae'; did you mean 'name'?"),
    "22 aliases": ("name: &a a\nbase: *a", "aliases are not allowed"),
    "23 a way elsewhere": ("name: ../a", "experiment name '../a': must be 1 to 200 letters, digits, '.', '_' or '-'"),
    "23 control characters": ('name: "a\\u0007"', "must be 1 to 200 letters"),
    "23 empty": ("name: ''", "must be 1 to 200 letters"),
    "23 long": (f"name: {'a' * 201}", "must be 1 to 200 letters"),
}


@pytest.mark.parametrize("row", EXPERIMENTS)
def test_an_experiment_that_is_none_is_refused(row: str, tmp_path: Path) -> None:
    text, says = EXPERIMENTS[row]
    (tmp_path / "a.yaml").write_text(f"{text}\ndata: {{path: data}}{SPACE}")
    with pytest.raises(ConfigError) as error:
        api.load_experiment("a.yaml")
    assert says in str(error.value)
    done = lsml(tmp_path, "tune", "a.yaml")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"lsml: error: {error.value}\n")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.yaml"]


def test_row_23_a_study_is_named_as_an_experiment_is(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"name: a\ndata: {{path: data}}{SPACE}")
    done = lsml(tmp_path, "tune", "a.yaml", "--study", "../a")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'../a': must be 1 to 200 letters" in done.stderr
    with pytest.raises(ConfigError, match=r"'\.\./a': must be 1 to 200 letters"):
        api.tune(api.load_experiment("a.yaml"), study="../a")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.yaml"]


STORES = {
    "25 unreachable": ("postgresql://me:canary-1f@127.0.0.1:9/d", 'connection to server at "127.0.0.1", port 9 failed'),
    "25 bad port": ("postgresql://me:canary-1f@127.0.0.1:port/d", "invalid literal for int()"),
    "25 no such scheme": ("nonsense://me:canary-1f@127.0.0.1/d", "nonsense"),
}


@pytest.mark.parametrize("row", STORES)
def test_a_store_that_cannot_be_used_is_refused(row: str, tmp_path: Path) -> None:
    url, says = STORES[row]
    with pytest.raises(StorageError) as error:
        list_studies(url)
    assert says in str(error.value)
    done = lsml(tmp_path, "study", "list", env=environment(LSML_STORAGE=url))
    assert (done.returncode, done.stdout) == (4, "")
    (line,) = done.stderr.splitlines()
    assert says in line
    assert "canary" not in f"{line} {error.value}"
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".lock"]
