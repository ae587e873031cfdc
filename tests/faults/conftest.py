"""An MLflow server, and a proxy before it that loses what a bad network or a bad server loses."""

import hashlib
import http.client
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests import warm
from tests.postgres import PostgresServer, postgres_server
from tests.processes import PATIENCE, free_port, wait_until
from tests.study.conftest import folder, patches  # noqa: F401 (fixtures)


class Proxy:
    """Stands before a server, and does with each request what `fault` says.

    Attributes:
        fault: None hands everything on. `down` refuses connections, `hang` never answers, `500` answers so; `drop`
            hands on and loses the answer of what writes, the first time that it comes.
        address: for clients.
    """

    def __init__(self, upstream: int) -> None:
        self.fault: str | None = None
        self._seen: set[str] = set()
        self._released = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer._handle(self, upstream)

            do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, request: BaseHTTPRequestHandler, upstream: int) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        if request.headers.get("Transfer-Encoding") == "chunked":
            body = _chunks(request)
        fault = self.fault
        if fault == "hang":
            self._released.wait()
        if fault in ("down", "hang"):
            request.close_connection = True
            # Without an answer, as where the process of the server has ended.
            with suppress(OSError):
                request.connection.shutdown(socket.SHUT_RDWR)
            return
        if fault == "500":
            request.send_error(500)
            return
        status, headers, content = _forward(request, upstream, body)
        if fault == "drop" and self._is_first(request, body):
            request.close_connection = True
            return
        request.send_response(status)
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "content-length", "connection", "server", "date"):
                request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        with suppress(OSError):
            request.wfile.write(content)

    def _is_first(self, request: BaseHTTPRequestHandler, body: bytes) -> bool:
        """Whether it writes, and did not come before."""
        if request.command == "GET" or "search" in request.path:
            return False
        # A file has its path; the same one may say at which time it was written.
        told = b"" if request.command == "PUT" else body
        key = hashlib.sha256(f"{request.command} {request.path}".encode() + told).hexdigest()
        first = key not in self._seen
        self._seen.add(key)
        return first


def _chunks(request: BaseHTTPRequestHandler) -> bytes:
    parts = []
    while size := int(request.rfile.readline(), 16):
        parts.append(request.rfile.read(size))
        request.rfile.readline()
    request.rfile.readline()
    return b"".join(parts)


def _forward(request: BaseHTTPRequestHandler, upstream: int, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", upstream, timeout=PATIENCE)
    kept = {k: v for k, v in request.headers.items() if k.lower() not in ("transfer-encoding", "connection")}
    connection.request(request.command, request.path, body, kept | {"Content-Length": str(len(body))})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.getheaders(), content


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, new_store: Callable[[Path], str]) -> Iterator[int]:
    """The port of an MLflow server with a database and artifacts of its own."""
    place = tmp_path_factory.mktemp("server")
    new_store(place)
    port = free_port()
    process = start_server(port, place)
    yield port
    process.terminate()
    process.join(PATIENCE)


def start_server(port: int, place: Path, **environment: str) -> BaseProcess:
    """An MLflow server that answers; in a folder with its `log`, `files` and database, if it is given no other.

    It asks for the password that `MLFLOW_AUTH_ADMIN_PASSWORD` names, where that is given.
    """
    # A fork of the warmed-up process: an interpreter takes half a minute on a busy machine to import a server.
    process = warm.start_function(_serve, port, place, environment)
    _await(port, process, place / "log")
    return process


def _serve(port: int, place: Path, environment: Mapping[str, str]) -> None:
    """MLflow's server, as `mlflow server` has it; runs in a process of its own."""
    os.chdir(place)
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.environ |= {
        "_MLFLOW_SERVER_FILE_STORE": "sqlite:///mlflow.db",
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(place / "files"),
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        **environment,
    }
    from mlflow.server import app
    from werkzeug.serving import make_server

    if "MLFLOW_AUTH_ADMIN_PASSWORD" in environment:
        from mlflow.server.auth import create_app

        app = create_app(app)
    make_server("127.0.0.1", port, app, threaded=True).serve_forever()


def _await(port: int, process: BaseProcess, log: Path) -> None:
    def answers() -> bool:
        assert process.is_alive(), log.read_text()
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        return False

    wait_until(answers)


@pytest.fixture
def proxy(server: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:  # noqa: F811
    """A proxy before the server, which this process is given; runs are in an experiment of their own."""
    standing = Proxy(server)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", standing.address)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", folder.name)
    yield standing
    standing.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server with an MLflow database without runs, `mlflow`, to copy; its migrations take longer than the tests."""
    from lsml.tracking.store import open_client

    with postgres_server() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", server.create("mlflow"))
        open_client()
        server.close_connections()
        yield server
