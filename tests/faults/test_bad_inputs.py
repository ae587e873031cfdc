"""What people or strangers hand to lsml: each kind of it has tests, and unsound patches are refused at the doors."""

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

import lsml as api
from lsml.data.formats.hdf5 import encode
from lsml.data.synthetic import synthesize
from lsml.errors import DataError
from tests.processes import ROOT, lsml

KINDS = {
    "empty, text, truncated or damaged files": (
        "data/test_hdf5.py::test_empty_and_text_files_are_no_hdf5",
        "data/test_hdf5.py::test_truncated_file_names_both_sizes",
        "data/test_hdf5.py::test_damaged_structure_is_refused",
        "data/test_formats.py::test_truncated_files_are_refused",
        "fuzz/test_fuzz.py::test_a_reader_accepts_an_input_or_refuses_it_in_one_line",
    ),
    "files at which a library dies": (
        "faults/test_crashes.py::test_a_command_that_would_die_itself_says_which_file_it_is",
    ),
    "packs with flipped bits": ("data/test_pack.py::test_flipped_bit_is_found_by_its_checksum",),
    "no image or mask; a group; other shapes and types": (
        "data/test_hdf5.py::test_missing_dataset_lists_what_is_there",
        "data/test_hdf5.py::test_group_and_named_type_are_no_dataset",
        "data/test_hdf5.py::test_other_shapes_and_types_are_named",
        "cli/test_inputs.py::test_arrays_that_are_no_images_are_refused",
    ),
    "NaN and inf; constant, swapped or rescaled bands": (
        "data/test_pack.py::test_nan_and_inf_become_the_median_of_train",
        "end_to_end/test_doors.py::test_what_looks_wrong_is_refused_by_each_command_that_trains",
        "end_to_end/test_doors.py::test_a_model_refuses_patches_in_another_scale_than_it_was_trained_on",
        "end_to_end/test_doors.py::test_what_is_only_unusual_is_one_warning_and_a_tag_of_the_study",
    ),
    "sizes that are declared, and what unpacks to more": (
        "data/test_hdf5.py::test_small_file_that_declares_107_gib_is_refused_before_reading",
        "data/test_hdf5.py::test_chunk_that_unpacks_to_more_than_it_declares_is_refused",
        "data/test_formats.py::test_100_gib_are_refused_before_they_are_read",
    ),
    "HDF5 that leads out of its file, filters": (
        "data/test_hdf5.py::test_files_of_the_host_are_never_opened",
        "data/test_hdf5.py::test_soft_links_and_loops_are_refused",
        "data/test_hdf5.py::test_unlisted_and_doubled_filters_are_refused",
    ),
    "masks of several meanings, lonely files": (
        "data/test_hdf5.py::test_masks_of_two_meanings_are_refused",
        "data/test_scan.py::test_lonely_file_is_named",
    ),
    "splits of one class, and what is not used": (
        "data/test_quality.py::test_a_split_of_one_class_is_refused",
        "data/test_scan.py::test_what_is_not_used_is_named",
    ),
    "an image in two splits": (
        "cli/test_inputs.py::test_an_image_of_two_splits_is_refused_at_the_doors",
        "data/test_scan.py::test_a_file_in_two_places_is_refused",
        "data/test_scan.py::test_a_test_split_that_is_a_link_to_train_is_refused",
    ),
    "paths that lead elsewhere": (
        "data/test_formats.py::test_a_name_is_a_file_and_no_way_elsewhere",
        "cli/test_inputs.py::test_links_out_of_the_folder_of_a_prediction_are_named_and_into_its_output_refused",
        "data/test_download.py::test_an_archive_with_a_will_of_its_own_is_refused",
    ),
    "YAML and names": (
        "config/test_experiment.py::test_a_wrong_file_is_one_line",
        "config/test_experiment.py::test_names_that_a_store_could_choke_on_are_refused",
    ),
    "a study that is resumed with something else": (
        "study/test_tune.py::test_other_data_under_the_same_study_is_refused",
    ),
    "stores that are none, and passwords": (
        "cli/test_inputs.py::test_a_store_that_is_none_is_named_at_once",
        "study/test_tune.py::test_a_database_that_cannot_be_used_is_one_line_without_its_password",
        "cli/test_secrets.py::test_what_goes_into_a_run_has_no_passwords",
    ),
    "model files, and code in them": (
        "models/test_archive.py::test_a_crafted_file_is_refused_in_one_line",
        "models/test_archive.py::test_there_is_no_other_way_in",
        "tracking/test_models.py::test_files_that_are_not_those_that_were_logged_are_refused",
    ),
    "GDAL that reads files of the host": (
        "data/test_formats.py::test_nothing_beside_a_picture_is_read",
        "data/test_formats.py::test_what_is_no_picture_is_refused",
    ),
    "ports, and other users of the machine": (
        "study/test_tune.py::test_a_study_listens_on_loopback_only",
        "cli/test_private.py::test_databases_and_the_state_folder_are_private",
    ),
    "packages": ("test_bench.py::test_the_licence_of_each_locked_package_is_known_and_allowed",),
}
"""What is handed to lsml, and the tests that hold what becomes of it."""


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_tests(kind: str) -> None:
    for place in KINDS[kind]:
        file, _, name = place.partition("::")
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), place


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small synthetic dataset."""
    root = tmp_path_factory.mktemp("sound") / "data"
    synthesize(root, train=2, validation=1, test=1, seed=1)
    return root


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def _holding(make: Callable[[h5py.File], object]) -> Callable[[Path], None]:
    def craft(path: Path) -> None:
        with h5py.File(path, "w") as file:
            make(file)

    return craft


UNSOUND: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "not an HDF5 file (0 bytes)"),
    "text": (lambda path: path.write_text("no patch"), "not an HDF5 file (8 bytes)"),
    "truncated": (_truncated, "truncated: 1000 of"),
    "another name": (_holding(lambda file: file.update(a=[1], b=[2])), "no dataset 'img'"),
    "a group": (_holding(lambda file: file.create_group("img")), "it is a group"),
    "another shape": (lambda path: path.write_bytes(encode("img", np.zeros((8, 8, 3)))), "expected (H, W, 14)"),
    "text for numbers": (_holding(lambda file: file.update(img="a")), "expected (H, W, 14) numeric"),
    "107 GiB": (
        _holding(lambda file: file.create_dataset("img", (32_000, 32_000, 14), "f8", chunks=(128, 128, 14))),
        "declares 114,688,000,000 bytes",
    ),
    "an external link": (
        _holding(lambda file: file.update(img=h5py.ExternalLink("/etc/passwd", "/"))),
        "is an external link: refused, not followed",
    ),
}


@pytest.mark.parametrize("kind", UNSOUND)
def test_an_unsound_patch_is_refused_by_command_and_function(
    kind: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same line from both, exit code 3, no traceback, and no pack is left."""
    craft, says = UNSOUND[kind]
    shutil.copytree(dataset, tmp_path / "data")
    path = tmp_path / "data/TrainData/img/image_2.h5"
    craft(path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as error:
        api.open_dataset("data")
    assert says in str(error.value)
    assert str(path) in str(error.value)
    done = lsml(tmp_path, "data", "pack", "data")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.splitlines()[-1] == f"lsml: error: {error.value}"
    assert "Traceback" not in done.stderr
    assert [entry for entry in (tmp_path / ".lsml").rglob("*") if entry.name in ("images.npy", "manifest.json")] == []
