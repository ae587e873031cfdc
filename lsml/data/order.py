"""Which patches an epoch takes, and in what order: from (seed, epoch) alone."""

import numpy as np

from lsml.data.split import Split

STREAM = 1
"""Keeps the order's random numbers apart from others that derive from the same seed (weights 0, augmentation 2)."""


def epoch_order(split: Split, draws: int, *, seed: int, epoch: int, landslide_share: float = 0.0) -> np.ndarray:
    """The `draws` patches of an epoch, in their order, int64 `(draws,)`.

    Without `landslide_share`, or where all patches of the split are of one kind, the patches are one: the split in a
    random order, and past its end in another. With it, patches with landslide pixels and patches without are two, of
    which each is gone through like this by itself: no patch comes twice before all of its kind came once. The share is
    exact, rounded to a patch, and what kind comes when is random.

    Args:
        draws: at least 1.
        seed: of the training run.
        epoch: which epoch, from 1.
        landslide_share: of the draws, for patches with landslide pixels; 0 takes the split as it is.
    """
    random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(STREAM, epoch)))
    if landslide_share:
        landslide = np.asarray(split.landslide_fractions) > 0
        if landslide.any() and not landslide.all():
            return _of_two_kinds(landslide, draws, landslide_share, random)
    return _round_after_round(np.arange(len(split)), draws, random)


def _of_two_kinds(landslide: np.ndarray, draws: int, share: float, random: np.random.Generator) -> np.ndarray:
    wanted = np.zeros(draws, bool)
    wanted[: int(share * draws + 0.5)] = True
    random.shuffle(wanted)
    order = np.empty(draws, np.int64)
    for kind in (True, False):
        places = np.flatnonzero(wanted == kind)
        order[places] = _round_after_round(np.flatnonzero(landslide == kind), len(places), random)
    return order


def _round_after_round(patches: np.ndarray, draws: int, random: np.random.Generator) -> np.ndarray:
    """`draws` of the patches: all of them in a random order, then all in another, and so on."""
    rounds = max(1, -(-draws // len(patches)))
    return np.concatenate([random.permutation(patches) for _ in range(rounds)])[:draws]


def times_before(order: np.ndarray) -> np.ndarray:
    """How often each entry of `order` stands before it, int64 of the same length."""
    by_patch = np.argsort(order, kind="stable")
    first = np.searchsorted(order[by_patch], order[by_patch])
    before = np.empty(len(order), np.int64)
    before[by_patch] = np.arange(len(order)) - first
    return before
