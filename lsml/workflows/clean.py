"""What lsml keeps in the working folder, what it takes, and what may go because it can be made again."""

import contextlib
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from lsml.errors import StorageError
from lsml.workspace import STATE_FOLDER, exclusively, pack_cache

_KEPT = {
    "packs": ("packed patches", "are packed again when they are needed"),
    "synthetic": ("synthetic patches", "are made again, the same, when they are needed"),
    "checkpoints": ("checkpoints of trials", "a study that was interrupted begins its open trials anew"),
    "scenes": ("scenes that are not done", "are predicted from their first tile"),
    "again": ("checkpoints of lsml reproduce and promote", "what was interrupted is trained from its first epoch"),
    "jax": ("what XLA has compiled", "is compiled again"),
    "log": ("logs of errors", "do not come back"),
}
KINDS = tuple(_KEPT)

_LOCKS = ("studies/*/lock", "locks/*.lock", "again/*.lock")


class Kept(NamedTuple):
    """What the working folder keeps of one kind.

    Attributes:
        kind: one of `KINDS`.
        what: for people.
        size: bytes.
        then: what becomes of it once it is removed.
    """

    kind: str
    what: str
    size: int
    then: str


def kept_files() -> list[Kept]:
    """What there is of each kind, largest first; kinds of which there is nothing are left out."""
    found = [Kept(kind, what, sum(map(_size, _places(kind))), then) for kind, (what, then) in _KEPT.items()]
    return sorted((kept for kept in found if kept.size), key=lambda kept: -kept.size)


def clean(kinds: Collection[str]) -> int:
    """Removes what there is of these kinds, and gives its bytes.

    Raises:
        StorageError: a process works in this folder, or a file cannot be removed.
    """
    with contextlib.ExitStack() as stack:
        for lock in (found for pattern in _LOCKS for found in sorted(STATE_FOLDER.glob(pattern))):
            stack.enter_context(exclusively(lock, f"what {lock} is for", fix="clean when that has ended"))
        return sum(_remove(place) for kind in kinds for place in list(_places(kind)))


def _places(kind: str) -> Iterator[Path]:
    match kind:
        case "packs":
            yield pack_cache()
        case "checkpoints":
            yield from STATE_FOLDER.glob("studies/*/*.checkpoint")
        case _:
            yield STATE_FOLDER / kind


def _size(place: Path) -> int:
    files = place.rglob("*") if place.is_dir() else (place,)
    return sum(file.lstat().st_size for file in files if file.is_file() and not file.is_symlink())


def _remove(place: Path) -> int:
    size = _size(place) if place.exists() else 0
    try:
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(str(error.filename), f"cannot be removed ({error.strerror})", "remove it by hand") from None
    return size
