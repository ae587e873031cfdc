"""Deep supervision: the weights of the levels, the loss, and what does not change."""

import io
import json
import zipfile

import keras
import numpy as np
import pytest

from lsml.config.schema import LossConfig, TrainConfig, with_values
from lsml.data.statistics import BandStatistics
from lsml.losses import CompoundLoss
from lsml.models.export import export
from lsml.models.unet import SupervisedLoss, build_model, build_networks
from lsml.models.unet import _level_weights as level_weights
from tests.bands import N_BANDS, SENSOR

SMALL = {"model.filters": 4, "model.depth": 3}


def _config(**values: object) -> TrainConfig:
    return with_values(TrainConfig(), SMALL | {f"model.{name}": value for name, value in values.items()})


def test_each_level_counts_half_of_the_one_above() -> None:
    """1, 1/2, 1/4 over their sum of 7/4."""
    np.testing.assert_allclose(level_weights(3), [4 / 7, 2 / 7, 1 / 7])
    np.testing.assert_allclose(level_weights(1), [1])


def test_the_loss_is_the_weighted_mean_over_levels() -> None:
    """Cross-entropy of logits 0, 2 and -2 where all is landslide: ln 2, .126928 and 2.126928."""
    loss = SupervisedLoss(CompoundLoss(LossConfig(jaccard=0.0)))
    truth, logits = np.ones((2, 4, 4, 1), "float32"), np.zeros((2, 4, 4, 3), "float32")
    logits[..., 1], logits[..., 2] = 2, -2
    # (4 * 0.693147 + 2 * 0.126928 + 2.126928) / 7 = 0.736196
    assert float(loss(truth, logits)) == pytest.approx(0.736196, abs=1e-5)


def test_coarse_logits_stand_for_all_pixels_below(statistics: BandStatistics) -> None:
    """Besides the logits of inference come those of levels 1 and 2, equal over 2 x 2 and 4 x 4 pixels."""
    inference, trained, *_ = build_networks(_config(deep_supervision=True), statistics)
    bands = np.random.default_rng(0).uniform(0, 4, (1, 16, 24, N_BANDS)).astype("float32")
    logits = np.asarray(trained(bands))
    assert logits.shape == (1, 16, 24, 3)
    np.testing.assert_array_equal(logits[..., :1], inference(bands))
    for level in (1, 2):
        coarse = logits[:, :: 2**level, :: 2**level, level]
        assert len(np.unique(coarse)) > 1
        np.testing.assert_array_equal(logits[..., level], np.kron(coarse, np.ones((1, 2**level, 2**level))))


def test_the_inference_network_is_the_same_with_and_without(statistics: BandStatistics) -> None:
    """Neither weights nor their order nor the exported layers know of the heads; without them there is one network."""
    plain, supervised = _config(), _config(deep_supervision=True)
    first, second = build_networks(plain, statistics), build_networks(supervised, statistics)
    assert first.training_model is first.inference_model
    assert len(second.training_model.weights) == len(second.inference_model.weights) + 4
    for one, two in zip(first.inference_model.get_weights(), second.inference_model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    files = [export(build_model(config, statistics), SENSOR).content for config in (plain, supervised)]
    names = [{layer["name"] for layer in _layers(content) if "conv" in layer["name"]} for content in files]
    assert names[0] == names[1]
    assert not any(layer["name"].startswith("logits") and layer["name"] != "logits" for layer in _layers(files[1]))


def _layers(content: bytes) -> list[dict]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return json.loads(archive.read("config.json"))["config"]["layers"]


def test_one_level_needs_no_supervision(statistics: BandStatistics) -> None:
    """At depth 1 the decoder has the finest level alone, and what is trained is what is scored."""
    inference, trained, *_ = build_networks(_config(deep_supervision=True, depth=1), statistics)
    assert inference is trained
    assert isinstance(inference, keras.Model)
