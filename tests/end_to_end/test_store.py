"""An MLflow server that is not there, or not well."""

import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.processes import environment, lsml


class _Unwell(BaseHTTPRequestHandler):
    """Answers everything with 500."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_error(500)

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def unwell() -> Iterator[str]:
    """The address of a server that answers every request with 500."""
    server = HTTPServer(("127.0.0.1", 0), _Unwell)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_server_that_is_not_there_is_said(tmp_path: Path) -> None:
    """Nobody listens on port 9 of this machine: exit code 4, one line with host and port."""
    done = _evaluate(tmp_path, "http://127.0.0.1:9")
    assert done.returncode == 4
    (line,) = done.stderr.splitlines()
    assert line.startswith("lsml: error: MLflow store: 127.0.0.1:9 does not answer; ")


def test_a_server_that_answers_500_is_said(tmp_path: Path, unwell: str) -> None:
    """A server in trouble is given up after a few tries: exit code 4, one line."""
    done = _evaluate(tmp_path, unwell)
    assert done.returncode == 4
    (line,) = done.stderr.splitlines()
    assert line.startswith("lsml: error: MLflow store: ")


def test_a_server_that_never_answers_is_said(tmp_path: Path) -> None:
    """The kernel accepts the connection for it, and nobody reads."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        # Ten seconds, where nobody says otherwise; MLflow would wait for 120, and again.
        done = _evaluate(tmp_path, f"http://{address}", MLFLOW_HTTP_REQUEST_TIMEOUT="2")
    assert done.returncode == 4
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"lsml: error: MLflow store: {address} does not answer")


def test_a_store_without_its_driver_names_the_package(tmp_path: Path) -> None:
    """One line, without the password."""
    done = _evaluate(tmp_path, "mysql+pymysql://user:secret@127.0.0.1/mlflow")
    assert done.returncode == 4
    assert done.stderr == "lsml: error: MLflow store: Python package pymysql is not installed; pip install pymysql\n"


def _evaluate(folder: Path, uri: str, **settings: str) -> subprocess.CompletedProcess[str]:
    env = environment(MLFLOW_TRACKING_URI=uri, **settings)
    # By MLflow's own settings it would take some minutes.
    return lsml(folder, "evaluate", "--run-id", "0" * 32, env=env, timeout=100)
