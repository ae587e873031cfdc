"""Says in a few words how the patches that a score is of were set apart; scores of other words are not compared."""

from pathlib import Path
from typing import Literal, NamedTuple

ScoredSplit = Literal["validation", "test"]
"""The splits that there are scores of."""

POOLED = "pooled over pixels"
UNKNOWN = "unknown"
OWN = "the dataset's own split"
SYNTHETIC = "the own split of synthetic patches"
TAIL = "last 15 % of train"
BLOCK = "contiguous 15 % of one folder"

_MARK = "synthetic.json"


class Judged(NamedTuple):
    """What a score is of.

    Attributes:
        split: how the patches were set apart, in words of this module.
        fingerprint: SHA-256 of the patches, 64 hex digits.
    """

    split: str
    fingerprint: str


def mark_synthetic(folder: Path, text: str) -> None:
    """Lets the dataset in `folder` be known as made, not measured; `text` is JSON that says how."""
    (folder / _MARK).write_text(text, encoding="utf-8")


def own_split(root: Path) -> str:
    """The words for a split that stands in a folder of its own below `root`."""
    return SYNTHETIC if (root / _MARK).is_file() else OWN


def folds_in_words(folds: int, repeats: int) -> str:
    """The words for patches that are all held out in turn, `repeats` times."""
    return f"{folds} contiguous folds, {repeats} {'repeat' if repeats == 1 else 'repeats'}"
