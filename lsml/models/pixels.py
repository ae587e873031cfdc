"""Fitted classifiers of single pixels as networks: logistic regression, limits of NDVI and slope, boosted trees.

Each takes stored bands float32 `(B, H, W, C)`, finite or not, to logits float32 `(B, H, W, 1)`, in Keras's own layers:
what they say is what the classifiers say, and a file of them is read like that of any other network.
"""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import keras
import numpy as np
from keras import KerasTensor, layers, ops

from lsml.data.sensor import SLOPE
from lsml.data.statistics import BandStatistics
from lsml.models.inputs import NDVI, physical, replace_nonfinite, spectral_index
from lsml.models.trees import grown

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import Pipeline


def regression_network(classifier: "Pipeline", statistics: BandStatistics) -> keras.Model:
    """A `StandardScaler` of the bands and a `LogisticRegression`."""
    scaler, regression = classifier[0], classifier[1]
    stored, finite = _bands(statistics)
    # Not one convolution of the bands: where they vary little about a large mean, its sum would lose their digits.
    scaled = (finite - scaler.mean_.astype("float32")) * (1 / scaler.scale_).astype("float32")
    logits = layers.Conv2D(1, 1, dtype="float32", name="regression")
    network = keras.Model(stored, logits(scaled), name="logistic_regression")
    logits.set_weights([regression.coef_.reshape(1, 1, -1, 1), regression.intercept_])
    return network


_ON_A_LIMIT = 2e-6
"""In logits, beyond what float32 rounds: a pixel on a limit, as those that gave it are, is within it."""


def rule_network(limits: tuple[float, float], spreads: tuple[float, float], statistics: BandStatistics) -> keras.Model:
    """How far inside the limits of NDVI (at most) and slope in degrees (at least), in spreads, by the nearer one."""
    stored, finite = _bands(statistics)
    sensor = statistics.sensor
    values = physical(finite, sensor)
    index, slope = spectral_index(values, NDVI, sensor), ops.take(values, [sensor.place(SLOPE)], axis=-1)
    inside = ops.minimum((limits[0] - index) / spreads[0], (slope - limits[1]) / spreads[1])
    return keras.Model(stored, inside + _ON_A_LIMIT, name="ndvi_slope_rule")


def boosting_network(classifier: "HistGradientBoostingClassifier", statistics: BandStatistics) -> keras.Model:
    """Boosted trees of the bands, of any number and shape and of at most 32 leaves each.

    The leaf that a pixel comes to is the first one that no node excludes, where a node that the pixel is right of
    excludes all leaves to its left (Lucchese et al. 2015, "QuickScorer"). What a band excludes in all trees is looked
    up by how many of its limits it reaches, and what a leaf says by its number. Nothing is multiplied: so every pixel
    takes the way that it takes in scikit-learn, also where a GPU keeps eleven bits of a factor.
    """
    forest = _Forest.of(*grown(classifier), bands=len(statistics.sensor))
    stored, finite = _bands(statistics)
    kept = functools.reduce(ops.bitwise_and, (_kept(finite, band, forest) for band in range(len(forest.limits))))
    first, second = ops.split(kept, 2, axis=-1)
    leaf = ops.where(first > 0, _lowest_bit(first), _HALF + _lowest_bit(second))
    places = ops.add(leaf, np.arange(len(forest.said), dtype="float32") * forest.said.shape[1])
    said = _look_up(places, forest.said.reshape(-1, 1), "leaves")
    return keras.Model(stored, ops.sum(said, axis=-2), name="boosted_trees")


_HALF = 16
"""Leaves that one number tells of, a bit each: float32 holds 24."""


class _Forest(NamedTuple):
    """Several trees, whose leaves have numbers from left to right.

    Attributes:
        limits: of each band in rising order, float32: what reaches one is right of the nodes that have it.
        kept: for each band, by how many limits are reached: the leaves of each tree that it does not exclude, a bit
            each, of the first 16 leaves of all trees and then of the others; `(limits + 1, 2 * trees)`.
        said: what each leaf adds to the logit, `(trees, 32)`.
    """

    limits: list[np.ndarray]
    kept: list[np.ndarray]
    said: np.ndarray

    @classmethod
    def of(cls, trees: Sequence[np.ndarray], baseline: float, *, bands: int) -> "_Forest":
        """Of trees as `lsml.models.trees.grown` gives them; all leaves of the first say `baseline` too."""
        walked = [_walked(nodes, 0, 0) for nodes in trees]
        limits = [
            np.unique([limit for _, found in walked for of, limit, _ in found if of == band]).astype(np.float32)
            for band in range(bands)
        ]
        kept = [np.full((len(values) + 1, len(trees)), 2 ** (2 * _HALF) - 1) for values in limits]
        said = np.zeros((len(trees), 2 * _HALF))
        for tree, (values, found) in enumerate(walked):
            said[tree, : len(values)] = values
            for band, limit, leaves in found:
                kept[band][np.searchsorted(limits[band], limit, side="right") :, tree] &= ~leaves
        said[0] += baseline
        return cls(limits, [np.hstack([leaves % 2**_HALF, leaves >> _HALF]) for leaves in kept], said)


def _walked(nodes: np.ndarray, place: int, first: int) -> tuple[list[float], list[tuple[int, np.float32, int]]]:
    """Of a node and all below it: what the leaves say; and of the others the band, its limit, the leaves to the left.

    Args:
        first: the number of the first leaf below.
    """
    node = nodes[place]
    if node["is_leaf"]:
        return [float(node["value"])], []
    left, found = _walked(nodes, int(node["left"]), first)
    right, more = _walked(nodes, int(node["right"]), first + len(left))
    limit = int(node["feature_idx"]), _next_above(node["num_threshold"]), (2 ** len(left) - 1) << first
    return left + right, [limit, *found, *more]


def _next_above(limit: float) -> np.float32:
    """The smallest number of float32 above it: a number of float32 that reaches the one is above the other."""
    nearest = np.float32(limit)
    return nearest if float(nearest) > limit else np.nextafter(nearest, np.float32(np.inf))


def _kept(finite: KerasTensor, band: int, forest: _Forest) -> KerasTensor:
    """The leaves that a band does not exclude, int32 `(B, H, W, 2 * trees)`, as `_Forest.kept` has them."""
    reached = ops.digitize(ops.take(finite, band, axis=-1), forest.limits[band])
    return ops.cast(_look_up(reached, forest.kept[band], f"band_{band}"), "int32")


def _look_up(rows: KerasTensor, table: np.ndarray, name: str) -> KerasTensor:
    """Rows of a table `(rows, N)` by their numbers `(...)`: float32 `(..., N)`."""
    layer = layers.Embedding(*table.shape, embeddings_initializer="zeros", dtype="float32", trainable=False, name=name)
    found = layer(rows)
    layer.set_weights([table])
    return found


def _lowest_bit(bits: KerasTensor) -> KerasTensor:
    """Which bit is the lowest that is set, from 0, as float32; 0 where none is."""
    alone = ops.cast(ops.bitwise_and(bits, -bits), "float32")
    # Rounded, because a backend's logarithm may be a little less than the number.
    return ops.round(ops.log2(ops.maximum(alone, 1.0)))


def _bands(statistics: BandStatistics) -> tuple[KerasTensor, KerasTensor]:
    """An input of stored bands `(B, H, W, C)`, and these without NaN and infinities."""
    stored = keras.Input((None, None, len(statistics.sensor)), dtype="float32", name="bands")
    return stored, replace_nonfinite(stored, statistics.median)
