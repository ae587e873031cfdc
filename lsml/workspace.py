"""The working folder: lsml's state in it, locks between processes, and files that are replaced atomically."""

import contextlib
import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from lsml.errors import StorageError, redact

if TYPE_CHECKING:
    from sqlalchemy import Dialect

DEFAULT_STORAGE = "sqlite:///optuna.db"
STATE_FOLDER = Path(".lsml")
PACKS_VARIABLE = "LSML_PACKS"
"""Of the environment: the folder of packed splits, such as one that several machines see, each at a path of its own."""

Progress = Callable[[str, int, int], None]
"""`progress(what, done, total)` tells of each step of longer work."""


def pack_cache() -> Path:
    """The folder of packed splits: that of `LSML_PACKS`, or one in the state folder."""
    return Path(os.environ.get(PACKS_VARIABLE) or STATE_FOLDER / "packs")


def study_folder(name: str, storage: str) -> Path:
    """The folder of a study: its lock, checkpoints, log, and what waits for MLflow.

    Args:
        storage: the URL of its database.
    """
    # A password does not tell databases apart, and may change.
    digest = hashlib.sha256(redact(storage).encode()).hexdigest()
    return (STATE_FOLDER / "studies" / f"{name}-{digest[:8]}").resolve()


def lock_file(name: str) -> Path:
    """The file behind the lock of that name in the working folder."""
    return STATE_FOLDER / "locks" / f"{name}.lock"


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it that are missing: those of lsml's state for their user alone.

    Raises:
        OSError: it cannot be made.
    """
    if STATE_FOLDER.name in folder.parts:
        make_private_folder(folder)
    else:
        folder.mkdir(parents=True, exist_ok=True)


def make_private_folder(folder: Path) -> None:
    """Makes a folder and those above it that are missing, for their user alone.

    Raises:
        OSError: it cannot be made.
    """
    for part in (*reversed(folder.parents), folder):
        if not part.exists():
            part.mkdir(mode=0o700, exist_ok=True)


def keep_private(database: Path | None) -> None:
    """Makes a database's file, for its user alone, where it is to be made; what SQLite writes beside it is as it is."""
    if database and not database.exists():
        # What stands in the way, the database says better.
        with contextlib.suppress(OSError):
            os.close(os.open(database, os.O_WRONLY | os.O_CREAT, 0o600))


def private_log(kind: str, text: str) -> Path:
    """Writes a text into a new file of the state folder that no other user can read; gives its path.

    Raises:
        OSError: it cannot be written.
    """
    folder = STATE_FOLDER / "log"
    make_folder(folder)
    path = folder / f"{kind}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(text)
    return path.resolve()


def storage_url(given: str | None) -> str:
    """The URL of the study database: as given, else that of `LSML_STORAGE`, which may hold a password."""
    return given or os.environ.get("LSML_STORAGE", "").strip() or DEFAULT_STORAGE


def database_file(url: str) -> Path | None:
    """The file of the SQLite database at a URL; None where it is no such URL, or names none as a path."""
    start, _, path = url.partition(":///")
    named = start.startswith("sqlite") and path and not path.startswith((":memory:", "file:"))
    return Path(path.partition("?")[0]).resolve() if named else None


def missing_database(url: str) -> Path | None:
    """The file of the SQLite database at a URL, if it is not there: to open it to read would make it."""
    file = database_file(url)
    return file if file and not file.exists() else None


_POSTGRES = ("postgresql", "postgresql+psycopg", "postgresql+psycopg2")
_POSTGRES_SETTINGS = {"connect_timeout": 5, "keepalives_idle": 30, "tcp_user_timeout": 30_000}
"""Seconds for each address that a host has, seconds, and milliseconds: nobody waits for a server that says nothing."""


def connection_url(url: str) -> str:
    """A database's URL as SQLAlchemy is to have it: PostgreSQL by psycopg 3 where it names no driver, within bounds."""
    scheme, _, rest = url.partition("://")
    if scheme not in _POSTGRES:
        return url
    place, _, query = rest.partition("?")
    added = [f"{name}={value}" for name, value in _POSTGRES_SETTINGS.items() if f"{name}=" not in query]
    driver = "postgresql+psycopg" if scheme == "postgresql" else scheme
    return f"{driver}://{place}?{'&'.join([*([query] if query else []), *added])}"


_ANSWER_SECONDS = 30.0
"""How long PostgreSQL may take for one answer: frozen, it takes in what it is sent, and says nothing."""


def bound_answers() -> None:
    """Has each connection to PostgreSQL that SQLAlchemy makes from now on closed where an answer takes too long."""
    from sqlalchemy import Engine, event

    if not event.contains(Engine, "do_connect", _connect_within_bounds):
        event.listen(Engine, "do_connect", _connect_within_bounds)


def _connect_within_bounds(
    dialect: "Dialect", record: object, place: Sequence[Any], options: dict[str, Any]
) -> object | None:
    """A connection of psycopg's that is closed where an answer takes too long; None for other drivers."""
    if dialect.driver != "psycopg":
        return None
    import psycopg

    class Bounded(psycopg.Connection[Any]):
        def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
            try:
                return super().wait(gen, interval, timeout or _ANSWER_SECONDS)
            except psycopg.OperationalError:
                # Of an answer that comes later, the next call would take it for its own.
                if self.pgconn.transaction_status == psycopg.pq.TransactionStatus.ACTIVE:
                    self.close()
                raise

    return Bounded.connect(*place, **options)


_PACKAGES = {
    "psycopg": "'psycopg[binary]'",
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
    "optuna_dashboard": "optuna-dashboard",
}
"""What brings a module, where its name is another."""


def missing_package(error: BaseException) -> str | None:
    """The package to install, where an error or what it was raised from is that a module is missing."""
    current: BaseException | None = error
    while current is not None:
        if isinstance(current, ModuleNotFoundError) and current.name:
            module = current.name.partition(".")[0]
            return _PACKAGES.get(module, module)
        current = current.__cause__ or current.__context__
    return None


_PASSING = (
    *("database is locked", "connection refused", "could not connect", "can't connect", "lost connection"),
    *("server closed the connection", "terminating connection", "connection reset", "connection has been closed"),
    *("connection already closed", "connection is closed", "timeout expired", "the database system is"),
)
"""What SQLite, PostgreSQL and MySQL say where waiting helps; the last of a server that starts, stops or recovers."""


def passes(error: BaseException) -> bool:
    """Whether a database that raised this may answer later: it is locked, or the connection to it was lost."""
    said = str(error).lower()
    return bool(getattr(error, "connection_invalidated", False)) or any(words in said for words in _PASSING)


@contextlib.contextmanager
def in_turn(lock: Path) -> Iterator[None]:
    """Holds the lock at the path, whose folder is made; waits while another process holds it.

    Where nobody may write, there are no turns to take: what exists can be read.

    Raises:
        StorageError: the lock cannot be had for another reason.
    """
    try:
        held: contextlib.AbstractContextManager[object] = _acquire(lock, timeout=-1)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise _unlockable(lock, error) from None
        held = contextlib.nullcontext()
    with held:
        yield


@contextlib.contextmanager
def exclusively(lock: Path, what: str, *, fix: str = "wait for it") -> Iterator[None]:
    """Holds the lock at the path, whose folder is made; `what` names the work to whoever finds it held.

    Raises:
        StorageError: another process holds it, or its folder cannot be written to.
    """
    try:
        held = _acquire(lock, timeout=0)
    except Timeout:
        raise StorageError(what, "locked by another process", fix) from None
    except OSError as error:
        raise _unlockable(lock, error) from None
    with held:
        yield


def _acquire(lock: Path, *, timeout: float) -> contextlib.AbstractContextManager[object]:
    make_folder(lock.parent)
    return FileLock(lock).acquire(timeout=timeout)


def _unlockable(lock: Path, error: OSError) -> StorageError:
    return StorageError(
        f"folder {lock.parent.resolve()}",
        f"lsml cannot make or lock a file in it ({error.strerror})",
        "make it writable, or work in a folder that is, on a disk with room that can lock files",
    )


def replace_atomically(path: Path, content: bytes) -> None:
    """Writes a file, whose folder is made, for good; a process killed at any moment leaves the old one or the new one.

    Raises:
        OSError: it cannot be written; the old one is still there.
    """
    with _beside(path) as unfinished:
        with unfinished.open("xb") as file:
            file.write(content)
            sync_file(file)
        rename_durably(unfinished, path)


def replace_whole(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """As `replace_atomically`, for a file that can be made again: does not wait until its parts are on the disk.

    Raises:
        OSError: it cannot be written; the old one is still there.
    """
    with _beside(path) as unfinished:
        with unfinished.open("xb") as file:
            file.writelines(parts)
        unfinished.replace(path)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Where to write what is to become the file of that path, whose folder is made; removed where that fails."""
    unfinished = path.with_name(f"{path.name}.partial")
    try:
        make_folder(path.parent)
        # What a kill left; and a link that somebody put there is not written through.
        unfinished.unlink(missing_ok=True)
        yield unfinished
    except OSError:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise


def rename_durably(finished: Path, path: Path) -> None:
    """Gives a file or folder that is whole its name for good."""
    finished.replace(path)
    _sync_folder(path.parent)


def sha256_of(path: Path) -> str:
    """Of a file, 64 hex digits.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_file(file: IO[bytes]) -> None:
    """Puts all that was written to an open file on the disk."""
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Puts the names in a folder on the disk, not only the contents of its files."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
