"""The one walk over a dataset's folder: which patches the asked splits have, by names alone, and what is wrong there.

`lsml data check` lists all findings; training, evaluation and prediction raise the first error among them.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from lsml.errors import DataError

SPLITS = ("train", "validation", "test")
FOLDS = "folds"
"""Asked for instead of a split: every patch that cross-validation may train on."""

_ONE_PAIR = ("img", "mask")
LAYOUTS = {
    "official": {
        "train": ("TrainData/img", "TrainData/mask"),
        "validation": ("ValidData/img", "ValidData/mask"),
        "test": ("TestData/img", "TestData/mask"),
        FOLDS: ("TrainData/img", "TrainData/mask"),
    },
    "hugging-face": {
        "train": ("images/train", "annotations/train"),
        "validation": ("images/validation", "annotations/validation"),
        "test": ("images/test", "annotations/test"),
        FOLDS: ("images/train", "annotations/train"),
    },
    "bare": dict.fromkeys((*SPLITS, FOLDS), _ONE_PAIR),
}
"""The folders of images and of masks of each split, by layout, in the order in which a folder is recognised.

Splits that share their folders are contiguous blocks of it: 70 % train, 15 % validation, 15 % test.
"""
_EXPECTED = (
    "expected TrainData/{img,mask} with ValidData and TestData beside it, images/ and annotations/ with folders "
    "train, validation and test, or img/ and mask/"
)

_FILE = re.compile(r"(image|mask)_([0-9]+)\.h5")
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


class PatchFiles(NamedTuple):
    """The paths of one patch's image and mask; `id` is the image's name without its ending."""

    id: str
    image: Path
    mask: Path | None


class SplitFiles(NamedTuple):
    """The images and the masks of one split by their numbers, those that were refused left out."""

    images: dict[int, Path]
    masks: dict[int, Path]

    @property
    def numbers(self) -> list[int]:
        """Of images and masks, ascending."""
        return sorted(self.images.keys() | self.masks.keys())

    @property
    def patches(self) -> tuple[PatchFiles, ...]:
        """Every image with its mask, if it has one, in numeric order."""
        return tuple(PatchFiles(self.images[k].stem, self.images[k], self.masks.get(k)) for k in sorted(self.images))

    def only(self, numbers: Iterable[int]) -> "SplitFiles":
        """The files with these numbers."""
        wanted = set(numbers)
        return SplitFiles(*({k: path for k, path in files.items() if k in wanted} for files in self))


class Scan(NamedTuple):
    """The result of a walk over a dataset.

    Attributes:
        root: the dataset's folder, without links or `..` in it.
        layout: a key of `LAYOUTS`.
        splits: the files of the splits that were asked for, and of no other.
        faults: what is wrong with single files and folders.
        lacking: why a split cannot be used at all: no folder, no images, no masks.
    """

    root: Path
    layout: str
    splits: dict[str, SplitFiles]
    faults: tuple[Finding, ...]
    lacking: dict[str, Finding]

    @classmethod
    def of(cls, root: Path, splits: Sequence[str]) -> "Scan":
        """Lists the files of `splits` of the dataset at `root`; opens none, looks into no other split's folder.

        Args:
            splits: names of `SPLITS`, or `FOLDS` alone.

        Raises:
            DataError: there is no such folder, or it has no known layout.
        """
        root = _dataset_root(root)
        layout = layout_of(root)
        folders = LAYOUTS[layout]
        files: dict[str, SplitFiles] = {}
        faults: list[Finding] = []
        lacking: dict[str, Finding] = {}
        for pair in dict.fromkeys(folders[split] for split in splits):
            sharing = [split for split in splits if folders[split] == pair]
            listed, lack = _list_pair(root, sharing[0], pair, faults)
            if lack is not None:
                lacking |= dict.fromkeys(sharing, lack)
            if folders["train"] == folders["test"] and FOLDS not in sharing:
                files |= _blocks(pair[0], listed, sharing, faults)
            else:
                files |= dict.fromkeys(sharing, listed)
        return cls(root, layout, files, tuple(faults), lacking)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All of them, in the order in which they were met."""
        return (*self.faults, *self.lacking.values())

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
    """The images in one folder, in numeric order, without their masks; links among them are followed.

    Raises:
        DataError: there is no such folder, it cannot be listed, or a name does not fit.
    """
    root = _dataset_root(folder)
    faults: list[Finding] = []
    images = _list_folder(root, ".", "image", faults) or {}
    _raise_first(root, faults)
    return SplitFiles(images, {}).patches


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


def layout_of(root: Path) -> str:
    """Which of `LAYOUTS` the folder has: the first with an image folder whose top is there.

    Raises:
        DataError: no such folder, none of the layouts in it, or it cannot be listed.
    """
    root = _dataset_root(root)
    try:
        names = set(os.listdir(root))  # noqa: PTH208 (names only: no file is looked at)
    except OSError as error:
        raise DataError(f"dataset {root}", f"cannot be listed: {error.strerror}", "check its permissions") from None
    for layout, folders in LAYOUTS.items():
        if names & {images.partition("/")[0] for images, _ in folders.values()}:
            return layout
    shown = ", ".join(sorted(names)[:6]) or "nothing"
    raise DataError(f"dataset {root}", f"no known layout (found: {shown})", _EXPECTED)


def below(root: Path, path: Path) -> str:
    """The path of a file below the dataset's folder, on one line whatever its name."""
    relative = path.relative_to(root).as_posix()
    return "".join(character if character.isprintable() else "?" for character in relative)


def _raise_first(root: Path, faults: Iterable[Finding]) -> None:
    for finding in faults:
        if finding.severity == "error":
            raise finding.as_error(root)


def _blocks(folder: str, listed: SplitFiles, splits: Sequence[str], faults: list[Finding]) -> dict[str, SplitFiles]:
    """Contiguous blocks of 70, 15 and 15 %, at least one patch each: numbering follows region.

    Fewer than three patches are an error, and all are in train then.
    """
    numbers = listed.numbers
    n = len(numbers)
    validation = max(1, round(0.15 * n))
    train = min(round(0.7 * n), n - validation - 1)
    if n < 3:
        text = f"{n} patches; train, validation and test need one each: give at least 3"
        faults.append(Finding("error", "too few patches", (folder,), text))
        train, validation = n, 0
    ends = {"train": slice(train), "validation": slice(train, train + validation), "test": slice(train + validation, n)}
    return {split: listed.only(numbers[ends[split]]) for split in splits}


def _list_pair(
    root: Path, split: str, pair: tuple[str, str], faults: list[Finding]
) -> tuple[SplitFiles, Finding | None]:
    """The files of a folder of images and one of masks, and why they cannot be used as `split`."""
    listed = [_without_links(root, folder, kind, faults) for folder, kind in zip(pair, ("image", "mask"), strict=True)]
    images, masks = listed
    files = SplitFiles(images or {}, masks or {})
    if images is None or masks is None:  # of a folder that was refused nothing is said to be lacking
        return files, None
    lack = _lack(root, "train" if split == FOLDS else split, pair, files)
    if masks:
        faults += _partnerless(root, pair, files)
    return files, lack


def _without_links(root: Path, relative: str, kind: str, faults: list[Finding]) -> dict[int, Path] | None:
    """The files of a folder by number, None where the folder is refused; a link is refused wherever it leads.

    It may leave the dataset, and one that stays may carry a test patch into training.
    """
    folder = root / relative
    link = next((path for path in (folder.parent, folder) if path != root and path.is_symlink()), None)
    if link is not None:
        faults.append(_link(root, link))
        return None
    numbered = _list_folder(root, relative, kind, faults)
    links = {path for path in (numbered or {}).values() if path.is_symlink()}
    faults += [_link(root, path) for path in sorted(links)]
    return numbered and {number: path for number, path in numbered.items() if path not in links}


def _link(root: Path, path: Path) -> Finding:
    inside = Path(os.path.realpath(path)).is_relative_to(root)
    where = "to another place of the dataset" if inside else "that leaves the dataset"
    text = f"is a link {where}; put the files themselves there, or hard links"
    return Finding("error", "link", (below(root, path),), text)


def _list_folder(root: Path, relative: str, kind: str, faults: list[Finding]) -> dict[int, Path] | None:
    """The files of a folder by number, None where it cannot be listed; hidden ones and other endings do not count."""
    folder = root / relative
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 (names only: no file is looked at)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        text = f"cannot be listed: {error.strerror}; check its permissions"
        faults.append(Finding("error", "unreadable folder", (relative,), text))
        return None
    numbered: dict[int, Path] = {}
    for name in names:
        if name.endswith(".h5") and not name.startswith("."):
            faults += _enter(root, folder / name, kind, numbered)
    return numbered


def _enter(root: Path, path: Path, kind: str, numbered: dict[int, Path]) -> Iterator[Finding]:
    """Enters a file under its number, or tells why not; copies in circulation have a few images among their masks."""
    match = _FILE.fullmatch(path.name)
    if match is None or match[1] != kind:
        text = f"unexpected name; files here are named {kind}_<number>.h5: move it out of the dataset"
        yield Finding("error" if match is None else "warning", "unexpected name", (below(root, path),), text)
    elif (other := numbered.setdefault(int(match[2]), path)) != path:
        text = f"{other.name} and {path.name} have the same number; remove one of them"
        yield Finding("error", "number used twice", (below(root, other), below(root, path)), text)


def _lack(root: Path, split: str, pair: tuple[str, str], files: SplitFiles) -> Finding | None:
    """Why a split cannot be used at all."""
    images, masks = pair
    if files.images and not files.masks:
        text = f"no masks for the {split} split; {_INSTEAD.get(split, 'give a copy that has them')}"
        return Finding("error" if split == "train" else "warning", "no masks", (masks,), text)
    if files.images or files.masks:
        return None
    if (root / images).is_dir():
        return Finding("error", "empty split", (images,), f"the {split} folder holds no image_<number>.h5; fill it")
    text = f"there is no {split} split; {_INSTEAD.get(split, _EXPECTED)}"
    return Finding("error" if split == "train" else "warning", f"no {split} split", (images,), text)


def _partnerless(root: Path, pair: tuple[str, str], files: SplitFiles) -> Iterator[Finding]:
    for kind, numbers, present, partner in (
        ("image without mask", files.images.keys() - files.masks.keys(), files.images, f"{pair[1]}/mask"),
        ("mask without image", files.masks.keys() - files.images.keys(), files.masks, f"{pair[0]}/image"),
    ):
        for number in sorted(numbers):
            text = f"no {partner}_{number}.h5; add it, or remove this file"
            yield Finding("error", kind, (below(root, present[number]),), text)
