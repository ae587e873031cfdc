"""How often the bootstrap's 95 % intervals hold the truth, by the number of patches, as a Markdown table.

    python bench/coverage.py [--population 2000] [--sets 500]

The population is synthetic test patches, judged by a logistic regression on single pixels; its pooled scores are the
truth. Each set is drawn from it at random.
"""

import argparse
import sys

import numpy as np

from lsml.data.synthetic import synthetic_patch
from lsml.scoring.bootstrap import intervals
from lsml.scoring.metrics import METRICS, PooledCounts, average_precision, coarse_counts
from lsml.training.baselines import PixelBaseline, fit_pixel_baseline

SIZES = (12, 24, 60, 245, 800)


class Memory:
    """Synthetic patches of one split, made when asked for."""

    def __init__(self, split: str, count: int) -> None:
        self._split, self._count = split, count

    def __len__(self) -> int:
        return self._count

    def batch(self, indices: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Images `(B, H, W, 14)` and masks `(B, H, W, 1)`."""
        images, masks = zip(*(synthetic_patch(self._split, int(number) + 1) for number in indices), strict=True)
        return np.stack(images).astype(np.float32), np.stack(masks)[..., None]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--population", type=int, default=2000)
    parser.add_argument("--sets", type=int, default=500)
    given = parser.parse_args()
    regression = fit_pixel_baseline(Memory("train", 96))
    confusion, curves = _judge(regression, _threshold(regression), Memory("test", given.population))
    scores = [(confusion, METRICS), (curves, {"average precision": average_precision})]
    names = [name for _, statistics in scores for name in statistics]
    random = np.random.default_rng(0)
    sys.stdout.write(f"| patches | {' | '.join(names)} | mean width of F1's |\n{'|---' * (len(names) + 2)}|\n")
    for size in SIZES:
        held, width = dict.fromkeys(names, 0), 0.0
        for number in range(given.sets):
            rows = random.integers(0, given.population, size)
            for table, statistics in scores:
                for name, (low, high) in intervals(table[rows], statistics, seed=number).items():
                    (truth,) = statistics[name](table.sum(axis=0, keepdims=True, dtype=np.float64))
                    held[name] += low <= truth <= high
                    width += (high - low) * (name == "f1")
        shares = " | ".join(f"{count / given.sets:.1%}" for count in held.values())
        sys.stdout.write(f"| {size} | {shares} | {width / given.sets:.3f} |\n")
        sys.stdout.flush()


def _threshold(regression: PixelBaseline) -> float:
    counts = PooledCounts()
    for index in range(64):
        images, masks = Memory("validation", 64).batch([index])
        counts.update(masks, regression.predict(images))
    return counts.best_threshold()


def _judge(regression: PixelBaseline, threshold: float, patches: Memory) -> tuple[np.ndarray, np.ndarray]:
    """Each patch's TP, FP and FN `(N, 3)`, and its pixels by class between thresholds `(N, 2 T)`."""
    confusion, curves = [], []
    for index in range(len(patches)):
        images, masks = patches.batch([index])
        truth, probability = masks.ravel() == 1, regression.predict(images).ravel()
        called = probability >= threshold
        confusion.append([np.sum(truth & called), np.sum(~truth & called), np.sum(truth & ~called)])
        curves.append(coarse_counts(truth, probability))
    table = np.array(curves)
    used = table.any(axis=0).reshape(2, -1).any(axis=0)
    return np.array(confusion), table[:, np.tile(used, 2)]


if __name__ == "__main__":
    main()
