"""The probabilities that a trial keeps of its validation patches, a byte a pixel: what ensembles are selected by."""

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


def pack(ids: Sequence[str], fingerprint: str, probability: np.ndarray) -> bytes:
    """The artifact, a compressed `.npz`: its size is in `docs/ensembles.md`.

    Args:
        probability: float32 `(N, H, W)`, 0..1.
    """
    content = io.BytesIO()
    np.savez_compressed(content, ids=np.array(ids), fingerprint=np.array(fingerprint), levels=quantise(probability))
    return content.getvalue()


def unpack(content: bytes) -> Kept:
    """What `pack` packed.

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
