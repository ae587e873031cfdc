"""Optuna's database: opening it, the gate of all calls to it, its errors as one line, and viewers of it."""

import importlib
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages._rdb import storage as rdb
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from lsml.errors import StorageError
from lsml.names import OBJECTIVE, Attribute
from lsml.workspace import (
    DEFAULT_STORAGE,
    bound_answers,
    connection_url,
    database_file,
    in_turn,
    keep_private,
    lock_file,
    missing_package,
    passes,
)

_Answer = TypeVar("_Answer")

_PATIENCE_SECONDS = 120.0
"""How long a call waits for a database that is locked, or whose connection was lost."""

_SQLITE_TIMEOUT_SECONDS = 5
"""How long SQLite itself waits for a lock; a signal is heard only after that."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0

# All that Optuna's studies call, and what its cache calls in their place.
_GATED = frozenset(
    name
    for name in (*vars(optuna.storages.BaseStorage), "_get_trials", "_set_trial_param", "_get_best_trial_id")
    if not name.startswith("__")
) - {"remove_session", "check_trial_is_updatable", "create_new_trial", "set_trial_state_values"}


class _Versions(rdb._VersionManager):
    """Optuna's, but for a database that this version of Optuna has made: nothing in it can be of another one then.

    What it would compare versions with, alembic, takes as long to load as the study's trials to be read.
    """

    def __init__(self, url: str, engine: sqlalchemy.Engine, sessions: Any) -> None:
        self._own = _is_own(engine)
        if not self._own:
            super().__init__(url, engine, sessions)

    def check_table_schema_compatibility(self) -> None:
        """Raises RuntimeError where the database is of another version's form."""
        if not self._own:
            super().check_table_schema_compatibility()


def _is_own(engine: sqlalchemy.Engine) -> bool:
    """Whether a database says that this version of Optuna has made it, to the end, or has brought it up to date."""
    with engine.connect() as connection:
        if not sqlalchemy.inspect(connection).has_table("alembic_version"):
            return False
        told = ("version_num FROM alembic_version", "library_version FROM version_info")
        rows = [connection.execute(sqlalchemy.text(f"SELECT {what}")).first() for what in told]
    return all(rows) and rows[-1] == (optuna.__version__,)


# Optuna gives storages no other way to theirs.
rdb._VersionManager = _Versions  # type: ignore[assignment,misc]


class GatedStorage(optuna.storages.RDBStorage):
    """Optuna's storage, whose calls are repeated while the database is locked or its connection is lost.

    Each call is a transaction: what failed has changed nothing, but for one whose commit was done and its answer lost.
    What may not be done twice therefore looks first.

    Attributes:
        patience: for how many seconds a call is repeated; 0 once that was in vain, until one succeeds.
    """

    def __init__(self, url: str, engine_kwargs: dict[str, Any]) -> None:
        self.patience = self._most = _PATIENCE_SECONDS
        self._shown = url
        bound_answers()
        super().__init__(connection_url(url), engine_kwargs=engine_kwargs)

        def refuse(context: sqlalchemy.ExceptionContext) -> None:
            # What a constraint refuses is an answer, which Optuna knows how to take.
            if context.sqlalchemy_exception and not isinstance(context.sqlalchemy_exception, IntegrityError):
                raise _unusable(url, context.sqlalchemy_exception) from context.sqlalchemy_exception

        # Optuna would say the same of all of them, and not why.
        sqlalchemy.event.listen(self.engine, "handle_error", refuse)

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return partial(self.repeat, found) if name in _GATED else found

    def hurry(self) -> None:
        """From now on each call is tried once: the process is to end."""
        self.patience = self._most = 0.0

    def repeat(self, call: Callable[..., _Answer], *args: Any, **kwargs: Any) -> _Answer:
        """What the call gives.

        Raises:
            StorageError: the database does not answer for `patience` seconds, or says no.
        """
        end, pause = time.monotonic() + self.patience, _FIRST_PAUSE
        while True:
            try:
                answer = call(*args, **kwargs)
            except (StorageError, StorageInternalError, SQLAlchemyError) as error:
                if not passes(error.__cause__ or error) or time.monotonic() + pause > end:
                    self.patience = 0.0
                    raise self._named(error) from error
            else:
                self.patience = self._most
                return answer
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _named(self, error: Exception) -> StorageError:
        return error if isinstance(error, StorageError) else _unusable(self._shown, error)

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        """As Optuna's; one that was made although its answer was lost is the last one, with the same attributes."""
        tries = iter(range(1_000_000))

        def create() -> FrozenTrial:
            if next(tries) and template_trial:
                last = self._get_trials(study_id, None, set(), -1)[-1:]
                if last and (last[0].state, last[0].user_attrs) == (template_trial.state, template_trial.user_attrs):
                    return last[0]
            return super(GatedStorage, self)._create_new_trial(study_id, template_trial)

        return self.repeat(create)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """As Optuna's; a change that was made although its answer was lost is not refused as made before."""
        tries = iter(range(1_000_000))

        def change() -> bool:
            if next(tries) and self.get_trial(trial_id).state == state:
                return True
            return super(GatedStorage, self).set_trial_state_values(trial_id, state, values)

        return self.repeat(change)


def open_storage(url: str) -> GatedStorage:
    """The Optuna storage at `url`, its tables made once however many processes ask at the same time.

    Raises:
        StorageError: the database cannot be opened; the message never holds its password.
    """
    _check_url(url)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    arguments = {"connect_args": {"timeout": _SQLITE_TIMEOUT_SECONDS}} if url.startswith("sqlite") else {}
    try:
        with in_turn(lock_file("optuna-storage")):
            keep_private(database_file(url))
            return _opened(url, arguments)
    except (SQLAlchemyError, ImportError, RuntimeError, ValueError) as error:
        raise _unusable(url, error) from None


def _opened(url: str, arguments: dict[str, Any]) -> GatedStorage:
    """As soon as it is not locked; one that cannot be reached when a command begins is said at once."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return GatedStorage(url, arguments)
        except SQLAlchemyError as error:
            if database_file(url) is None or not passes(error) or time.monotonic() > end:
                raise
        time.sleep(_FIRST_PAUSE)


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
        return StorageError(f"study database {url}", why, f"pip install {package}")
    file = database_file(url)
    check = f"--storage, and that {file.parent} can be written to" if file else "LSML_STORAGE, and that the server runs"
    why = next(iter(str(error).splitlines()), type(error).__name__)
    return StorageError(f"study database {url}", why, f"check {check} and is not full")


def explain_study(study: optuna.Study, gate: GatedStorage, *, of: str, stage: str, cost: str | None) -> None:
    """Names the objectives of a study, which Optuna's plots show, and says what it is in optuna-dashboard's note; once.

    Args:
        gate: to its database.
        of: what lsml calls it.
        stage: which of that study's stages it is; empty for the search.
        cost: the metric that is the second objective, if there is one.
    """
    names = [OBJECTIVE, *([cost] if cost else [])]
    # With another number of objectives it is refused for that later.
    if study.metric_names is not None or len(names) != len(study.directions):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(names)
    note = (_STAGE_NOTE if stage else _NOTE).format(of=of, stage=stage, attribute=Attribute)
    # Where that program keeps it, at most 2,045 characters in one.
    gate.set_study_system_attr(study._study_id, "dashboard:note_ver", 1)
    gate.set_study_system_attr(study._study_id, "dashboard:note_str:0", note)


_NOTE = """\
A search by lsml for the highest F1 on validation patches. `lsml study show {of}` lists it, `lsml ui` compares trials.

- A trial with the user attribute `{attribute.SUPERSEDED}` was lost or interrupted; a later one of the same
  `{attribute.SLOT}` stands for it.
- `{attribute.RUN_ID}` of a trial and `{attribute.PARENT}` of the study are runs in MLflow, with curves and pictures.
- `{attribute.SEARCHED}` of the study says which fields are searched, and between which values.
- Studies called `{of}/…` followed the search: baselines, confirmations, the training of what was chosen."""

_STAGE_NOTE = """\
What lsml trained after the search of study `{of}`: its stage `{stage}`. Nothing is searched here.
`lsml study show {of}` tells of both."""


def serve_dashboard(url: str, port: int, ready: Callable[[], None]) -> None:
    """Serves optuna-dashboard on this machine until it is interrupted; calls `ready` when it is about to.

    Raises:
        StorageError: it is not installed, the database cannot be opened, or the port is taken.
    """
    opened = open_storage(url)
    try:
        # Not as a command: every user of a machine sees the arguments of processes, and the URL may hold a password.
        dashboard = importlib.import_module("optuna_dashboard")
        ready()
        dashboard.run_server(opened, host="127.0.0.1", port=port)
    except ModuleNotFoundError as error:
        raise _unusable(url, error) from None
    except OSError as error:
        raise StorageError(f"port {port}", str(error.strerror).lower(), "choose another --port N") from None
