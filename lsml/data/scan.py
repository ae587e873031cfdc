"""Looks through a dataset's folder by names alone: its layout, its images with their masks, what is wrong with them."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from lsml.errors import DataError

Layout = Literal["official", "hugging-face", "bare"]

EXPECTED = (
    "expected TrainData/{img,mask} with ValidData and TestData beside it, images/ and annotations/ with folders "
    "train, validation and test, or img/ and mask/"
)
_FILE = re.compile(r"(image|mask)_([0-9]+)\.h5")


class PatchFiles(NamedTuple):
    """Where one patch lies on disk."""

    id: str
    image: Path
    mask: Path | None


class Blocks(NamedTuple):
    """How many patches each contiguous block of a bare pair of folders has."""

    train: int
    validation: int
    test: int


def dataset_root(root: Path) -> Path:
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
    """Which of the layouts met in the wild `root` has, judged by the names in it alone.

    Raises:
        DataError: none of them.
    """
    names = set(_names(root))
    if names & {"TrainData", "ValidData", "TestData"}:
        return "official"
    if "images" in names:
        return "hugging-face"
    if "img" in names:
        return "bare"
    found = ", ".join(sorted(names)[:6]) or "nothing"
    raise DataError(f"dataset {root}", f"no known layout (found: {found})", EXPECTED)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 (names only: no file is looked at)
    except OSError as error:
        raise DataError(f"folder {folder}", f"cannot be listed: {error.strerror}", "check its permissions") from None


def patches_in(root: Path, images: str, masks: str) -> tuple[PatchFiles, ...]:
    """The patches of folder `images` with their partners in folder `masks`, both relative to `root`, by number.

    Returns:
        Nothing where the images are missing; `mask` None in every patch where there are no masks at all.

    Raises:
        DataError: an image without mask or the reverse, a name that is not `image_<number>.h5` or
            `mask_<number>.h5`, two names with one number, or a folder that is a link.
    """
    image_of, mask_of = _numbered(root, images, "image"), _numbered(root, masks, "mask")
    if image_of and not mask_of:
        return tuple(PatchFiles(image_of[k].stem, image_of[k], None) for k in sorted(image_of))
    lonely = sorted(image_of.keys() ^ mask_of.keys())
    if lonely:
        first = image_of.get(lonely[0]) or mask_of[lonely[0]]
        more = f" and {len(lonely) - 1} more" if len(lonely) > 1 else ""
        raise DataError(
            f"folders {images} and {masks} of {root}",
            f"no partner for {first.stem}{more}",
            "every image_<number>.h5 needs its mask_<number>.h5",
        )
    return tuple(PatchFiles(image_of[k].stem, image_of[k], mask_of[k]) for k in sorted(image_of))


def _numbered(root: Path, relative: str, kind: str) -> dict[int, Path]:
    folder = root
    for part in relative.split("/"):
        folder = folder / part
        _refuse_link(root, folder)
    if not folder.is_dir():
        return {}
    numbered: dict[int, Path] = {}
    for name in _names(folder):
        if name.startswith(".") or not name.endswith(".h5"):
            continue
        match = _FILE.fullmatch(name)
        if match is None:
            raise DataError(f"file {folder / name}", "unexpected name", f"files here are named {kind}_<number>.h5")
        if match[1] != kind:
            # Copies in circulation hold a few images among their masks.
            continue
        other = numbered.setdefault(int(match[2]), folder / name)
        if other.name != name:
            raise DataError(f"folder {folder}", f"{other.name} and {name} have one number", "remove one of them")
    return numbered


def without_links(root: Path, patches: Iterable[PatchFiles]) -> tuple[PatchFiles, ...]:
    """`patches` as they are, once none of their files is known to be a symbolic link.

    A link may leave the dataset, and one that stays may carry a test patch into training: both are refused.
    """
    checked = tuple(patches)
    for patch in checked:
        for path in (patch.image, patch.mask):
            if path is not None:
                _refuse_link(root, path)
    return checked


def _refuse_link(root: Path, path: Path) -> None:
    if not path.is_symlink():
        return
    why = "is a link to another place of the dataset"
    if not Path(os.path.realpath(path)).is_relative_to(root):
        why = "is a link that leaves the dataset"
    raise DataError(f"path {path}", why, "put the files themselves there, or hard links")


def block_sizes(n: int, what: str) -> Blocks:
    """70/15/15 % of `n` patches, at least one each; numbering follows region, so contiguous blocks split honestly.

    Raises:
        DataError: fewer than three patches; `what` names them.
    """
    if n < 3:
        raise DataError(what, f"{n} patches", "train, validation and test need one each: give at least 3")
    validation = max(1, round(0.15 * n))
    train = min(round(0.7 * n), n - validation - 1)
    return Blocks(train, validation, n - train - validation)


SPLITS = ("train", "validation", "test")
_FOLDERS_OF: dict[Layout, tuple[tuple[str, str], ...]] = {
    "official": tuple((f"{folder}/img", f"{folder}/mask") for folder in ("TrainData", "ValidData", "TestData")),
    "hugging-face": tuple((f"images/{split}", f"annotations/{split}") for split in SPLITS),
}
_BARE = ("img", "mask")

Severity = Literal["error", "warning"]


class Finding(NamedTuple):
    """One thing that is wrong, or looks wrong, with some files.

    Attributes:
        severity: `error` where the data cannot be used as it stands, or would mislead; else `warning`.
        kind: the same few words for every finding of its kind.
        files: paths below the dataset's folder, at least one.
        text: why, and what to do, in one line.
    """

    severity: Severity
    kind: str
    files: tuple[str, ...]
    text: str


class Listed(NamedTuple):
    """One patch by the names of its files; a partner that is missing is None."""

    split: str
    image: Path | None
    mask: Path | None


class Inventory(NamedTuple):
    """The patches of all splits in numeric order, and what is wrong with their names."""

    patches: tuple[Listed, ...]
    findings: tuple[Finding, ...]


def take_inventory(root: Path, layout: Layout) -> Inventory:
    """Lists the files of the dataset at `root`, which has no links in it; opens none of them."""
    if layout == "bare":
        return _bare(root)
    patches: list[Listed] = []
    findings: list[Finding] = []
    for split, (images, masks) in zip(SPLITS, _FOLDERS_OF[layout], strict=True):
        image_of, mask_of = _pair(root, split, images, masks, findings)
        patches += [Listed(split, image_of.get(k), mask_of.get(k)) for k in sorted(image_of.keys() | mask_of.keys())]
    return Inventory(tuple(patches), tuple(findings))


def _bare(root: Path) -> Inventory:
    """Splits a bare pair as training and evaluation do, into contiguous blocks of 70, 15 and 15 %."""
    findings: list[Finding] = []
    image_of, mask_of = _pair(root, "train", *_BARE, findings)
    numbers = sorted(image_of.keys() | mask_of.keys())
    try:
        sizes = block_sizes(len(numbers), "")
    except DataError as error:
        findings.append(Finding("error", "too few patches", _BARE[:1], f"{error.why}; {error.fix}"))
        splits = ["train"] * len(numbers)
    else:
        splits = [split for split, size in zip(SPLITS, sizes, strict=True) for _ in range(size)]
    patches = [Listed(split, image_of.get(k), mask_of.get(k)) for split, k in zip(splits, numbers, strict=True)]
    return Inventory(tuple(patches), tuple(findings))


def _pair(
    root: Path, split: str, images: str, masks: str, findings: list[Finding]
) -> tuple[dict[int, Path], dict[int, Path]]:
    """The images and masks of a split by their numbers; nothing counts as lacking from a folder that was refused."""
    image_of, mask_of = _listed(root, images, "image", findings), _listed(root, masks, "mask", findings)
    if image_of is not None and mask_of is not None:
        findings += _lacking(root, split, images, masks, image_of, mask_of)
    return image_of or {}, mask_of or {}


def _listed(root: Path, relative: str, kind: str, findings: list[Finding]) -> dict[int, Path] | None:
    """The files of one folder by their number, None for a folder that is refused; whatever is wrong is a finding."""
    folder = root / relative
    link = next((path for path in (folder.parent, folder) if path != root and path.is_symlink()), None)
    if link is not None:
        findings.append(_link(root, link))
        return None
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 (names only: no file is looked at)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        text = f"cannot be listed: {error.strerror}; check its permissions"
        findings.append(Finding("error", "unreadable folder", (relative,), text))
        return None
    return _by_number(root, folder, [name for name in names if _is_patch_file(name)], kind, findings)


def _is_patch_file(name: str) -> bool:
    return name.endswith(".h5") and not name.startswith(".")


def _by_number(root: Path, folder: Path, names: Iterable[str], kind: str, findings: list[Finding]) -> dict[int, Path]:
    numbered: dict[int, Path] = {}
    for name in names:
        path, match = folder / name, _FILE.fullmatch(name)
        if match is None or match[1] != kind:
            text = f"files here are named {kind}_<number>.h5; move it out of the dataset"
            severity: Severity = "error" if match is None else "warning"
            findings.append(Finding(severity, "unexpected name", (below(root, path),), text))
        elif path.is_symlink():
            findings.append(_link(root, path))
        elif (other := numbered.setdefault(int(match[2]), path)) != path:
            pair = (below(root, other), below(root, path))
            findings.append(Finding("error", "number used twice", pair, "both have one number; remove one of them"))
    return numbered


def _link(root: Path, path: Path) -> Finding:
    text = "a link: it may leave the dataset or carry a test patch into training; put the files themselves there"
    return Finding("error", "link", (below(root, path),), text)


def _lacking(
    root: Path, split: str, images: str, masks: str, image_of: dict[int, Path], mask_of: dict[int, Path]
) -> Iterator[Finding]:
    """What a split lacks: its folder, its patches, all of its masks, or some partners."""
    if not image_of and not mask_of:
        yield _no_patches(root, split, images)
        return
    if not mask_of:
        text = "no masks for the train split; give a copy that has them"
        if split != "train":
            use = {"validation": "the last 15 % of train stand in for it", "test": "lsml evaluate needs them"}[split]
            text = f"no masks for the {split} split, as in some published copies: {use}"
        yield Finding("error" if split == "train" else "warning", "no masks", (masks,), text)
        return
    for kind, lonely, partner, there in (
        ("image without mask", image_of.keys() - mask_of.keys(), "mask", image_of),
        ("mask without image", mask_of.keys() - image_of.keys(), "image", mask_of),
    ):
        for number in sorted(lonely):
            folder = masks if partner == "mask" else images
            text = f"no {folder}/{partner}_{number}.h5; add it, or remove this file"
            yield Finding("error", kind, (below(root, there[number]),), text)


def _no_patches(root: Path, split: str, images: str) -> Finding:
    if (root / images).is_dir():
        return Finding("error", "empty split", (images,), f"the {split} folder holds no image_<number>.h5; fill it")
    if split == "train":
        return Finding("error", "no train split", (images,), EXPECTED)
    use = {"validation": "the last 15 % of train stand in for it", "test": "lsml evaluate needs one"}[split]
    return Finding("warning", f"no {split} split", (images,), f"there is no such folder: {use}")


def below(root: Path, path: Path) -> str:
    """The path of a file below the dataset's folder, on one line whatever its name."""
    relative = path.relative_to(root).as_posix()
    return "".join(character if character.isprintable() else "?" for character in relative)


def order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors first, then the rarest kinds, so that one odd file is not buried under hundreds of alike ones."""
    kept = list(findings)
    often = Counter((finding.severity, finding.kind) for finding in kept)
    return tuple(sorted(kept, key=lambda f: (f.severity != "error", often[f.severity, f.kind], f.kind)))
