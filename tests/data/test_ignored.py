"""Pixels of which nobody knows whether they are landslide: read, packed, drawn from and counted as if not there."""

from pathlib import Path

import numpy as np
import pytest
from scipy.special import logit

from lsml.config.schema import AugmentConfig, TrainConfig, with_values
from lsml.data.augment import Augmentation
from lsml.data.checks import check
from lsml.data.description import describe
from lsml.data.formats import read_mask
from lsml.data.formats.hdf5 import encode
from lsml.data.loader import draw_pixels
from lsml.data.sensor import IGNORED, LANDSLIDE4SENSE, RGB, Sensor, landslide_share
from lsml.data.splits import TrainingData
from lsml.errors import ConfigError, DataError
from lsml.evaluation.evaluate import PredictedPatch, choose_threshold, evaluate_predictions
from lsml.training.fit import fit
from tests.data.test_formats import array_file, noise, picture, raster
from tests.training.listening import Listener

pytestmark = [
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
    pytest.mark.usefixtures("without_tracing"),
]

SIDE = 32
MASK = "mask: {landslide: [1], ignore: [255]}"


def ignoring(*values: tuple[int, ...], landslide: tuple[tuple[int, ...], ...] = ()) -> Sensor:
    """A sensor of colour pictures whose masks have these values where nobody knows."""
    return Sensor("ignoring", RGB.bands, landslide=landslide, ignore=values)


@pytest.mark.parametrize("ending", ["png", "tif", "npy", "h5"])
def test_ignored_values_are_told_from_landslide_and_from_none(ending: str, tmp_path: Path) -> None:
    """Of 0, 1 and 255, the last to ignore, in every format; the one other value beside 0 is landslide."""
    stored = np.array([[0, 1, 255], [255, 0, 1]], np.uint8)
    path = tmp_path / f"mask.{ending}"
    if ending == "png":
        picture(path, stored)
    elif ending == "tif":
        raster(path, stored[..., None])
    elif ending == "npy":
        array_file(path, stored)
    else:
        path.write_bytes(encode("mask", stored))
    expected = np.array([[0, 1, 2], [2, 0, 1]], np.uint8)
    for sensor in (ignoring((255,)), ignoring((255,), landslide=((1,),))):
        found = read_mask(path, sensor)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, expected)


def test_colours_and_zero_may_be_ignored(tmp_path: Path) -> None:
    """Grey as a colour; and 0 itself, where background has a value of its own."""
    colours = np.array([[[255, 0, 0], [128, 128, 128], [0, 0, 0]]] * 2, np.uint8)
    path = picture(tmp_path / "colours.png", colours)
    np.testing.assert_array_equal(read_mask(path, ignoring((128, 128, 128))), [[1, 2, 0]] * 2)
    path = array_file(tmp_path / "classes.npy", np.array([[0, 1, 2]], np.int16))
    np.testing.assert_array_equal(read_mask(path, ignoring((0,), landslide=((2,),))), [[2, 0, 1]])


def test_a_jpeg_cannot_have_values_to_ignore(tmp_path: Path) -> None:
    """Between 0 and 255 its blur has every value."""
    path = picture(tmp_path / "mask.jpg", np.zeros((16, 16), np.uint8))
    with pytest.raises(DataError, match=r"a JPEG, in which colours run into each other.*; write masks as PNG or TIFF"):
        read_mask(path, ignoring((128,)))


def test_a_description_may_say_masks_alone_and_no_value_has_two_meanings(tmp_path: Path) -> None:
    """Bands are then told as without; data without ignored values have the identity that they always had."""
    (tmp_path / "dataset.yaml").write_text(MASK)
    sensor = describe([tmp_path], [])
    assert (sensor.bands, sensor.landslide, sensor.ignore) == (LANDSLIDE4SENSE.bands, ((1,),), ((255,),))
    assert Sensor.from_dict(sensor.to_dict()) == sensor
    assert sensor.identity != LANDSLIDE4SENSE.identity
    assert "ignore" not in LANDSLIDE4SENSE.to_dict()
    (tmp_path / "dataset.yaml").write_text("mask: {landslide: [1, [9, 9, 9]], ignore: [255, [9, 9, 9]]}")
    with pytest.raises(ConfigError, match=r"mask: \[9, 9, 9\] is in landslide and in ignore; leave it in one of them"):
        describe([tmp_path], [])


def _dataset(root: Path, hidden: int) -> Path:
    """Four patches of train and two of validation; a third of each mask is ignored, below which truth is `hidden`.

    The hidden truth reaches the file as 255 if it is 0 and as 254 if it is 1, and both are to ignore.
    """
    for split, count in (("train", 4), ("val", 2)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for number in range(count):
            image = np.roll(noise(SIDE, SIDE, 3), (count, number), (0, 1))
            mask = np.zeros((SIDE, SIDE), np.uint8)
            mask[4:12, 4:12] = 1
            image[4:12, 4:12, 0] = 255
            mask[20:, 8:] = 255 - hidden
            picture(root / split / "images" / f"{number}.png", image)
            picture(root / split / "masks" / f"{number}.png", mask)
    (root / "dataset.yaml").write_text("mask: {landslide: [1], ignore: [254, 255]}")
    return root


def test_packs_shares_and_drawn_pixels_leave_them_out(tmp_path: Path) -> None:
    """64 of the 1024 - 12 * 24 = 736 pixels known are landslide; of all 1024 drawn, 736 are left."""
    root = _dataset(tmp_path / "data", 0)
    data = TrainingData.prepare(root, tmp_path / "packs")
    assert data.train.landslide_fractions.tolist() == [64 / 736] * 4
    assert np.unique(data.train.mask(0)).tolist() == [0, 1, IGNORED]
    drawn = list(draw_pixels(data.train, np.random.default_rng(0)))
    assert [(len(bands), len(classes), int(classes.sum())) for bands, classes in drawn] == [(736, 736, 64)] * 4
    train, *_ = check(root).splits
    assert train.landslide_share == 64 / 736
    assert landslide_share(np.full((2, 2), IGNORED)) == 0


@pytest.mark.parametrize("field", ["flips", "rotation", "crop", "elastic", "mixup", "cutmix"])
def test_augmentation_moves_them_with_the_rest(field: str) -> None:
    """Where the third band of an image says 200, its mask is ignored, and they stay together: nothing is mixed of both.

    Mix-up changes images alone, the lesser part of which comes from another patch: masks stay what they are.
    """
    others = dict.fromkeys(("flips", "rotation", "crop", "light", "gain", "noise"), 0.0)
    config = AugmentConfig(**(others | {field: 1.0}), strength=1.0)
    masks = np.zeros((4, SIDE, SIDE), np.uint8)
    for number, mask in enumerate(masks):
        mask[4 + number : 20, 10:26] = IGNORED
        mask[24:30] = 1
    images = np.repeat((100.0 * masks)[..., None], 3, axis=-1).astype(np.float32)
    augment = Augmentation(config, (SIDE, SIDE), RGB)
    pairs = [
        augment(image, mask, seed=0, epoch=1, index=n)
        for n, (image, mask) in enumerate(zip(images, masks, strict=True))
    ]
    changed, moved = (np.stack(arrays) for arrays in zip(*pairs, strict=True))
    changed, truth = augment.mix(changed, moved[..., None].astype(np.float32), seed=0, epoch=1, step=0)
    assert set(np.unique(truth)) == {0, 1, IGNORED}
    if field == "mixup":
        np.testing.assert_array_equal(truth, masks[..., None])
        return
    # A pixel of the interior of an area has its value whatever is interpolated: 0, 100 or 200.
    exact = np.isin(changed[..., :1], (0, 100, 200))
    np.testing.assert_array_equal(100 * truth[exact], changed[..., :1][exact])
    assert (truth[exact] == IGNORED).any()


def test_scores_are_those_of_the_pixels_that_are_known() -> None:
    """One patch of 2 x 4, three of its pixels ignored. At .5 of the five known: one hit, one miss, one false alarm.

    F1 = 2 / (2 + 1 + 1) = .5. The false alarm touches no landslide: of two objects called one is false. Average
    precision over the known: at .9 (landslide) 1 of 1 found, at .8 none, at .3 (landslide) 2 of 3: (1 + 2 / 3) / 2.
    """
    mask = np.array([[1, 1, 0, 2], [0, 2, 2, 0]], np.uint8)
    probability = np.array([[0.9, 0.3, 0.1, 0.99], [0.2, 0.98, 0.01, 0.8]], np.float32)
    predicted = [PredictedPatch("one", mask, probability)]
    found = evaluate_predictions(predicted, 0.5)
    assert found.metrics["f1"] == 0.5
    assert found.metrics["average_precision"] == pytest.approx(5 / 6)
    assert found.counts.pixels.sum(axis=1).tolist() == [3, 2]
    assert found.confusion.tolist() == [[1, 1, 1]]
    assert found.patches[0].landslide_share == 2 / 5
    assert found.curves.sum() == 5
    assert (found.objects.predicted, found.objects.false_alarms, found.objects.empty_pixels) == (2, 1, 0)
    # Whatever is predicted where nobody knows, nothing changes.
    other = np.where(mask == IGNORED, 1 - probability, probability)
    again = evaluate_predictions([PredictedPatch("one", mask, other)], 0.5)
    assert again.metrics == found.metrics
    assert choose_threshold([PredictedPatch("one", mask, other)]) == choose_threshold(predicted)


def test_a_patch_that_nobody_knows_counts_nowhere() -> None:
    """Neither as pixels nor as ground without landslide on which alarms are counted."""
    mask = np.full((4, 4), IGNORED, np.uint8)
    found = evaluate_predictions([PredictedPatch("none", mask, np.full((4, 4), 0.9, np.float32))], 0.5)
    assert found.counts.pixels.sum() == 0
    assert (found.patches[0].f1, found.patches[0].landslide_share) == (None, 0)
    assert (found.objects.predicted, found.objects.empty_pixels) == (0, 0)


def _trained(root: Path, packs: Path) -> list[np.ndarray]:
    values = {
        "model.filters": 4, "model.depth": 2, "training.epochs": 2, "training.batch_size": 2, "augment.strength": 0.5,
        "augment.cutmix": 1.0, "loss.cross_entropy": 1.0, "loss.lovasz": 1.0, "loss.dice": 1.0,
    }  # fmt: skip
    data = TrainingData.prepare(root, packs)
    result = fit(with_values(TrainConfig(), values), data, Listener())
    return [result.probabilities, np.array([result.metrics["val_loss"], result.calibration.temperature])]


def test_the_loss_of_a_training_is_that_of_the_pixels_that_are_known(tmp_path: Path) -> None:
    """Cross-entropy alone: of the kept probabilities, their temperature undone, over the 736 known pixels of each."""
    data = TrainingData.prepare(_dataset(tmp_path / "data", 0), tmp_path / "packs")
    values = {
        "model.filters": 4,
        "model.depth": 2,
        "training.epochs": 2,
        "loss.cross_entropy": 1.0,
        "loss.jaccard": 0.0,
    }
    result = fit(with_values(TrainConfig(), values), data, Listener())
    masks = np.stack([data.validation.mask(index) for index in range(len(data.validation))])
    known = masks != IGNORED
    logits = logit(result.probabilities[known].astype(np.float64)) * result.calibration.temperature
    expected = np.logaddexp(0, np.where(masks[known] == 1, -logits, logits)).mean()
    assert result.metrics["val_loss"] == pytest.approx(expected, rel=1e-3)


def test_a_training_knows_nothing_of_the_truth_below(tmp_path: Path) -> None:
    """Two datasets that differ in their masks below ignored pixels alone train to the very same probabilities."""
    one, other = (_trained(_dataset(tmp_path / f"{hidden}", hidden), tmp_path / f"packs{hidden}") for hidden in (0, 1))
    for first, second in zip(one, other, strict=True):
        np.testing.assert_array_equal(first, second)
