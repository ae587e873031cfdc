"""The audit of splits on patches with planted duplicates: what is read, what is found, what the command prints."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from lsml.audit import splits
from lsml.audit.facts import Facts
from lsml.audit.splits import NEAR, ORIENTATIONS, Pair, closest_pairs
from lsml.cli.main import main
from lsml.data.formats import read_image, read_mask
from lsml.errors import DataError
from tests.bands import ELEVATION, N_BANDS, PATCH_SIZE, SENSOR, SLOPE
from tests.patches import SUFFIX, describe_patches, make_patches, write_array
from tests.processes import lsml

TERRAIN = ELEVATION if ELEVATION < N_BANDS else SLOPE
"""The band of the last thumbnail."""


def silent(what: str, done: int, total: int) -> None:
    pass


def plant(source: Path, target: Path, edit) -> None:  # type: ignore[no-untyped-def]
    """Puts an edited copy of one image in the place of another."""
    write_array(target, edit(read_image(source, SENSOR)))


def noisy(stored: np.ndarray) -> np.ndarray:
    """Noise of a tenth of each band's standard deviation."""
    noise = np.random.default_rng(0).normal(0, 0.1, stored.shape) * stored.std(axis=(0, 1))
    return np.maximum(stored + noise, 0).astype(stored.dtype)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 train, 6 validation and 6 test patches, of which four are copies of train patches in other forms."""
    root = tmp_path_factory.mktemp("splits") / "data"
    make_patches(root, train=12, validation=6, test=6, seed=2)
    train, valid, test = (root / f"{name}/img" for name in ("TrainData", "ValidData", "TestData"))
    plant(train / f"image_3{SUFFIX}", valid / f"image_2{SUFFIX}", lambda stored: stored)
    plant(train / f"image_5{SUFFIX}", valid / f"image_4{SUFFIX}", noisy)
    plant(train / f"image_6{SUFFIX}", test / f"image_1{SUFFIX}", lambda stored: np.rot90(stored, -1))
    # Turned by half and then mirrored: undone by mirroring first.
    plant(train / f"image_7{SUFFIX}", test / f"image_3{SUFFIX}", lambda stored: noisy(np.rot90(stored, 2)[:, ::-1]))
    return root


@pytest.fixture(scope="module")
def facts(data: Path) -> Facts:
    """All that the audit reads."""
    return Facts.read(data, seed=0, progress=silent)


def test_planted_duplicates_are_found_and_no_others(facts: Facts) -> None:
    """An equal image, a noisy one, one turned and one mirrored, turned and noisy; all other patches are apart."""
    pairs = closest_pairs(facts, silent)
    # 6 of validation in train, 6 of test in train, 6 of test in validation.
    assert len(pairs) == 18
    found = {(p.file, p.match): (p.kind, p.orientation) for p in pairs if p.kind != "apart"}
    assert found == {
        (f"ValidData/img/image_2{SUFFIX}", f"TrainData/img/image_3{SUFFIX}"): ("exact", "as it is"),
        (f"ValidData/img/image_4{SUFFIX}", f"TrainData/img/image_5{SUFFIX}"): ("near", "as it is"),
        (f"TestData/img/image_1{SUFFIX}", f"TrainData/img/image_6{SUFFIX}"): ("near", "turned 90"),
        (f"TestData/img/image_3{SUFFIX}", f"TrainData/img/image_7{SUFFIX}"): ("near", "mirrored, turned 180"),
    }
    assert [pair.kind for pair in pairs[:5]] == ["exact", "near", "near", "near", "apart"]
    correlations = [pair.correlation for pair in pairs]
    assert correlations == sorted(correlations, reverse=True)
    assert correlations[3] > 0.99
    assert correlations[4] < NEAR - 0.1


def test_an_orientation_is_what_makes_the_pictures_alike(data: Path) -> None:
    """A picture turned by the orientation of its pair lies over the other's."""
    pair = Pair(
        f"TestData/img/image_1{SUFFIX}", "test", f"TrainData/img/image_6{SUFFIX}", "train", 1.0, "turned 90", "near"
    )
    picture, match = (read_image(data / file, SENSOR)[..., :3] for file in (pair.file, pair.match))
    np.testing.assert_array_equal(pair.turned(picture), match)
    assert len({pair._replace(orientation=name).turned(picture).tobytes() for name in ORIENTATIONS}) == 8


def test_pixels_are_drawn_with_their_surroundings(facts: Facts, data: Path) -> None:
    """Each train patch gives as many pixels; the 9 x 9 and 33 x 33 means are those of the pixels that there are."""
    pixels = facts.pixels
    # The most of one: 100,000 over 12 patches would be more.
    share = 2048
    assert pixels.features.shape == (12, share, 3 * N_BANDS)
    image, mask = (
        read_image(data / f"TrainData/img/image_4{SUFFIX}", SENSOR),
        read_mask(data / f"TrainData/mask/mask_4{SUFFIX}", SENSOR),
    )
    drawn = np.random.default_rng([0, 3]).choice(PATCH_SIZE**2, share, replace=False)
    np.testing.assert_array_equal(pixels.labels[3], mask.ravel()[drawn] == 1)
    edges = [drawn.argmin(), drawn.argmax(), np.argmax(drawn % PATCH_SIZE == PATCH_SIZE - 1), 100]
    for place in edges:
        (row, column), found = divmod(drawn[place], PATCH_SIZE), pixels.features[3][place]
        windows = [image[max(row - r, 0) : row + r + 1, max(column - r, 0) : column + r + 1] for r in (0, 4, 16)]
        np.testing.assert_allclose(found, np.concatenate([w.mean(axis=(0, 1)) for w in windows]), rtol=1e-5)


def test_holes_and_constant_bands_are_no_obstacle(data: Path, tmp_path: Path) -> None:
    """A patch with NaN in one band and one value everywhere in another has finite numbers, and is still itself."""
    root = tmp_path / "holes"
    for name in ("TrainData/img", "TrainData/mask"):
        (root / name).mkdir(parents=True)
    for number in (1, 2):
        (root / f"TrainData/mask/mask_{number}{SUFFIX}").write_bytes(
            (data / f"TrainData/mask/mask_1{SUFFIX}").read_bytes()
        )

    def damage(stored: np.ndarray) -> np.ndarray:
        stored[10:20, 10:20, 0] = np.nan
        stored[..., TERRAIN] = 1.0
        return stored

    for number in (1, 2):
        plant(data / f"TrainData/img/image_1{SUFFIX}", root / f"TrainData/img/image_{number}{SUFFIX}", damage)
    describe_patches(root)
    first, _ = Facts.read(root, seed=0, progress=silent).patches
    assert np.isfinite(first.thumbnail).all()
    assert np.isfinite(first.summary).all()
    assert not first.thumbnail[-1].any()


def test_the_command_prints_writes_and_says_what_it_means(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One table a question, a sentence on the hold-out, leakage by name, three figures or more and a table of pairs."""
    # It is not to guess well here.
    for name in ("_TREES", "_GUESSING_TREES"):
        monkeypatch.setattr(splits, name, 5)
    monkeypatch.chdir(tmp_path)
    assert main(["data", "audit", str(data), "--output", "found"]) == 0
    said = capsys.readouterr().out
    assert f"leakage: ValidData/img/image_2{SUFFIX} equals TrainData/img/image_3{SUFFIX}" in said
    nearly = f"TestData/img/image_1{SUFFIX} is nearly (1.000, turned 90) TrainData/img/image_6{SUFFIX}"
    assert f"leakage: {nearly}" in said
    assert "the test split was read for distances and this guess alone: no model of yours has seen it" in said
    assert "(95 % interval" in said
    assert "train (12) and validation (6)" in said
    with (tmp_path / "found/closest_pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert (len(rows), rows[0]["kind"], rows[0]["match"]) == (18, "exact", f"TrainData/img/image_3{SUFFIX}")
    names = ("closest_pairs", "similarity", "separability", "random_holdout")
    assert all((tmp_path / f"found/{name}.png").read_bytes().startswith(b"\x89PNG") for name in names)


def test_json_says_what_could_not_be_measured(data: Path, tmp_path: Path) -> None:
    """With six patches there is no hold-out to speak of; pairs and separability are numbers for a program."""
    for folder in ("TrainData", "ValidData"):
        for kind, name in (("img", "image"), ("mask", "mask")):
            (tmp_path / "few" / folder / kind).mkdir(parents=True)
            for number in range(1, 7):
                file = f"{folder}/{kind}/{name}_{number}{SUFFIX}"
                (tmp_path / "few" / file).write_bytes((data / file).read_bytes())
    describe_patches(tmp_path / "few")
    done = lsml(tmp_path, "data", "audit", "few", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["patches"], record["random_holdout"]) == ({"train": 6, "validation": 6}, None)
    assert [pair["kind"] for pair in record["closest_pairs"]] == ["exact", "near", *["apart"] * 4]
    (separability,) = record["separability"]
    assert (separability["first"], separability["second"], separability["n_second"]) == ("train", "validation", 6)
    assert len(separability["bands"]) == N_BANDS
    low, high = separability["interval"]
    assert 0 <= low <= separability["auc"] <= high <= 1
    assert len(record["files"]) == 4


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    """Exit code 3 for a folder without a dataset."""
    (tmp_path / "empty").mkdir()
    done = lsml(tmp_path, "data", "audit", "empty")
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert line.startswith("lsml: error: dataset ")


def test_a_dataset_without_train_is_refused(data: Path, tmp_path: Path) -> None:
    """There is nothing to hold the other splits against."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/ValidData").symlink_to(data / "ValidData")
    with pytest.raises(DataError):
        Facts.read(tmp_path / "data", seed=0, progress=silent)
