"""Greedy ensemble selection, and the probabilities that trials keep for it: a byte a pixel.

The selection is that of Caruana et al. 2004, "Ensemble selection from libraries of models" (ICML): begin with the best
few, then add, with replacement, the one that raises the score most. It looks at the same patches again and again, so
the score that it ends with is too good; `_split_half_f1` says what the selection is worth on patches that it did not
see.
"""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from lsml.config.fields import Scalar
from lsml.data.sensor import IGNORED
from lsml.errors import StudyError
from lsml.scoring.metrics import f1

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
    """The nearest of 256 probabilities that are uniform in the logit from -8 to 8, as its index; uint8, same shape.

    A byte a pixel, wrong by .008 at max_members, at .5, and by less the nearer to 0 and 1, where probabilities crowd.

    Args:
        probability: 0..1.
    """
    return np.searchsorted(_BORDERS, probability, side="right").astype(np.uint8)


def restore(levels: np.ndarray) -> np.ndarray:
    """The probabilities float32 that `quantise` gave as levels uint8, of the same shape."""
    return _PROBABILITIES[levels]


class StoredProbabilities(NamedTuple):
    """The content of the artifact.

    Attributes:
        ids: of the patches.
        fingerprint: of their split.
        levels: as `quantise` gives them, uint8 `(N, H, W)`, in the order of `ids`.
    """

    ids: tuple[str, ...]
    fingerprint: str
    levels: np.ndarray

    @staticmethod
    def pack(ids: Sequence[str], fingerprint: str, probability: np.ndarray) -> bytes:
        """The artifact, a compressed `.npz`: its size is in `docs/ensembles.md`.

        Args:
            probability: float32 `(N, H, W)`, 0..1.
        """
        content = io.BytesIO()
        np.savez_compressed(content, ids=np.array(ids), fingerprint=np.array(fingerprint), levels=quantise(probability))
        return content.getvalue()

    @classmethod
    def unpack(cls, content: bytes) -> Self:
        """What `pack` packed.

        Raises:
            ValueError: it is no such file, or a damaged one.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                ids, fingerprint, levels = (arrays[name] for name in cls._fields)
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"no probabilities of lsml's: {error}") from None
        if levels.dtype != np.uint8 or levels.ndim != 3 or len(levels) != len(ids):
            raise ValueError(f"levels {levels.dtype} {levels.shape} of {len(ids)} patches")
        return cls(tuple(ids.tolist()), str(fingerprint), levels)


_STEPS = (1 << 16) - 1
"""Thresholds of a mean probability lie 1/65535 apart: as fine as the levels that the mean is made of, and, unlike those
of `lsml.scoring.metrics`, found by one multiplication. A selection asks for hundreds of scores of all pixels."""


class _Selection(NamedTuple):
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


class _SplitHalfF1(NamedTuple):
    """F1 at the threshold of the other half, 0..1, over the pixels of both halves of the patches.

    Attributes:
        ensemble: of ensembles that were selected on the other half.
        single: of the model that is best on the other half.
    """

    ensemble: float
    single: float


def _select(levels: Sequence[np.ndarray], masks: np.ndarray, *, max_members: int) -> _Selection:
    """Selects models, with replacement, for the highest pooled F1 of their mean at its best threshold.

    The best 1, 2, ... models are tried first, of which the best number is the start ("sorted initialization" of the
    paper); then the model that raises F1 most is added, until none does or there are `max_members`. Of equals the
    fewest, and then the one given first, is taken.

    Args:
        levels: of each model, as `lsml.scoring.ensemble_selection.quantise` gives them, uint8 `(N, H, W)`.
        masks: 0, 1 or `IGNORED`, `(N, H, W)`.
        max_members: members at max_members, each counted as often as it was taken.

    Raises:
        ValueError: no models, `max_members` below 1, or shapes that differ.
    """
    if not levels or max_members < 1 or any(one.shape != masks.shape for one in levels):
        raise ValueError(f"{len(levels)} models, {max_members} members, masks {masks.shape}: nothing to select")
    pixels = _Pixels(masks)
    singles = [pixels.best(restore(one))[0] for one in levels]
    ranked = sorted(range(len(levels)), key=lambda model: -singles[model])
    taken, total, course = _best_few(pixels, levels, ranked[:max_members])
    while len(taken) < max_members:
        scores = [pixels.best((total + restore(one)) / (len(taken) + 1))[0] for one in levels]
        best = int(np.argmax(scores))
        if scores[best] <= course[-1]:
            break
        taken.append(best)
        total += restore(levels[best])
        course.append(scores[best])
    _, threshold = pixels.best(total / len(taken))
    weights = tuple(taken.count(model) for model in range(len(levels)))
    return _Selection(weights, course[-1], threshold, tuple(course))


def _split_half_f1(levels: Sequence[np.ndarray], masks: np.ndarray, *, max_members: int) -> _SplitHalfF1 | None:
    """What a selection is worth on patches that it did not see, and what choosing the best model is.

    Each half of the patches, contiguous because neighbours may be alike, is scored by what the other half chose:
    members and threshold. None where a half has no landslide to choose by.

    Args:
        levels, masks, max_members: as of `_select`.
    """
    middle = len(masks) // 2
    halves = (slice(None, middle), slice(middle, None))
    if not all(1 in masks[half] for half in halves):
        return None
    scores = []
    for limit in (max_members, 1):
        counts = np.zeros(3, np.int64)
        for seen, unseen in (halves, halves[::-1]):
            chosen = _select([one[seen] for one in levels], masks[seen], max_members=limit)
            mean = _mean_of([one[unseen] for one in levels], chosen.weights)
            counts += _confusion(masks[unseen], mean >= np.float32(chosen.threshold))
        scores.append(float(f1(counts)))
    return _SplitHalfF1(*scores)


def _mean_of(levels: Sequence[np.ndarray], weights: Sequence[int]) -> np.ndarray:
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
    """TP, FP and FN in pixels."""
    landslide, background = masks == 1, masks == 0
    return np.array([(landslide & called).sum(), (background & called).sum(), (landslide & ~called).sum()])


class _Pixels:
    """The truth of all pixels of which it is known, to hold mean probabilities against."""

    def __init__(self, masks: np.ndarray) -> None:
        self._known = masks != IGNORED
        self._offset = (masks[self._known] == 1) * (_STEPS + 1)
        self._landslide = int((masks == 1).sum())

    def best(self, probability: np.ndarray) -> tuple[float, float]:
        """The highest F1 of the landslide class over all thresholds, and the highest threshold that has it."""
        place = (probability[self._known] * _STEPS).astype(np.int64) + self._offset
        counts = np.bincount(place, minlength=2 * (_STEPS + 1)).reshape(2, -1)
        alarms, hits = np.cumsum(counts[:, ::-1], axis=1)
        scores = f1(np.stack([hits, alarms, self._landslide - hits], axis=-1))
        # Counted from the highest threshold down.
        place = int(np.argmax(scores))
        return float(scores[place]), (_STEPS - place) / _STEPS


class Member(NamedTuple):
    """A trial of which an ensemble can be made.

    Attributes:
        trial: its slot.
        f1: its own on validation, 0..1.
        weight: how often it counts in the ensemble.
    """

    trial: int
    run_id: str
    f1: float
    weight: int


@dataclass(frozen=True)
class SelectedEnsemble:
    """An ensemble of a study's trials.

    Attributes:
        members: those that count, the one with the highest weight first.
        candidates: from how many models it was selected.
        patches: on how many.
        course: see `_Selection`.
        held_out: see `_split_half_f1`.
    """

    study: str
    members: tuple[Member, ...]
    candidates: int
    patches: int
    course: tuple[float, ...]
    held_out: _SplitHalfF1 | None

    @property
    def identity(self) -> str:
        """Of what the ensemble is made, 64 hex digits."""
        content = sorted((member.run_id, member.weight) for member in self.members)
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def summary(self) -> str:
        """Trials and weights in one line."""
        return ", ".join(f"trial {member.trial} x {member.weight}" for member in self.members)

    @property
    def params(self) -> dict[str, Scalar]:
        """The parameters of its run."""
        params: dict[str, Scalar] = {"ensemble.members": self.summary, "ensemble.candidates": self.candidates}
        for number, member in enumerate(self.members, start=1):
            prefix = f"ensemble.member_{number}"
            params |= {f"{prefix}.run_id": member.run_id, f"{prefix}.weight": member.weight}
        return params

    @property
    def record(self) -> Mapping[str, object]:
        """All of the selection as plain data."""
        return {
            "members": [member._asdict() for member in self.members],
            "candidates": self.candidates,
            "course": list(self.course),
            "held_out": self.held_out and self.held_out._asdict(),
            "patches": self.patches,
        }


def select_ensemble(
    study: str, candidates: Sequence[tuple[Member, np.ndarray]], masks: np.ndarray, *, max_members: int
) -> SelectedEnsemble:
    """Selects from a study's trials, given the best first, see `_select`.

    Args:
        candidates: trials, each with the probabilities of its model on validation, as `quantise` gives them.

    Raises:
        StudyError: there are fewer than two candidates, or no ensemble has a higher F1 than the best of them.
    """
    if len(candidates) < 2:
        raise StudyError(
            f"study '{study}'",
            f"{len(candidates)} of its complete trials have a model, and an ensemble needs two",
            "continue it with more --trials",
        )
    levels = [levels_of_one for _, levels_of_one in candidates]
    selection = _select(levels, masks, max_members=max_members)
    weighted = zip(candidates, selection.weights, strict=True)
    members = [member._replace(weight=weight) for (member, _), weight in weighted if weight]
    if len(members) == 1:
        raise StudyError(
            f"study '{study}'",
            f"no mean of its {len(candidates)} models has a higher F1 on validation than trial {members[0].trial} "
            f"alone ({members[0].f1:.4f})",
            f"use that one: lsml evaluate --run-id {members[0].run_id}",
        )
    # Stable: of equal weights the better trial first.
    members.sort(key=lambda member: -member.weight)
    held_out = _split_half_f1(levels, masks, max_members=max_members)
    return SelectedEnsemble(study, tuple(members), len(candidates), len(masks), selection.course, held_out)
