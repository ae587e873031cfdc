"""The one walk over a dataset's folder: which patches the asked splits have, by names alone, and what is wrong there.

`lsml data check` lists all findings; training, evaluation and prediction raise the first error among them.
"""

import os
import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lsml.data.arrays import file_of
from lsml.data.description import grouping
from lsml.data.layout import DESCRIPTION, FOLDS, Grouping, Layout, PatchFiles, below
from lsml.data.listing import LISTED, SPLITS, Finding, Listing, SplitFiles, some
from lsml.data.patterns import PatternLayout
from lsml.data.regions import PatchTable
from lsml.data.words import KIND_WORDS
from lsml.errors import ConfigError, DataError, DataWarning

_INSTEAD = {
    "validation": "the last 15 % of train are used instead",
    "test": "lsml evaluate needs one with masks, which some published copies lack",
}


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
        notes: what was taken otherwise than published, and what regions there are.
        regions: of each image, where they are known.
        ids: of the patch of each image.
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
    regions: Mapping[Path, str]
    ids: Mapping[Path, str]

    @classmethod
    def of(cls, root: Path, splits: Sequence[str]) -> "Scan":
        """Lists the files of `splits` of the dataset at `root`; opens none, lists no test split that is not asked for.

        Args:
            splits: names of `SPLITS`, or `FOLDS` alone.

        Raises:
            DataError: there is no such folder, it has no known layout, or two folders may be meant.
        """
        layout, table = _find(root, {"train", "validation", *splits})
        root, folders = layout.root, layout.folders.items()
        listing = Listing(layout, table)
        listed = listing.splits(splits)
        lacking = {split: _lack(layout, split, listed) for split in splits}
        # First what explains the others: a folder that cannot be listed has no files.
        faults = (*listing.folder_faults, *_sealed(layout, listed), *_repeated(root, listed), *listing.faults)
        return cls(
            root=root,
            base=layout.base,
            layout=layout.name,
            folders={split: (below(root, images), below(root, masks)) for split, (images, masks) in folders},
            splits={split: listed[split] for split in splits},
            faults=faults,
            lacking={split: lack for split, lack in lacking.items() if lack},
            unused=layout.unused,
            notes=(*_notes(layout, listed), *listing.notes),
            regions=listing.regions,
            ids={
                image: layout.id_of(image, listing.regions.get(image, ""))
                for split in splits
                for image in listed[split].images.values()
            },
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
        unused = [f"not used: {some(self.unused)}"] if self.unused else []
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
        return self.patches(split)

    def patches(self, split: str) -> tuple[PatchFiles, ...]:
        """Every image of a split that was asked for with its mask, if it has one, in the split's order."""
        images, masks = self.splits[split]
        return tuple(
            PatchFiles(self.ids[images[k]], images[k], masks.get(k), self.regions.get(images[k], ""))
            for k in sorted(images)
        )


def scan_images(folder: Path) -> tuple[PatchFiles, ...]:
    """The images in one folder, or in the only one below it whose name says so, in order, without their masks.

    Warns of those that are links out of the folder.

    Raises:
        DataError: there is no such folder, it cannot be listed, or several folders of images are in it.
    """
    layout = Layout(_dataset_root(folder), SPLITS)
    folders = [layout.root]
    if not layout.patches(layout.root):
        folders = [place.path for place in layout.search(layout.root) if place.kind == "image"]
    if len(folders) != 1:
        named = " and ".join(below(layout.root, path) for path in folders)
        why = "holds no images" + (f", but {named} do" if named else "")
        raise DataError(f"folder {layout.root}", why, "give the folder of the images, such as DIR/TestData/img")
    listing = Listing(layout, None)
    images = listing.images(folders[0])
    _raise_first(layout.root, [*listing.folder_faults, *listing.faults])
    reals = {image: Path(os.path.realpath(file_of(image))) for image in images}
    if outside := [below(layout.root, image) for image, real in reals.items() if layout.root not in real.parents]:
        warnings.warn(DataWarning(f"folder {layout.root}: links that lead out of it: {some(outside)}"), stacklevel=2)
    return tuple(PatchFiles(image.stem, image, None) for image in images)


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
    return _find(root, ())[0]


def _find(root: Path, opened: Collection[str]) -> tuple[Layout, PatchTable | None]:
    """The folders of a dataset, and the table of its patches where it has one.

    Raises:
        DataError: as of `layout_of`; or the table cannot be read, or says what folders say too.
        ConfigError: `dataset.yaml` has a mistake, or lies too deep to be found before the folders are.
    """
    layout = Layout(_dataset_root(root), opened)
    layout.grouping = grouping(layout.described)
    if layout.grouping.patterns:
        layout = PatternLayout(layout.root, opened, layout.grouping)
    layout.find()
    deeper = layout.base / DESCRIPTION
    if layout.grouping.folder is None and deeper.is_file() and grouping(layout.base) != Grouping(layout.base):
        why = "says of which region or split patches are, and other folders lie beside its own"
        raise ConfigError(f"description {deeper}", why, f"give {layout.base} as the dataset")
    table = PatchTable.read(layout.grouping.table) if layout.grouping.table else None
    told = layout.grouping.regions or ("{region}" if layout.by_region else "")
    if table and table.has_regions and told:
        why = f"column region, and {'regions: ' * (told[0] != '{')}{told} in dataset.yaml"
        raise DataError(f"table of patches {table.path}", f"regions are told twice: {why}", "leave out one of them")
    if table and table.has_splits and layout.one_folder:
        layout.name = LISTED
    return layout, table


def _raise_first(root: Path, faults: Iterable[Finding]) -> None:
    for finding in faults:
        if finding.severity == "error":
            raise finding.as_error(root)


def _lack(layout: Layout, split: str, listed: Mapping[str, SplitFiles]) -> Finding | None:
    """Why a split cannot be used at all; blocks of one folder lack what all of it lacks."""
    if layout.name == LISTED and not any(listed.get(split, ())):
        split = split.replace(FOLDS, "train")
        text = f"no line of the table says {split}; {_INSTEAD.get(split, 'add some')}"
        where = (below(layout.root, layout.folders[split][0]),)
        return Finding("error" if split == "train" else "warning", f"no {split} split", where, text)
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
        return Finding("error", "empty split", where, f"the {split} folder holds no images; fill it")
    unused = f" (not used: {some(layout.unused)})" if layout.unused else ""
    text = f"there is no {split} split{unused}; {_INSTEAD.get(split, layout.expected)}"
    return Finding("error" if split == "train" else "warning", f"no {split} split", where, text)


def _sealed(layout: Layout, listed: Mapping[str, SplitFiles]) -> Iterator[Finding]:
    """What leads into a split that is not opened, told by the paths that links resolve to."""
    unopened = {place.path for place in layout.places if place.split and place.split not in layout.opened}
    sealed = {Path(os.path.realpath(path)): path for path in sorted(unopened)}
    folders = [place.path for place in layout.places if place.path not in unopened]
    files = [path for split in listed.values() for paths in split for path in paths.values() if path.is_symlink()]
    for path in dict.fromkeys((*folders, *files)):
        real = Path(os.path.realpath(path))
        for other in [sealed[place] for place in (real, *real.parents) if place in sealed]:
            text = f"leads into {below(layout.root, other)}: leakage; put the files themselves there, in one split each"
            yield Finding("error", "file used twice", (below(layout.root, path), below(layout.root, other)), text)


def _repeated(root: Path, listed: Mapping[str, SplitFiles]) -> Iterator[Finding]:
    """Files that are in two splits, or image and mask at once, by links of any kind: told by device and inode."""
    owners: dict[tuple[int, int, str], tuple[str, Path]] = {}
    twice: dict[tuple[str, str], list[str]] = {}
    for split, files in listed.items():
        for kind, path in [("image", path) for path in files.images.values()] + [
            ("mask", path) for number, path in files.masks.items() if files.images.get(number) != path
        ]:
            file, mine = file_of(path), f"{kind} of {split}"
            status, patch = file.stat(), "" if file == path else path.name
            owner, other = owners.setdefault((status.st_dev, status.st_ino, patch), (mine, path))
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
        yield f"links followed: {some(links)}"
    kinds = [(kind, paths) for files in listed.values() for kind, paths in zip(KIND_WORDS, files, strict=True)]
    first = [(kind, next(iter(paths.values()))) for kind, paths in kinds if paths]
    odd = [path for kind, path in first if not re.fullmatch(rf"{kind}_(?:0|[1-9][0-9]*)\.h5", path.name)]
    if any(files.images.get(number) == path for files in listed.values() for number, path in files.masks.items()):
        yield "image and mask in one file"
    if odd:
        yield f"files named as {some(list(dict.fromkeys(below(path.parents[1], path) for path in odd)))}"
