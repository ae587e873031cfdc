"""Opening Optuna's database, and its errors as one line."""

import optuna
import sqlalchemy
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from lsml.errors import StorageError
from lsml.workspace import DEFAULT_STORAGE, database_file, in_turn, lock_file, missing_package

_SQLITE_TIMEOUT_SECONDS = 120


def open_storage(url: str) -> optuna.storages.RDBStorage:
    """The Optuna storage at `url`, its tables made once however many processes ask at the same time.

    Raises:
        StorageError: the database cannot be opened; the message never holds its password.
    """
    _check_url(url)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    arguments = {"connect_args": {"timeout": _SQLITE_TIMEOUT_SECONDS}} if url.startswith("sqlite") else {}
    try:
        with in_turn(lock_file("optuna-storage")):
            storage = optuna.storages.RDBStorage(url, engine_kwargs=arguments)
    except (SQLAlchemyError, ImportError, RuntimeError, ValueError) as error:
        raise _unusable(url, error) from None

    def refuse(context: sqlalchemy.ExceptionContext) -> None:
        # What a constraint refuses is an answer, which Optuna knows how to take.
        if context.sqlalchemy_exception and not isinstance(context.sqlalchemy_exception, IntegrityError):
            raise _unusable(url, context.sqlalchemy_exception) from None

    # Optuna would say the same of all of them, and not why.
    sqlalchemy.event.listen(storage.engine, "handle_error", refuse)
    return storage


def _check_url(url: str) -> None:
    """Refuses a path, and SQLite's database in memory, of which nothing would be left."""
    if "://" not in url and "@" not in url:
        file = url if url.endswith((".db", ".sqlite", ".sqlite3")) else f"{url.removesuffix('.log')}.db"
        raise StorageError(
            f"study database {url}", "a path where a database's URL is needed", f"give --storage sqlite:///{file}"
        )
    if url.startswith("sqlite://") and not url.removeprefix("sqlite://").removeprefix("/").removesuffix(":memory:"):
        raise StorageError(
            f"study database {url}", "it is in memory, and ends with this command", f"give --storage {DEFAULT_STORAGE}"
        )


def _unusable(url: str, error: Exception) -> StorageError:
    if package := missing_package(error):
        why = f"Python package {package} is not installed"
        return StorageError(f"study database {without_password(url)}", why, f"pip install {package}")
    file = database_file(url)
    why = without_password(str(error).splitlines()[0], url)
    check = f"{file.parent} can be written to and is not full" if file else "the database runs and is not full"
    return StorageError(f"study database {without_password(url)}", why, f"check --storage, and that {check}")


def without_password(text: str, url: str | None = None) -> str:
    """`text` with the password of the database URL in it (or of `url`) starred out."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url or text)
    except (ArgumentError, ValueError):  # the second of a port that is no number
        return "(not a database URL)" if url is None else text
    if url is None:
        return parsed.render_as_string(hide_password=True)
    return text.replace(str(parsed.password), "***") if parsed.password else text
