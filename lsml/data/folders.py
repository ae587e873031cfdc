"""Finds out which folder layout a dataset has and pairs its images with masks by name, without opening a file."""

import os
import re
from collections.abc import Iterable
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
