"""Models in MLflow: logging a trained file as MLflow's own `keras` flavour, the registry and its champion alias."""

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import mlflow.pyfunc
import numpy as np
import yaml
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Run
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.types import Schema, TensorSpec

from lsml import __version__
from lsml.data.sensor import N_BANDS
from lsml.errors import ModelError, StorageError
from lsml.models.export import ModelFile
from lsml.tracking.store import storage_errors, tracking_uri

MODEL_NAME = "model"
CANDIDATE = "candidate"
_FILE = Path("data") / "model.keras"

SIGNATURE = ModelSignature(
    inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, -1, -1, N_BANDS))]),
    outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, -1, -1, 1))]),
)


@dataclass(frozen=True)
class StoredModel:
    """A model file fetched from a run, its bytes checked against their record."""

    path: Path
    threshold: float
    sha256: str


def requirements(backend: str) -> list[str]:
    """What a process needs to load and run the model: Keras, its backend and NumPy, as installed here."""
    names = ["keras", {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}[backend], "numpy"]
    return [f"{name}=={found}" for name in names if (found := _version(name))]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def log_model(client: MlflowClient, run_id: str, file: ModelFile, *, threshold: float, backend: str) -> None:
    """Logs a `.keras` file as the run's model.

    Raises:
        ModelError: the bytes do not have the SHA-256 that their maker gave.
        StorageError: MLflow cannot store it.
    """
    if hashlib.sha256(file.content).hexdigest() != file.sha256:
        raise ModelError(f"model of run {run_id}", "its bytes changed on the way", "run the same command again")
    with storage_errors(f"model of run {run_id}"), tempfile.TemporaryDirectory() as folder:
        experiment_id = client.get_run(run_id).info.experiment_id
        logged = client.create_logged_model(experiment_id, MODEL_NAME, source_run_id=run_id)
        model = Model(
            artifact_path=logged.artifact_location,
            run_id=run_id,
            model_uuid=logged.model_id,
            model_id=logged.model_id,
            signature=SIGNATURE,
            metadata={"lsml.threshold": threshold, "lsml.sha256": file.sha256, "lsml.version": __version__},
        )
        _write_model(Path(folder), model, file.content, backend)
        client.log_model_artifacts(logged.model_id, folder)
        client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])


def _write_model(folder: Path, model: Model, content: bytes, backend: str) -> None:
    """Writes what `mlflow.keras.save_model` would write for a model whose `.keras` file has that content."""
    (folder / _FILE).parent.mkdir()
    (folder / _FILE).write_bytes(content)
    (folder / "data" / "keras_module.txt").write_text("keras")
    model.add_flavor(
        "keras",
        data="data",
        keras_version=_version("keras"),
        keras_backend=backend,
        save_exported_model=False,
    )
    mlflow.pyfunc.add_to_model(
        model, loader_module="mlflow.keras", conda_env="conda.yaml", python_env="python_env.yaml"
    )
    model.model_size_bytes = len(content)
    model.save(str(folder / MLMODEL_FILE_NAME))
    _write_environment(folder, [f"mlflow=={version('mlflow')}", *requirements(backend)])


def _write_environment(folder: Path, pins: list[str]) -> None:
    python = platform.python_version()
    (folder / "requirements.txt").write_text("\n".join(pins) + "\n")
    conda = {
        "name": "mlflow-env",
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": pins}],
    }
    (folder / "conda.yaml").write_text(yaml.safe_dump(conda, sort_keys=False))
    local = {"python": python, "build_dependencies": ["pip"], "dependencies": ["-r requirements.txt"]}
    (folder / "python_env.yaml").write_text(yaml.safe_dump(local, sort_keys=False))


def register(client: MlflowClient, run_id: str, name: str, *, aliases: Sequence[str], tags: Mapping[str, str]) -> str:
    """The version of the registered model `name` that holds the run's model; made once per run id.

    The aliases then point to it, and to no other version.

    Raises:
        ModelError: the run has no model.
        StorageError: MLflow refuses.
    """
    with storage_errors(f"registered model {name}"):
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        known = client.search_model_versions(f"name='{name}' and run_id='{run_id}'")
        if known:
            number = min(int(v.version) for v in known)
        else:
            model_id = _model_id(client.get_run(run_id))
            source = client.get_logged_model(model_id).artifact_location
            created = client.create_model_version(name, source, run_id=run_id, tags=dict(tags), model_id=model_id)
            number = int(created.version)
        for alias in aliases:
            client.set_registered_model_alias(name, alias, str(number))
    return str(number)


def has_model(client: MlflowClient, run_id: str) -> bool:
    """Whether a run that is not deleted has a model that is not.

    Raises:
        StorageError: MLflow cannot be asked.
    """
    with storage_errors(f"model of run {run_id}"):
        run = client.get_run(run_id)
        if run.info.lifecycle_stage != "active" or not run.outputs or not run.outputs.model_outputs:
            return False
        try:
            client.get_logged_model(run.outputs.model_outputs[0].model_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
    return True


def version_of(client: MlflowClient, run_id: str) -> tuple[str, str] | None:
    """Name and number of the version that was first registered of a run's model; None where there is none.

    Raises:
        StorageError: MLflow cannot be asked.
    """
    with storage_errors(f"registered model of run {run_id}"):
        known = client.search_model_versions(f"run_id='{run_id}'")
    first = min(known, key=lambda found: (found.name, int(found.version)), default=None)
    return None if first is None else (str(first.name), str(first.version))


def fetch(client: MlflowClient, run_id: str, folder: Path) -> StoredModel:
    """Downloads the run's model below `folder` and checks it against its record.

    Raises:
        ModelError: the run has no model, or its bytes are not those that were logged.
    """
    model_id = _model_id(client.get_run(run_id))
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with storage_errors(f"model of run {run_id}"):
        uri = f"models:/{model_id}"
        path = Path(download_artifacts(artifact_uri=uri, dst_path=str(folder), tracking_uri=tracking_uri()))
    metadata = Model.load(str(path / MLMODEL_FILE_NAME)).metadata or {}
    if "lsml.threshold" not in metadata or not (path / _FILE).is_file():
        raise ModelError(f"run {run_id}", "its model was not made by lsml", "give a run that lsml made")
    found = hashlib.sha256((path / _FILE).read_bytes()).hexdigest()
    if found != metadata["lsml.sha256"]:
        raise ModelError(f"model of run {run_id}", "its SHA-256 differs from its record", "train it again")
    return StoredModel(path / _FILE, float(metadata["lsml.threshold"]), found)


def _model_id(run: Run) -> str:
    outputs = run.outputs
    if not outputs or not outputs.model_outputs:
        study = run.data.tags.get("mlflow.parentRunId")
        fix = f"its study's run speaks for the registered model: {study}" if study else "lsml study list names others"
        raise ModelError(f"run {run.info.run_id}", "has no model", fix)
    return str(outputs.model_outputs[0].model_id)


def registered_run(client: MlflowClient, reference: str) -> str:
    """The run behind `NAME@ALIAS` or `NAME/VERSION`, with or without MLflow's `models:/` in front.

    Raises:
        StorageError: there is no such model, alias or version.
    """
    plain = reference.removeprefix("models:/")
    name, at, alias = plain.rpartition("@")
    if not at and "/" not in plain:
        raise StorageError(
            f"model {reference}",
            "neither NAME@ALIAS nor NAME/VERSION, nor the 32 digits of a run's id",
            "lsml ui shows which models there are, lsml study show NAME which runs",
        )
    try:
        if at:
            return str(client.get_model_version_by_alias(name, alias).run_id)
        name, _, number = plain.rpartition("/")
        return str(client.get_model_version(name, number).run_id)
    except MlflowException as error:
        raise StorageError(
            f"model {reference}", error.message.splitlines()[0], "give NAME@ALIAS or NAME/VERSION, as mlflow ui lists"
        ) from None


CHAMPION = "champion"
_PLACE = "lsml.champion."


class _Place(NamedTuple):
    key: str
    version: str


def champion_of(client: MlflowClient, name: str) -> str | None:
    """The version that has the alias; None where none has.

    Raises:
        StorageError: MLflow cannot be asked.
    """
    with storage_errors(f"registered model {name}"):
        version = client.get_registered_model(name).aliases.get(CHAMPION)
    return None if version is None else str(version)


def crown(client: MlflowClient, name: str, version: str, *, tags: Mapping[str, str]) -> None:
    """Gives a version its tags, and then the alias; killed at any moment and called again, it ends the same.

    Raises:
        StorageError: MLflow refuses.
    """
    tag_version(client, name, version, tags=tags)
    with storage_errors(f"registered model {name}"):
        places = _places(client, name)
        stay = [place for place in _in_turn(places, champion_of(client, name)) if place.version != version]
        wanted = [*stay, _next(stay, version)]
        for place in places:
            if place not in wanted:
                client.delete_registered_model_tag(name, place.key)
        for place in wanted:
            if place not in places:
                client.set_registered_model_tag(name, place.key, place.version)
        client.set_registered_model_alias(name, CHAMPION, version)


def tag_version(client: MlflowClient, name: str, version: str, *, tags: Mapping[str, str]) -> None:
    """Gives a version tags, in the place of those of the same keys.

    Raises:
        StorageError: MLflow refuses.
    """
    with storage_errors(f"registered model {name}"):
        for key, value in tags.items():
            client.set_model_version_tag(name, version, key, value)


def uncrown(client: MlflowClient, name: str, *, tag: str, record: Mapping[str, str]) -> tuple[str, str]:
    """Moves the alias back to the version that had it before; gives the version that had it, and the one that has.

    Args:
        tag: of the version that loses the alias, which gets `record` and the other version as JSON.

    Raises:
        StorageError: there is no such model, no champion or none before it, or MLflow refuses.
    """
    try:
        client.get_registered_model(name)
    except MlflowException as error:
        raise StorageError(
            f"registered model {name}", error.message.splitlines()[0], "lsml ui shows which there are"
        ) from None
    with storage_errors(f"registered model {name}"):
        now, written = champion_of(client, name), _places(client, name)
        places = _in_turn(written, now)
        if now is None or len(places) < 2:
            what = "no version is champion" if now is None else f"no version was champion before version {now}"
            raise StorageError(f"registered model {name}", what, "lsml promote RUN makes one")
        before, last = places[-2:]
        client.set_model_version_tag(name, now, tag, json.dumps({**record, "to": before.version}))
        # First: killed after it, the alias is at a version that is not written down, and goes to the last one that is.
        if last in written:
            client.delete_registered_model_tag(name, last.key)
        client.set_registered_model_alias(name, CHAMPION, before.version)
    return now, before.version


def _places(client: MlflowClient, name: str) -> list[_Place]:
    tags = client.get_registered_model(name).tags
    return [_Place(key, str(tags[key])) for key in sorted(tags) if key.startswith(_PLACE)]


def _in_turn(places: list[_Place], champion: str | None) -> list[_Place]:
    """Those that had the alias in turn, the last of which has it; one that somebody moved it to by hand among them."""
    if champion is None:
        return []
    for last in reversed(range(len(places))):
        if places[last].version == champion:
            return places[: last + 1]
    return [*places, _next(places, champion)]


def _next(places: list[_Place], version: str) -> _Place:
    number = int(places[-1].key.removeprefix(_PLACE)) + 1 if places else 1
    return _Place(f"{_PLACE}{number:06d}", version)
