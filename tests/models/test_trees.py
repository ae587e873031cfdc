"""Trees of single pixels: the network says what scikit-learn's trees say, and has its share in the answer."""

import keras
import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from lsml.config.schema import TrainConfig, with_values
from lsml.data.statistics import BandStatistics
from lsml.models.trees import _assign as assign
from lsml.models.trees import _pixel_features as pixel_features
from lsml.models.trees import fit_trees, grown, tree_network
from lsml.models.unet import Networks, build_model, build_networks
from tests.bands import CONSTANTS, GREEN, N_BANDS, NEAR_INFRARED, RED
from tests.training.test_trainer import Squares

NODE = np.dtype(
    [
        ("value", "f8"),
        ("feature_idx", "i4"),
        ("num_threshold", "f8"),
        ("left", "u4"),
        ("right", "u4"),
        ("is_leaf", "u1"),
    ]
)
"""What counts of scikit-learn's own."""


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.asarray(logits, "float64")))


def _stored(*size: int) -> np.ndarray:
    """Stored bands whose physical values are integers, as published."""
    return (np.random.default_rng(3).integers(0, 5000, (*size, N_BANDS)) / np.asarray(CONSTANTS)).astype("float32")


@pytest.mark.landslide4sense("trees are worked out by hand on its green band and its integers")
def test_two_trees_by_hand(statistics: BandStatistics) -> None:
    """Each pixel gets the baseline and the value of the leaf that it reaches in each tree."""
    # Green above 100.5? no: 1; yes: green above 200? no: 2; yes: 4.
    first = np.array(
        [
            (0, GREEN, 100.5, 1, 2, 0),
            (1, 0, 0, 0, 0, 1),
            (0, GREEN, 200.0, 3, 4, 0),
            (2, 0, 0, 0, 0, 1),
            (4, 0, 0, 0, 0, 1),
        ],
        NODE,
    )
    # NDVI above .25, which is step (.25 + 1) * 32768 = 40960? no: 10; yes: 20.
    second = np.array([(0, 14, 40960.0, 1, 2, 0), (10, 0, 0, 0, 0, 1), (20, 0, 0, 0, 0, 1)], NODE)
    physical = np.zeros((1, 2, 3, N_BANDS))
    physical[..., GREEN] = [[100, 101, 200], [201, 30000, 0]]
    # NDVI 0 (all dark), 1, -1; 1/3, .25 and just above .25: (12504 - 7500) / 20004 is .25015.
    physical[..., NEAR_INFRARED] = [[0, 500, 0], [1000, 12500, 12504]]
    physical[..., RED] = [[0, 0, 500], [500, 7500, 7500]]
    network = tree_network(statistics)
    stored = (physical / np.asarray(CONSTANTS)).astype("float32")
    assert not np.asarray(network(stored)).any()
    assign(network, [first, second], -3.0)
    # -3 + 1 + 10, -3 + 2 + 20, -3 + 2 + 10; -3 + 4 + 20, -3 + 4 + 10, -3 + 1 + 20.
    np.testing.assert_allclose(np.asarray(network(stored))[0, ..., 0], [[8, 19, 9], [21, 11, 18]], rtol=0, atol=1e-5)
    assert not network.trainable_variables


@pytest.mark.landslide4sense("trees are worked out by hand on its green band and its integers")
def test_the_network_says_what_scikit_learn_says(statistics: BandStatistics) -> None:
    """Of the pixels that the trees grew on, and of others, some of them broken, to 1e-6 in probability."""
    stored = _stored(4, 32, 32)
    stored[0, :2, :5, 3], stored[1, 3, 3] = np.nan, np.inf
    seen = pixel_features(keras.ops.convert_to_tensor(stored), statistics)
    features = np.asarray(seen).reshape(-1, 20)
    np.testing.assert_array_equal(features, features.round())
    landslide = (features[:, 3] > 2000) & (features[:, 12] > 800) & (features[:, 14] < 40000) | (features[:, 1] > 4800)
    classifier = HistGradientBoostingClassifier(
        max_iter=40, max_leaf_nodes=8, learning_rate=0.2, early_stopping=False
    ).fit(features[:2048], landslide[:2048])
    network = tree_network(statistics)
    assign(network, *grown(classifier))
    expected = classifier.predict_proba(features)[:, 1].reshape(4, 32, 32, 1)
    assert expected.min() < 0.01
    assert expected.max() > 0.99
    for found in (network(stored), network.predict_on_batch(stored)):
        np.testing.assert_allclose(_sigmoid(found), expected, rtol=0, atol=1e-6)


def test_trees_find_what_single_pixels_show(statistics: BandStatistics) -> None:
    """Fitted to squares that are brighter in two bands they know other squares; another seed may draw other pixels."""
    network, again = tree_network(statistics), tree_network(statistics)
    fit_trees(network, Squares("train", 20), statistics, seed=3)
    fit_trees(again, Squares("train", 20), statistics, seed=3)
    for one, two in zip(network.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    images, truth = Squares("validation", 6).batch(np.arange(6))
    found = np.asarray(network(images)) > 0
    # In both bands the squares lie 1.5 above noise of .4: halfway, .04 % of pixels would be on the wrong side of both.
    assert (found == (truth > 0)).mean() > 0.98


@pytest.mark.parametrize(("landslide", "odds"), [(0, 0.5 / 1024.5), (1, 1024.5 / 0.5)])
def test_one_class_gives_its_log_odds(landslide: int, odds: float, statistics: BandStatistics) -> None:
    """Of 1,024 drawn pixels of one class the other has half a pixel."""
    split = Squares("one", 1)
    split.masks[:] = landslide
    network = tree_network(statistics)
    fit_trees(network, split, statistics, seed=0)
    np.testing.assert_allclose(np.asarray(network(split.images)), np.log(odds), rtol=1e-6)


def _networks(statistics: BandStatistics, **model: object) -> Networks:
    small = {"filters": 4, "depth": 2, "normalization": "none", "dropout": 0.0} | model
    config = with_values(TrainConfig(), {f"model.{name}": value for name, value in small.items()})
    networks = build_networks(config, statistics)
    if networks.trees is not None:
        assign(networks.trees, [], float(np.log(4)))
    assert [w.shape for w in build_model(config, statistics).get_weights()] == [
        w.shape for w in networks.inference_model.get_weights()
    ]
    return networks


@pytest.mark.parametrize("members", [1, 2])
def test_the_share_mixes_probabilities(members: int, statistics: BandStatistics) -> None:
    """Trees that say .8 everywhere, with share .25, add .2 to .75 of what the members say on average."""
    networks = _networks(statistics, members=members, tree_weight=0.25)
    stored = _stored(1, 16, 16)
    mean = np.mean([_sigmoid(member(stored)) for member in networks.members], axis=0)
    np.testing.assert_allclose(_sigmoid(networks.inference_model(stored)), 0.75 * mean + 0.2, rtol=0, atol=1e-6)


def test_the_network_beside_the_trees_is_the_network_alone(statistics: BandStatistics) -> None:
    """Its weights are those of share 0, trained is it alone, and no weight of the trees is trained."""
    alone, beside = _networks(statistics), _networks(statistics, tree_weight=0.5)
    assert alone.trees is None
    assert alone.training_model is alone.inference_model is alone.members[0]
    assert beside.training_model is beside.members[0]
    for one, two in zip(alone.training_model.get_weights(), beside.training_model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert len(beside.inference_model.trainable_variables) == len(alone.inference_model.trainable_variables)
