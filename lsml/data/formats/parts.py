"""Which of the arrays in a file is the image, and which the mask."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from lsml.data.arrays import NPZ
from lsml.errors import DataError

Part = Literal["image", "mask"]

NAMES = {
    "image": ("img", "image", "imgs", "images", "data"),
    "mask": ("mask", "masks", "label", "labels", "annotation", "annotations", "gt"),
}
"""What an array is looked for as, that of Landslide4Sense's files first."""
_AXES = {"image": 3, "mask": 2}
"""Of length above 1."""

Shape = tuple[int, ...] | None


def chosen(path: Path, part: Part, named: str, shapes: Mapping[str, Callable[[], Shape]]) -> str:
    """The name of the array in a file that is the image, or the mask.

    It is the one that `dataset.yaml` names; else one called as they are called; else the only one, where an image is
    not called as masks are; else, of two, the one with bands is the image and the one without is the mask.

    Args:
        path: of the file, for errors.
        named: by `dataset.yaml`; empty where it names none.
        shapes: of each array, asked for where names do not tell.

    Raises:
        DataError: none of them.
    """
    if named:
        if named in shapes:
            return named
        raise _lacks(path, named, shapes, "correct arrays in dataset.yaml")
    leaves = {name: name.rpartition("/")[2].lower() for name in shapes}
    for usual in NAMES[part]:
        fitting = [name for name, leaf in leaves.items() if leaf == usual]
        if fitting and (len(fitting) == 1 or "/" not in fitting[0]):
            return fitting[0]
    if len(shapes) == 1 and not (part == "image" and {*leaves.values()} & {*NAMES["mask"]}):
        return next(iter(shapes))
    if len(shapes) == 2:
        axes = {sum(length != 1 for length in shape() or ()): name for name, shape in shapes.items()}
        if {*axes} == {*_AXES.values()}:
            return axes[_AXES[part]]
    usual = NAMES[part][0]
    others = f"leave only that one in the file, or say arrays: {{{part}: NAME}} in dataset.yaml"
    raise _lacks(path, usual, shapes, f"name the right one '{usual}', {others}")


def _lacks(path: Path, name: str, names: Mapping[str, object], fix: str) -> DataError:
    found = ", ".join(repr(printable(other, 40)) for other in [*names][:8])
    kind = "array" if path.suffix.lower() in NPZ else "dataset"
    return DataError(f"file {path}", f"no {kind} '{name}' (found: {found or 'nothing'})", fix)


def printable(text: str, limit: int = 120) -> str:
    """A text from a file on one line, cut to so many characters."""
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."
