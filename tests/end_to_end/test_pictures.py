"""Colour pictures with coloured masks, of several sizes and without a dataset.yaml, from the folder to a map."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.processes import lsml

EXPERIMENT = """
name: pictures
data: {path: pictures, folds: 2, repeats: 1, hold_out_test: true}
base:
  model: {filters: 4, depth: 1}
  training: {epochs: 1, batch_size: 4, learning_rate: 5e-3}
space:
  augment.strength: {low: 0.5, high: 1.0}
  input.red_edge: {choices: [true, false]}
study: {trials: 1, confirm: 0, sampler: {name: random}}
"""


def _write(folder: Path, number: int) -> None:
    """Green noise of 280 x 300 pixels or a few more, and a brown square, which the mask has in yellow on black."""
    random = np.random.default_rng(number)
    height, width = 280 + 7 * number, 300 + 11 * (number % 3)
    picture = random.integers(40, 90, (height, width, 3)).astype(np.uint8)
    picture[..., 1] += 60
    mask = np.zeros_like(picture)
    square = np.s_[60:160, 40 + 5 * number : 140 + 5 * number]
    picture[square], mask[square] = (60, 100, 160), (0, 255, 255)  # OpenCV writes blue, green, red
    for kind, array in (("images", picture), ("masks", mask)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(folder / kind / f"site{number}.png"), array)


@pytest.mark.full
def test_from_a_folder_of_pictures_to_a_map(tmp_path: Path) -> None:
    """Checked, tuned, evaluated on whole pictures and predicted; what was taken how is said, each time in a line."""
    for number in range(8):
        _write(tmp_path / "pictures", number)
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    checked = lsml(tmp_path, "data", "check", "pictures")
    assert checked.returncode == 0, checked.stderr
    assert "info: masks of 0 and (255, 255, 0)" in checked.stdout

    tuned = lsml(tmp_path, "tune", "experiment.yaml")
    assert tuned.returncode == 0, tuned.stderr
    said = "RGB: red, green, blue, cut into squares of 256 pixels; no near infrared, no slope, no elevation"
    assert said in tuned.stderr
    assert "not searched, as the bands for it are not there: input.red_edge" in tuned.stderr
    assert "input.red_edge" not in "".join(re.findall("^trial 0: .*", tuned.stderr, re.MULTILINE))
    assert "NDVI and slope threshold" not in tuned.stderr + tuned.stdout
    best = re.findall(r"best run: ([0-9a-f]{32})", tuned.stdout)[-1]
    assert f"  lsml evaluate --run-id {best}\n" in tuned.stdout

    # 8 pictures in blocks of 70, 15 and 15 %: 6, 1 and 1, of which the first two are in folds.
    evaluated = lsml(tmp_path, "evaluate", "--run-id", best)
    assert evaluated.returncode == 0, evaluated.stderr
    assert "test split, 1 patches" in evaluated.stdout
    assert "km2" not in evaluated.stdout  # nobody knows how large a pixel is

    predicted = lsml(tmp_path, "predict", "pictures/images", "--run-id", best, "--out", "maps", "--pictures", "1")
    assert predicted.returncode == 0, predicted.stderr
    mask = cv2.imread(str(tmp_path / "maps/mask/site3.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (301, 300)  # 280 + 3 * 7, 300 + 0 * 11
    assert set(np.unique(mask)) <= {0, 255}

    # The colours of another camera, ten times as dark, are refused by the model.
    for path in (tmp_path / "pictures/images").iterdir():
        cv2.imwrite(str(path), cv2.imread(str(path)) // 10)
    dark = lsml(tmp_path, "predict", "pictures/images", "--run-id", best, "--out", "dark")
    assert dark.returncode == 3
    assert "optical bands are 0.1 times those of the patches that the model was trained on" in dark.stderr
