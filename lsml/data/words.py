"""What the names of folders and files say: a split, a kind of file, and which image and mask are a pair."""

import re
import unicodedata
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

SPLIT_WORDS = {"train": "train(?:ing)?", "validation": "val(?:id(?:ation)?)?", "test": "test(?:ing)?"}
KIND_WORDS = {"image": "images?|imgs?", "mask": "masks?|labels?|annotations?|gt"}
"""How a name says a split, and a kind of file; in capitals too."""

_WORDS = SPLIT_WORDS | KIND_WORDS | {"nothing": "data(?:set)?|set|split"}
_WORD = re.compile("|".join(f"(?P<{meaning}>{words})" for meaning, words in _WORDS.items()), re.IGNORECASE)
_FOLDER = re.compile(rf"(?:{'|'.join(_WORDS.values())}|[ _.-])+", re.IGNORECASE)
_KIND = "|".join(KIND_WORDS.values())
_BEFORE, _AFTER = rf"(?:(?:{_KIND})(?:[ _.-]+|(?=[0-9]|$)))*", rf"(?:(?:[ _.-]+|(?<=[0-9]))(?:{_KIND}))*"
_STEM = re.compile(f"({_BEFORE})(.*?)({_AFTER})", re.IGNORECASE | re.DOTALL)
_STACK = re.compile(r"\.npy$", re.IGNORECASE)

Key = tuple[str | int, ...]


class Stem(NamedTuple):
    """A file's name without its ending: what image and mask of a patch share, between words for the kind of file."""

    before: str
    core: str
    after: str

    @classmethod
    def of(cls, path: Path) -> "Stem":
        """`image_07.h5` is `image_`, `07` and nothing; `7_mask.h5` nothing, `7` and `_mask`."""
        match = _STEM.fullmatch(unicodedata.normalize("NFC", path.stem))
        assert match is not None, "any text fits"
        return cls(*match.groups())

    @property
    def kind(self) -> str:
        """`image` or `mask`, which may also say of what image it is one; empty where the name says neither."""
        said = {str(word.lastgroup) for word in _WORD.finditer(f"{self.before} {self.after}")}
        return "mask" if "mask" in said else "".join(said)

    @property
    def key(self) -> Key:
        """Text and numbers in turn, such as `("", 7, "")`: equal for the two files of a patch."""
        parts = re.split("([0-9]+)", self.core)
        return tuple(int(part) if place % 2 else part for place, part in enumerate(parts))

    @staticmethod
    def in_order(keys: Collection[Key]) -> list[Key]:
        """By the numbers in the names where every name has one, else by text and numbers in turn."""
        if all(len(key) > 1 for key in keys):
            return sorted(keys, key=lambda key: (key[1::2], key))
        return sorted(keys)


def meaning(name: str) -> tuple[str, str]:
    """The split and the kind of file that a folder's name says; empty where it says none, or two.

    `TrainData` is train, `labels` are masks, `val_images` images of validation; `nepal` says nothing.
    A NumPy file, which may hold many patches, says what a folder of its name would.
    """
    name = _STACK.sub("", name)
    said = {word.lastgroup for word in _WORD.finditer(name)} if _FOLDER.fullmatch(name) else set()
    split, kind = ([meaning for meaning in words if meaning in said] for words in (SPLIT_WORDS, KIND_WORDS))
    return ("".join(split), "".join(kind)) if max(len(split), len(kind)) == 1 else ("", "")
