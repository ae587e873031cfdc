"""Mix-up and CutMix: another patch of the batch over a patch, or a rectangle of it with its truth in its place."""

import math

import numpy as np

FADING = 0.5
"""Largest share that mix-up gives to the other patch: above it the truth would be that of the lesser part."""

CUTTING = 1.0
"""Largest share of a patch that a rectangle replaces; even in 0 to 1 is what Yun et al. 2019 use (Beta(1, 1))."""


def mix_up(images: np.ndarray, *, largest: float, chance: float, random: np.random.Generator) -> np.ndarray:
    """Mix-up (Zhang et al. 2018) in which each patch has its chance and its own share, and keeps its truth.

    A patch becomes (1 - a) times itself plus a times another, as that was before mixing, a even in 0 to `largest`.
    Zhang et al. mix one-hot truth alike; here it stays that of the patch, which is the greater part, since losses over
    regions and hard examples are defined for masks of 0 and 1. So the other patch is a veil that the network has to
    see through. At `largest` .5, 1 - a is as the greater of the two shares under their Beta(1, 1).

    All bands are mixed, slope and elevation too: what is between two patches is no place, in its bands no more than in
    its terrain, and terrain of one patch under the light of two would teach the network to believe the terrain.

    Args:
        images: stored bands `(B, H, W, 14)`, not written to; a batch of one stays as it is.
        largest: 0.. .5.
        chance: that a patch is mixed, 0..1.
    """
    mixed = images.copy()
    for patch in range(len(images)):
        other = _other(patch, len(images), chance, random)
        if other is not None:
            share = np.float32(random.uniform(0, largest))
            mixed[patch] = (1 - share) * images[patch] + share * images[other]
    return mixed


def cut_mix(
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
    for patch in range(len(images)):
        other = _other(patch, len(images), chance, random)
        if other is not None:
            side = math.sqrt(random.uniform(0, largest))
            inside = tuple(_range(side, length, random) for length in images.shape[1:3])
            mixed[patch][inside], truth[patch][inside] = images[other][inside], masks[other][inside]
    return mixed, truth


def _other(patch: int, count: int, chance: float, random: np.random.Generator) -> int | None:
    """Which of the `count` patches of a batch is mixed with `patch`; None where none is, or there is no other."""
    if count == 1 or random.random() >= chance:
        return None
    return (patch + int(random.integers(1, count))) % count


def _range(side: float, length: int, random: np.random.Generator) -> slice:
    """`side` of a `length` around a centre anywhere in it."""
    half, centre = side * length / 2, random.uniform(0, length)
    return slice(max(0, round(centre - half)), min(length, round(centre + half)))
