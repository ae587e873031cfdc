"""What splits do to a score: near-duplicates, separability of the splits, random against contiguous hold-outs."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy.stats import rankdata
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from threadpoolctl import threadpool_limits

from lsml.audit.facts import Facts, PatchFacts, TrainPixels
from lsml.data.listing import SPLITS
from lsml.scoring.bootstrap import LEVEL, Difference, Interval, difference
from lsml.scoring.metrics import PooledCounts, f1
from lsml.workspace import Progress

Kind = Literal["exact", "near", "apart"]

NEAR = 0.9
"""Correlation of thumbnails from which two patches count as near-duplicates (docs/data.md says how it was set)."""

_TURNS = ("as it is", "turned 90", "turned 180", "turned 270")
ORIENTATIONS = (*_TURNS, *(f"mirrored, {turn}" for turn in _TURNS))
"""The symmetries of a square, degrees anticlockwise, in the order in which they are tried."""

_AT_ONCE = 256


class Pair(NamedTuple):
    """A patch and the closest one of an earlier split.

    Attributes:
        file, split: of the patch.
        match, match_split: of the closest one.
        correlation: of their thumbnails, -1..1, the mean over their bands.
        orientation: how the patch is turned to be most like the other.
        kind: `exact` where all values are the same, `near` from `NEAR` on, else `apart`.
    """

    file: str
    split: str
    match: str
    match_split: str
    correlation: float
    orientation: str
    kind: Kind

    def turned(self, picture: np.ndarray) -> np.ndarray:
        """A picture `(H, W, 3)` of the patch, turned to be most like the other."""
        mirrored, turns = divmod(ORIENTATIONS.index(self.orientation), 4)
        return np.rot90(picture[:, ::-1] if mirrored else picture, turns)


def closest_pairs(facts: Facts, progress: Progress) -> list[Pair]:
    """One pair for each patch of a later split and each earlier split, the most alike first.

    Args:
        progress: called with ("comparisons", those done, those in all).
    """
    splits = {split: patches for split in SPLITS if (patches := facts.of(split))}
    jobs = [
        (splits[earlier], splits[later][start : start + _AT_ONCE])
        for earlier, later in itertools.combinations(splits, 2)
        for start in range(0, len(splits[later]), _AT_ONCE)
    ]
    pairs: list[Pair] = []
    for done, (candidates, part) in enumerate(jobs, start=1):
        pairs += _closest(candidates, part)
        progress("comparisons", done, len(jobs))
    return sorted(pairs, key=lambda pair: (pair.kind != "exact", -pair.correlation, pair.file, pair.match))


def _closest(candidates: Sequence[PatchFacts], patches: Sequence[PatchFacts]) -> Iterator[Pair]:
    """For each patch its closest among the candidates; equal values go before any correlation."""
    table = _unit(np.stack([candidate.thumbnail for candidate in candidates]))
    thumbnails = np.stack([patch.thumbnail for patch in patches])
    # Correlations of every candidate with every patch, (8, candidates, patches); the maximum over all turns.
    likeness = np.stack([table @ _unit(turned).T for turned in _turned(thumbnails)])
    best = likeness.transpose(2, 0, 1).reshape(len(patches), -1).argmax(axis=1)
    same = {candidate.digest: place for place, candidate in reversed(list(enumerate(candidates)))}
    for number, patch in enumerate(patches):
        turn, place = divmod(int(best[number]), len(candidates))
        kind: Kind = "apart"
        if patch.digest in same:
            turn, place, kind = 0, same[patch.digest], "exact"
        correlation = float(likeness[turn, place, number]) if kind != "exact" else 1.0
        if kind == "apart" and correlation >= NEAR:
            kind = "near"
        match = candidates[place]
        yield Pair(patch.file, patch.split, match.file, match.split, correlation, ORIENTATIONS[turn], kind)


def _turned(thumbnails: np.ndarray) -> Iterator[np.ndarray]:
    """`(n, 6, 16, 16)` in the order of `ORIENTATIONS`."""
    for mirrored in (thumbnails, thumbnails[..., ::-1]):
        for turns in range(4):
            yield np.rot90(mirrored, turns, axes=(2, 3))


def _unit(thumbnails: np.ndarray) -> np.ndarray:
    """Rows of length 1, so that products are correlations; of length 0 where all bands are constant."""
    rows = thumbnails.reshape(len(thumbnails), -1)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


_LEAST_PATCHES_OF_SPLIT = 5
"""Fewer patches than this in a split say nothing about it."""

_GUESSING_FOLDS, _GUESSING_TREES, _DRAWS = 5, 200, 1000


class Separability(NamedTuple):
    """How well a classifier tells the patches of two splits apart.

    Attributes:
        first, second: the splits; `n_first`, `n_second` their patches.
        auc: the chance that a patch of `second` is given a higher score than one of `first`; .5 is guessing.
        interval: of it, over resampled patches of each.
        bands: float64 `(C,)`: the same chance by the mean of one band alone, so how far that band is shifted.
    """

    first: str
    second: str
    n_first: int
    n_second: int
    auc: float
    interval: Interval
    bands: np.ndarray


def separabilities(facts: Facts, *, seed: int) -> list[Separability]:
    """Of every two splits of at least `_LEAST_PATCHES_OF_SPLIT` patches each."""
    splits = {split: np.array([patch.summary for patch in facts.of(split)]) for split in SPLITS}
    known = {split: rows for split, rows in splits.items() if len(rows) >= _LEAST_PATCHES_OF_SPLIT}
    return [
        _separability(one, known[one], other, known[other], bands=len(facts.sensor), seed=seed)
        for one, other in itertools.combinations(known, 2)
    ]


def _separability(
    first: str, one: np.ndarray, second: str, other: np.ndarray, *, bands: int, seed: int
) -> Separability:
    """Of two splits by the summaries `(n, 4 C)` of their patches, means of bands first.

    A random forest (Breiman 2001) scores each fifth of the patches by trees that grew on the others, both splits
    weighing the same. The fifths are random, so patches beside each other help it: whether splits differ, not why.
    """
    rows = np.concatenate([one, other])
    is_second = np.repeat([False, True], [len(one), len(other)])
    forest = RandomForestClassifier(_GUESSING_TREES, min_samples_leaf=2, class_weight="balanced", random_state=seed)
    folds = StratifiedKFold(_GUESSING_FOLDS, shuffle=True, random_state=seed)
    scores = cross_val_predict(forest, rows, is_second, cv=folds, method="predict_proba")[:, 1]
    below, above = scores[~is_second], scores[is_second]
    random = np.random.default_rng(seed)
    drawn = [_auc(random.choice(below, len(below)), random.choice(above, len(above))) for _ in range(_DRAWS)]
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Separability(
        first,
        second,
        len(one),
        len(other),
        _auc(below, above),
        Interval(float(low), float(high)),
        np.array([_auc(one[:, band], other[:, band]) for band in range(bands)]),
    )


def _auc(below: np.ndarray, above: np.ndarray) -> float:
    """The chance that one of `above` is higher than one of `below`, ties half (Mann & Whitney 1947), 0..1."""
    ranks = rankdata(np.concatenate([below, above]))[len(below) :]
    return float((ranks.sum() - len(above) * (len(above) + 1) / 2) / (len(below) * len(above)))


FOLDS, REPEATS = 5, 3
_TREES, _LEAVES, _RATE = 40, 15, 0.2
_LEAST = 2 * FOLDS


class Holdout(NamedTuple):
    """What the two ways of holding out come to.

    Attributes:
        patches: train patches with a mask.
        pixels: drawn from them, on which all is trained and scored.
        random: F1 over all pixels, each held out in a random fifth of the patches, of each repeat.
        blocks: the same, each held out in a contiguous fifth.
        optimism: by how much F1 over all repeats is higher in random parts.
    """

    patches: int
    pixels: int
    random: tuple[float, ...]
    blocks: tuple[float, ...]
    optimism: Difference

    @property
    def sentence(self) -> str:
        """What the difference means."""
        value, (low, high), _ = self.optimism
        interval = f"(95 % interval {low:+.3f} to {high:+.3f})"
        if low > 0:
            return (
                f"A random hold-out of these patches is optimistically biased by {value:.3f} of F1 "
                f"{interval}: patches beside each other are alike, so hold out contiguous blocks"
            )
        if high < 0:
            return f"Contiguous blocks come out {-value:.3f} of F1 higher than random parts {interval}"
        return (
            f"No optimistic bias of a random hold-out can be told from chance here {interval}: by the pixels around, "
            "patches beside each other are no more alike than others"
        )


def holdout(pixels: TrainPixels, *, seed: int, progress: Progress) -> Holdout | None:
    """Gradient boosting on pixels and their surroundings, held out both ways; None where there is too little.

    Args:
        seed: of the random parts and of the learner.
        progress: called with ("hold-outs", those done, those in all).
    """
    n = len(pixels.labels)
    if n < _LEAST or not 0 < pixels.labels.mean() < 1:
        return None
    rng = np.random.default_rng(seed)
    ways = {
        "random": [np.array_split(rng.permutation(n), FOLDS) for _ in range(REPEATS)],
        # Each repeat's blocks begin a third of a block further on, and one goes over the end to the beginning.
        "blocks": [np.array_split(np.roll(np.arange(n), -_shift(n, repeat)), FOLDS) for repeat in range(REPEATS)],
    }
    done = 0
    scores: dict[str, list[float]] = {}
    counts: dict[str, np.ndarray] = {}
    for way, repeats in ways.items():
        scores[way], counts[way] = [], np.zeros((n, 3), np.int64)
        for parts in repeats:
            # Threads that wait for each other on cores that others use too take many times longer than one does.
            with threadpool_limits(1, "openmp"):
                confusion = _confusions(pixels, parts, seed)
            scores[way].append(float(f1(confusion.sum(axis=0, keepdims=True).astype(np.float64))[0]))
            counts[way] += confusion
            done += 1
            progress("hold-outs", done, 2 * REPEATS)
    optimism = difference(counts["random"], counts["blocks"], f1)
    return Holdout(n, pixels.labels.size, tuple(scores["random"]), tuple(scores["blocks"]), optimism)


def _shift(n: int, repeat: int) -> int:
    return n * repeat // (FOLDS * REPEATS)


def _confusions(pixels: TrainPixels, parts: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """TP, FP and FN of each patch, int64 `(N, 3)`, at the threshold of the best F1 over all of them."""
    probability = np.empty(pixels.labels.shape, np.float32)
    for held_out in parts:
        kept = np.setdiff1d(np.arange(len(pixels.labels)), held_out)
        labels = pixels.labels[kept].ravel()
        width = pixels.features.shape[-1]
        if labels.any():
            learner = HistGradientBoostingClassifier(
                max_iter=_TREES, max_leaf_nodes=_LEAVES, learning_rate=_RATE, early_stopping=False, random_state=seed
            )
            learner.fit(pixels.features[kept].reshape(-1, width), labels)
            scores = learner.predict_proba(pixels.features[held_out].reshape(-1, width))[:, 1]
            probability[held_out] = scores.reshape(len(held_out), -1)
        else:
            probability[held_out] = 0
    counts = PooledCounts()
    counts.update(pixels.labels, probability)
    called, truth = probability >= counts.best_threshold(), pixels.labels
    return np.stack([(truth & called).sum(1), (~truth & called).sum(1), (truth & ~called).sum(1)], axis=1)
