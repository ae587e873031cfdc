"""Near-duplicates across splits: for each patch of validation and test the closest one of an earlier split."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from lsml.audit.facts import Facts, PatchFacts
from lsml.data.inventory import SPLITS

Kind = Literal["exact", "near", "apart"]
Progress = Callable[[str, int, int], None]

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
        correlation: of their thumbnails, -1..1, the mean over six bands.
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
    found: list[Pair] = []
    for done, (candidates, part) in enumerate(jobs, start=1):
        found += _closest(candidates, part)
        progress("comparisons", done, len(jobs))
    return sorted(found, key=lambda pair: (pair.kind != "exact", -pair.correlation, pair.file, pair.match))


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


def turn(picture: np.ndarray, orientation: str) -> np.ndarray:
    """A picture `(H, W, 3)` in one of `ORIENTATIONS`."""
    mirrored, turns = divmod(ORIENTATIONS.index(orientation), 4)
    return np.rot90(picture[:, ::-1] if mirrored else picture, turns)


def _unit(thumbnails: np.ndarray) -> np.ndarray:
    """Rows `(n, 1536)` of length 1, so that products are correlations; of length 0 where all bands are constant."""
    rows = thumbnails.reshape(len(thumbnails), -1)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
