"""MLflow's client as lsml uses it: it waits for a store that does not answer, and makes nothing twice."""

import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self, TypeVar

import requests
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import ERROR_CODE_TO_HTTP_STATUS, MlflowException, RestException
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from lsml.errors import StorageError
from lsml.names import Tag
from lsml.workspace import passes

PATIENCE_SECONDS = 60.0
"""How long what needs an answer of MLflow waits for one."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_TOO_MANY, _SERVER_ERROR = 429, 500
_MAX_RACES = 10
_TAKEN = re.compile("UNIQUE constraint failed|duplicate (key|entry)", re.IGNORECASE)
"""What SQLite, PostgreSQL and MySQL say of a row that another process has written since it was looked for."""
_Answer = TypeVar("_Answer")

# Called twice they do the same as once: what writes replaces, or leaves out what is there.
_REPEATABLE = frozenset(
    {
        *("get_run", "get_experiment", "get_experiment_by_name", "get_logged_model", "get_metric_history"),
        *("get_model_version", "get_model_version_by_alias", "get_registered_model"),
        *("search_experiments", "search_logged_models", "search_model_versions", "search_registered_models"),
        *("search_runs", "list_artifacts", "download_artifacts"),
        *("log_artifacts", "log_batch", "log_dict", "log_inputs", "log_text", "log_model_artifacts"),
        *("set_experiment_tag", "set_model_version_tag", "set_registered_model_alias", "set_registered_model_tag"),
        *("set_tag", "set_terminated", "update_run", "finalize_logged_model"),
        *("delete_registered_model_tag", "delete_model_version_tag"),
        # Of a model that was made before it says that it exists.
        "create_registered_model",
    }
)


_WRITES = ("create_", "log_", "set_", "update_", "finalize_", "delete_")
_OF_VIEWS = "set_experiment_tag"
"""Views of the UI and descriptions, which `lsml ui` writes and no file goes with."""


class StoreClient(MlflowClient):
    """MLflow's client, whose calls are repeated while the store does not answer, or where two write the same row.

    What a call makes is looked for before it is made again: its first try may have been done, and only the answer
    have been lost.

    Args:
        patience: for how many seconds a call is repeated; with 0 it is tried once.
        tracking_uri: the store of runs.
        registry_uri: that of registered models.
    """

    def __init__(self, patience: float, *, tracking_uri: str, registry_uri: str) -> None:
        super().__init__(tracking_uri=tracking_uri, registry_uri=registry_uri)
        self._patience, self._uris = patience, (tracking_uri, registry_uri)
        self._refusal: StorageError | None = None

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith(_WRITES) and name != _OF_VIEWS:
            self.check_writes()
        return partial(self._repeat, found) if name in _REPEATABLE else found

    def with_patience(self, seconds: float) -> "StoreClient":
        """The same, which repeats calls for so long."""
        tracking, registry = self._uris
        client = StoreClient(seconds, tracking_uri=tracking, registry_uri=registry)
        return client.without_writes(self._refusal)

    def without_writes(self, refusal: StorageError | None) -> Self:
        """Itself, which raises that error, if there is one, where it is asked to write."""
        self._refusal = refusal
        return self

    def check_writes(self) -> None:
        """Checks that it may write.

        Raises:
            StorageError: it may not.
        """
        if self._refusal:
            raise self._refusal

    def _repeat(self, call: Callable[..., _Answer], *args: Any, **kwargs: Any) -> _Answer:
        return self._made(lambda: None, partial(call, *args, **kwargs))

    def _made(self, look: Callable[[], _Answer | None], make: Callable[[], _Answer]) -> _Answer:
        """What `make` gives, or where its answer was lost, what `look` then finds."""
        end, pause, races = time.monotonic() + self._patience, _FIRST_PAUSE, 0
        while True:
            try:
                return make()
            except (MlflowException, SQLAlchemyError, OSError) as error:
                races += (raced := _is_race(error))
                if races > _MAX_RACES or not (raced or (is_outage(error) and time.monotonic() + pause <= end)):
                    raise
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            if (found := look()) is not None:
                return found

    def create_run(
        self,
        experiment_id: str,
        start_time: int | None = None,
        tags: dict[str, Any] | None = None,
        run_name: str | None = None,
    ) -> Run:
        """As MLflow's; one made before is found by its tag `lsml.identity`."""
        identity = (tags or {}).get(Tag.IDENTITY)
        return self._made(
            lambda: self.run_of(identity, [experiment_id]) if identity else None,
            lambda: MlflowClient.create_run(self, experiment_id, start_time, tags, run_name),
        )

    def run_of(self, identity: str, experiments: Sequence[str] | None = None) -> Run | None:
        """The run with that tag `lsml.identity`, among these experiments or all; None where there is none."""
        among = experiments or [experiment.experiment_id for experiment in self.search_experiments()]
        runs = self.search_runs(list(among), f"tags.`{Tag.IDENTITY}` = '{identity}'", max_results=1)
        return runs[0] if runs else None

    def create_logged_model(self, experiment_id: str, *args: Any, **kwargs: Any) -> LoggedModel:
        """As MLflow's, of one model a run; one made before, which may not be whole, is found by its run."""
        of_run = f"source_run_id = '{kwargs.get('source_run_id')}'"

        def look() -> LoggedModel | None:
            return next(iter(self.search_logged_models([experiment_id], of_run)), None)

        make = partial(MlflowClient.create_logged_model, self, experiment_id, *args, **kwargs)
        return look() or self._made(look, make)

    def log_outputs(self, run_id: str, models: list[LoggedModelOutput]) -> None:
        """As MLflow's, of one model a run."""
        self._made(
            lambda: getattr(self.get_run(run_id).outputs, "model_outputs", None) or None,
            lambda: MlflowClient.log_outputs(self, run_id, models) or [],
        )

    def create_experiment(self, name: str, *args: Any, **kwargs: Any) -> str:
        """As MLflow's; one made before is found by its name."""

        def look() -> str | None:
            found = self.get_experiment_by_name(name)
            return str(found.experiment_id) if found else None

        return self._made(look, partial(MlflowClient.create_experiment, self, name, *args, **kwargs))

    def create_model_version(self, name: str, *args: Any, **kwargs: Any) -> ModelVersion:
        """As MLflow's, of one version a run; one made before is found by its run."""
        of_run = f"name='{name}' and run_id='{kwargs.get('run_id')}'"

        def look() -> ModelVersion | None:
            return next(iter(self.search_model_versions(of_run)), None)

        return self._made(look, partial(MlflowClient.create_model_version, self, name, *args, **kwargs))


def is_outage(error: BaseException | None) -> bool:
    """Whether an error, or what it was raised from, says that the store does not answer now, and may later."""
    match error:
        case MlflowException() if isinstance(error.__cause__, SQLAlchemyError | requests.RequestException):
            return is_outage(error.__cause__)
        case RestException():
            return _is_busy(ERROR_CODE_TO_HTTP_STATUS.get(error.error_code, _SERVER_ERROR))
        case MlflowException():
            return str(error).startswith("API request to ")
        case requests.RequestException():
            return error.response is None or _is_busy(error.response.status_code)
        case DBAPIError():
            return passes(error)
        case None:
            return False
    return is_outage(error.__cause__)


def _is_race(error: Exception) -> bool:
    """Whether a call found a row missing that another process then wrote first: asked again, it finds it."""
    exists = isinstance(error, MlflowException) and error.error_code == "RESOURCE_ALREADY_EXISTS"
    return not exists and bool(_TAKEN.search(str(error)))


def _is_busy(status: int) -> bool:
    return status >= _SERVER_ERROR or status == _TOO_MANY
