"""Values that would be mistaken for others, and splits that nothing can be learnt from: refused at every door."""

import itertools
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lsml.data.checks import check
from lsml.data.formats import read_image, read_mask
from lsml.data.formats.hdf5 import encode
from lsml.data.layout import PatchFiles
from lsml.data.listing import Finding
from lsml.data.quality import admit, examine, look_at_files
from lsml.data.quality.look import Look
from lsml.data.sensor import RGB, Band, Sensor, Unit
from lsml.data.splits import TrainingData
from lsml.data.synthetic import synthetic_patch
from lsml.errors import DataError
from lsml.workflows.sources import open_dataset
from tests.bands import CONSTANTS, ELEVATION, SENSOR, SLOPE

pytestmark = pytest.mark.landslide4sense("values in other units and orders are of its bands")

Edit = Callable[[np.ndarray], np.ndarray]


def _swapped(image: np.ndarray) -> np.ndarray:
    """Degrees where metres are expected, and the reverse, each in the unit of its own band."""
    order = [*range(SLOPE), ELEVATION, SLOPE]
    return image[..., order]


FAULTS: dict[str, tuple[Edit, str]] = {
    "raw": (lambda image: image * np.array(CONSTANTS), "looks like raw reflectance x 10,000"),
    "reflectance": (lambda image: image * np.array(CONSTANTS) / 10_000, "looks like reflectance 0..1"),
    "times_ten": (lambda image: image * 10, "looks multiplied by ten"),
    "tenth": (lambda image: image / 10, "divided by ten"),
    "swapped": (_swapped, "slope and elevation look swapped"),
    "nodata": (lambda image: np.where(np.arange(128)[:, None, None] < 40, -9999.0, image), "is not within 0 to"),
    "standardised": (lambda image: image - 1.0, "values below 0: looks standardised"),
    "no_band": (lambda image: np.where(np.arange(14) == 3, np.nan, image), "B4 red 665 nm: no finite value"),
}


@pytest.fixture(scope="module")
def patches() -> list[tuple[np.ndarray, np.ndarray]]:
    """Four synthetic ones with landslides."""
    made = (synthetic_patch("train", number) for number in range(1, 40))
    return [patch for patch in made if patch[1].any()][:4]


def _write(root: Path, patches: list[tuple[np.ndarray, np.ndarray]]) -> None:
    for split in ("TrainData", "ValidData"):
        for number, (image, mask) in enumerate(patches, start=1):
            for folder, name, array in (("img", "image", image), ("mask", "mask", mask)):
                path = root / split / folder / f"{name}_{number}.h5"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encode(folder, array))


def _files(folder: Path) -> list[PatchFiles]:
    return [PatchFiles(path.stem, path, None) for path in sorted(folder.glob("*"))]


def _require_known(files: list[PatchFiles], sensor: Sensor) -> None:
    """What predict and evaluate ask of files."""
    admit({"folder x": look_at_files(files, sensor)}, force=False)


@pytest.mark.parametrize("fault", FAULTS)
def test_values_in_another_unit_or_order_are_refused_where_packs_and_files_are_opened(
    fault: str, patches: list[tuple[np.ndarray, np.ndarray]], tmp_path: Path
) -> None:
    """Before a training, and before a model predicts; the check of a dataset finds the same."""
    edit, says = FAULTS[fault]
    data = tmp_path / "data"
    _write(data, [(edit(image), mask) for image, mask in patches])
    doors: list[Callable[[], object]] = [
        lambda: open_dataset(data),
        lambda: _require_known(_files(data / "TrainData/img"), SENSOR),
    ]
    for door in doors:
        with pytest.raises(DataError) as refused:
            door()
        # A band without any value is refused while it is packed already.
        assert says in str(refused.value) or (fault == "no_band" and "no finite value" in str(refused.value))
        assert "\n" not in str(refused.value)
    assert any(says in finding.text for finding in check(data).findings if finding.severity == "error")


@pytest.mark.parametrize(("value", "says"), [(0, "not one landslide pixel"), (1, "every pixel is landslide")])
@pytest.mark.parametrize("split", ["TrainData", "ValidData"])
def test_a_split_of_one_class_is_refused(
    split: str, value: int, says: str, patches: list[tuple[np.ndarray, np.ndarray]], tmp_path: Path
) -> None:
    """Nothing can be learnt from it, and each of its scores is 0 or 1."""
    _write(tmp_path / "data", patches)
    for path in (tmp_path / "data" / split / "mask").iterdir():
        path.write_bytes(encode("mask", np.full((128, 128), value, np.uint8)))
    name = {"TrainData": "train", "ValidData": "validation"}[split]
    with pytest.raises(DataError, match=f"{name} split: {says}"):
        TrainingData.prepare(tmp_path / "data", tmp_path / "packs")


@pytest.mark.parametrize(
    ("said", "held"),
    [
        ("landslide: [-1]", "masks hold 0, 1, 255; dataset.yaml says landslide: [-1]"),
        ("landslide: [[255, 0, 0], 7]", "dataset.yaml says landslide: [[255, 0, 0], 7]"),
        ("at_least: 300", "masks hold 0, 1, 255; dataset.yaml says at_least: 300"),
    ],
)
def test_where_no_mask_has_the_value_that_is_named_those_that_are_there_are_told(
    said: str, held: str, tmp_path: Path
) -> None:
    """By a check, and by what packs them."""
    data = tmp_path / "data"
    for split, number in ((split, number) for split in ("train", "val") for number in (1, 2, 3)):
        image = np.random.default_rng(number).integers(0, 255, (16, 16, 3), np.uint8)
        mask = np.repeat(np.array([0, 1, 0, 255], np.uint8), 64).reshape(16, 16)
        for kind, array in (("images", image), ("masks", mask if "[[" not in said else np.stack([mask] * 3, -1))):
            (data / split / kind).mkdir(parents=True, exist_ok=True)
            np.save(data / split / kind / f"{number}.npy", array)
    (data / "dataset.yaml").write_text(f"mask: {{{said}}}")
    with pytest.raises(DataError, match=re.escape("train split: not one landslide pixel (masks hold")) as refused:
        TrainingData.prepare(data, tmp_path / "packs")
    assert held in str(refused.value)
    assert [held in finding.text for finding in check(data).findings if finding.kind == "one class"] == [True] * 2


def test_a_model_of_another_sensor_compares_with_what_it_was_trained_on(tmp_path: Path) -> None:
    """Numbers of about 100 in training; 700 is refused, 30 and 400 are not: 5 times is the limit."""
    sensor = Sensor("two", (Band("a"), Band("b"))).with_typical((100.0, 100.0))
    for level in (30, 400, 700, 15):
        np.save(tmp_path / "x.npy", np.full((32, 32, 2), level, np.uint16))
        files = _files(tmp_path)
        if level in (30, 400):
            _require_known(files, sensor)
        else:
            with pytest.raises(DataError, match=rf"{level / 100:g} times those of the patches"):
                _require_known(files, sensor)


def test_radar_may_be_of_any_level(tmp_path: Path) -> None:
    """Decibels are negative, and nothing tells how strong a reflection has to be; the valid range does."""
    sensor = Sensor("radar", (Band("VV", unit=Unit.DECIBELS, valid=(-40.0, 10.0)),)).with_typical((-12.0,))
    np.save(tmp_path / "x.npy", np.full((32, 32), -30.0))
    _require_known(_files(tmp_path), sensor)
    np.save(tmp_path / "x.npy", np.full((32, 32), 0.001) + 20)
    with pytest.raises(DataError, match="VV is not within -40 to 10 decibels"):
        _require_known(_files(tmp_path), sensor)


def test_nothing_is_said_of_sound_patches() -> None:
    """15 synthetic patches of each split: each alone, and together, to train on and to predict."""
    for split in ("train", "validation", "test"):
        made = [synthetic_patch(split, number) for number in range(1, 16)]
        _sound([Look.of(f"{n}", image, SENSOR, mask) for n, (image, mask) in enumerate(made)], SENSOR)


@pytest.fixture(scope="module")
def real() -> dict[str, tuple[list[tuple[np.ndarray, np.ndarray]], Sensor]]:
    """Real images with their masks, by set: 12 patches, and 24 pictures of each of two regions."""
    root = Path(os.environ["LSML_REAL_DATA"])
    sets = {"landslide4sense": (root / "landslide4sense/img", SENSOR)}
    sets |= {name: (root / f"rgb/{name}/images", RGB) for name in ("bijie", "hokkaido")}
    read = {}
    for name, (folder, sensor) in sets.items():
        masks = folder.parent / ("mask" if sensor is SENSOR else "masks")
        pairs = [(path, masks / path.name.replace("image", "mask")) for path in sorted(folder.iterdir())]
        read[name] = [(read_image(image, sensor), read_mask(mask, sensor)) for image, mask in pairs], sensor
    assert [len(pairs) for pairs, _ in read.values()] == [12, 24, 24]
    return read


def test_where_terrain_lacks_it_tells_nothing_of_its_order(patches: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Three rows that a DEM does not reach look like a cliff if they are taken for 0; swapped bands are told as before.

    On low ground, here a tenth of the heights, such a cliff is steeper than all else.
    """
    for image, _ in patches:
        low = image.copy()
        low[..., ELEVATION] = 1 + (low[..., ELEVATION] - low[..., ELEVATION].min()) / 10
        for turned, expected in ((low, []), (_swapped(low), ["terrain"])):
            part = turned.copy()
            part[-3:, :, SLOPE:] = np.nan
            found = examine([Look.of("low", part, SENSOR)], SENSOR)
            assert [finding.kind for finding in found if finding.kind == "terrain"] == expected


needs_real = pytest.mark.skipif("LSML_REAL_DATA" not in os.environ, reason="LSML_REAL_DATA names no real patches")


@needs_real
def test_nothing_is_said_of_real_patches_and_pictures_and_blue_first_is(real) -> None:
    """Each alone, six at random, and all; red told for blue, and the reverse, is named in each case of six."""
    rng = np.random.default_rng(0)
    for pairs, sensor in real.values():
        looks = [Look.of(f"{n}", image, sensor, mask) for n, (image, mask) in enumerate(pairs)]
        _sound(looks, sensor)
        red, blue = sensor.place("red"), sensor.place("blue")
        order = [{red: blue, blue: red}.get(place, place) for place in range(len(sensor))]
        # As pixels in the order of the files, in physical values: divided by the constants of the bands' own places.
        turned = [(image * sensor.scales)[..., order] / sensor.scales for image, _ in pairs]
        swapped = [Look.of(f"{n}", turned[n], sensor, mask) for n, (_, mask) in enumerate(pairs)]
        for _ in range(40):
            six = rng.choice(len(looks), 6, replace=False).tolist()
            assert examine([looks[n] for n in six], sensor) == []
            found = [finding.text for finding in examine([swapped[n] for n in six], sensor)]
            assert any("look swapped" in text for text in found), (sensor.name, six)


@needs_real
def test_any_two_bands_of_published_patches_are_told_by_their_constants(real) -> None:
    """A stored value times its own band's constant is an integer, and times no other's: 91 pairs of 14 bands."""
    (image, _), *_ = real["landslide4sense"][0]
    for one, other in itertools.combinations(range(14), 2):
        order = [{one: other, other: one}.get(place, place) for place in range(14)]
        (finding,) = examine([Look.of("x", image[..., order], SENSOR)], SENSOR)
        names = {SENSOR.bands[place].name for place in (one, other)}
        assert finding.severity == "error"
        assert finding.kind == "terrain" or all(name in finding.text for name in names)


def _sound(looks: list[Look], sensor: Sensor) -> None:
    for trained in (False, True):
        # Which says of each alone too.
        assert examine(looks, sensor, trained=trained) == []


def _images(level: Callable[[int], np.ndarray], count: int = 8) -> list[Look]:
    """Looks at so many pictures of 32 x 32 pixels: `level` gives the three values of picture n."""
    texture = np.linspace(0.9, 1.1, 32 * 32).reshape(32, 32, 1)
    return [Look.of(f"{n}", texture * level(n), RGB) for n in range(count)]


def test_two_bands_with_each_others_levels_are_told_of_a_model_by_its_medians() -> None:
    """Red 60, green 90, blue 130 in training. 120, 80, 58 are nearer to them the other way round: of the logarithms
    log(120/60) = .69, log(80/90) = -.12, log(58/130) = -.81 the largest is .69 from their median, turned
    log(58/60) = -.03, -.12, log(120/130) = -.08 it is .05. Of 85, 90, 92 nothing tells."""
    sensor = RGB.with_typical((60.0, 90.0, 130.0))
    (finding,) = examine(_images(lambda n: np.array([120.0, 80.0, 58.0])), sensor, trained=True)
    assert (finding.severity, finding.kind) == ("error", "band order")
    assert "red, blue look swapped" in finding.text
    assert examine(_images(lambda n: np.array([85.0, 90.0, 92.0])), sensor, trained=True) == []


def test_one_odd_patch_among_many_is_named_by_its_rule_and_file(patches) -> None:
    """A patch of reflectance among four is an error; a tenth of a patch beyond the valid range is 2.5 % of four, one
    too; .1 % of it is a warning, as are few holes and a constant band."""
    image = patches[0][0]

    def found(edit: Callable[[np.ndarray], None]) -> Finding:
        odd = image.copy()
        edit(odd)
        looks = [Look.of(f"{n}", patch, SENSOR) for n, (patch, _) in enumerate(patches[1:])]
        (finding,) = examine([*looks, Look.of("odd", odd, SENSOR)], SENSOR)
        assert finding.files == ("odd",)
        return finding

    assert found(lambda odd: np.divide(odd, 10_000, out=odd)).severity == "error"

    def elevation(rows: int, columns: int, value: float) -> Callable[[np.ndarray], None]:
        return lambda odd: odd[:rows, :columns, ELEVATION].fill(value)

    # 9,000 m is above all mountains; 1,640 pixels of 16,384 are a tenth, 16 are .1 %.
    high = 9000 / CONSTANTS[ELEVATION]
    assert (found(elevation(41, 40, high)).severity, found(elevation(41, 40, high)).kind) == ("error", "range")
    assert (found(elevation(4, 4, high)).severity, found(elevation(4, 4, high)).kind) == ("warning", "range")
    assert found(elevation(2, 2, np.nan)).text.startswith("NaN or infinite values: 4 in elevation;")
    assert found(lambda odd: odd[..., 9].fill(0)).text.startswith("B10 cirrus 1375 nm: one value")


@pytest.mark.full
def test_nothing_is_said_of_a_thousand_synthetic_patches() -> None:
    """Twenty seeds of fifty patches each: alone, and the fifty together."""
    for seed in range(20):
        made = [synthetic_patch("train", number, seed=seed) for number in range(1, 51)]
        _sound([Look.of(f"{n}", image, SENSOR, mask) for n, (image, mask) in enumerate(made)], SENSOR)
