"""MLflow's own UI, served on loopback over the stores of this folder, and the addresses of its pages."""

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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from mlflow import MlflowClient
from mlflow.entities import Run

from lsml.errors import StorageError
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


_PORTS = 50
_START_SECONDS = 90
_STOP_SECONDS = 3

# One process for the pages and none for jobs over language models: a sixth of the memory. Nothing leaves the machine.
_SETTINGS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
_PROCESSES = "1"


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    address: str
    process: subprocess.Popen
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
            raise StorageError(f"port {wanted}", why, "give another with --port N, or none to take the next free one")
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
def serve(port: int, *, log: Path) -> Iterator[Server]:
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
        stores["MLFLOW_REGISTRY_STORE_URI"] = registry
    log.parent.mkdir(parents=True, exist_ok=True)
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
            server = Server(local_address(port), process, log)
            _await_answer(server)
            yield server
        finally:
            _end(process)


def _await_answer(server: Server) -> None:
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


def _end(process: subprocess.Popen) -> None:
    """Asks the server to stop, then kills what is left of its process group."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=_STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
