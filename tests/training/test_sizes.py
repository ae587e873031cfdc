"""Patches of other sizes than 128 x 128: all of one size are taken, a mixture is refused in one sentence."""

from pathlib import Path

import numpy as np
import pytest

from lsml.config.schema import TrainConfig, with_values
from lsml.data.formats.hdf5 import encode
from lsml.data.splits import FoldedData, TrainingData
from lsml.errors import ConfigError, DataError
from lsml.training.trainer import Trainer, last_epoch


def _write(root: Path, split: str, number: int, size: int) -> None:
    random = np.random.default_rng(number)
    mask = np.zeros((size, size), "uint8")
    mask[:10] = 1
    for folder, name, array in (("img", "img", random.random((size, size, 14))), ("mask", "mask", mask)):
        path = root / split / folder / f"{name.replace('img', 'image')}_{number}.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(name, array))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two splits of two patches of 96 x 96 pixels each."""
    for split in ("TrainData", "ValidData"):
        for number in (1, 2):
            _write(tmp_path / "data", split, number, 96)
    return tmp_path / "data"


def test_patches_of_any_one_size_are_packed(root: Path, tmp_path: Path) -> None:
    """96 x 96 in both splits, and in folds."""
    data = TrainingData.prepare(root, tmp_path)
    assert data.train.batch([0, 1])[0].shape == (2, 96, 96, 14)
    assert data.validation.mask(1).shape == (96, 96)
    assert FoldedData.prepare(root, tmp_path, folds=2, repeats=1).train.image(0).shape == (96, 96, 14)


@pytest.mark.parametrize("split", ["TrainData", "ValidData"])
def test_a_mixture_of_sizes_is_refused(split: str, root: Path, tmp_path: Path) -> None:
    """Within a split: both sizes are named."""
    _write(root, split, 2, 128)
    with pytest.raises(DataError, match=r"128 x 128 pixels, where .*96 x 96") as refused:
        TrainingData.prepare(root, tmp_path / "packs")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("depth", "downscale", "says"),
    [
        (4, 1, r"model\.depth: patches of 40 x 40 pixels cannot be halved 4 times: .* 16; set it to at most 3"),
        (2, 4, r"model\.depth: .* halved 2 times after input\.downscale=4: .* 16; set it to at most 1"),
        (1, 8, r"model\.depth: .* halved 1 times after input\.downscale=8: .* 16; set input\.downscale=1"),
        (2, 3, r"input\.downscale: 3 x 2\*\*2 \(model\.depth\) does not divide 32; lower one of the two"),
        (5, 2, r"input\.downscale: 2 x 2\*\*5 \(model\.depth\) does not divide 32; lower one of the two"),
    ],
)
def test_a_network_too_deep_for_the_patches_is_refused(depth: int, downscale: int, says: str, tmp_path: Path) -> None:
    """40 is divided by 8 and not by 16: one line that says what would do. 12 and 64 do not divide 32."""
    for split in ("TrainData", "ValidData"):
        for number in (1, 2):
            _write(tmp_path / "data", split, number, 40)
    data = TrainingData.prepare(tmp_path / "data", tmp_path / "packs")
    config = with_values(TrainConfig(), {"model.depth": depth, "input.downscale": downscale})
    with pytest.raises(ConfigError, match=says):
        Trainer(config, data.train, data.statistics, validation=None, keep=last_epoch, checkpoint=None)
