"""The one walk over a dataset's folder: which patches the asked splits have, by names alone, and what is wrong there.

`lsml data check` lists all findings; training, evaluation and prediction raise the first error among them.
"""

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from lsml.data.layout import EXPECTED, FOLDS, KIND_WORDS, SPLIT_WORDS, Key, Layout, PatchFiles, Stem, below
from lsml.errors import DataError

SPLITS = tuple(SPLIT_WORDS)

_NAMED = 3
"""So many names stand in a line."""

_INSTEAD = {
    "validation": "the last 15 % of train are used instead",
    "test": "lsml evaluate needs one with masks, which some published copies lack",
}

_Severity = Literal["error", "warning"]


class Finding(NamedTuple):
    """Something wrong, or suspicious, with files of a dataset.

    Attributes:
        severity: `error` where the data cannot be used as it stands, or would mislead; else `warning`.
        kind: the same few words for every finding of its kind.
        files: paths below the dataset's folder, at least one.
        text: why, and after a semicolon what to do, in one line.
    """

    severity: _Severity
    kind: str
    files: tuple[str, ...]
    text: str

    def as_error(self, root: Path) -> DataError:
        """The finding as the error that ends a command."""
        why, _, fix = self.text.partition("; ")
        return DataError(f"path {root / self.files[0]}", why, fix)


class SplitFiles(NamedTuple):
    """The images and the masks of one split by the place of their patch in its order, refused files left out."""

    images: dict[int, Path]
    masks: dict[int, Path]

    @property
    def numbers(self) -> list[int]:
        """Of images and masks, ascending."""
        return sorted(self.images.keys() | self.masks.keys())

    @property
    def patches(self) -> tuple[PatchFiles, ...]:
        """Every image with its mask, if it has one, in the split's order."""
        return tuple(PatchFiles(self.images[k].stem, self.images[k], self.masks.get(k)) for k in sorted(self.images))

    def only(self, numbers: Iterable[int]) -> "SplitFiles":
        """The files with these numbers."""
        wanted = set(numbers)
        return SplitFiles(*({k: path for k, path in files.items() if k in wanted} for files in self))


class Scan(NamedTuple):
    """The result of a walk over a dataset.

    Attributes:
        root: the dataset's folder, without links or `..` in it.
        base: the folder that the splits lie in: `root`, or one below it.
        layout: a key of `LAYOUTS`, or one with `-like` where other names say the same.
        folders: those of images and of masks of every split, below `root`.
        splits: the files of the splits that were asked for, and of no other.
        faults: what is wrong with single files and folders.
        lacking: why a split cannot be used at all: no folder, no images, no masks.
        unused: what is there and belongs to no split, below `root`.
        notes: what was taken otherwise than published.
    """

    root: Path
    base: Path
    layout: str
    folders: dict[str, tuple[str, str]]
    splits: dict[str, SplitFiles]
    faults: tuple[Finding, ...]
    lacking: dict[str, Finding]
    unused: tuple[str, ...]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, root: Path, splits: Sequence[str]) -> "Scan":
        """Lists the files of `splits` of the dataset at `root`; opens none, lists no test split that is not asked for.

        Args:
            splits: names of `SPLITS`, or `FOLDS` alone.

        Raises:
            DataError: there is no such folder, it has no known layout, or two folders may be meant.
        """
        layout = Layout(_dataset_root(root), {"train", "validation", *splits}).find()
        root, folders = layout.root, layout.folders.items()
        of_files: list[Finding] = []
        listed = _list_splits(layout, splits, of_files)
        lacking = {split: _lack(layout, split, listed) for split in splits}
        # First what explains the others: a folder that cannot be listed has no files.
        faults = (*_of_folders(layout), *_sealed(layout, listed), *_repeated(root, listed), *of_files)
        return cls(
            root=root,
            base=layout.base,
            layout=layout.name,
            folders={split: (below(root, images), below(root, masks)) for split, (images, masks) in folders},
            splits={split: listed[split] for split in splits},
            faults=faults,
            lacking={split: lack for split, lack in lacking.items() if lack},
            unused=layout.unused,
            notes=tuple(_notes(layout, listed)),
        )

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All of them, in the order in which they were met."""
        text = "belongs to no split; give it the name of what it is, or move it out of the dataset"
        unused = [Finding("warning", "not used", self.unused, text)] if self.unused else []
        return (*self.faults, *dict.fromkeys(self.lacking.values()), *unused)

    @property
    def remarks(self) -> str:
        """What training says of a dataset beside its splits: what was taken otherwise, and what was not used."""
        unused = [f"not used: {_some(self.unused)}"] if self.unused else []
        return "".join(f"; {text}" for text in (*self.notes, *unused))

    @property
    def images(self) -> list[Path]:
        """Those of the first split with any, of those that were asked for."""
        return next(([*files.images.values()] for files in self.splits.values() if files.images), [])

    def require(self, split: str) -> tuple[PatchFiles, ...]:
        """The patches of a split, each with its mask.

        Raises:
            DataError: the first error in any split that was asked for, or `split` cannot be used.
        """
        _raise_first(self.root, self.faults)
        if split in self.lacking:
            raise self.lacking[split].as_error(self.root)
        return self.splits[split].patches


def scan_images(folder: Path) -> tuple[PatchFiles, ...]:
    """The images in one folder, or in the only one below it whose name says so, in order, without their masks.

    Raises:
        DataError: there is no such folder, it cannot be listed, or several folders of images are in it.
    """
    layout = Layout(_dataset_root(folder), SPLITS)
    folders = [layout.root]
    if not layout.patches(layout.root):
        folders = [place.path for place in layout.search(layout.root) if place.kind == "image"]
    if len(folders) != 1:
        named = " and ".join(below(layout.root, path) for path in folders)
        why = "holds no image_<number>.h5" + (f", but {named} do" if named else "")
        raise DataError(f"folder {layout.root}", why, "give the folder of the images, such as DIR/TestData/img")
    faults: list[Finding] = []
    images = _list_files(layout, folders[0], "image", faults)
    _raise_first(layout.root, [*_of_folders(layout), *faults])
    return tuple(PatchFiles(images[key].stem, images[key], None) for key in Stem.in_order(images))


def _dataset_root(root: Path) -> Path:
    """`root` without links or `..` in it.

    Raises:
        DataError: there is no folder of that name.
    """
    if not root.is_dir():
        why = "is no folder" if root.exists() else "no such folder"
        raise DataError(
            f"dataset {root}", why, "give the folder that holds the patches, or make one: lsml data synth DIR"
        )
    return root.resolve()


def layout_of(root: Path) -> Layout:
    """The folders of a dataset; nothing of its splits is listed.

    Raises:
        DataError: no such folder, none of the layouts in it, or it cannot be listed.
    """
    return Layout(_dataset_root(root), ()).find()


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _raise_first(root: Path, faults: Iterable[Finding]) -> None:
    for finding in faults:
        if finding.severity == "error":
            raise finding.as_error(root)


def _list_splits(layout: Layout, splits: Sequence[str], faults: list[Finding]) -> dict[str, SplitFiles]:
    """The files of `splits`, and of every other split that may be opened; of these nothing is said."""
    if layout.name == "bare":
        files = _list_pair(layout, "train", faults)
        return {FOLDS: files} if FOLDS in splits else _blocks(layout, files, faults)
    opened = splits if FOLDS in splits else [split for split in SPLITS if split in layout.opened]
    return {split: _list_pair(layout, split, faults if split in splits else []) for split in opened}


def _blocks(layout: Layout, files: SplitFiles, faults: list[Finding]) -> dict[str, SplitFiles]:
    """Contiguous blocks of 70, 15 and 15 %, at least one patch each: numbering follows region.

    Fewer than three patches are an error, and all are in train then.
    """
    numbers = files.numbers
    n = len(numbers)
    validation = max(1, round(0.15 * n))
    train = min(round(0.7 * n), n - validation - 1)
    if n < 3:
        text = f"{n} patch{'es' * (n != 1)}; train, validation and test need one each: give at least 3"
        faults.append(Finding("error", "too few patches", (below(layout.root, layout.folders["train"][0]),), text))
        train, validation = n, 0
    ends = {"train": slice(train), "validation": slice(train, train + validation), "test": slice(train + validation, n)}
    return {split: files.only(numbers[ends[split]]) for split in SPLITS}


def _list_pair(layout: Layout, split: str, faults: list[Finding]) -> SplitFiles:
    """The files of a folder of images and one of masks, links that lead nowhere left out."""
    pair = zip(layout.folders[split], KIND_WORDS, strict=True)
    images, masks = (_list_files(layout, folder, kind, faults) for folder, kind in pair)
    places = {key: place for place, key in enumerate(Stem.in_order(images.keys() | masks.keys()))}
    files = SplitFiles(*({places[key]: path for key, path in listed.items()} for listed in (images, masks)))
    if masks:
        faults += _partnerless(layout, split, files)
    return SplitFiles(*(_reachable(layout, paths, faults) for paths in files))


def _list_files(layout: Layout, folder: Path, kind: str, faults: list[Finding]) -> dict[Key, Path]:
    """The files of a folder by what pairs them; copies in circulation have a few images among their masks."""
    stems = {path: Stem.of(path) for path in layout.patches(folder)}
    if {place.kind for place in layout.places if place.path == folder} == {*KIND_WORDS}:
        stems = {path: stem for path, stem in stems.items() if stem.kind == kind}
    strict = kind == "image" or any(stem.kind == kind for stem in stems.values())
    files: dict[Key, Path] = {}
    for path, stem in stems.items():
        name = below(layout.root, path)
        if strict and stem.kind not in ("", kind):
            text = f"unexpected name; files here are named {kind}_<number>.h5: move it out of the dataset"
            faults.append(Finding("warning", "unexpected name", (name,), text))
        elif (other := files.setdefault(stem.key, path)) != path:
            text = f"{other.name} and {path.name} have the same number; remove one of them"
            faults.append(Finding("error", "number used twice", (below(layout.root, other), name), text))
    return files


def _reachable(layout: Layout, paths: dict[int, Path], faults: list[Finding]) -> dict[int, Path]:
    reachable = {}
    for number, path in paths.items():
        try:
            path.stat()
            reachable[number] = path
        except OSError as error:
            faults.append(_fault(layout, *layout.broken(path, error)))
    return reachable


def _of_folders(layout: Layout) -> list[Finding]:
    return [_fault(layout, *fault) for fault in layout.faults]


def _fault(layout: Layout, kind: str, path: Path, why: str, fix: str) -> Finding:
    return Finding("error", kind, (below(layout.root, path),), f"{why}; {fix}")


def _lack(layout: Layout, split: str, listed: Mapping[str, SplitFiles]) -> Finding | None:
    """Why a split cannot be used at all; blocks of one folder lack what all of it lacks."""
    alike = [files for name, files in listed.items() if name == split or layout.name == "bare"]
    has_images, has_masks = (any(files[kind] for files in alike) for kind in range(2))
    images, masks = layout.folders[split]
    split = "train" if split == FOLDS else split
    if has_images and not has_masks:
        text = f"no masks for the {split} split; {_INSTEAD.get(split, 'give a copy that has them')}"
        return Finding("error" if split == "train" else "warning", "no masks", (below(layout.root, masks),), text)
    if has_images or has_masks:
        return None
    where = (below(layout.root, images),)
    if images.is_dir():
        return Finding("error", "empty split", where, f"the {split} folder holds no image_<number>.h5; fill it")
    unused = f" (not used: {_some(layout.unused)})" if layout.unused else ""
    text = f"there is no {split} split{unused}; {_INSTEAD.get(split, EXPECTED)}"
    return Finding("error" if split == "train" else "warning", f"no {split} split", where, text)


def _partnerless(layout: Layout, split: str, files: SplitFiles) -> Iterator[Finding]:
    """Files without a partner, which is named as those beside it are."""
    (images, masks), folders = files, layout.folders[split]
    for kind, present, others, folder, usual in (
        ("image without mask", images, masks, folders[1], "mask_"),
        ("mask without image", masks, images, folders[0], "image_"),
    ):
        like = next(map(Stem.of, others.values()), Stem(usual, "", ""))
        for number in sorted(present.keys() - others.keys()):
            path = present[number]
            partner = folder / f"{like.before}{Stem.of(path).core}{like.after}{path.suffix}"
            text = f"no {below(layout.root, partner)}; add it, or remove this file"
            yield Finding("error", kind, (below(layout.root, path),), text)


def _sealed(layout: Layout, listed: Mapping[str, SplitFiles]) -> Iterator[Finding]:
    """What leads into a split that is not opened, told by the paths that links resolve to."""
    unopened = [place.path for place in layout.places if place.split and place.split not in layout.opened]
    sealed = {path: os.path.realpath(path) for path in unopened}
    folders = [place.path for place in layout.places if place.path not in sealed]
    files = [path for split in listed.values() for paths in split for path in paths.values() if path.is_symlink()]
    for path, (other, real) in itertools.product([*folders, *files], sealed.items()):
        if Path(os.path.realpath(path)).is_relative_to(real):
            text = f"leads into {below(layout.root, other)}: leakage; put the files themselves there, in one split each"
            yield Finding("error", "file used twice", (below(layout.root, path), below(layout.root, other)), text)


def _repeated(root: Path, listed: Mapping[str, SplitFiles]) -> Iterator[Finding]:
    """Files that are in two splits, or image and mask at once, by links of any kind: told by device and inode."""
    owners: dict[tuple[int, int], tuple[str, Path]] = {}
    twice: dict[tuple[str, str], list[str]] = {}
    for split, files in listed.items():
        for kind, path in [
            (kind, path) for kind, paths in zip(KIND_WORDS, files, strict=True) for path in paths.values()
        ]:
            status, mine = path.stat(), f"{kind} of {split}"
            owner, other = owners.setdefault((status.st_dev, status.st_ino), (mine, path))
            if owner != mine:
                twice.setdefault((owner, mine), []).extend((below(root, path), below(root, other)))
    for (owner, mine), names in twice.items():
        text = f"is the same file as {names[1]}, so {owner} and {mine} at once: leakage; keep it in one place"
        yield Finding("error", "file used twice", tuple(names), text)


def _notes(layout: Layout, listed: Mapping[str, SplitFiles]) -> Iterator[str]:
    """What of links and names of files was taken otherwise than published."""
    folders = [place.path for place in layout.places if not place.split or place.split in layout.opened]
    links = [below(layout.root, path) for path in folders if os.path.realpath(path) != str(path)]
    if links:
        yield f"links followed: {_some(links)}"
    kinds = [(kind, paths) for files in listed.values() for kind, paths in zip(KIND_WORDS, files, strict=True)]
    first = [(kind, next(iter(paths.values()))) for kind, paths in kinds if paths]
    odd = [path for kind, path in first if not re.fullmatch(rf"{kind}_(?:0|[1-9][0-9]*)\.h5", path.name)]
    if odd:
        yield f"files named as {_some(list(dict.fromkeys(below(path.parents[1], path) for path in odd)))}"
