"""How far a random hold-out of the train patches flatters: one learner judged in random parts and in contiguous blocks.

Both ways hold out each patch once a repeat, so both scores are of the same pixels, and their difference is resampled by
the same patches.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from lsml.audit.facts import TrainPixels
from lsml.bootstrap import Difference, difference, f1
from lsml.metrics import PooledCounts

Progress = Callable[[str, int, int], None]

FOLDS, REPEATS = 5, 3
_TREES, _LEAVES, _RATE = 40, 15, 0.2
_LEAST = 2 * FOLDS


class Holdout(NamedTuple):
    """What the two ways of holding out come to.

    Attributes:
        patches: train patches with a mask.
        pixels: drawn from them, on which all is trained and judged.
        random: F1 over all pixels, each held out in a random fifth of the patches, of each repeat.
        blocks: the same, each held out in a contiguous fifth.
        flattery: by how much F1 over all repeats is higher in random parts.
    """

    patches: int
    pixels: int
    random: tuple[float, ...]
    blocks: tuple[float, ...]
    flattery: Difference

    @property
    def sentence(self) -> str:
        """What the difference means."""
        value, (low, high), _ = self.flattery
        interval = f"(95 % interval {low:+.3f} to {high:+.3f})"
        if low > 0:
            return (
                f"A random hold-out of these patches flatters by {value:.3f} of F1 {interval}: patches beside each "
                "other are alike, so hold out contiguous blocks"
            )
        if high < 0:
            return f"Contiguous blocks come out {-value:.3f} of F1 higher than random parts {interval}"
        return (
            f"No flattery by a random hold-out can be told from chance here {interval}: by the pixels around, patches "
            "beside each other are no more alike than others"
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
                confusion = _judged(pixels, parts, seed)
            scores[way].append(float(f1(confusion.sum(axis=0, keepdims=True).astype(np.float64))[0]))
            counts[way] += confusion
            done += 1
            progress("hold-outs", done, 2 * REPEATS)
    flattery = difference(counts["random"], counts["blocks"], f1)
    return Holdout(n, pixels.labels.size, tuple(scores["random"]), tuple(scores["blocks"]), flattery)


def _shift(n: int, repeat: int) -> int:
    return n * repeat // (FOLDS * REPEATS)


def _judged(pixels: TrainPixels, parts: Sequence[np.ndarray], seed: int) -> np.ndarray:
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
            found = learner.predict_proba(pixels.features[held_out].reshape(-1, width))[:, 1]
            probability[held_out] = found.reshape(len(held_out), -1)
        else:
            probability[held_out] = 0
    counts = PooledCounts()
    counts.update(pixels.labels, probability)
    called, truth = probability >= counts.best_threshold(), pixels.labels
    return np.stack([(truth & called).sum(1), (~truth & called).sum(1), (truth & ~called).sum(1)], axis=1)
