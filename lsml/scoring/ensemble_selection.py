"""Greedy ensemble selection, and the probabilities that trials keep for it: a byte a pixel.

The selection is that of Caruana et al. 2004, "Ensemble selection from libraries of models" (ICML): begin with the best
few, then add, with replacement, the one that raises the score most. It looks at the same patches again and again, so
the score that it ends with is too good; `held_out` says what the selection is worth on patches that it did not see.
"""

import io
import zipfile
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

PROBABILITIES = "validation_probabilities.npz"
"""The artifact of a trial's run."""

_LEVELS = 256
_LOGIT_LIMIT = 8.0


def _probabilities() -> np.ndarray:
    logits = np.linspace(-_LOGIT_LIMIT, _LOGIT_LIMIT, _LEVELS)
    table = (1 / (1 + np.exp(-logits))).astype(np.float32)
    table.flags.writeable = False
    return table


_PROBABILITIES = _probabilities()
_BORDERS = (_PROBABILITIES[1:] + _PROBABILITIES[:-1]) / 2


def quantise(probability: np.ndarray) -> np.ndarray:
    """The nearest of 256 probabilities that are uniform in the logit from -8 to 8, as its place; uint8, same shape.

    A byte a pixel, wrong by .008 at most, at .5, and by less the nearer to 0 and 1, where probabilities crowd.

    Args:
        probability: 0..1.
    """
    return np.searchsorted(_BORDERS, probability, side="right").astype(np.uint8)


def restore(levels: np.ndarray) -> np.ndarray:
    """The probabilities float32 that `quantise` gave as levels uint8, of the same shape."""
    return _PROBABILITIES[levels]


class Kept(NamedTuple):
    """What stands in the artifact.

    Attributes:
        ids: of the patches.
        fingerprint: of their split.
        levels: as `quantise` gives them, uint8 `(N, H, W)`, in the order of `ids`.
    """

    ids: tuple[str, ...]
    fingerprint: str
    levels: np.ndarray


def pack_probabilities(ids: Sequence[str], fingerprint: str, probability: np.ndarray) -> bytes:
    """The artifact, a compressed `.npz`: its size is in `docs/ensembles.md`.

    Args:
        probability: float32 `(N, H, W)`, 0..1.
    """
    content = io.BytesIO()
    np.savez_compressed(content, ids=np.array(ids), fingerprint=np.array(fingerprint), levels=quantise(probability))
    return content.getvalue()


def unpack_probabilities(content: bytes) -> Kept:
    """What `pack_probabilities` packed.

    Raises:
        ValueError: it is no such file, or a damaged one.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            ids, fingerprint, levels = (arrays[name] for name in Kept._fields)
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"no probabilities of lsml's: {error}") from None
    if levels.dtype != np.uint8 or levels.ndim != 3 or len(levels) != len(ids):
        raise ValueError(f"levels {levels.dtype} {levels.shape} of {len(ids)} patches")
    return Kept(tuple(ids.tolist()), str(fingerprint), levels)


_STEPS = (1 << 16) - 1
"""Thresholds of a mean probability lie 1/65535 apart: as fine as the levels that the mean is made of, and, unlike those
of `lsml.scoring.metrics`, found by one multiplication. A selection asks for hundreds of scores of all pixels."""


class Selection(NamedTuple):
    """A selected ensemble.

    Attributes:
        weights: how often each model counts, in the order in which they were given; 0 for those left out.
        f1: of the mean over all pixels at its best threshold, 0..1, on the patches of the selection.
        threshold: that threshold, 0..1.
        course: the F1 after each model that was taken, from that of the best model alone to `f1`.
    """

    weights: tuple[int, ...]
    f1: float
    threshold: float
    course: tuple[float, ...]


class HeldOut(NamedTuple):
    """F1 at the threshold of the other half, 0..1, over the pixels of both halves of the patches.

    Attributes:
        ensemble: of ensembles that were selected on the other half.
        single: of the model that is best on the other half.
    """

    ensemble: float
    single: float


def select(levels: Sequence[np.ndarray], masks: np.ndarray, *, most: int) -> Selection:
    """Selects models, with replacement, for the highest pooled F1 of their mean at its best threshold.

    The best 1, 2, ... models are tried first, of which the best number is the start ("sorted initialization" of the
    paper); then the model that raises F1 most is added, until none does or there are `most`. Of equals the fewest, and
    then the one given first, is taken.

    Args:
        levels: of each model, as `lsml.scoring.ensemble_selection.quantise` gives them, uint8 `(N, H, W)`.
        masks: 0 or 1, `(N, H, W)`.
        most: members at most, each counted as often as it was taken.

    Raises:
        ValueError: no models, `most` below 1, or shapes that differ.
    """
    if not levels or most < 1 or any(one.shape != masks.shape for one in levels):
        raise ValueError(f"{len(levels)} models, {most} members, masks {masks.shape}: nothing to select")
    pixels = _Pixels(masks)
    singles = [pixels.best(restore(one))[0] for one in levels]
    ranked = sorted(range(len(levels)), key=lambda model: -singles[model])
    taken, total, course = _best_few(pixels, levels, ranked[:most])
    while len(taken) < most:
        scores = [pixels.best((total + restore(one)) / (len(taken) + 1))[0] for one in levels]
        best = int(np.argmax(scores))
        if scores[best] <= course[-1]:
            break
        taken.append(best)
        total += restore(levels[best])
        course.append(scores[best])
    _, threshold = pixels.best(total / len(taken))
    weights = tuple(taken.count(model) for model in range(len(levels)))
    return Selection(weights, course[-1], threshold, tuple(course))


def held_out(levels: Sequence[np.ndarray], masks: np.ndarray, *, most: int) -> HeldOut | None:
    """What a selection is worth on patches that it did not see, and what choosing the best model is.

    Each half of the patches, contiguous because neighbours may be alike, is judged by what the other half chose:
    members and threshold. None where a half has no landslide to choose by.

    Args:
        levels, masks, most: as of `select`.
    """
    middle = len(masks) // 2
    halves = (slice(None, middle), slice(middle, None))
    if not all(masks[half].any() for half in halves):
        return None
    found = []
    for limit in (most, 1):
        counts = np.zeros(3, np.int64)
        for seen, unseen in (halves, halves[::-1]):
            chosen = select([one[seen] for one in levels], masks[seen], most=limit)
            mean = mean_of([one[unseen] for one in levels], chosen.weights)
            counts += _confusion(masks[unseen], mean >= np.float32(chosen.threshold))
        hits, misses, alarms = counts.tolist()
        found.append(2 * hits / (2 * hits + misses + alarms))
    return HeldOut(*found)


def mean_of(levels: Sequence[np.ndarray], weights: Sequence[int]) -> np.ndarray:
    """The mean probability float32 of models, each counted by its weight."""
    return _sum_of(levels, weights) / np.float32(sum(weights))


def _sum_of(levels: Sequence[np.ndarray], weights: Sequence[int]) -> np.ndarray:
    total = np.zeros(levels[0].shape, np.float32)
    for one, weight in zip(levels, weights, strict=True):
        if weight:
            total += weight * restore(one)
    return total


def _best_few(
    pixels: "_Pixels", levels: Sequence[np.ndarray], ranked: Sequence[int]
) -> tuple[list[int], np.ndarray, list[float]]:
    """Of the first 1, 2, ... of the ranked models those whose mean is best; the sum of their probabilities; the F1s."""
    best_first = [levels[model] for model in ranked]
    total = np.zeros(levels[0].shape, np.float32)
    scores = []
    for count, one in enumerate(best_first, start=1):
        total += restore(one)
        scores.append(pixels.best(total / count)[0])
    count = int(np.argmax(scores)) + 1
    return list(ranked[:count]), _sum_of(best_first[:count], [1] * count), scores[:count]


def _confusion(masks: np.ndarray, called: np.ndarray) -> np.ndarray:
    """Hits, misses and false alarms in pixels."""
    landslide = masks == 1
    return np.array([(landslide & called).sum(), (landslide & ~called).sum(), (~landslide & called).sum()])


class _Pixels:
    """The truth of all pixels, to hold mean probabilities against."""

    def __init__(self, masks: np.ndarray) -> None:
        self._offset = (masks.ravel() == 1) * (_STEPS + 1)
        self._landslide = int((masks == 1).sum())

    def best(self, probability: np.ndarray) -> tuple[float, float]:
        """The highest F1 of the landslide class over all thresholds, and the highest threshold that has it."""
        place = (probability.ravel() * _STEPS).astype(np.int64) + self._offset
        counts = np.bincount(place, minlength=2 * (_STEPS + 1)).reshape(2, -1)
        alarms, hits = np.cumsum(counts[:, ::-1], axis=1)
        f1 = 2 * hits / np.maximum(hits + alarms + self._landslide, 1)
        # Counted from the highest threshold down.
        place = int(np.argmax(f1))
        return float(f1[place]), (_STEPS - place) / _STEPS
