"""Addresses of pages in MLflow's UI: a study's trials compared, some runs side by side, one run."""

import json
from typing import NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from mlflow import MlflowClient
from mlflow.entities import Run

from lsml.tracking.runs import BEST_METRIC, ROLE, STUDY, trials_query
from lsml.tracking.store import storage_errors, tracking_uri
from lsml.tracking.views import has_view

HOST, DEFAULT_PORT = "127.0.0.1", 5000
SIDE_BY_SIDE = 5

# Without it MLflow opens its pages for language models.
_WORKFLOW = {"workflowType": "machine_learning"}


class StudyPages(NamedTuple):
    """Where a browser finds a study; each begins with `#/` and follows the server's address.

    Attributes:
        trials: its trials in falling order of F1, with charts and pictures.
        best: its best five trials side by side; None while fewer than two have a score.
    """

    study: str
    trials: str
    best: str | None


def server_address(uri: str) -> str | None:
    """The address of the tracking server at `uri` for a browser, without user and password; None for a database."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https"):
        return None
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")


def local_address(port: int = DEFAULT_PORT) -> str:
    """The address of a server of this machine."""
    return f"http://{HOST}:{port}"


def ui_address() -> str:
    """Where the UI over `tracking_uri()` is, or will be once `lsml ui` or `mlflow ui` is started."""
    return server_address(tracking_uri()) or local_address()


def trials_page(experiment_id: str, parent_run_id: str) -> str:
    """A study's trials in falling order of F1, in MLflow's own arrangement of charts."""
    # Only a page that is sorted by a metric lists children without their parent unfolded.
    options = {"searchFilter": trials_query(parent_run_id), "orderByKey": f"metrics.`{BEST_METRIC}`"}
    return _runs_page(experiment_id, options | {"orderByAsc": "false"})


def view_page(experiment_id: str, key: str) -> str:
    """A saved view of the experiment's runs."""
    return _runs_page(experiment_id, {"viewStateShareKey": key})


def _runs_page(experiment_id: str, options: dict[str, str]) -> str:
    return f"#/experiments/{experiment_id}/runs?{_query({'compareRunsMode': 'CHART', **options})}"


def compare_page(experiment_id: str, run_ids: list[str]) -> str:
    """Runs side by side: parameters, metrics, scatter and parallel coordinates."""
    lists = {"runs": run_ids, "experiments": [experiment_id]}
    options = {key: json.dumps(ids, separators=(",", ":")) for key, ids in lists.items()}
    return f"#/compare-runs?{_query(options)}"


def run_page(experiment_id: str, run_id: str) -> str:
    """One run."""
    return f"#/experiments/{experiment_id}/runs/{run_id}?{_query({})}"


def _query(options: dict[str, str]) -> str:
    # In this order: the comparison of chosen runs finds them only where they come first.
    return urlencode(options | _WORKFLOW, quote_via=quote, safe="")


def study_pages(client: MlflowClient, parent: Run) -> StudyPages:
    """The pages of the study whose run is `parent`.

    Raises:
        StorageError: MLflow cannot be asked.
    """
    experiment_id, run_id = parent.info.experiment_id, parent.info.run_id
    with storage_errors("trials of the study"):
        arranged = has_view(client, experiment_id, run_id)
        best = client.search_runs(
            [experiment_id],
            f"{trials_query(run_id)} and metrics.`{BEST_METRIC}` >= 0",
            max_results=SIDE_BY_SIDE,
            order_by=[f"metrics.`{BEST_METRIC}` DESC"],
        )
    return StudyPages(
        study=parent.data.tags[STUDY],
        trials=view_page(experiment_id, run_id) if arranged else trials_page(experiment_id, run_id),
        best=compare_page(experiment_id, [run.info.run_id for run in best]) if len(best) > 1 else None,
    )


def study_runs(client: MlflowClient) -> list[Run]:
    """The runs of all studies, the one that was under way last first.

    Raises:
        StorageError: MLflow cannot be asked.
    """
    with storage_errors("runs of the studies"):
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        runs = client.search_runs(experiments, f"tags.`{ROLE}` = 'study'", max_results=1000)
    return sorted(runs, key=lambda run: (run.info.end_time or float("inf"), run.info.start_time), reverse=True)
