"""Gradient-boosted trees of single pixels as a network, whose layers a configuration sets and whose weights are fitted.

Trees (Friedman 2001, "Greedy function approximation: a gradient boosting machine") that scikit-learn grows on the train
patches. Every feature is an integer of 0..65,536, as the published bands are, and comes to the layers as its two bytes:
what they compare is then exact also where a GPU keeps eleven bits of a factor (TensorFloat-32), so that every pixel
takes the way through every tree that it takes in scikit-learn.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np
from keras import KerasTensor, layers, ops

from lsml.data.loader import draw_pixels
from lsml.data.splits import Split
from lsml.data.statistics import BandStatistics
from lsml.models.inputs import indices_of, reflectance, replace_nonfinite, spectral_index

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier

TREES, LEAVES, LEARNING_RATE = 40, 8, 0.2

TREES_STREAM = 5
"""Keeps the drawn pixels apart from other numbers of the same seed (weights and order 1, ..., members 4)."""

INDEX_STEPS = 2**15
"""Of an index, on either side of zero."""

_CODES = 2 ** (LEAVES - 1)
"""A pixel's answers to all inner nodes of a tree, right or left, as one number."""


def _pixel_features(stored: KerasTensor, statistics: BandStatistics) -> KerasTensor:
    """What the trees see of stored bands `(..., C)`, finite or not: `(..., F)`, integers as float32.

    They are the bands, as published or as `_wide` gives them, whatever the network beside the trees sees, and all
    spectral indices.
    """
    sensor, finite = statistics.sensor, replace_nonfinite(stored, statistics.median)
    physical = reflectance(finite, sensor)
    indices = [spectral_index(physical, index, sensor) for index in indices_of("all", sensor)]
    bands = physical if sensor.published else _wide(finite, statistics)
    return ops.round(ops.concatenate([bands, *((index + 1) * INDEX_STEPS for index in indices)], axis=-1))


def _wide(finite: KerasTensor, statistics: BandStatistics) -> KerasTensor:
    """Bands `(..., C)` over all of 0..65,535, from the least to the largest value of the train split.

    Physical values of any unit come to that: decibels are negative, and shares of one would all round to 0 or 1.
    """
    low, high = (np.asarray(limit, "float32") for limit in (statistics.minimum, statistics.maximum))
    return ops.clip((finite - low) * (65535 / np.where(high > low, high - low, 1)).astype("float32"), 0.0, 65535.0)


def tree_network(statistics: BandStatistics) -> keras.Model:
    """Stored bands float32 `(B, H, W, C)` to logits float32 `(B, H, W, 1)`: 0, until `fit_trees` or `assign`.

    Node n of all trees is one convolution of the features, and all its trees' answers are bit n of the codes that look
    up what each tree says: no tensor has more than 40 channels. None of the weights is trained.
    """
    stored = keras.Input((None, None, len(statistics.sensor)), dtype="float32", name="bands")
    features = _pixel_features(stored, statistics)
    high = ops.floor(features / 256)
    by_bytes = ops.concatenate([high, features - 256 * high], axis=-1)
    codes = np.arange(TREES, dtype="float32") * _CODES
    for node in range(LEAVES - 1):
        beyond = layers.Conv2D(
            TREES,
            1,
            kernel_initializer="zeros",
            bias_initializer="zeros",
            dtype="float32",
            trainable=False,
            name=_node(node),
        )(by_bytes)
        codes = ops.add(codes, ops.where(beyond > 0, np.float32(2**node), np.float32(0)))
    said = layers.Embedding(
        TREES * _CODES, 1, embeddings_initializer="zeros", dtype="float32", trainable=False, name="leaves"
    )(codes)
    return keras.Model(stored, ops.sum(said, axis=-2), name="trees")


def fit_trees(network: keras.Model, train: Split, statistics: BandStatistics, *, seed: int) -> None:
    """Grows trees on at most 200,000 pixels drawn evenly from `train`, unaugmented, and gives them to `tree_network`.

    Where all drawn pixels are of one class there is nothing to grow: all pixels get the log odds of what was drawn,
    with half a pixel added to each class.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    drawn = list(draw_pixels(train, np.random.default_rng((seed, TREES_STREAM))))
    stored, landslide = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    if landslide.all() or not landslide.any():
        _assign(network, [], float(np.log((landslide.sum() + 0.5) / ((~landslide).sum() + 0.5))))
        return
    classifier = HistGradientBoostingClassifier(
        max_iter=TREES, max_leaf_nodes=LEAVES, learning_rate=LEARNING_RATE, early_stopping=False, random_state=seed
    )
    features = ops.convert_to_numpy(_pixel_features(ops.convert_to_tensor(stored), statistics))
    # OpenMP's threads wait for each other by spinning: where workers share cores, two of them took 20 s for what one
    # does in .7.
    with threadpool_limits(limits=1, user_api="openmp"):
        classifier.fit(features, landslide)
    _assign(network, *grown(classifier))


def grown(classifier: "HistGradientBoostingClassifier") -> tuple[list[np.ndarray], float]:
    """The nodes of each tree of a fitted binary classifier, and the logit that they start from."""
    # Private, but there is no other way to them, and the tests hold the network to `predict_proba`.
    nodes = [predictor.nodes for (predictor,) in classifier._predictors]
    return nodes, float(classifier._baseline_prediction.item())


def _assign(network: keras.Model, trees: Sequence[np.ndarray], baseline: float) -> None:
    """Gives `tree_network` its weights: logits are then `baseline` and what each tree says, added up.

    Args:
        trees: at most 40, each a structured array of nodes as scikit-learn's `TreePredictor` has them, with `is_leaf`
            and `value` of leaves, `feature_idx`, `num_threshold`, `left` and `right` of at most 7 others; the root is
            first, and what is not above its threshold goes left.
    """
    kernels = np.zeros((LEAVES - 1, *network.get_layer(_node(0)).kernel.shape), "float32")
    features = kernels.shape[-2] // 2
    biases = np.zeros((LEAVES - 1, TREES), "float32")
    said = np.zeros((TREES, _CODES))
    for tree, nodes in enumerate(trees):
        inner = np.flatnonzero(~nodes["is_leaf"].astype(bool)).tolist()
        for bit, node in enumerate(nodes[inner]):
            kernels[bit, ..., node["feature_idx"], tree] = 256
            kernels[bit, ..., features + node["feature_idx"], tree] = 1
            # Between the integers below and above, where no feature is.
            biases[bit, tree] = -np.floor(node["num_threshold"]) - 0.5
        said[tree] = _said(nodes, {place: bit for bit, place in enumerate(inner)}, 0)
    said[0] += baseline
    for bit, parts in enumerate(zip(kernels, biases, strict=True)):
        network.get_layer(_node(bit)).set_weights(parts)
    network.get_layer("leaves").set_weights([said.reshape(-1, 1)])


def _said(nodes: np.ndarray, bits: dict[int, int], place: int) -> np.ndarray:
    """The value of the leaf below node `place` that each code leads to, float64 `(128,)`."""
    node = nodes[place]
    if node["is_leaf"]:
        return np.full(_CODES, node["value"])
    right = np.arange(_CODES) >> bits[place] & 1
    return np.where(right, *(_said(nodes, bits, int(node[side])) for side in ("right", "left")))


def _node(bit: int) -> str:
    return f"node{bit}"
