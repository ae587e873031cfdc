"""Every kind of sensor from files to pictures: packed, trained with all options, exported and drawn, or refused."""

import io
from pathlib import Path
from typing import NamedTuple

import cv2
import keras
import numpy as np
import pytest
from matplotlib.image import imread

from lsml.config.fields import Scalar
from lsml.config.schema import AugmentConfig, TrainConfig, with_values
from lsml.data.augment import Augmentation
from lsml.data.formats.hdf5 import encode
from lsml.data.sensor import LANDSLIDE4SENSE, NEAR_INFRARED, RED
from lsml.data.splits import TrainingData
from lsml.data.tiles import tiled
from lsml.errors import ConfigError
from lsml.models.export import load_bytes
from lsml.models.inputs import NDVI, features_of, indices_of, reflectance, spectral_index
from lsml.models.trees import _pixel_features as pixel_features
from lsml.models.unet import build_model, build_networks
from lsml.plots.patches import draw_patches, panel, prediction_panel, true_colour
from lsml.training.fit import FitResult, fit
from tests.training.listening import Listener

pytestmark = pytest.mark.usefixtures("without_tracing")


class Case(NamedTuple):
    """A kind of dataset.

    Attributes:
        description: its `dataset.yaml`; empty where it needs none.
        low, high: between these are its values, by band, those of landslides at the high end.
        dtype: of its files.
        size: height and width of its images.
        side: that of the patches that they make.
        indices: those that the bands are enough for.
        lacking: roles that `six_inputs` needs and that are not there.
    """

    description: str
    low: tuple[float, ...]
    high: tuple[float, ...]
    dtype: str = "float32"
    size: tuple[int, int] = (32, 32)
    side: int = 32
    indices: tuple[str, ...] = ()
    lacking: bool = True

    @property
    def bands(self) -> int:
        return len(self.low)


CASES = {
    "landslide4sense": Case(
        "", (0.5,) * 14, (3.0,) * 14, "float64", indices=("NDVI", "NDRE", "NDWI", "NDMI", "NBR", "BSI"), lacking=False
    ),
    "five_bands": Case(
        "bands: [{name: $\\wet$ red, role: red}, {name: n, role: near_infrared}, {name: s, role: slope, unit: degrees},"
        " {name: roughness}, {name: wetness}]",
        (0.1, 0.2, 0, -3, 0),
        (0.4, 0.6, 60, 3, 1),
        size=(96, 96),
        side=96,
        indices=("NDVI",),
    ),
    "rgb_tiles": Case(
        "name: photographs\ntile: 32\nbands: [{name: red, role: red, typical: 128, valid: [0, 255]},"
        " {name: green, role: green, typical: 128, valid: [0, 255]},"
        " {name: blue, role: blue, typical: 128, valid: [0, 255]}]",
        (20, 30, 10),
        (230, 200, 190),
        "uint8",
        size=(48, 40),
    ),
    "radar": Case(
        "name: radar\npixel_metres: 10\nbands: [{name: VV backscatter, unit: decibels, typical: 12, valid: [-50, 20]}]",
        (-25,),
        (-5,),
    ),
    "planetscope": Case(
        "name: PlanetScope\nbands: ["
        + ", ".join(
            f"{{name: {name}, role: {name}, unit: reflectance, scale: 1.0e-4, offset: -0.1, typical: 2000}}"
            for name in ("blue", "green", "red", "near_infrared")
        )
        + "]",
        (1300, 1400, 1400, 2000),
        (2500, 2700, 3000, 6000),
        "uint16",
        indices=("NDVI", "NDWI"),
    ),
    "ten_bands": Case(
        f"bands: [{', '.join(f'{{name: band {n}}}' for n in range(10))}]", tuple(range(-5, 5)), tuple(range(10, 20))
    ),
}
"""Of five bands with float reflectances and a name that is a formula, tiles, radar, an offset, no roles at all."""

ALL_ON: dict[str, Scalar] = {
    "augment.strength": 1.0,
    **{f"augment.{name}": 1.0 for name in AugmentConfig.model_fields if name != "strength"},
    "input.indices": "all",
    "input.clip_percentile": 1.0,
    "model.members": 2,
    "model.tree_weight": 0.4,
    "model.filters": 4,
    "model.depth": 2,
    "training.batch_size": 2,
    "training.epochs": 1,
    "training.xla": "off",
}


class Trained(NamedTuple):
    """A case, its data and what a training on it gave."""

    case: Case
    data: TrainingData
    result: FitResult


def _patch(case: Case, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An image `(H, W, C)` that is brighter in a square, and the mask of that square."""
    random, (height, width) = np.random.default_rng(seed), case.size
    mask = np.zeros(case.size, np.uint8)
    mask[8:20, 6:22] = 1
    share = np.clip(random.normal(0.25, 0.1, (height, width, case.bands)) + 0.5 * mask[..., None], 0, 1)
    return (np.array(case.low) + share * (np.array(case.high) - case.low)).astype(case.dtype), mask


def _write(case: Case, root: Path) -> None:
    """Two splits, as HDF5 where there is no description, PNG of 8 bits, else NumPy."""
    for split, count in (("train", 4), ("val", 2)):
        for number in range(count):
            for kind, array in zip(("images", "masks"), _patch(case, 10 * count + number), strict=True):
                path = root / split / kind / str(number)
                path.parent.mkdir(parents=True, exist_ok=True)
                if not case.description:
                    path.with_suffix(".h5").write_bytes(encode("img" if kind == "images" else "mask", array))
                elif case.dtype == "uint8":
                    cv2.imwrite(f"{path}.png", array[..., ::-1] if kind == "images" else 255 * array)
                else:
                    np.save(f"{path}.npy", array)
    if case.description:
        (root / "dataset.yaml").write_text(case.description)


@pytest.fixture(scope="module", params=CASES)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """One epoch of two members and trees, with every change of a patch at full strength."""
    case, root = CASES[request.param], tmp_path_factory.mktemp(request.param)
    _write(case, root / "data")
    data = TrainingData.prepare(root / "data", root / "packs")
    return Trained(case, data, fit(with_values(TrainConfig(), ALL_ON), data, Listener(), checkpoint=None))


def test_it_is_packed_with_its_statistics(trained: Trained) -> None:
    """Values as they were, integers as integers, statistics of all pixels, and the bands' names and roles."""
    case, data, _ = trained
    image, mask = _patch(case, 40)
    np.testing.assert_allclose(data.train.image(0), image[: case.side, : case.side], rtol=1e-6)
    np.testing.assert_array_equal(data.train.mask(0), mask[: case.side, : case.side])
    assert data.train.dtype == (np.uint16 if case.dtype.startswith("uint") else np.float32)
    pixels = np.concatenate([data.train.image(index).reshape(-1, case.bands) for index in range(len(data.train))])
    np.testing.assert_allclose(data.statistics.mean, pixels.mean(axis=0, dtype=float), rtol=1e-5)
    np.testing.assert_allclose(data.statistics.minimum, pixels.min(axis=0), rtol=1e-6)
    assert len(data.train.sensor) == case.bands
    # 48 x 40 pixels take two squares by two.
    assert len(data.train) == (16 if case.size == (48, 40) else 4)


def test_every_change_of_a_patch_leaves_it_a_patch(trained: Trained) -> None:
    """At full strength: finite, masks of 0 and 1; terrain and decibels are no light and keep their range."""
    case, data, _ = trained
    sensor, config = data.train.sensor, with_values(TrainConfig(), ALL_ON).augment
    augmentation = Augmentation(config, (case.side, case.side), sensor)
    changed = [
        augmentation(data.train.image(0), data.train.mask(0), seed=0, epoch=epoch, index=0) for epoch in range(1, 4)
    ]
    images, masks = (np.stack(arrays) for arrays in zip(*changed, strict=True))
    images, masks = augmentation.mix(images, masks[..., None], seed=0, epoch=1, step=0)
    assert images.shape == (3, case.side, case.side, case.bands)
    assert np.isfinite(images).all()
    assert (images != data.train.image(0)).any(axis=(1, 2, 3)).all()
    assert set(np.unique(masks)) <= {0, 1}
    low, high = (np.array(limit) for limit in (data.statistics.minimum, data.statistics.maximum))
    dark = ~sensor.optical
    assert (images[..., dark] >= low[dark] - 1e-4).all()
    assert (images[..., dark] <= high[dark] + 1e-4).all()


def test_it_is_trained_and_its_file_says_the_same(trained: Trained) -> None:
    """Probabilities of the exported model are those of the training, and of an image of tiles those of its squares."""
    case, data, result = trained
    model = load_bytes(result.model.content, data.train.sensor)
    stored = data.validation.batch(np.arange(len(data.validation)))[0]
    probability = np.asarray(model(stored))
    assert probability.shape == (len(stored), case.side, case.side, 1)
    assert 0 <= probability.min() < probability.max() <= 1
    np.testing.assert_allclose(probability[..., 0], result.probabilities, rtol=0, atol=1e-5)
    if data.train.sensor.tile:
        image = _patch(case, 20)[0].astype("float32")[None]
        whole = tiled(lambda squares: np.asarray(model(squares)), case.side)(image)
        assert whole.shape == (1, *case.size, 1)
        assert 0 <= whole.min() < whole.max() <= 1


def test_indices_are_those_that_its_bands_are_enough_for(trained: Trained) -> None:
    """The network sees them beside the bands. NDVI is as defined, whatever the unit, and 0 where all is dark."""
    case, data, _ = trained
    sensor, config = data.train.sensor, with_values(TrainConfig(), ALL_ON).input
    assert tuple(index.name for index in indices_of("all", sensor)) == case.indices
    features = features_of(keras.Input((None, None, case.bands)), config, data.statistics)
    assert features.shape[-1] == case.bands + len(case.indices)
    if "NDVI" in case.indices:
        stored = data.train.batch([0])[0]
        stored[0, 0, 0] = [-band.offset / band.scale for band in sensor.bands]
        red, infrared = np.moveaxis(sensor.physical(stored, RED, NEAR_INFRARED), -1, 0)
        expected = (infrared - red) / (infrared + red + 1e-9)
        found = np.asarray(spectral_index(reflectance(stored, sensor), NDVI, sensor))[..., 0]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        assert found[0, 0, 0] == pytest.approx(0, abs=1e-3)


def test_trees_see_every_band(trained: Trained) -> None:
    """Each of many levels, 0..65,535: negative decibels and shares of one are not all the same to them."""
    _, data, _ = trained
    features = np.asarray(pixel_features(data.train.batch([0, 1])[0], data.statistics))
    assert features.min() >= 0
    assert features.max() <= 65536
    for band in np.moveaxis(features, -1, 0):
        assert len(np.unique(band)) >= 20


def test_bands_can_be_switched_off_by_what_they_are(trained: Trained) -> None:
    """A group takes the bands of its roles; where that leaves none, one line says so."""
    _, data, _ = trained
    groups = ("visible", "red_edge", "near_infrared", "short_wave_infrared", "atmospheric", "terrain")
    off = {f"input.{group}": False for group in groups} | {"model.filters": 4, "model.depth": 2}
    config = with_values(TrainConfig(), off)
    unnamed = [place for place, band in enumerate(data.train.sensor.bands) if not band.role]
    if not unnamed:
        with pytest.raises(ConfigError, match="all bands and indices are off") as refused:
            build_model(config, data.statistics)
        assert "\n" not in str(refused.value)
        return
    model, stored = build_model(config, data.statistics), data.train.batch([0])[0]
    others = np.setdiff1d(np.arange(len(data.train.sensor)), unnamed)
    changed = stored.copy()
    changed[..., others] *= 2
    np.testing.assert_array_equal(np.asarray(model(changed)), np.asarray(model(stored)))
    assert not np.array_equal(np.asarray(model(stored[:, ::-1])), np.asarray(model(stored)))


def test_six_inputs_need_their_bands(trained: Trained) -> None:
    """They are named where one is missing."""
    case, data, _ = trained
    config = with_values(TrainConfig(), {"input.features": "six_inputs", "model.filters": 4, "model.depth": 2})
    if not case.lacking:
        assert build_model(config, data.statistics).count_params() > 0
        return
    with pytest.raises(ConfigError, match="six_inputs needs red, green, blue, near_infrared, slope, elev") as refused:
        build_model(config, data.statistics)
    assert str(refused.value).endswith(f"which {data.train.sensor.name} lacks; set it to bands")
    assert "\n" not in str(refused.value)


def test_a_pretrained_stem_needs_blue_green_and_red(trained: Trained) -> None:
    """`inflate` is refused in one line without them; `project` learns what to hand on."""
    _, data, _ = trained
    values: dict[str, Scalar] = {
        "model.architecture": "resnet_unet",
        "model.encoder": "resnet18",
        "model.weights": "absent.weights.h5",
        "model.filters": 4,
        "model.depth": 2,
    }
    config = with_values(TrainConfig(), values | {"model.stem": "inflate"})
    if data.train.sensor.has("blue", "green", "red"):
        assert build_networks(config, data.statistics).inference_model.count_params() > 0
    else:
        with pytest.raises(ConfigError, match=r"inflate carries filters to blue, green and red, which .* lacks") as no:
            build_networks(config, data.statistics)
        assert str(no.value).endswith("; set model.stem=project")
        assert "\n" not in str(no.value)
    projecting = with_values(TrainConfig(), values | {"model.stem": "project"})
    assert build_networks(projecting, data.statistics).inference_model.count_params() > 0


def test_it_is_drawn(trained: Trained, tmp_path: Path) -> None:
    """Panels and rows of patches; what was not measured is black, whatever 0 would look like."""
    _, data, result = trained
    sensor, image, mask = data.train.sensor, data.validation.image(0), data.validation.mask(0)
    probability = result.probabilities[0]
    square = panel(image, mask, probability, 0.5, sensor)
    assert square.shape == (602, 536, 3)
    row = prediction_panel(image, probability, 0.5, sensor)
    rows = draw_patches(image[None], mask[None], [r"a_$\frac$_patch" + 60 * "_"], sensor)
    for content in (row, rows):
        assert np.ptp(imread(io.BytesIO(content), format="png")[..., :3]) > 0.5
    (tmp_path / "row.png").write_bytes(row)
    (tmp_path / "rows.png").write_bytes(rows)
    colour = true_colour(image, sensor)
    landslide = mask > 0
    # Landslides were drawn at the high end of every band.
    assert colour[landslide].mean() > colour[~landslide].mean() + 25
    broken = image.copy()
    broken[3, 4] = np.nan
    assert true_colour(broken, sensor)[3, 4].tolist() == [0, 0, 0]


def test_landslide4sense_is_told_by_its_files(trained: Trained) -> None:
    """And no other is."""
    assert (trained.data.train.sensor == LANDSLIDE4SENSE) == (not trained.case.description)
