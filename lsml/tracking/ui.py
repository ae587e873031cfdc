"""MLflow's own UI: the addresses of its pages, a saved view of a study's trials, and its server on loopback."""

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from lsml.errors import StorageError
from lsml.names import OBJECTIVE, Artifact, Metric, Role, Tag
from lsml.tracking import tracking_uri
from lsml.tracking.runs import competitors_query, trials_query
from lsml.tracking.store import Client, Run, storage_errors
from lsml.workspace import connection_url, make_folder

HOST, DEFAULT_PORT = "127.0.0.1", 5000
_SIDE_BY_SIDE = 5

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


def _local_address(port: int = DEFAULT_PORT) -> str:
    """The address of a server of this machine."""
    return f"http://{HOST}:{port}"


def ui_address() -> str:
    """Where the UI over `tracking_uri()` is, or will be once `lsml ui` or `mlflow ui` is started."""
    return server_address(tracking_uri()) or _local_address()


def _trials_page(experiment_id: str, parent_run_id: str) -> str:
    """A study's trials in falling order of F1, in MLflow's own arrangement of charts."""
    # Only a page that is sorted by a metric lists children without their parent unfolded.
    options = {"searchFilter": trials_query(parent_run_id), "orderByKey": f"metrics.`{Metric.BEST_F1}`"}
    return _runs_page(experiment_id, options | {"orderByAsc": "false"})


def _view_page(experiment_id: str, key: str) -> str:
    """A saved view of the experiment's runs."""
    return _runs_page(experiment_id, {"viewStateShareKey": key})


def _runs_page(experiment_id: str, options: dict[str, str]) -> str:
    return f"#/experiments/{experiment_id}/runs?{_query({'compareRunsMode': 'CHART', **options})}"


def _compare_page(experiment_id: str, run_ids: list[str]) -> str:
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


def study_pages(client: Client, parent: Run) -> StudyPages:
    """The pages of the study whose run is `parent`.

    Raises:
        StorageError: MLflow cannot be asked.
    """
    experiment_id, run_id = parent.info.experiment_id, parent.info.run_id
    with storage_errors("trials of the study"):
        arranged = _has_view(client, experiment_id, run_id)
        best = client.search_runs(
            [experiment_id],
            f"{trials_query(run_id)} and metrics.`{Metric.BEST_F1}` >= 0",
            max_results=_SIDE_BY_SIDE,
            order_by=[f"metrics.`{Metric.BEST_F1}` DESC"],
        )
    return StudyPages(
        study=parent.data.tags[Tag.STUDY],
        trials=_view_page(experiment_id, run_id) if arranged else _trials_page(experiment_id, run_id),
        best=_compare_page(experiment_id, [run.info.run_id for run in best]) if len(best) > 1 else None,
    )


def study_runs(client: Client) -> list[Run]:
    """The runs of all studies, the one that was under way last first.

    Raises:
        StorageError: MLflow cannot be asked.
    """
    with storage_errors("runs of the studies"):
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        runs = client.search_runs(experiments, f"tags.`{Tag.ROLE}` = '{Role.STUDY}'", max_results=1000)
    return sorted(runs, key=lambda run: (run.info.end_time or float("inf"), run.info.start_time), reverse=True)


# A saved view says which trial of a study is better, and where; MLflow's own arrangement draws every metric and prints
# every parameter above every picture. It is a tag of the experiment, JSON with a name, two times and the page's state,
# as MLflow 3.17 writes it, and stands in the page's menu "Views". Other versions show their own.
_WHICH, _WHERE, _WHY, _PATCHES = "which", "where", "why", "patches"

# Pixels, wide enough for most heads; MLflow's own 80 show no head in full.
_COLUMN_WIDTH = 140

# MLflow's names of the page's settings; those left out have its defaults.
_LINE = {
    "lineSmoothness": 0,
    "xAxisScaleType": "linear",
    "scaleType": "linear",
    "range": {},
    "xAxisKey": "step",
    "selectedXAxisMetricKey": "",
    "yAxisKey": "metric",
    "yAxisExpressions": [],
    "ignoreOutliers": False,
    "useGlobalXaxisKey": True,
    "useGlobalLineSmoothing": True,
}


def _has_view(client: Client, experiment_id: str, key: str) -> bool:
    """Whether the experiment has a saved view of that key."""
    return f"{Tag.SHARED_VIEW}{key}" in client.get_experiment(experiment_id).tags


def save_study_view(client: Client, parent: Run, *, study: str, best_run: str, searched: Sequence[str]) -> None:
    """Saves the view of a study's trials and baselines under the id of its run, in place of an earlier one.

    Args:
        parent: the study's run.
        best_run: a run that has the pictures that every trial has.
        searched: the parameters that differ from trial to trial.

    Raises:
        StorageError: MLflow cannot store it.
    """
    state = _state(competitors_query(parent.info.run_id), searched, _picture_keys(client, best_run, "validation"))
    packed = base64.b64encode(zlib.compress(json.dumps(state, separators=(",", ":")).encode())).decode()
    now = int(time.time() * 1000)
    tag = {"name": f"{study}: which trial is better, and where", "createdAt": now, "updatedAt": now}
    with storage_errors("saved view of the study"):
        client.set_experiment_tag(
            parent.info.experiment_id,
            f"{Tag.SHARED_VIEW}{parent.info.run_id}",
            json.dumps(tag | {"state": f"deflate;{packed}"}),
        )


def _state(query: str, searched: Sequence[str], pictures: Sequence[str]) -> dict[str, Any]:
    columns = [
        *(f"metrics.`{metric}`" for metric in (Metric.BEST_F1, Metric.BEST_PRECISION, Metric.BEST_RECALL)),
        *(f"params.`{parameter}`" for parameter in searched),
        *(f"tags.`{tag}`" for tag in (Tag.STATE, Tag.ROLE)),
    ]
    return {
        "searchFilter": query,
        "orderByKey": f"metrics.`{Metric.BEST_F1}`",
        "orderByAsc": False,
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": dict.fromkeys(columns, _COLUMN_WIDTH),
        "compareRunCharts": [
            _bar(_WHICH, Metric.BEST_F1),
            _line(_WHICH, OBJECTIVE),
            _scatter(_WHICH, Metric.BEST_RECALL, Metric.BEST_PRECISION),
            _line(_WHICH, Metric.VAL_LOSS, scaleType="log"),
            _pictures(_WHERE, pictures),
            _chart(_WHY, "PARALLEL", selectedParams=list(searched), selectedMetrics=[Metric.BEST_F1], showAllRuns=True),
            _differences(),
            *(_pictures(_PATCHES, [picture]) for picture in pictures),
        ],
        "compareRunSections": [
            _section(_WHICH, "Which trial is better", columns=2),
            _section(_WHERE, "Where it is better: the same patches by every trial", columns=1, cardHeight=800),
            _section(_WHY, "What differs between them", columns=1, cardHeight=440),
            _section(_PATCHES, "One patch, larger", columns=1, cardHeight=620),
        ],
        "isAccordionReordered": True,
    }


def _section(key: str, name: str, **layout: int) -> dict[str, Any]:
    return {"uuid": key, "name": name, "display": True, "isReordered": True, "deleted": False} | layout


def _chart(section: str, kind: str, **settings: Any) -> dict[str, Any]:
    about = "+".join(map(str, settings.get("imageKeys", [settings.get("metricKey", kind)])))
    base = {"uuid": f"{section}-{kind}-{about}", "type": kind, "metricSectionId": section, "runsCountToCompare": 10}
    return base | {"deleted": False, "isGenerated": False} | settings


def _bar(section: str, metric: str) -> dict[str, Any]:
    return _chart(section, "BAR", metricKey=metric, displayName=metric)


def _line(section: str, metric: str, **settings: str) -> dict[str, Any]:
    return _chart(section, "LINE", metricKey=metric, displayName=metric, **_LINE | settings)


def _scatter(section: str, across: str, up: str) -> dict[str, Any]:
    axes = {name: {"key": metric, "type": "METRIC"} for name, metric in (("xaxis", across), ("yaxis", up))}
    return _chart(section, "SCATTER", **axes)


def _differences() -> dict[str, Any]:
    return _chart(
        _WHY,
        "DIFFERENCE",
        chartName="Parameters and scores that differ",
        compareGroups=["Parameters", "Model metrics"],
        showChangeFromBaseline=False,
        showDifferencesOnly=True,
        baselineColumnUuid="",
    )


def _pictures(section: str, keys: Sequence[str]) -> dict[str, Any]:
    return _chart(section, "IMAGE", imageKeys=list(keys), step=0, showRunParams=False)


def _picture_keys(client: Client, run_id: str, split: str) -> list[str]:
    """The keys of the pictures of patches of `split` that a run has, by name."""
    with storage_errors(f"pictures of run {run_id}"):
        files = [entry.path.rpartition("/")[2] for entry in client.list_artifacts(run_id, Artifact.IMAGES)]
    # `log_image` writes a key's slashes as tildes, and puts step and time behind a plus.
    keys = {file.partition("+")[0].replace("~", "/") for file in files}
    return sorted(key for key in keys if key.startswith(f"{split}/"))


_PORTS = 50
_START_SECONDS = 90
_STOP_SECONDS = 3

# One process for the pages and none for jobs over language models: a sixth of the memory. Nothing leaves the machine.
_SETTINGS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
_PROCESSES = "1"


@dataclass(frozen=True)
class _Server:
    """A server that answers."""

    address: str
    process: subprocess.Popen[bytes]
    log: Path

    def wait(self) -> None:
        """Returns when the server has ended by itself, which it should not.

        Raises:
            StorageError: always.
        """
        self.process.wait()
        raise _ended(self.log)


def free_port(wanted: int | None) -> int:
    """`wanted`, or without it the first port from MLflow's 5000 on that is free.

    Raises:
        StorageError: the wanted port, or each of fifty, is in use or not allowed.
    """
    if wanted is not None:
        why = _obstacle(wanted)
        if why:
            raise StorageError(f"port {wanted}", why, "choose another --port N, or leave it out for the next free one")
        return wanted
    for port in range(DEFAULT_PORT, DEFAULT_PORT + _PORTS):
        if not _obstacle(port):
            return port
    raise StorageError(f"ports {DEFAULT_PORT} to {DEFAULT_PORT + _PORTS - 1}", "none is free", "give one with --port N")


def _obstacle(port: int) -> str:
    with socket.socket() as probe:
        # As the server itself will ask: a port whose last connections are still closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return str(error.strerror).lower()
    return ""


@contextlib.contextmanager
def serve(port: int, *, log: Path) -> Iterator[_Server]:
    """MLflow's server over `tracking_uri()`, answering; on the way out it and all its processes have ended.

    Args:
        log: a file for what the server says.

    Raises:
        StorageError: the server ends before it answers, or does not answer in time.
    """
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", _PROCESSES]
    # New experiments put their artifacts where a client without a server puts them.
    command += ["--default-artifact-root", str(Path("mlruns").resolve())]
    # By the environment, because arguments, and a database's password among them, are for every user to see.
    stores = {"MLFLOW_BACKEND_STORE_URI": tracking_uri()}
    if registry := os.environ.get("MLFLOW_REGISTRY_URI"):
        stores["MLFLOW_REGISTRY_STORE_URI"] = connection_url(registry)
    make_folder(log.parent)
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            env=_SETTINGS | os.environ | stores,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A session of its own: Ctrl-C reaches this process alone, which then ends the whole session.
            start_new_session=True,
        )
        try:
            server = _Server(_local_address(port), process, log)
            _await_answer(server)
            yield server
        finally:
            _end(process)


def _await_answer(server: _Server) -> None:
    end = time.monotonic() + _START_SECONDS
    # No proxy stands between this machine and itself.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < end:
        if server.process.poll() is not None:
            raise _ended(server.log)
        with contextlib.suppress(urllib.error.URLError, OSError), opener.open(f"{server.address}/health", timeout=5):
            return
        time.sleep(0.1)
    raise StorageError("MLflow's UI", f"no answer within {_START_SECONDS} s", f"see {server.log}")


def _ended(log: Path) -> StorageError:
    lines = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
    return StorageError("MLflow's UI", f"its server ended: {lines[-1][:300]}", f"see {log}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asks the server to stop, then kills what is left of its process group."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
