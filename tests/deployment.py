"""What `deploy/` starts: as data, and as processes of this machine instead of containers."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import yaml

from tests.postgres import PASSWORD, PostgresServer, postgres_server
from tests.processes import wait_until

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
PORTS = {"postgres": "5432", "mlflow": "5000", "scheduler": "8786"}
"""By service."""
ENTRYPOINT = ("lsml",)
"""Of the image that the Dockerfile makes."""


class Container(NamedTuple):
    """One container.

    Attributes:
        image: its name.
        words: the command; empty where the image has it.
        environment: values by name; None where a secret has it.
    """

    image: str
    words: tuple[str, ...]
    environment: Mapping[str, str | None]


def compose() -> dict[str, Any]:
    """The compose file."""
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return found


def kustomization() -> dict[str, Any]:
    """What joins the manifests."""
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "kubernetes/kustomization.yaml").read_text(encoding="utf-8"))
    return found


def manifests() -> list[dict[str, Any]]:
    """The objects of all manifests."""
    texts = [(DEPLOY / "kubernetes" / name).read_text(encoding="utf-8") for name in kustomization()["resources"]]
    return [found for text in texts for found in yaml.safe_load_all(text)]


def composed() -> dict[str, Container]:
    """The containers of the compose file, by service."""
    found = {}
    for name, service in compose()["services"].items():
        own = ENTRYPOINT if service["image"] == "lsml" else ()
        words = (*service.get("entrypoint", own), *service.get("command", ()))
        found[name] = Container(service["image"], words, service["environment"])
    return found


def pods() -> dict[str, dict[str, Any]]:
    """The pods of the manifests, by the name of what makes them."""
    return {
        found["metadata"]["name"]: found["spec"]["template"]["spec"]
        for found in manifests()
        if "template" in found.get("spec", {})
    }


def orchestrated() -> dict[str, Container]:
    """The containers of the manifests, by the name of what makes them."""
    return {name: _of_pod(pod) for name, pod in pods().items()}


def _of_pod(pod: Mapping[str, Any]) -> Container:
    (container,) = pod["containers"]
    environment = {entry["name"]: entry.get("value") for entry in container.get("env", ())}
    for source in container.get("envFrom", ()):
        environment |= dict(_literals(source["configMapRef"]["name"]))
    return Container(container["image"], (*container.get("command", ()), *container.get("args", ())), dict(environment))


def _literals(name: str) -> Iterator[tuple[str, str]]:
    (generator,) = [found for found in kustomization()["configMapGenerator"] if found["name"] == name]
    for literal in generator["literals"]:
        key, _, value = literal.partition("=")
        yield key, value


class Deployment:
    """The services of the compose file as processes, by its own commands and variables.

    Args:
        folder: of their logs, and of the secrets, which are made.
        places: host and port of each service that has one, such as `127.0.0.1:40123`.
        password: of the database's user.
    """

    def __init__(self, folder: Path, places: Mapping[str, str], password: str) -> None:
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []
        self._secrets = folder / "secrets"
        subprocess.run(["sh", str(DEPLOY / "secrets.sh"), str(self._secrets)], check=True)
        self._places = {f"{service}:{PORTS[service]}": place for service, place in places.items()}
        pgpass = self._secrets / "pgpass"
        pgpass.write_text(f"{places['postgres']}:*:lsml:{password}\n")
        self.pem = self._secrets / "dask.pem"

    def _here(self, text: str) -> str:
        for name, place in self._places.items():
            host, port = place.split(":")
            text = {name.partition(":")[2]: port, "0.0.0.0": host}.get(text, text.replace(name, place))
        return text.replace("/run/secrets", str(self._secrets)).replace("/project", str(self._folder))

    def environment(self, service: str, **changes: str) -> dict[str, str]:
        """All that a service has: this process's, but for what speaks to MLflow, and its own."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "LSML_", "PG"))}
        own = {name: self._here(str(value)) for name, value in composed()[service].environment.items()}
        return kept | {"PYTHONPATH": str(ROOT)} | own | changes

    def words(self, service: str, *arguments: str) -> list[str]:
        """Its command by the program of this environment, and further arguments."""
        program, *words = composed()[service].words
        return [str(Path(sys.executable).with_name(program)), *map(self._here, words), *arguments]

    def start(self, service: str, *arguments: str, name: str = "", **changes: str) -> None:
        """A process of the service, whose log has its name; another one where it ends and the file says so."""
        words = self.words(service, *arguments)
        if compose()["services"][service]["restart"] == "unless-stopped":
            words = ["sh", "-c", 'while :; do "$@"; sleep 1; done', "sh", *words]
        self.run(words, name or service, self.environment(service, **changes))

    def run(self, words: Sequence[str], name: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """A process of its own, which `end` ends; its log has that name."""
        with (self._folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                words, cwd=self._folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._started.append(process)
        return process

    def log(self, name: str) -> str:
        """What it has said so far."""
        return (self._folder / f"{name}.log").read_text(encoding="utf-8")

    def open_runs(self) -> list[Any]:
        """Runs that MLflow's server has for open; there are others."""
        from mlflow import MlflowClient

        client = MlflowClient(self.environment("coordinator")["MLFLOW_TRACKING_URI"])
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        assert len(client.search_runs(experiments)) > 0
        return list(client.search_runs(experiments, "attributes.status = 'RUNNING'"))

    def end(self) -> None:
        """Kills all that was started, and what that has started."""
        for process in self._started:
            with suppress(psutil.NoSuchProcess):
                children = psutil.Process(process.pid).children(recursive=True)
                # First, as it would start others in their place.
                process.kill()
                for child in children:
                    child.kill()
            process.wait()


@contextmanager
def services(folder: Path, address: str, ports: Mapping[str, int]) -> Iterator[tuple[Deployment, PostgresServer]]:
    """PostgreSQL, MLflow's server and dask's scheduler, which have begun to answer.

    Args:
        folder: of the deployment.
        address: where they are to be reached.
        ports: of `mlflow` and `scheduler`.
    """
    with postgres_server(address) as postgres:
        postgres.create("mlflow")
        postgres.create("studies")
        places = {name: f"{address}:{port}" for name, port in {**ports, "postgres": postgres.port}.items()}
        deployment = Deployment(folder, places, PASSWORD)
        try:
            deployment.start("mlflow", "--workers", "1")
            deployment.start("scheduler", "--host", address)
            wait_until(lambda: "Scheduler at" in deployment.log("scheduler"))
            wait_until(lambda: _answers(f"http://{places['mlflow']}/health"))
            yield deployment, postgres
        finally:
            deployment.end()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False
