"""`deploy/`: whether its files hold together, and whether what they start and set is there.

No container runs here: images, and what docker, Kubernetes and Slurm make of these files, are not tested.
"""

import re
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import dask
import psycopg
import pytest
from distributed.cli import dask_scheduler, dask_worker
from distributed.security import Security

from tests.deployment import DEPLOY, PORTS, Container, compose, composed, kustomization, manifests, orchestrated, pods
from tests.test_project import ROOT, command_of

CONTAINERS = {
    f"{kind} {name}": container
    for kind, found in (("compose", composed()), ("kubernetes", orchestrated()))
    for name, container in found.items()
}
OURS = {name: container for name, container in CONTAINERS.items() if container.image == "lsml"}


def _command(words: tuple[str, ...]) -> tuple[click.Command, list[str]]:
    """The click command that a container runs, and its arguments."""
    from mlflow.cli import cli

    commands = {
        ("dask", "scheduler"): dask_scheduler.main,
        ("dask", "worker"): dask_worker.main,
        ("mlflow", "server"): cli.commands["server"],
    }
    if words[0] == "lsml":
        return command_of(list(words[1:]))
    return commands[words[:2]], list(words[2:])


@pytest.mark.parametrize("name", OURS)
def test_a_container_runs_a_command_that_there_is(name: str) -> None:
    """Its options are those of the command, and their values are taken; both files start the same."""
    command, words = _command(OURS[name].words)
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    # dask takes options that it does not know.
    assert [word for word in words if word.startswith("--") and word not in options] == []
    with command.make_context(name, list(words)) as context:
        assert context.params
    assert _same_everywhere(OURS[name]) == _same_everywhere(OURS[f"compose {name.split()[1]}"])


def _same_everywhere(container: Container) -> list[str]:
    return [word for word in container.words if "localhost:" not in word and not word.startswith("0.")]


def test_both_have_the_same_parts() -> None:
    assert composed().keys() == orchestrated().keys() == {*PORTS, "worker", "coordinator"}


def _known(name: str) -> bool:
    """Whether the program that reads such a variable knows it."""
    import mlflow.environment_variables

    if name.startswith("DASK_"):
        key = name.removeprefix("DASK_").lower().replace("__", ".")
        return dask.config.get(key, default=name) != name
    if name.startswith("MLFLOW_"):
        server = {parameter.envvar for parameter in _command(("mlflow", "server"))[0].params}
        return name in server or hasattr(mlflow.environment_variables, name)
    if name.startswith("LSML_"):
        return any(f'"{name}"' in path.read_text(encoding="utf-8") for path in (ROOT / "lsml").rglob("*.py"))
    return name.encode() in {option.envvar for option in psycopg.pq.Conninfo.get_defaults()}


@pytest.mark.parametrize("name", OURS)
def test_a_variable_is_one_that_its_program_reads(name: str) -> None:
    """Of dask, MLflow, lsml or PostgreSQL's library; those of the image postgres are not looked at."""
    assert [variable for variable in OURS[name].environment if not _known(variable)] == []


@pytest.mark.parametrize("name", CONTAINERS)
def test_no_secret_is_an_argument_or_a_value(name: str) -> None:
    """Every address names a part of the same file at its port, and no password."""
    container = CONTAINERS[name]
    values = [*container.words, *filter(None, container.environment.values())]
    for address in (value for value in values if "://" in value):
        found = re.fullmatch(r"[a-z+]+://(?:lsml@)?([a-z]+):(\d+)(?:/[a-z]+)?", address)
        assert found, address
        assert PORTS[found[1]] == found[2]
    secret = [variable for variable in container.environment if variable.endswith("PASSWORD")]
    assert [variable for variable in secret if container.environment[variable] is not None] == []


def test_workers_are_given_no_way_to_the_stores() -> None:
    for name in ("compose worker", "kubernetes worker", "compose scheduler", "kubernetes scheduler"):
        assert [variable for variable in CONTAINERS[name].environment if not variable.startswith("DASK_")] == []


def _made_secrets() -> set[str]:
    """The files that the script says it makes."""
    return set(re.findall(r"^# (\S+) {2,}", (DEPLOY / "secrets.sh").read_text(encoding="utf-8"), re.MULTILINE))


def test_the_compose_file_names_what_it_declares() -> None:
    """Each secret, configuration, volume and network that is used is declared, and the other way round."""
    file = compose()
    used: dict[str, set[str]] = {kind: set() for kind in ("secrets", "configs", "volumes", "networks", "depends_on")}
    for service in file["services"].values():
        for kind, names in used.items():
            for entry in service.get(kind, ()):
                names.add(entry["source"] if isinstance(entry, dict) else entry.partition(":")[0])
    assert used.pop("depends_on") <= file["services"].keys()
    assert used == {kind: set(file[kind]) for kind in used}
    paths = {name: secret["file"] for name, secret in file["secrets"].items()}
    assert paths == {name: f"secrets/{name}" for name in _made_secrets()}
    for service in file["services"].values():
        mounted = re.findall(r"/run/secrets/([^'\"]+)", str(list(service["environment"].values())))
        assert set(mounted) == set(service.get("secrets", ()))
    # The one port that is open is open to this machine alone.
    assert {port for service in file["services"].values() for port in service.get("ports", ())} == {
        "127.0.0.1:5000:5000"
    }
    networks = {name: set(service["networks"]) for name, service in file["services"].items()}
    assert networks["worker"].isdisjoint(networks["postgres"] | networks["mlflow"])


def _values(found: Any, key: str) -> list[Any]:
    """What stands under a key, wherever in an object."""
    if isinstance(found, Mapping):
        return [value for name, value in found.items() if name == key] + [
            inner for value in found.values() for inner in _values(value, key)
        ]
    return [inner for value in found for inner in _values(value, key)] if isinstance(found, list) else []


def test_the_manifests_name_what_they_declare() -> None:
    """Secrets, configurations, claims, labels, mounts and files."""
    objects, joined = manifests(), kustomization()
    files = {path.name for path in (DEPLOY / "kubernetes").glob("*.yaml")}
    assert set(joined["resources"]) == files - {"kustomization.yaml"}
    named = {
        kind: {o["metadata"]["name"] for o in objects if o["kind"] == kind} for kind in {o["kind"] for o in objects}
    }
    assert named["Namespace"] == {joined["namespace"]}
    secrets = {generator["name"]: generator["files"] for generator in joined["secretGenerator"]}
    asked = {ref["name"] for ref in _values(objects, "secretKeyRef")} | set(_values(objects, "secretName"))
    assert asked == secrets.keys()
    assert {file.rpartition("secrets/")[2] for files in secrets.values() for file in files} <= _made_secrets()
    maps = [*_values(objects, "configMapRef"), *_values(objects, "configMap")]
    assert {ref["name"] for ref in maps} == {generator["name"] for generator in joined["configMapGenerator"]}
    assert set(_values(objects, "claimName")) == named["PersistentVolumeClaim"]
    labels = {label for found in _values(objects, "labels") for label in found.values()}
    assert labels == composed().keys()
    assert {label for found in _values(objects, "matchLabels") for label in found.values()} <= labels
    assert {
        label for found in _values(objects, "matchExpressions") for rule in found for label in rule["values"]
    } <= labels
    services = {o["metadata"]["name"]: str(o["spec"]["ports"][0]["port"]) for o in objects if o["kind"] == "Service"}
    assert services == PORTS
    for name, pod in pods().items():
        (container,) = pod["containers"]
        claims = _values([o for o in objects if o["metadata"]["name"] == name], "volumeClaimTemplates")
        volumes = {volume["name"] for volume in pod["volumes"]} | {c["metadata"]["name"] for cs in claims for c in cs}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        # Else a service called mlflow would set MLFLOW_PORT, and others what other programs read.
        assert pod["enableServiceLinks"] is False
        assert pod["automountServiceAccountToken"] is False


def test_databases_are_made_that_are_used() -> None:
    """MLflow's with the server, the studies' by the script that the image runs once."""
    for kind, found in (("compose", composed()), ("kubernetes", orchestrated())):
        urls = [
            found["mlflow"].environment["MLFLOW_BACKEND_STORE_URI"],
            found["coordinator"].environment["LSML_STORAGE"],
        ]
        assert found["postgres"].environment["POSTGRES_DB"] == "mlflow", kind
        assert [str(url).rpartition("/")[2] for url in urls] == ["mlflow", "studies"]
    (literal,) = [g["literals"] for g in kustomization()["configMapGenerator"] if g["name"] == "databases"]
    assert literal == [f"databases.sql={compose()['configs']['databases']['content']}"]
    assert literal == ["databases.sql=create database studies;"]


def test_secrets_are_made_once_and_for_their_user_alone(tmp_path: Path) -> None:
    """dask takes the certificate, in every role; the password is in both files; a second call changes nothing."""
    command = ["sh", str(DEPLOY / "secrets.sh"), str(tmp_path / "made")]
    subprocess.run(command, check=True, capture_output=True)
    made = {path.name: path for path in (tmp_path / "made").iterdir()}
    assert made.keys() == _made_secrets()
    assert {stat.S_IMODE(path.stat().st_mode) for path in made.values()} == {0o600}
    assert made["pgpass"].read_text() == f"postgres:5432:*:lsml:{made['postgres'].read_text()}\n"
    pem = str(made["dask.pem"])
    security = Security(
        require_encryption=True, tls_ca_file=pem, tls_client_cert=pem, tls_scheduler_cert=pem, tls_worker_cert=pem
    )
    for role in ("client", "scheduler", "worker"):
        assert security.get_connection_args(role)["ssl_context"].get_ca_certs()
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "dask.pem exists already; remove it, or choose another folder" in again.stderr
    nowhere = subprocess.run(command[:2], capture_output=True, text=True, check=False)
    assert (nowhere.returncode, nowhere.stderr.count("\n")) == (2, 1)


def test_shell_scripts_are_shell() -> None:
    for path in DEPLOY.rglob("*.sh"):
        subprocess.run(["bash", "-n", str(path)], check=True)


def test_the_job_of_slurm_sets_what_the_compose_file_sets() -> None:
    """Its directives stand before the first command, or Slurm would not see them; what it runs is Python."""
    text = (DEPLOY / "slurm.sh").read_text(encoding="utf-8")
    own = {"DASK_DISTRIBUTED__COMM__TLS__WORKER__KEY"}
    exported = set(re.findall(r"^export (DASK_\w+)=", text, re.MULTILINE))
    assert exported == composed()["scheduler"].environment.keys() | own
    lines = text.splitlines()
    directives = [number for number, line in enumerate(lines) if line.startswith("#SBATCH ")]
    assert directives == [1, 2, 3, 4]
    code = re.search(r"<<'END'\n(.*)^END$", text, re.MULTILINE | re.DOTALL)
    assert code
    compile(code[1], "slurm.sh", "exec")
