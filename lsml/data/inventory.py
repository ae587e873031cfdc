"""Lists a dataset's files, split by split, and notes everything that is wrong with their names and places.

Training stops at the first such fault (`lsml.data.folders`); an audit has to go on, so it lists for itself.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from lsml.data.folders import EXPECTED, Layout, block_sizes
from lsml.errors import DataError

SPLITS = ("train", "validation", "test")
_FOLDERS: dict[Layout, tuple[tuple[str, str], ...]] = {
    "official": tuple((f"{folder}/img", f"{folder}/mask") for folder in ("TrainData", "ValidData", "TestData")),
    "hugging-face": tuple((f"images/{split}", f"annotations/{split}") for split in SPLITS),
}
_BARE = ("img", "mask")
_FILE = re.compile(r"(image|mask)_([0-9]+)\.h5")

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
    for split, (images, masks) in zip(SPLITS, _FOLDERS[layout], strict=True):
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
    return _numbered(root, folder, [name for name in names if _is_patch_file(name)], kind, findings)


def _is_patch_file(name: str) -> bool:
    return name.endswith(".h5") and not name.startswith(".")


def _numbered(root: Path, folder: Path, names: Iterable[str], kind: str, findings: list[Finding]) -> dict[int, Path]:
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
