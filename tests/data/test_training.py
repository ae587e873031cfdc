"""What training is told of its data."""

from pathlib import Path

import cv2
import numpy as np

from lsml.data.splits import FoldData, FoldedData, TrainingData
from tests.bands import BANDS, CONSTANTS

from .conftest import WritePatch, integers_of


def test_replaced_values_are_counted_in_words(tmp_path: Path, write_patch: WritePatch) -> None:
    """Two NaN in the fourth band of train and one inf in that of validation make three, of no other band."""
    for number, folder, values in ((1, "TrainData", [np.nan, np.nan]), (2, "ValidData", [np.inf])):
        image = integers_of(number) / np.array(CONSTANTS)
        image[0, : len(values), 3] = values
        write_patch(tmp_path / folder / "img", tmp_path / folder / "mask", number, image=image)
    source = TrainingData.prepare(tmp_path, tmp_path / "cache").source
    assert source.endswith(f"; NaN or infinite values replaced by train medians: 3 in {BANDS[3].name}")


def test_nothing_is_said_of_clean_data(tmp_path: Path, write_patch: WritePatch) -> None:
    """Where every value is finite the source names the layout alone."""
    for number, folder in ((1, "TrainData"), (2, "ValidData")):
        write_patch(tmp_path / folder / "img", tmp_path / folder / "mask", number)
    assert "NaN" not in TrainingData.prepare(tmp_path, tmp_path / "cache").source


def _overlapping(root: Path) -> None:
    """Twelve pictures of four squares each, of which the last but two has its first square from the second.

    Gaps, of which each has one, are alike too, but show nothing.
    """
    for number in range(12):
        picture = np.random.default_rng(number).integers(1, 255, (32, 32, 3), np.uint8)
        picture[:16, 16:] = 0
        if number == 9:
            picture[:16, :16] = np.random.default_rng(1).integers(1, 255, (32, 32, 3), np.uint8)[16:, :16]
        mask = np.zeros((32, 32), np.uint8)
        mask[:8] = 255
        for folder, array in (("images", picture), ("masks", mask)):
            (root / folder).mkdir(exist_ok=True)
            cv2.imwrite(str(root / folder / f"{number:02d}.png"), array)
    bands = ", ".join(f"{{name: {name}, unit: digital number}}" for name in ("red", "green", "blue"))
    (root / "dataset.yaml").write_text(f"tile: 16\nbands: [{bands}]\n")


def test_a_picture_that_overlaps_one_held_out_is_not_trained_on(tmp_path: Path) -> None:
    """Of 12, lsml takes 8 to train, 2 to validate, 2 to test; 09 validates and has a square of 01."""
    _overlapping(tmp_path)
    data = TrainingData.prepare(tmp_path, tmp_path / "cache")
    assert {id_[:2] for id_ in data.validation.ids} == {"08", "09"}
    assert {id_[:2] for id_ in data.train.ids} == {"00", "02", "03", "04", "05", "06", "07"}
    assert "; left out of train, as validation has a part of it too: 01" in data.source


def test_a_square_that_equals_one_held_out_is_not_trained_on(tmp_path: Path) -> None:
    """In three folds of four pictures, of sixteen squares each: the first has 01's, the last 09's."""
    _overlapping(tmp_path)
    pack = FoldedData.prepare(tmp_path, tmp_path / "cache", folds=3, repeats=1).train
    first, second, last = (FoldData.of(pack, fold, 3) for fold in range(3))
    assert set(pack.ids) - {*first.validation.ids, *first.train.ids} == {"09_0_0"}
    assert set(pack.ids) == {*second.validation.ids, *second.train.ids}
    assert set(pack.ids) - {*last.validation.ids, *last.train.ids} == {"01_16_0"}
