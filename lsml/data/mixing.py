"""CutMix: rectangles of one patch of a batch, with their truth, in the place of another's."""

import math

import numpy as np

MIXING = 1.0
"""Largest share of a patch that a rectangle replaces; even in 0 to 1 is what Yun et al. 2019 use (Beta(1, 1))."""


def mix(
    images: np.ndarray, masks: np.ndarray, *, largest: float, chance: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """CutMix (Yun et al. 2019), in which each patch, not each batch, has its chance and its own rectangle.

    The rectangle has the patch's proportions, an area even in 0 to `largest` of it and a centre anywhere; what lies
    outside is cut off. Image and truth inside are those of another patch at the same place, as it was before mixing.
    For each pixel has one truth, masks stay 0 and 1; a batch of one stays as it is.

    Args:
        images: stored bands `(B, H, W, 14)`, not written to.
        masks: `(B, H, W, 1)`, not written to.
        largest: 0..1.
        chance: that a patch is given a rectangle, 0..1.
    """
    mixed, truth = images.copy(), masks.copy()
    count = len(images)
    for patch in range(count if count > 1 else 0):
        if random.random() >= chance:
            continue
        other = (patch + int(random.integers(1, count))) % count
        side = math.sqrt(random.uniform(0, largest))
        inside = tuple(_range(side, length, random) for length in images.shape[1:3])
        mixed[patch][inside], truth[patch][inside] = images[other][inside], masks[other][inside]
    return mixed, truth


def _range(side: float, length: int, random: np.random.Generator) -> slice:
    """`side` of a `length` around a centre anywhere in it."""
    half, centre = side * length / 2, random.uniform(0, length)
    return slice(max(0, round(centre - half)), min(length, round(centre + half)))
