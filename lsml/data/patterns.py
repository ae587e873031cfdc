"""Where the patches of a dataset lie, by patterns of their paths in `dataset.yaml`."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Self

from lsml.data.layout import LAYOUTS, Fault, Grouping, Layout, Place, below
from lsml.data.words import KIND_WORDS, Match, Pattern
from lsml.errors import DataError


class PatternLayout(Layout):
    """The paths that fit the patterns of images and of masks; looks into no split but `opened`.

    Attributes:
        matches: of images and of masks, those in splits that are opened.
    """

    expected = "let the paths of some say so, as images and masks in dataset.yaml have it"

    def __init__(self, root: Path, opened: Collection[str], grouping: Grouping) -> None:
        super().__init__(root, opened)
        assert grouping.folder, "patterns stand in a file"
        self.grouping, self.base = grouping, grouping.folder
        self.matches: dict[str, dict[Path, Match]] = {}
        self._in_folder: dict[Path, list[Path]] = defaultdict(list)

    def find(self) -> Self:
        """Fills the attributes.

        Raises:
            DataError: no path fits a pattern, or the word for a split in one means none.
        """
        images, masks = self.grouping.patterns
        first, other = ({match.path: match for match in self._find(pattern)} for pattern in (images, masks))
        for kind, pattern, fitting in (("images", images, first), ("masks", masks, other)):
            if not fitting:
                self._raise_nothing(kind, pattern)
        if images != masks:
            # `7_mask.tif` fits `{id}.tif` too: who says more of a name means it.
            less, more = (first, other) if images.letters < masks.letters else (other, first)
            for path in more.keys() & less.keys():
                if self._open(more[path]):
                    del less[path]
        self.matches = {
            kind: {path: match for path, match in fitting.items() if self._open(match)}
            for kind, fitting in zip(KIND_WORDS, (first, other), strict=True)
        }
        for path in first | other:
            self._in_folder[path.parent].append(path)
        self.places = tuple(dict.fromkeys((*self._places("image", first), *self._places("mask", other))))
        self.name = "bare" if self.one_folder else "patterns"
        for split in LAYOUTS["bare"]:
            word = {"split": self._own(split)}
            self.folders[split] = self.base / images.with_values(word), self.base / masks.with_values(word)
        return self

    def _find(self, pattern: Pattern) -> Iterable[Match]:
        for match in pattern.find(self.base, self.names, self.opened):
            word = match.values.get("split", "")
            if word and not match.split:
                fix = "call it train, validation or test, or move it out of the dataset"
                self.faults.append(Fault("unknown split", match.path, f"'{word}' is no split", fix))
            else:
                yield match

    def _raise_nothing(self, kind: str, pattern: Pattern) -> None:
        for _, path, why, fix in self.faults:
            raise DataError(f"path {path}", why, fix)
        shown = ", ".join(below(self.root, self.base / name) for name in self.names(self.base)[:6]) or "nothing"
        why = f"no path fits '{pattern.text}' (found: {shown})"
        raise DataError(f"dataset {self.root}: {kind}", why, "correct it in dataset.yaml")

    def _open(self, match: Match) -> bool:
        """Whether it is a file that may be used."""
        return not match.split or match.split in self.opened

    def _places(self, kind: str, fitting: dict[Path, Match]) -> Iterable[Place]:
        """The folders of files, and what leads into splits that are not opened."""
        for path, match in fitting.items():
            yield Place(match.split, kind, path.parent if self._open(match) else path, match.region)

    @property
    def by_region(self) -> bool:
        """Whether paths name regions."""
        return "region" in self.grouping.patterns[0].holders

    def patches(self, folder: Path) -> list[Path]:
        """The files in a folder that fit."""
        return self._in_folder.get(folder, [])

    def regions_of(self, images: Iterable[Path]) -> dict[Path, str]:
        """By their paths."""
        return {image: self.matches["image"][image].region for image in images}

    def id_of(self, image: Path, region: str) -> str:
        """What stands for `{id}`; where paths name regions, below that."""
        own = self.matches["image"][image].id
        return f"{region}/{own}" if self.by_region else own

    def fitting(self, split: str) -> list[list[Match]]:
        """The images and the masks of a split."""
        own = self._own(split)
        return [[match for match in fitting.values() if match.split == own] for fitting in self.matches.values()]
