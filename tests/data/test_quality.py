"""Values that would be mistaken for others, and splits that nothing can be learnt from: refused at every door."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lsml.data.formats import read_image
from lsml.data.formats.hdf5 import encode
from lsml.data.layout import PatchFiles
from lsml.data.quality import require_known
from lsml.data.sensor import RGB, Band, Sensor, Unit
from lsml.data.splits import FoldedData, TrainingData, WholeData
from lsml.data.synthetic import synthetic_patch
from lsml.errors import DataError
from tests.bands import CONSTANTS, ELEVATION, SENSOR, SLOPE

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
    "standardised": (lambda image: image - 1.0, "looks like reflectance 0..1, normalised"),
    "no_band": (lambda image: np.where(np.arange(14) == 3, np.nan, image), "B4 red 665 nm has no finite value"),
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


@pytest.mark.parametrize("fault", FAULTS)
def test_values_in_another_unit_or_order_are_refused_at_every_door(
    fault: str, patches: list[tuple[np.ndarray, np.ndarray]], tmp_path: Path
) -> None:
    """Before a study, with a validation split and in folds, before a refit, and before a model predicts."""
    edit, says = FAULTS[fault]
    _write(tmp_path / "data", [(edit(image), mask) for image, mask in patches])
    doors: list[Callable[[], object]] = [
        lambda: TrainingData.prepare(tmp_path / "data", tmp_path / "packs"),
        lambda: FoldedData.prepare(tmp_path / "data", tmp_path / "packs", folds=2, repeats=1),
        lambda: WholeData.prepare(tmp_path / "data", tmp_path / "packs"),
        lambda: require_known("folder x", _files(tmp_path / "data/TrainData/img"), SENSOR),
    ]
    # A band without any value is refused while it is packed already.
    for door in doors[-1:] if fault == "no_band" else doors:
        with pytest.raises(DataError) as refused:
            door()
        assert says in str(refused.value)
        assert "\n" not in str(refused.value)


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


def test_a_model_of_another_sensor_compares_with_what_it_was_trained_on(tmp_path: Path) -> None:
    """Numbers of about 100 in training; 700 is refused, 30 and 400 are not: 5 times is the limit."""
    sensor = Sensor("two", (Band("a"), Band("b"))).with_typical((100.0, 100.0))
    for level in (30, 400, 700, 15):
        np.save(tmp_path / "x.npy", np.full((32, 32, 2), level, np.uint16))
        files = _files(tmp_path)
        if level in (30, 400):
            require_known("folder x", files, sensor)
        else:
            with pytest.raises(DataError, match=rf"{level / 100:g} times those of the patches"):
                require_known("folder x", files, sensor)


def test_radar_may_be_of_any_level(tmp_path: Path) -> None:
    """Decibels are negative, and nothing tells how strong a reflection has to be; the valid range does."""
    sensor = Sensor("radar", (Band("VV", unit=Unit.DECIBELS, valid=(-40.0, 10.0)),)).with_typical((-12.0,))
    np.save(tmp_path / "x.npy", np.full((32, 32), -30.0))
    require_known("folder x", _files(tmp_path), sensor)
    np.save(tmp_path / "x.npy", np.full((32, 32), 0.001) + 20)
    with pytest.raises(DataError, match="VV is not within -40 to 10 decibels"):
        require_known("folder x", _files(tmp_path), sensor)


def test_nothing_is_said_of_sound_patches() -> None:
    """60 synthetic patches of each split, one by one."""
    for split in ("train", "validation", "test"):
        for number in range(1, 61):
            _alone(synthetic_patch(split, number)[0], SENSOR)


@pytest.mark.skipif("LSML_REAL_DATA" not in os.environ, reason="LSML_REAL_DATA names no folder of real patches")
def test_nothing_is_said_of_real_patches_and_pictures() -> None:
    """Twelve patches and 48 pictures, one by one."""
    root = Path(os.environ["LSML_REAL_DATA"])
    patches, pictures = sorted((root / "landslide4sense/img").glob("*.h5")), sorted(root.glob("rgb/*/images/*.png"))
    assert (len(patches), len(pictures)) == (12, 48)
    for files, sensor in ((patches, SENSOR), (pictures, RGB)):
        for path in files:
            _alone(read_image(path, sensor), sensor)


def _alone(image: np.ndarray, sensor: Sensor) -> None:
    from lsml.data.quality import _require_plausible

    _require_plausible("patch", lambda place: image, 1, sensor, trained=True)
