"""The MLflow store: where it is, opening it once, finding a run in it, and its errors as one line."""

import contextlib
import logging
import os
import re
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import mlflow.entities
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_ENTRY_POINT
from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import SQLAlchemyError

from lsml.errors import StorageError, redact
from lsml.errors.signals import deferred
from lsml.names import Role, Tag
from lsml.tracking import DEFAULT_TRACKING_URI, check_there, configure, signing_key, tracking_uri
from lsml.tracking.client import PATIENCE_SECONDS, StoreClient, is_outage
from lsml.tracking.places import follow_moved_folder, local_folder
from lsml.workspace import (
    bound_answers,
    connection_url,
    database_file,
    in_turn,
    keep_private,
    lock_file,
    make_private_folder,
    missing_package,
)

Client: TypeAlias = StoreClient
Run: TypeAlias = mlflow.entities.Run
"""What the other rooms call MLflow's client and run, which only this one may import."""

DEFAULT_EXPERIMENT = "lsml"

_DRIVERS_WORDS = re.compile(r"\((\w+\.)+\w+\)")
"""What begins a line with the error of a database's driver, such as `(sqlite3.OperationalError)`."""

# What MLflow says, also through a server, of writing to what somebody has deleted.
_DELETED = re.compile("The (run|experiment) ([0-9a-f]+) must be in the 'active' state")


def open_store() -> StoreClient:
    """A client of a store that is there; a database file that is not is not made to be read.

    Raises:
        StorageError: there is no such file, or the store cannot be reached or opened.
    """
    check_there()
    return open_client()


def open_client() -> StoreClient:
    """A client of the store, which is made first where it is a database file that does not exist yet.

    Raises:
        ConfigError: models are to be signed with a key that cannot be had.
        StorageError: the store cannot be reached or opened.
    """
    configure()
    # Before hours of training, not when the first model is logged.
    signing_key()
    for noisy in ("alembic", "mlflow.tracking.fluent"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # It says at length what is in the exception that it raises.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    uri = tracking_uri()
    registry = connection_url(os.environ.get("MLFLOW_REGISTRY_URI") or uri)
    _check_scheme("MLFLOW_TRACKING_URI", uri)
    _check_scheme("MLFLOW_REGISTRY_URI", registry)
    _check_can_be_made(database_file(uri))
    bound_answers()
    # Two processes that open a fresh database race in its schema migration and can leave it unusable.
    with storage_errors("MLflow store"), in_turn(lock_file("mlflow-store")):
        keep_private(database_file(uri))
        for store in {uri, registry}:
            _check_answers(store)
        client = StoreClient(PATIENCE_SECONDS, tracking_uri=uri, registry_uri=registry)
        # A database that is new, or of an older MLflow, gets its tables now; cut off in that it would stay unusable.
        with deferred(_MIGRATION_SECONDS):
            # Once: what is not there when a command begins is said at once.
            client.with_patience(0).search_experiments(max_results=1)
        return client.without_writes(follow_moved_folder(uri))


_MIGRATION_SECONDS = 60.0
"""It takes seconds, on a machine that is busy with other things a multiple of that."""

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_SCHEMES = (*_DATABASES, "http", "https", "databricks", "databricks-uc", "uc")


def _check_scheme(variable: str, uri: str) -> None:
    """Refuses what is no database and no server, a folder too, where MLflow is not told to keep runs in one."""
    scheme, colon, _ = uri.partition(":")
    try:
        urlsplit(uri).port  # noqa: B018 (it is read to be checked)
    except ValueError as error:
        raise StorageError(f"{variable} {uri}", f"is no address: {error}", "correct its host and port") from None
    folders = bool(os.environ.get("MLFLOW_ALLOW_FILE_STORE"))
    if scheme.partition("+")[0] in _SCHEMES or (folders and (scheme == "file" or not colon)):
        return
    # Of an address that is none, where its password ends is not known.
    shown = scheme if "@" in uri else redact(uri)
    example = f"sqlite:///{Path(shown).name or 'mlflow'}".removesuffix(".db") + ".db"
    fix = f"give the URL of one, such as {example if not colon else DEFAULT_TRACKING_URI}"
    raise StorageError(f"{variable} {shown}", "names no database and no server", fix)


def _check_answers(uri: str) -> None:
    """Asks a database's server once, which MLflow would ask ten times in two minutes; raises what the driver raises."""
    if database_file(uri) is None and urlsplit(uri).scheme.partition("+")[0] in _DATABASES:
        create_engine(uri, poolclass=NullPool).connect().close()


def _check_can_be_made(database: Path | None) -> None:
    """Refuses at once a database file that is not there and cannot be made, which MLflow would try for two minutes."""
    if database and database.is_dir():
        fix = f"give a file in it, such as sqlite:///{database}/runs.db"
        raise StorageError(f"MLflow store {database}", "is a folder, not a database file", fix)
    if database and not database.exists() and not os.access(database.parent, os.W_OK):
        raise StorageError(
            f"MLflow store {database}",
            "it does not exist, and its folder cannot be written to",
            "work in the folder of your studies, or set MLFLOW_TRACKING_URI",
        )


@contextlib.contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turns MLflow's and the database's errors, and drivers that are missing, into one `StorageError`."""
    try:
        # What a signal cuts in two stays open, and locks out whoever then closes the run.
        with deferred():
            yield
    except ModuleNotFoundError as error:
        package = missing_package(error)
        raise StorageError(what, f"Python package {package} is not installed", f"pip install {package}") from error
    except (MlflowException, SQLAlchemyError, OSError) as error:
        if deleted := _DELETED.search(str(error)):
            raise _of_deleted(*deleted.groups()) from error
        if "out-of-date database schema" in str(error):
            fix = f"make a copy of the database, then run: mlflow db upgrade {redact(tracking_uri())}"
            raise StorageError(what, "its tables are those of another version of MLflow", fix) from error
        file = database_file(tracking_uri())
        check = f"{file.parent} can be written to and is" if file else "the store is reachable and"
        raise StorageError(what, _reason(error), f"check MLFLOW_TRACKING_URI, and that {check} not full") from error


@contextlib.contextmanager
def refusals(what: str, fix: str) -> Iterator[None]:
    """As `storage_errors`, and turns what MLflow says no to into a `StorageError` that ends with `fix`."""
    with storage_errors(what):
        try:
            yield
        except MlflowException as error:
            if is_outage(error):
                raise
            raise StorageError(what, error.message.splitlines()[0], fix) from None


def check_writable(client: Client, run: Run) -> None:
    """Checks that a run can be written to.

    Raises:
        StorageError: it was deleted, by itself or with its experiment; or the database came without its files.
    """
    client.check_writes()
    if run.info.lifecycle_stage == "deleted":
        raise _of_deleted("run", run.info.run_id)


def _of_deleted(kind: str, identifier: str) -> StorageError:
    """What to say of a run or experiment that was deleted; with an experiment MLflow deletes its runs."""
    client = StoreClient(0, tracking_uri=tracking_uri(), registry_uri=tracking_uri())
    with storage_errors(f"deleted {kind} {identifier}"):
        number = identifier if kind == "experiment" else client.get_run(identifier).info.experiment_id
        experiment = client.get_experiment(number)
    if experiment.lifecycle_stage != "deleted":
        fix = f"bring it back: mlflow runs restore --run-id {identifier}; or choose another run"
        return StorageError(f"run {identifier}", "it was deleted in MLflow", fix)
    return StorageError(
        f"MLflow experiment '{experiment.name}'",
        "it was deleted in MLflow",
        f"bring it back: mlflow experiments restore --experiment-id {number}; "
        "or name another one for new runs: MLFLOW_EXPERIMENT_NAME=NAME",
    )


def _reason(error: Exception) -> str:
    text = str(error).strip()
    if "Max retries exceeded" in text or "timeout exception" in text:
        address = urlsplit(tracking_uri())
        return f"{address.hostname}:{address.port or address.scheme} does not answer"
    lines = text.splitlines() or [type(error).__name__]
    # SQLAlchemy may say first at which occasion.
    reason = next((line for line in lines if _DRIVERS_WORDS.match(line)), lines[0])
    return textwrap.shorten(reason, _MOST_SAID, placeholder=" …")


_MOST_SAID = 300


def experiment_id(client: Client, name: str) -> str:
    """The id of the MLflow experiment `name`, made where it is missing, by whichever process comes first."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        describe_experiment(client, found.experiment_id)
        return found.experiment_id
    try:
        created = client.create_experiment(name)
    except MlflowException:
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return found.experiment_id
    describe_experiment(client, created)
    files = local_folder(client.get_experiment(created).artifact_location)
    if files and database_file(tracking_uri()):
        make_private_folder(files)
    return created


_EXPERIMENT_NOTE = """\
Studies, trainings and evaluations of lsml, which finds landslides in satellite images.

A row with an arrow is a **study**: what it asked and found stands in its description, its trials and baselines are the
rows below it, `val_f1` is the validation F1 of what it registered. The menu *Views* has a page for each study with its
trials compared; `lsml ui` opens that of the last one."""


_EXPERIMENT_TAGS = {Tag.NOTE: _EXPERIMENT_NOTE, Tag.EXPERIMENT_KIND: "custom_model_development"}


def describe_experiment(client: Client, identifier: str) -> None:
    """Gives an experiment that has none a description, and MLflow's name of its kind."""
    given = client.get_experiment(identifier).tags
    for tag, text in _EXPERIMENT_TAGS.items():
        if tag not in given:
            client.set_experiment_tag(identifier, tag, text)


def git_commit() -> str | None:
    """The commit of the code that runs, where it runs from a git checkout."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def find_run(client: Client, run_id: str) -> Run:
    """The run of that id.

    Raises:
        StorageError: there is none.
    """
    with refusals(f"run {run_id}", "lsml study show NAME lists the run ids of a study"):
        return client.get_run(run_id)


def project_run(client: Client) -> str | None:
    """The id of the run that `mlflow run` has made for this process; None where there is none.

    `MLFLOW_RUN_ID` may also be left over from another run, which is none of this process's business.

    Raises:
        StorageError: MLflow cannot be asked.
    """
    run_id = os.environ.get("MLFLOW_RUN_ID")
    if not run_id:
        return None
    with storage_errors("run of the MLflow project"):
        try:
            run = client.get_run(run_id)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            return None
    waits = (run.info.lifecycle_stage, run.info.status) == ("active", "RUNNING")
    return run_id if waits and MLFLOW_PROJECT_ENTRY_POINT in run.data.tags else None


def study_of(client: Client, run: Run) -> Run | None:
    """The run of the study that a run belongs to; None where it belongs to none.

    Raises:
        StorageError: MLflow cannot be asked.
    """
    if Tag.PARENT not in run.data.tags:
        return None
    parent = find_run(client, run.data.tags[Tag.PARENT])
    return parent if parent.data.tags.get(Tag.ROLE) == Role.STUDY else None
