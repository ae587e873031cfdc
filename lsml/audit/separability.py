"""How separable two splits are: adversarial validation, a classifier that guesses which split a patch is from."""

import itertools
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from lsml.audit.facts import Facts
from lsml.bands import N_BANDS
from lsml.bootstrap import LEVEL, Interval
from lsml.data.inventory import SPLITS

LEAST = 5
"""Fewer patches than this in a split say nothing about it."""

_FOLDS, _TREES, _DRAWS = 5, 200, 1000


class Separability(NamedTuple):
    """How well a classifier tells the patches of two splits apart.

    Attributes:
        first, second: the splits; `n_first`, `n_second` their patches.
        auc: the chance that a patch of `second` is given a higher score than one of `first`; .5 is guessing.
        interval: of it, over resampled patches of each.
        bands: float64 `(14,)`: the same chance by the mean of one band alone, so how far that band is shifted.
    """

    first: str
    second: str
    n_first: int
    n_second: int
    auc: float
    interval: Interval
    bands: np.ndarray


def separabilities(facts: Facts, *, seed: int) -> list[Separability]:
    """Of every two splits of at least `LEAST` patches each."""
    splits = {split: np.array([patch.summary for patch in facts.of(split)]) for split in SPLITS}
    known = {split: rows for split, rows in splits.items() if len(rows) >= LEAST}
    return [
        separability(one, known[one], other, known[other], seed=seed) for one, other in itertools.combinations(known, 2)
    ]


def separability(first: str, one: np.ndarray, second: str, other: np.ndarray, *, seed: int) -> Separability:
    """Of two splits by the summaries `(n, 56)` of their patches, means of bands first.

    A random forest (Breiman 2001) judges each fifth of the patches by trees that grew on the others, both splits
    weighing the same. The fifths are random, so patches beside each other help it: whether splits differ, not why.
    """
    rows = np.concatenate([one, other])
    is_second = np.repeat([False, True], [len(one), len(other)])
    forest = RandomForestClassifier(_TREES, min_samples_leaf=2, class_weight="balanced", random_state=seed)
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    scores = cross_val_predict(forest, rows, is_second, cv=folds, method="predict_proba")[:, 1]
    below, above = scores[~is_second], scores[is_second]
    random = np.random.default_rng(seed)
    drawn = [auc(random.choice(below, len(below)), random.choice(above, len(above))) for _ in range(_DRAWS)]
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Separability(
        first,
        second,
        len(one),
        len(other),
        auc(below, above),
        Interval(float(low), float(high)),
        np.array([auc(one[:, band], other[:, band]) for band in range(N_BANDS)]),
    )


def auc(below: np.ndarray, above: np.ndarray) -> float:
    """The chance that one of `above` is higher than one of `below`, ties half (Mann & Whitney 1947), 0..1."""
    ranks = rankdata(np.concatenate([below, above]))[len(below) :]
    return float((ranks.sum() - len(above) * (len(above) + 1) / 2) / (len(below) * len(above)))
