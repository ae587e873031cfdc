"""The working folder: lsml's state in it, locks that one process at a time may hold, files on the disk for good."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from lsml.errors import StorageError


def sync_file(file: IO) -> None:
    """All that was written to an open file is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """The names in a folder are on the disk, not only the contents of its files."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def alone(lock: Path, what: str, *, why: str = "another process is at it", fix: str = "wait for it") -> Iterator[None]:
    """Holds the lock at the path, whose folder is made; `what` names the work to whoever finds it held.

    Raises:
        StorageError: another process holds it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0):
            yield
    except Timeout:
        raise StorageError(what, why, fix) from None


STATE_FOLDER = Path(".lsml")


def pack_cache() -> Path:
    """Where packed splits are kept."""
    return STATE_FOLDER / "packs"


DEFAULT_STORAGE = "sqlite:///optuna.db"
