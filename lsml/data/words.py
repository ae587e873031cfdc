"""What the names of folders and files say: a split, a kind of file, and which image and mask are a pair."""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Self

from lsml.errors import ConfigError

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


def split_of(word: str) -> str:
    """The split that a word means, such as `validation` of `Val`; empty where it means none."""
    return next((split for split, words in SPLIT_WORDS.items() if re.fullmatch(words, word, re.IGNORECASE)), "")


def meaning(name: str) -> tuple[str, str]:
    """The split and the kind of file that a folder's name says; empty where it says none, or two.

    `TrainData` is train, `labels` are masks, `val_images` images of validation; `nepal` says nothing.
    A NumPy file, which may hold many patches, says what a folder of its name would.
    """
    name = _STACK.sub("", name)
    said = {word.lastgroup for word in _WORD.finditer(name)} if _FOLDER.fullmatch(name) else set()
    split, kind = ([meaning for meaning in words if meaning in said] for words in (SPLIT_WORDS, KIND_WORDS))
    return ("".join(split), "".join(kind)) if max(len(split), len(kind)) == 1 else ("", "")


class Match(NamedTuple):
    """A path that fits a pattern, and what it says.

    Attributes:
        split: empty where the pattern has none, or its word means none.
        values: what stands for each placeholder.
    """

    path: Path
    split: str
    values: Mapping[str, str]

    @property
    def id(self) -> str:
        """Of the patch; empty of a folder."""
        return self.values.get("id", "")

    @property
    def region(self) -> str:
        """Empty where the pattern has none."""
        return self.values.get("region", "")

    @property
    def pair(self) -> tuple[str, Key]:
        """What image and mask of a patch share in a split: the region, and the id as `Stem.key` has it."""
        return self.region, Stem("", self.id, "").key


_HOLDER = re.compile(r"\{([^{}]*)\}|\*")
_HOLDERS = ("id", "split", "region")
_SPLIT = f"(?i:{'|'.join(SPLIT_WORDS.values())})"


class Pattern(NamedTuple):
    """What the paths of images, or of masks, below a folder look like, such as `{region}/{split}/{id}_img.tif`.

    A placeholder stands for text within one name, `*` for any, also for none.
    """

    text: str

    @classmethod
    def parse(cls, text: str, what: str) -> Self:
        """The pattern that `text` is.

        Raises:
            ConfigError: it leads out of the folder, or is none.
        """
        names, known = text.split("/"), " or ".join((", ".join(f"{{{name}}}" for name in _HOLDERS), "*"))
        if text.startswith(("/", "~")) or "\\" in text or ".." in names:
            raise ConfigError(what, f"'{text}' may lead out of the dataset", "give a path below dataset.yaml's folder")
        if not {"", "."}.isdisjoint(names) or not text.isprintable():
            raise ConfigError(what, f"'{text}' has a name that none is", "write names with a / between them")
        for name in [match[1] for match in _HOLDER.finditer(text) if match[1] is not None]:
            if name not in _HOLDERS:
                raise ConfigError(what, f"'{{{name}}}' is no placeholder", f"write {known}")
        if re.search("[{}]", _HOLDER.sub("", text)):
            raise ConfigError(what, f"'{text}' has a brace without another", f"write {known}")
        if re.search(r"[}*][{*]", text):
            raise ConfigError(what, f"'{text}' has nothing between two placeholders", "write what parts them in names")
        if "{id}" not in text:
            raise ConfigError(what, f"'{text}' has no {{id}}", "put it where the names of patches differ")
        return cls(text)

    @property
    def holders(self) -> frozenset[str]:
        """The placeholders in it, but for `*`."""
        return frozenset(name for name in _HOLDERS if f"{{{name}}}" in self.text)

    @property
    def letters(self) -> int:
        """How many characters stand for themselves."""
        return len(_HOLDER.sub("", self.text))

    def with_values(self, values: Mapping[str, str]) -> str:
        """The path of these values; placeholders without one stay."""
        return _HOLDER.sub(lambda match: values.get(match[1], match[0]), self.text)

    def find(self, folder: Path, names: Callable[[Path], list[str]], opened: Collection[str]) -> Iterator[Match]:
        """The paths below a folder that fit; of a split that is not opened, the first part of them that says so."""
        return _fitting(folder, self.text.split("/"), {}, names, opened)


def _fitting(
    folder: Path,
    parts: list[str],
    values: Mapping[str, str],
    names: Callable[[Path], list[str]],
    opened: Collection[str],
) -> Iterator[Match]:
    # First by the words for splits alone: a region before one may have any character that parts them.
    expressions = [_expression(parts[0], values, split) for split in (_SPLIT, ".+?")]
    for name in names(folder):
        normal = unicodedata.normalize("NFC", name)
        fit = next(filter(None, (expression.fullmatch(normal) for expression in expressions)), None)
        if fit is None:
            continue
        said, path = {**values, **fit.groupdict()}, folder / name
        split = split_of(said.get("split", ""))
        if len(parts) == 1 or (split and split not in opened):
            yield Match(path, split, said)
        elif path.is_dir():
            yield from _fitting(path, parts[1:], said, names, opened)


def _expression(part: str, values: Mapping[str, str], split: str) -> re.Pattern[str]:
    """What fits one name of a path, given what stands for placeholders before it."""
    pieces, end, named = [], 0, set()
    for match in _HOLDER.finditer(unicodedata.normalize("NFC", part)):
        holder = match[1]
        if holder is None:
            fits = ".*"
        elif holder in values:
            fits = re.escape(values[holder])
        else:
            fits = f"(?P={holder})" if holder in named else f"(?P<{holder}>{split if holder == 'split' else '.+?'})"
        named.add(holder)
        pieces += [re.escape(match.string[end : match.start()]), fits]
        end = match.end()
    return re.compile("".join(pieces) + re.escape(unicodedata.normalize("NFC", part)[end:]), re.DOTALL)
