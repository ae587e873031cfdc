"""Passwords of a PostgreSQL and of an MLflow server stay where they were given, also when one or both are killed."""

import base64
import signal
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest

from tests.postgres import PASSWORD, PostgresServer
from tests.processes import PATIENCE, Running, environment, free_port, lsml
from tests.study.conftest import EXPERIMENT

from .conftest import start_server

MLFLOW_PASSWORD = "canary-90e4b7"
SECRETS = (PASSWORD, MLFLOW_PASSWORD, base64.b64encode(f"admin:{MLFLOW_PASSWORD}".encode()).decode())
AUTH = """
[mlflow]
default_permission = READ
database_uri = sqlite:///basic_auth.db
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 600
"""
"""MLflow's own, but that it remembers whom it has let in: it takes a tenth of a second to check a password."""


class Server:
    """MLflow's, which asks for a password, with its runs in PostgreSQL and its artifacts in files.

    Args:
        url: of the database.
    """

    def __init__(self, place: Path, database: str, url: str) -> None:
        self.place, self.database, self._port = place, database, free_port()
        self.uri = f"http://admin:{MLFLOW_PASSWORD}@127.0.0.1:{self._port}"
        (place / "auth.ini").write_text(AUTH)
        self._settings = {
            "MLFLOW_AUTH_CONFIG_PATH": str(place / "auth.ini"),
            "_MLFLOW_SERVER_FILE_STORE": url.replace("postgresql", "postgresql+psycopg", 1),
            "MLFLOW_AUTH_ADMIN_PASSWORD": MLFLOW_PASSWORD,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "static",
        }
        self.process: BaseProcess
        self.start()

    def start(self) -> None:
        self.process = start_server(self._port, self.place, **self._settings)

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


@pytest.fixture
def guarded(tmp_path: Path, postgres: PostgresServer) -> Iterator[Server]:
    """A server over a database of its own."""
    place = tmp_path / "server"
    place.mkdir()
    database = f"mlflow-guarded-{free_port()}"
    postgres.close_connections()
    server = Server(place, database, postgres.create(database, template="mlflow"))
    yield server
    server.kill()


def holding(text: str) -> list[str]:
    """The secrets that a text holds."""
    return [secret for secret in SECRETS if secret in text]


def _files(*folders: Path) -> dict[str, str]:
    """What is in the files below folders now, by their paths."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path): path.read_bytes().decode("latin-1") for path in files}


DOWN = {"both": [4, 4, 4], "PostgreSQL": [4, 4, 4], "MLflow": [0, 4, 4]}
"""What is killed, and how the three commands leave that are asked meanwhile: of the study's database, of both."""


@pytest.mark.full
@pytest.mark.parametrize("down", DOWN)
def test_no_password_is_left_anywhere(
    tmp_path: Path, patches: Path, postgres: PostgresServer, guarded: Server, down: str
) -> None:
    """By a real study under which the servers die, each alone or both, and which ends well when they are back."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "experiment.yaml").write_text(EXPERIMENT)
    study = f"study-guarded-{down.lower()}"
    env = environment(LSML_STORAGE=postgres.create(study), MLFLOW_TRACKING_URI=guarded.uri)
    command = ("--debug", "tune", "experiment.yaml", "--data", str(patches))
    running = Running(folder, *command, env=env)
    running.wait_for("trial 1  epoch 1/")
    arguments = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    workers = [psutil.Process(pid).environ() for pid in running.worker_pids()]
    if down != "MLflow":
        postgres.stop()
    if down != "PostgreSQL":
        guarded.kill()
    time.sleep(3)
    asking = ("--debug", "evaluate", "--run-id", "0" * 32)
    said = [lsml(folder, *asked, env=env) for asked in (("--debug", "study", "list"), asking, ("doctor",))]
    # With what waits on disk for MLflow.
    texts = {f"{path} meanwhile": text for path, text in _files(folder).items()}
    if running.process.poll() is None:
        running.signal_group(signal.SIGINT)
    # Without MLflow alone it may come to its end, and has nobody to tell of it.
    assert running.process.returncode in (130, 4)
    if down != "MLflow":
        postgres.start()
    if down != "PostgreSQL":
        guarded.start()
    said.append(lsml(folder, *command, env=env, timeout=2 * PATIENCE))
    assert said[-1].returncode == 0, said[-1].stderr
    said += [lsml(folder, *asked, env=env) for asked in (("study", "show", "kill-test"), ("doctor",))]
    assert [done.returncode for done in said] == [*DOWN[down], 0, 0, 0]

    texts |= {" ".join(done.args): done.stdout + done.stderr for done in said} | {"tune": running.said()}
    texts |= {"arguments": "\n".join(arguments)}
    texts |= {name: postgres.dump(name) for name in (study, guarded.database)}
    texts |= _files(folder, guarded.place)
    assert {name: held for name, text in texts.items() if (held := holding(text))} == {}
    assert workers
    assert {name for each in workers for name, value in each.items() if holding(value)} == set()
    # What was looked for would have been found.
    assert str(guarded.place / "basic_auth.db") in texts
    assert any(Path(name).name.startswith("patch") or name.endswith(".keras") for name in texts)
    assert "val_f1" in texts[guarded.database]
