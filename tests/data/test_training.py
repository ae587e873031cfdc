"""What training is told of its data."""

from pathlib import Path

import numpy as np

from lsml.data.splits import TrainingData
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
