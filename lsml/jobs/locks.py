"""Work that one process at a time may do: whoever comes second is told so, and does not wait."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from lsml.errors import StorageError


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
