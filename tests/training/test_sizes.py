"""Patches of a size that no network of lsml is told of: each way in refuses them in one sentence."""

from pathlib import Path

import numpy as np
import pytest

from lsml.config.schema import TrainConfig
from lsml.data.hdf5 import encode
from lsml.data.scan import scan_images
from lsml.data.sensor import PATCH_SIZE
from lsml.data.splits import FoldedData, TrainingData
from lsml.errors import DataError
from lsml.evaluation.predict import predict_patches

REFUSAL = r"image_1\.h5: 'img' has shape \(96, 96, 14\), expected \(128, 128, 14\) numeric; cut or resample it"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three splits of two patches of 96 x 96 pixels each."""
    root = tmp_path_factory.mktemp("small")
    for split in ("TrainData", "ValidData", "TestData"):
        for number in (1, 2):
            for folder, name, array in (
                ("img", "image", np.ones((96, 96, 14))),
                ("mask", "mask", np.zeros((96, 96), "uint8")),
            ):
                path = root / split / folder / f"{name}_{number}.h5"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encode(name.replace("image", "img"), array))
    return root


def test_every_depth_divides_a_patch() -> None:
    """The deepest network that a configuration may ask for has a stride that divides 128; so has every other."""
    (depth,) = (spec for spec in TrainConfig.fields() if spec.name == "model.depth")
    assert depth.high is not None
    assert PATCH_SIZE % 2 ** int(depth.high) == 0


def test_no_study_or_training_begins_on_other_sizes(root: Path, tmp_path: Path) -> None:
    """Packing, which stands before both, with a validation split and in folds."""
    with pytest.raises(DataError, match=REFUSAL) as refused:
        TrainingData.prepare(root, tmp_path)
    assert "\n" not in str(refused.value)
    with pytest.raises(DataError, match=REFUSAL):
        FoldedData.prepare(root, tmp_path, folds=2, repeats=1)


def test_no_prediction_is_made_of_other_sizes(root: Path, tmp_path: Path) -> None:
    """The model is not asked, and nothing is written."""

    def network(images: np.ndarray) -> np.ndarray:
        raise AssertionError(images.shape)

    images = scan_images(root / "TestData" / "img")
    with pytest.raises(DataError, match=REFUSAL):
        predict_patches(network, images, 0.5, tmp_path / "out", pictures=1, progress=lambda done, total: None)
    assert not (tmp_path / "out").exists()
