"""A study of real trainings by the commands of `deploy/compose.yaml`, as processes: PostgreSQL, MLflow, TLS and all."""

import contextlib
import json
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, Security

from tests.deployment import Deployment, services
from tests.processes import PATIENCE, free_port, lsml, wait_until
from tests.study.conftest import counted, same_curves

from .conftest import EXPERIMENT

LOOPBACK = "127.0.0.1"

pytestmark = [pytest.mark.full]


class Running:
    """The services, and a client of the cluster that has shown the certificate."""

    def __init__(self, deployment: Deployment, folder: Path, address: str, storage: str) -> None:
        self.deployment, self.folder, self.address, self.storage = deployment, folder, address, storage
        pem = str(deployment.pem)
        self.security = Security(require_encryption=True, tls_ca_file=pem, tls_client_cert=pem)

    def client(self) -> Client:
        return Client(self.address, security=self.security, set_as_default=False, timeout=60)

    def worker(self, name: str) -> None:
        """Starts a worker, and waits until the scheduler has it."""
        self.deployment.start("worker", "--name", name, "--host", LOOPBACK, name=name)
        wait_until(lambda: name in self.working())

    def working(self) -> dict[str, int]:
        """How many tasks each worker has, by name."""
        with self.client() as client:
            tasks = client.processing()
            return {worker["name"]: len(tasks.get(at, ())) for at, worker in client.scheduler_info()["workers"].items()}

    def tune(self, data: Path, study: str, trials: int) -> None:
        """The coordinator's command, for an experiment of these tests."""
        words = self.deployment.words("coordinator", "--data", str(data), "--study", study, "--trials", str(trials))
        words[words.index("demo")] = "experiment.yaml"
        env = self.deployment.environment("coordinator")
        done = subprocess.run(words, cwd=self.folder, env=env, capture_output=True, text=True, timeout=500, check=False)
        assert done.returncode == 0, done.stderr

    def shown(self, study: str) -> dict[str, Any]:
        """The study, as `lsml study show` has it."""
        done = lsml(self.folder, "study", "show", study, "--json", env=self.deployment.environment("coordinator"))
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("deployed")
    (folder / "experiment.yaml").write_text(EXPERIMENT)
    ports = {"mlflow": free_port(), "scheduler": free_port()}
    with services(folder, LOOPBACK, ports) as (deployment, postgres):
        yield Running(deployment, folder, f"tls://{LOOPBACK}:{ports['scheduler']}", postgres.url("studies"))


def _scores(shown: dict[str, Any]) -> dict[str, Any]:
    """What a study found, but for the ids of runs."""
    baselines = [{name: value for name, value in entry.items() if name != "run_id"} for entry in shown["baselines"]]
    names = ("label", "best_f1", "corrected", "against_base", "network", "importance", "searched")
    return {name: shown[name] for name in names} | {"baselines": baselines}


def test_a_study_of_a_cluster_has_the_numbers_of_one_here(deployed: Running, dataset: Path, tmp_path: Path) -> None:
    """To the last digit, with one worker; in PostgreSQL and by MLflow's server as in files here."""
    deployed.worker("first")
    deployed.tune(dataset, "one", 3)
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    done = lsml(tmp_path, "tune", "experiment.yaml", "--data", str(dataset), "--study", "one", python=sys.executable)
    assert done.returncode == 0, done.stderr
    here = json.loads(lsml(tmp_path, "study", "show", "one", "--json").stdout)
    there = deployed.shown("one")
    same_curves(counted("one", deployed.storage), counted("one", f"sqlite:///{tmp_path / 'optuna.db'}"))
    assert _scores(there) == _scores(here)
    assert len(there["attempts"]) == 3
    assert deployed.deployment.open_runs() == []
    assert deployed.working() == {"first": 0}


def test_two_workers_end_each_trial_once(deployed: Running, dataset: Path) -> None:
    """Six slots, one attempt each, by both workers, which are free in the end."""
    for name in {"first", "second"} - deployed.working().keys():
        deployed.worker(name)
    deployed.tune(dataset, "two", 6)
    attempts = deployed.shown("two")["attempts"]
    assert [attempt["slot"] for attempt in attempts] == list(range(6))
    assert {attempt["state"] for attempt in attempts} <= {"complete", "pruned"}
    assert {attempt["worker"].split()[0] for attempt in attempts} == {"first", "second"}
    assert deployed.deployment.open_runs() == []
    assert deployed.working() == {"first": 0, "second": 0}


def _greeting(address: str, context: ssl.SSLContext | None) -> bytes:
    """The first byte of what dask says to whoever connects; none where it hangs up."""
    host, port = address.rpartition("/")[2].split(":")
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection((host, int(port)), timeout=PATIENCE))
        if context:
            connection = stack.enter_context(context.wrap_socket(connection))
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            connection.sendall(bytes(64))
            return connection.recv(1)
    return b""


def test_nobody_without_the_certificate_is_let_in(deployed: Running) -> None:
    """Neither by TLS nor without; and the page that dask serves without a dashboard is not there."""
    anybody, known = (ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) for _ in range(2))
    for context in (anybody, known):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    known.load_cert_chain(deployed.deployment.pem)
    assert [len(_greeting(deployed.address, context)) for context in (known, anybody, None)] == [1, 0, 0]
    with deployed.client() as client:
        port = client.scheduler_info()["services"]["dashboard"]
    for path in ("info/main/workers.html", "health", "json/identity.json"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://{LOOPBACK}:{port}/{path}", timeout=PATIENCE)
