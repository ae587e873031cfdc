"""The audit of a dataset: each planted fault is found with the name of its file, and a sound folder has none."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from lsml.data.checks import CheckResult, check
from lsml.data.formats import read_image, read_mask
from lsml.data.holdout import SYNTHETIC, training_splits
from lsml.data.layout import LAYOUTS
from lsml.data.listing import SPLITS, Finding
from lsml.data.scan import Scan
from lsml.data.sealed import test_split as sealed_split
from lsml.data.splits import TrainingData
from lsml.errors import DataError
from tests.bands import BANDS, CONSTANTS, PATCH_SHAPE, PATCH_SIZE, RED, SENSOR, SLOPE
from tests.patches import SUFFIX, make_patches, write_array
from tests.processes import ROOT, lsml
from tests.test_architecture import imported_names, module_of, modules

REAL = os.environ.get("LSML_REAL_DATA")
BAND = np.array(CONSTANTS)
NOT_A_FILE = "not an HDF5 file ({} bytes)" if SUFFIX == ".h5" else "not an array as numpy.save writes it"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset without a fault: 4 train, 2 validation and 2 test patches."""
    folder = tmp_path_factory.mktemp("sound") / "data"
    make_patches(folder, train=4, validation=2, test=2, seed=3)
    return folder


@pytest.fixture
def data(sound: Path, tmp_path: Path) -> Path:
    """A copy of the sound dataset, to plant faults in."""
    return Path(shutil.copytree(sound, tmp_path / "data"))


def change(path: Path, edit: Callable[[np.ndarray], object]) -> None:
    """Edits the stored values of an image in place."""
    stored = read_image(path, SENSOR)
    edit(stored)
    write_array(path, stored)


def only(found: CheckResult) -> Finding:
    assert len(found.findings) == 1, found.findings
    finding = found.findings[0]
    assert "\n" not in finding.text
    return finding


def test_a_sound_dataset_has_no_finding(sound: Path) -> None:
    """The synthetic dataset has the published format: counts and shares come out, and nothing to complain of."""
    found = check(sound)
    assert found.findings == ()
    assert found.layout == "official"
    assert [(s.name, s.patches, s.masks, s.images_read) for s in found.splits] == [
        ("train", 4, 4, 4),
        ("validation", 2, 2, 2),
        ("test", 2, 2, 2),
    ]
    masks = [read_mask(sound / f"TestData/mask/mask_{number}{SUFFIX}", SENSOR) for number in (1, 2)]
    assert found.splits[2].landslide_share == pytest.approx(np.mean(masks))


@pytest.mark.skipif(not REAL, reason="LSML_REAL_DATA is not set")
def test_real_patches_have_no_finding() -> None:
    """What the limits of scale and terrain are must fit real ground."""
    assert check(Path(str(REAL)) / "landslide4sense").findings == ()


def remove_a_mask(data: Path) -> None:
    (data / f"TrainData/mask/mask_2{SUFFIX}").unlink()


def remove_an_image(data: Path) -> None:
    (data / f"TestData/img/image_2{SUFFIX}").unlink()


def text_file(data: Path) -> None:
    (data / f"TrainData/img/image_3{SUFFIX}").write_text("not an image")


def truncate(data: Path) -> None:
    os.truncate(data / f"TestData/img/image_1{SUFFIX}", 100_000)


def wrong_shape(data: Path) -> None:
    write_array(
        data / f"ValidData/img/image_1{SUFFIX}", read_image(data / f"ValidData/img/image_1{SUFFIX}", SENSOR)[:64, :64]
    )


def holes(data: Path) -> None:
    def edit(stored: np.ndarray) -> None:
        stored[0, :5, SLOPE] = np.nan
        stored[1, 0, 0] = np.inf

    change(data / f"TrainData/img/image_1{SUFFIX}", edit)


def constant_band(data: Path) -> None:
    change(data / f"TrainData/img/image_4{SUFFIX}", lambda stored: stored[..., SLOPE].fill(0))


def mask_of_classes(data: Path) -> None:
    classes = np.zeros(PATCH_SHAPE[:2], np.uint8)
    classes[:40], classes[40:50] = 1, 2
    write_array(data / f"ValidData/mask/mask_1{SUFFIX}", classes)


def leak(data: Path) -> None:
    shutil.copy(data / f"TestData/img/image_2{SUFFIX}", data / f"TrainData/img/image_3{SUFFIX}")


def raw_scale(data: Path) -> None:
    change(data / f"ValidData/img/image_2{SUFFIX}", lambda stored: np.multiply(stored, BAND, out=stored))


def empty_split(data: Path) -> None:
    shutil.rmtree(data / "ValidData/img")
    shutil.rmtree(data / "ValidData/mask")
    (data / "ValidData/img").mkdir()


def repeat(data: Path) -> None:
    shutil.copy(data / f"TrainData/img/image_1{SUFFIX}", data / f"TrainData/img/image_2{SUFFIX}")


def broken_link(data: Path) -> None:
    (data / f"TrainData/img/image_1{SUFFIX}").unlink()
    (data / f"TrainData/img/image_1{SUFFIX}").symlink_to(f"gone{SUFFIX}")


def mask_by_hard_link(data: Path) -> None:
    (data / f"ValidData/mask/mask_1{SUFFIX}").unlink()
    os.link(data / f"TrainData/mask/mask_4{SUFFIX}", data / f"ValidData/mask/mask_1{SUFFIX}")


def stray_folders(data: Path) -> None:
    (data / "holdout/img").mkdir(parents=True)
    (data / "TrainData/img/old.tif").write_bytes(b"")


def odd_name(data: Path) -> None:
    (data / f"TrainData/mask/image_9{SUFFIX}").write_bytes(b"stray")


def standardised(data: Path) -> None:
    change(data / f"TestData/img/image_1{SUFFIX}", lambda stored: np.subtract(stored, 1, out=stored))


def off_the_grid(data: Path) -> None:
    change(data / f"TestData/img/image_1{SUFFIX}", lambda stored: np.multiply(stored, 1.01, out=stored))


def no_test_masks(data: Path) -> None:
    shutil.rmtree(data / "TestData/mask")


def no_landslides(data: Path) -> None:
    for number in (1, 2):
        write_array(data / f"ValidData/mask/mask_{number}{SUFFIX}", np.zeros(PATCH_SHAPE[:2], np.uint8))


FAULTS = [
    (
        remove_a_mask,
        "error",
        "image without mask",
        [f"TrainData/img/image_2{SUFFIX}"],
        f"no TrainData/mask/mask_2{SUFFIX}",
    ),
    (
        remove_an_image,
        "error",
        "mask without image",
        [f"TestData/mask/mask_2{SUFFIX}"],
        f"no TestData/img/image_2{SUFFIX}",
    ),
    (text_file, "error", "unusable image", [f"TrainData/img/image_3{SUFFIX}"], NOT_A_FILE.format(12)),
    (truncate, "error", "unusable image", [f"TestData/img/image_1{SUFFIX}"], "truncated: 100000 of "),
    (
        wrong_shape,
        "error",
        "size",
        [f"ValidData/img/image_1{SUFFIX}"],
        f"64 x 64 pixels, where most have {PATCH_SIZE} x {PATCH_SIZE}",
    ),
    (holes, "warning", "not finite", [f"TrainData/img/image_1{SUFFIX}"], f"1 in {BANDS[0].name}, 5 in slope"),
    (constant_band, "warning", "constant band", [f"TrainData/img/image_4{SUFFIX}"], "slope: one value"),
    (mask_of_classes, "error", "unusable mask", [f"ValidData/mask/mask_1{SUFFIX}"], "values {0, 1, 2}"),
    (
        leak,
        "error",
        "leakage",
        [f"TrainData/img/image_3{SUFFIX}", f"TestData/img/image_2{SUFFIX}"],
        f"TestData/img/image_2{SUFFIX} equals TrainData/img/image_3{SUFFIX}: leakage between train and test",
    ),
    (raw_scale, "error", "scale", [f"ValidData/img/image_2{SUFFIX}"], "looks like raw reflectance"),
    (empty_split, "error", "empty split", ["ValidData/img"], "the validation folder holds no images; fill it"),
    (repeat, "warning", "duplicate", [f"TrainData/img/image_1{SUFFIX}", f"TrainData/img/image_2{SUFFIX}"], "equals"),
    (
        broken_link,
        "error",
        "link",
        [f"TrainData/img/image_1{SUFFIX}"],
        f"is a link to gone{SUFFIX}: No such file or directory;",
    ),
    (
        mask_by_hard_link,
        "error",
        "file used twice",
        [f"ValidData/mask/mask_1{SUFFIX}", f"TrainData/mask/mask_4{SUFFIX}"],
        f"is the same file as TrainData/mask/mask_4{SUFFIX}, so mask of train and mask of validation at once: leakage",
    ),
    (stray_folders, "warning", "not used", ["holdout", "TrainData/img/old.tif"], "belongs to no split"),
    (odd_name, "warning", "unexpected name", [f"TrainData/mask/image_9{SUFFIX}"], f"named mask_<number>{SUFFIX}"),
    (standardised, "error", "scale", [f"TestData/img/image_1{SUFFIX}"], "values below 0: looks standardised"),
    (off_the_grid, "warning", "off the grid", [f"TestData/img/image_1{SUFFIX}"], "packed as float32"),
    (no_test_masks, "warning", "no masks", ["TestData/mask"], "lsml evaluate needs one with masks"),
    (no_landslides, "error", "one class", ["ValidData/mask"], "not one landslide pixel: nothing to learn from"),
]

OF_INTEGERS = (raw_scale, standardised, off_the_grid)
PUBLISHED = pytest.mark.landslide4sense("the scale and datasets of its published files are known")


@pytest.mark.parametrize(
    ("plant", "severity", "kind", "files", "says"),
    [
        pytest.param(*fault, marks=PUBLISHED if fault[0] in OF_INTEGERS else (), id=fault[0].__name__)
        for fault in FAULTS
    ],
)
def test_a_planted_fault_is_found_with_its_file(
    data: Path, plant: Callable[[Path], None], severity: str, kind: str, files: list[str], says: str
) -> None:
    """Each fault by itself gives one finding: how bad, of what kind, which files, and in which words."""
    plant(data)
    finding = only(check(data))
    assert (finding.severity, finding.kind, list(finding.files)) == (severity, kind, files)
    assert says in finding.text


def test_all_faults_of_a_folder_are_reported_at_once(data: Path) -> None:
    """Faults in different files do not hide each other, and errors come first."""
    for plant in (remove_a_mask, text_file, constant_band, mask_of_classes, remove_an_image, truncate):
        plant(data)
    found = check(data)
    assert {file for finding in found.findings for file in finding.files} == {
        f"TrainData/img/image_2{SUFFIX}",
        f"TrainData/img/image_3{SUFFIX}",
        f"TrainData/img/image_4{SUFFIX}",
        f"ValidData/mask/mask_1{SUFFIX}",
        f"TestData/mask/mask_2{SUFFIX}",
        f"TestData/img/image_1{SUFFIX}",
    }
    assert found.errors == 5
    assert [finding.severity for finding in found.findings] == ["error"] * 5 + ["warning"]


def test_a_band_that_is_constant_in_a_whole_split_is_one_finding(data: Path) -> None:
    """One value in all patches of train tells nothing, and spoils nothing; the finding names them all, once."""
    for number in range(1, 5):
        change(data / f"TrainData/img/image_{number}{SUFFIX}", lambda stored: stored[..., RED].fill(0))
    finding = only(check(data))
    assert (finding.severity, finding.kind, len(finding.files)) == ("warning", "constant band", 4)
    assert finding.text.startswith(f"{BANDS[RED].name}: one value everywhere;")


def test_damaged_values_of_any_size_are_survived(data: Path, tmp_path: Path) -> None:
    """A band of NaN, one of infinities and numbers at the end of float64 stop neither the audit nor its figure."""

    def edit(stored: np.ndarray) -> None:
        stored[..., 0], stored[..., 1], stored[..., 2] = np.nan, np.inf, 1.7e308

    change(data / f"TrainData/img/image_1{SUFFIX}", edit)
    kinds = {finding.kind for finding in check(data).findings}
    assert {"no values", "range"} <= kinds
    done = lsml(tmp_path, "data", "check", "data")
    assert done.returncode in (0, 3)
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr


def test_a_name_with_a_line_break_stays_on_one_line(data: Path) -> None:
    """Whatever a file is called, its findings are printable lines."""
    (data / f"TrainData/img/image\n\x1b[31m1{SUFFIX}").write_bytes(b"")
    findings = check(data).findings
    assert [finding.files for finding in findings] == [(f"TrainData/img/image??[31m1{SUFFIX}",)] * 2
    assert [finding.text.partition(";")[0] for finding in findings] == [
        f"no TrainData/mask/mask_image??[31m1{SUFFIX}",
        NOT_A_FILE.format(0),
    ]


def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    """Without a folder or a known layout there is nothing to audit."""
    with pytest.raises(DataError, match="no such folder"):
        check(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no known layout"):
        check(tmp_path)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_splits_are_those_of_training_and_evaluation(tmp_path: Path, write_names, layout: str) -> None:
    """In each layout the audit puts the same files into the same splits as those who use them."""
    for images, masks in {LAYOUTS[layout][split] for split in SPLITS}:
        write_names(tmp_path / images, tmp_path / masks, range(1, 21))
    scan = Scan.of(tmp_path, SPLITS)
    assert (scan.layout, scan.findings) == (layout, ())
    splits = training_splits(tmp_path)
    for name, files in (("train", splits.train), ("validation", splits.validation), ("test", sealed_split(tmp_path))):
        assert scan.patches(name) == files


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_walk_gives_the_splits_that_were_asked_for_alone(tmp_path: Path, write_names, layout: str) -> None:
    """What training asks for has no way to a test patch, in any layout."""
    for images, masks in {LAYOUTS[layout][split] for split in SPLITS}:
        write_names(tmp_path / images, tmp_path / masks, range(1, 21))
    scan = Scan.of(tmp_path, ("train", "validation"))
    test = {path for patch in sealed_split(tmp_path) for path in (patch.image, patch.mask)}
    assert set(scan.splits) == {"train", "validation"}
    assert not test & {path for files in scan.splits.values() for paths in files for path in paths.values()}


def importers(*rooms: str) -> set[str]:
    """The modules that import one of these, or a module below it."""
    known = modules(ROOT / "lsml")
    return {
        name
        for name, path in known.items()
        for _, dotted in imported_names(name, path)
        if any(f"{module_of(dotted, known)}.".startswith(f"{room}.") for room in rooms)
    }


def test_only_the_commands_that_print_an_audit_import_it() -> None:
    """The seal holds: nothing that trains, tunes or predicts can list or read test patches by way of the audits."""
    # Figures, tables and the command line name its types in annotations.
    shown = {"lsml.plots.audit", "lsml.report.summary"}
    assert importers("lsml.data.checks") == shown | {"lsml.workflows.data", "lsml.cli.data"}
    assert importers("lsml.audit") <= shown | {"lsml.audit.facts", "lsml.audit.splits", "lsml.workflows.data"}
    # `lsml init` describes train and validation.
    assert importers("lsml.workflows.data") == {"lsml.cli.data", "lsml.cli.config"}


def test_only_the_seal_and_the_audits_may_ask_for_the_test_split() -> None:
    """Beside them the module of training's splits alone calls the walk, and its source names no test split."""
    known = modules(ROOT / "lsml")
    callers = {
        name
        for name, path in known.items()
        for _, dotted in imported_names(name, path)
        if dotted.endswith(".scan.Scan")
    }
    # The last one asks for train and validation, to describe them.
    others = {"lsml.data.checks", "lsml.audit.facts", "lsml.workflows.data"}
    assert callers == {"lsml.data.holdout", "lsml.data.sealed"} | others


def test_check_prints_every_finding_and_leaves_with_3(data: Path, tmp_path: Path) -> None:
    """The command: a table, a line for each finding, a picture, and 3 because of the errors."""
    for plant in (remove_a_mask, text_file, constant_band):
        plant(data)
    done = lsml(tmp_path, "data", "check", "data", "--out", "found.png")
    assert done.returncode == 3, done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith(("error: ", "warning: "))] == [
        f"error: image without mask: TrainData/img/image_2{SUFFIX}: no TrainData/mask/mask_2{SUFFIX}; "
        "add it, or remove this file",
        f"error: unusable image: TrainData/img/image_3{SUFFIX}: {NOT_A_FILE.format(12)}; replace it by an intact copy",
        f"warning: constant band: TrainData/img/image_4{SUFFIX}: slope: one value all over the patch; "
        "a gap in the source, or flat ground?",
    ]
    assert lines[-1] == "errors: 2, warnings: 1; drawn in found.png"
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")


@PUBLISHED
def test_what_was_taken_otherwise_is_said_once(data: Path, tmp_path: Path) -> None:
    """Folders, links, names of files, datasets, axes and values: a line each for the whole dataset, not one a file.

    No fault is found in it, and training says the same in the line in which it names its source.
    """
    outer = tmp_path / "outer"
    outer.mkdir()
    data.rename(outer / "unpacked")
    for split, name in (("TrainData", "train"), ("ValidData", "val"), ("TestData", "test")):
        folder = (outer / "unpacked" / split).rename(outer / "unpacked" / name)
        for path in [*folder.glob("*/*.h5")]:
            with h5py.File(path) as file:
                ((key, array),) = ((key, dataset[()]) for key, dataset in file.items())
            path.unlink()
            image = key == "img"
            with h5py.File(path.with_name(f"a{path.stem[-1]}.hdf5"), "w") as file:
                file["image" if image else "mask"] = np.moveaxis(array, -1, 0) if image else 255 * array
    (outer / "unpacked/test").rename(tmp_path / "scratch")
    (outer / "unpacked/test").symlink_to(tmp_path / "scratch")
    done = lsml(tmp_path, "data", "check", "outer")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if ": " in line] == [
        "info: train from unpacked/train/img and unpacked/train/mask",
        "info: validation from unpacked/val/img and unpacked/val/mask",
        "info: test from unpacked/test/img and unpacked/test/mask",
        "info: links followed: unpacked/test/img, unpacked/test/mask",
        "info: files named as img/a1.hdf5, mask/a1.hdf5",
        "info: channels first",
        "info: img from dataset 'image'",
        "info: masks of 0 and 255",
        "errors: 0, warnings: 0; drawn in check.png",
    ]
    assert TrainingData.prepare(outer, tmp_path / "packs").source == (
        "official-like layout: train from unpacked/train/img, validation from unpacked/val/img; "
        "files named as img/a1.hdf5, mask/a1.hdf5; channels first; img from dataset 'image'; masks of 0 and 255"
    )
    assert TrainingData.prepare(outer, tmp_path / "packs").held_out == SYNTHETIC


def test_check_of_a_sound_folder_leaves_with_0(sound: Path, tmp_path: Path) -> None:
    """With --json there is one object on standard output and nothing else."""
    done = lsml(tmp_path, "data", "check", str(sound), "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["errors"], record["warnings"], record["findings"]) == (0, 0, [])
    assert record["splits"]["test"]["patches"] == 2
    assert (tmp_path / "check.png").exists()


def test_check_says_in_one_line_what_it_cannot_do(sound: Path, tmp_path: Path) -> None:
    """No such folder, and a picture that cannot be written, are errors of data: 3, one line."""
    for arguments in (("nowhere",), (str(sound), "--out", "no/such/folder/a.png")):
        done = lsml(tmp_path, "data", "check", *arguments)
        assert done.returncode == 3
        assert done.stderr.splitlines()[-1].startswith("lsml: error: ")
        assert "Traceback" not in done.stderr


def test_pack_packs_train_and_validation_and_verifies(data: Path, tmp_path: Path) -> None:
    """Packs lie where asked, with counts of replaced values; a damaged one is refused, and nothing is removed."""
    holes(data)
    done = lsml(tmp_path, "data", "pack", "data", "--out", "packs", "--json")
    assert done.returncode == 0, done.stderr
    train, validation = json.loads(done.stdout)["packs"]
    assert (train["split"], train["patches"], train["nonfinite"]) == (
        "train",
        4,
        {BANDS[0].name: 1, "slope": 5},
    )
    assert (validation["split"], validation["patches"], validation["nonfinite"]) == ("validation", 2, {})
    assert {path.name.partition("-")[0] for path in (tmp_path / "packs").iterdir() if path.is_dir()} == {
        "train",
        "validation",
    }
    with (tmp_path / train["path"] / "images.npy").open("r+b") as file:
        file.seek(100_000)
        byte = file.read(1)
        file.seek(100_000)
        file.write(bytes([byte[0] ^ 1]))
    again = lsml(tmp_path, "data", "pack", "data", "--out", "packs")
    assert again.returncode == 3
    assert "checksum differs from the manifest" in again.stderr.splitlines()[-1]
    assert (tmp_path / train["path"] / "images.npy").exists()


def test_pack_without_a_folder_uses_the_cache_of_studies(sound: Path, tmp_path: Path) -> None:
    """What is packed beforehand is what a study opens: fingerprints are printed in full."""
    done = lsml(tmp_path, "data", "pack", str(sound))
    assert done.returncode == 0, done.stderr
    packs = [path for path in (tmp_path / ".lsml/packs").iterdir() if path.is_dir()]
    assert len(packs) == 2
    for path in packs:
        assert json.loads((path / "manifest.json").read_text())["pack"]["fingerprint"] in done.stdout
