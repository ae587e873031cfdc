"""Tracking: the only part of lsml that knows MLflow."""

import contextlib
import difflib
import os
import sqlite3
import stat
from collections.abc import Iterable
from pathlib import Path
from types import MappingProxyType

from lsml.errors import ConfigError, StorageError
from lsml.workspace import connection_url, database_file, missing_database

_SETTINGS = MappingProxyType(
    {
        # Where nobody asked for reports to its makers, none are sent.
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # A request that is repeated below lsml would be done twice where only its answer was lost: lsml repeats it
        # itself, and looks first whether it was done (`lsml.tracking.client`).
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        # A server that accepts and never answers would block for MLflow's own 120 seconds.
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        # Where a run is that ends, MLflow would print among what a command says,
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        # and a bar for every file that is fetched.
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }
)


DEFAULT_TRACKING_URI = "sqlite:///mlflow.db"


def configure() -> None:
    """Gives MLflow lsml's settings, but for those that the user has set."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)


# MLflow reads some of them while it is imported.
configure()


def tracking_uri() -> str:
    """`MLFLOW_TRACKING_URI`, or the database file in the current folder that a bare `mlflow ui` shows."""
    return connection_url(os.environ.get("MLFLOW_TRACKING_URI", "").strip() or DEFAULT_TRACKING_URI)


_KEY_VARIABLE = "LSML_SIGNING_KEY_FILE"
_SHORTEST_KEY, _LONGEST_KEY = 32, 4096
"""Bytes; the first as many as SHA-256 gives, below which RFC 2104 finds a key weak."""


def signing_key() -> bytes | None:
    """What models are signed with, the content of the file that `LSML_SIGNING_KEY_FILE` names; None where it does not.

    White space around it does not count.

    Raises:
        ConfigError: the file cannot be read, is not its owner's alone, or holds no key.
    """
    name = os.environ.get(_KEY_VARIABLE, "").strip()
    if not name:
        return None
    what = f"{_KEY_VARIABLE} {name}"
    try:
        with Path(name).expanduser().open("rb") as file:
            mode, key = stat.S_IMODE(os.fstat(file.fileno()).st_mode), file.read(_LONGEST_KEY + 1).strip()
    except OSError as error:
        raise ConfigError(what, f"cannot be read: {error.strerror}", "correct the path, or unset it") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(what, f"others than its owner may read or change it (mode {mode:04o})", f"chmod 600 {name}")
    if not _SHORTEST_KEY <= len(key) <= _LONGEST_KEY:
        why = f"holds {len(key)} bytes, expected {_SHORTEST_KEY} to {_LONGEST_KEY}"
        raise ConfigError(what, why, "make one: openssl rand -hex 32")
    return key


def check_there() -> None:
    """Refuses to read from a database file that does not exist, which MLflow would make.

    Raises:
        StorageError: it does not.
    """
    if file := missing_database(tracking_uri()):
        fix = "work in the folder of your studies, or set MLFLOW_TRACKING_URI"
        raise StorageError(f"MLflow store {file}", "there is no such file", fix)


def asked_for(*names: str | None) -> str:
    """The one run or model that is named, of the ways to name it.

    Raises:
        ConfigError: none is named, or several.
    """
    given = [name for name in names if name is not None]
    if len(given) == 1:
        return given[0]
    if given:
        raise ConfigError("run", f"given as {' and as '.join(given)}", "give one of them")
    raise ConfigError("run", "is not given", "name a run, study or model, such as demo-000, demo or demo@candidate")


def unknown(name: str, names: Iterable[str] = ()) -> StorageError:
    """What to say where nothing has the name that was given for a run or model; `names` are those that there are."""
    model = _names_version(name)
    close = difflib.get_close_matches(name.removeprefix("models:/"), names, _SUGGESTED)
    meant = f"did you mean {' or '.join(close)}? " if close else ""
    if model:
        why, fix = "no registered model has that name with that alias or version", "lsml ui lists what is registered"
        return StorageError(f"model {name}", why, f"{meant}{fix}; lsml promote RUN registers the model of a run")
    fix = "lsml study list names the studies, lsml study show NAME their runs, lsml ui the registered models"
    return StorageError(f"run {name}", "no run has that id or name, and no study", meant + fix)


_SUGGESTED = 3
_RUNS = "select run_uuid, name from runs"
_MODELS = """
select name || '@' || alias from registered_model_aliases union select name || '@latest' from registered_models
union select name || '/' || version from model_versions
"""


def _names_version(name: str) -> bool:
    """Whether it can be `NAME@ALIAS` or `NAME/VERSION`: no run has `@` or `/` in its name."""
    return "@" in name or "/" in name


def check_known(name: str) -> None:
    """Refuses the name of a run or model that nothing in a database file begins with, before MLflow is loaded.

    That takes seconds. What `lsml.tracking.study.named_run` would find is never refused here.

    Raises:
        StorageError: nothing is called so, or the file does not exist.
    """
    check_there()
    file = database_file(tracking_uri())
    if file is None or os.environ.get("MLFLOW_REGISTRY_URI"):
        return
    # A database that is locked, or not MLflow's, is MLflow's to complain of.
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_read(file)) as database:
        if _names_version(name):
            names = {version for (version,) in database.execute(_MODELS)}
            known = name.removeprefix("models:/").casefold() in map(str.casefold, names)
        else:
            runs = database.execute(_RUNS).fetchall()
            names = {run_name or "" for _, run_name in runs}
            # Of an attempt that was lost, the later one has a number behind the name.
            known = any(
                run_id.startswith(name) or run_name == name or (run_name or "").startswith(f"{name}.")
                for run_id, run_name in runs
            )
        if not known:
            raise unknown(name, sorted(names))


def _read(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=1)
