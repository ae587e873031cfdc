"""MLflow's own UI, served on loopback over the stores of this folder, in processes that end with this one."""

import contextlib
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

from lsml.errors import StorageError
from lsml.tracking.pages import DEFAULT_PORT, HOST, local_address
from lsml.tracking.store import tracking_uri

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
