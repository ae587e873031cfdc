"""Models in MLflow: logging a trained file as MLflow's own `keras` flavour, the registry and its champion alias."""

import hashlib
import json
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import mlflow.pyfunc
import numpy as np
import yaml
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.types import Schema, TensorSpec

from lsml.data.sensor import LANDSLIDE4SENSE, Sensor
from lsml.data.tiles import tiled
from lsml.errors import ModelError, StorageError
from lsml.models.export import ModelFile
from lsml.names import VERSION, Alias, Artifact, Tag
from lsml.tracking.store import Client, Run, find_run, refusals, storage_errors, tracking_uri
from lsml.training.device import load_keras

if TYPE_CHECKING:
    import keras

_FILE = Path("data") / "model.keras"


def _signature(bands: int) -> ModelSignature:
    inputs, outputs = (Schema([TensorSpec(np.dtype(np.float32), (-1, -1, -1, channels))]) for channels in (bands, 1))
    return ModelSignature(inputs=inputs, outputs=outputs)


@dataclass(frozen=True)
class _StoredModel:
    """A model file fetched from a run, its bytes checked against their record."""

    path: Path
    threshold: float
    sha256: str
    sensor: Sensor


def _requirements(backend: str) -> list[str]:
    """What a process needs to load and run the model: Keras, its backend and NumPy, as installed here."""
    return [f"{name}=={found}" for name in ("keras", backend, "numpy") if (found := _version(name))]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


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
    _write_environment(folder, [f"mlflow=={version('mlflow')}", *_requirements(backend)])


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


class _LoadedModel(NamedTuple):
    """A network that gives probabilities, the threshold that goes with it, its file's SHA-256, the bands it takes."""

    network: "keras.Model"
    threshold: float
    sha256: str
    sensor: Sensor

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Stored bands float32 `(B, H, W, C)` to landslide probability `(B, H, W, 1)`; large ones by squares."""
        tile = self.sensor.tile
        return (tiled(self.network.predict_on_batch, tile) if tile else self.network.predict_on_batch)(images)


class RunModel:
    """The model of a run."""

    def __init__(self, client: Client, run_id: str) -> None:
        self._client, self._run_id = client, run_id

    def log(self, file: ModelFile, *, threshold: float, backend: str) -> None:
        """Logs a `.keras` file as the model of a run.

        Raises:
            ModelError: the bytes do not have the SHA-256 that they were exported with.
            StorageError: MLflow cannot store it.
        """
        if hashlib.sha256(file.content).hexdigest() != file.sha256:
            raise ModelError(
                f"model of run {self._run_id}",
                "its bytes do not have the SHA-256 that they were exported with",
                "run the same command again",
            )
        with storage_errors(f"model of run {self._run_id}"), tempfile.TemporaryDirectory() as folder:
            experiment_id = self._client.get_run(self._run_id).info.experiment_id
            logged = self._client.create_logged_model(experiment_id, Artifact.MODEL, source_run_id=self._run_id)
            model = Model(
                artifact_path=logged.artifact_location,
                run_id=self._run_id,
                model_uuid=logged.model_id,
                model_id=logged.model_id,
                signature=_signature(len(file.sensor)),
                metadata={
                    Tag.MODEL_THRESHOLD: threshold,
                    Tag.MODEL_SHA256: file.sha256,
                    Tag.MODEL_SENSOR: json.dumps(file.sensor.to_dict()),
                    Tag.VERSION: VERSION,
                },
            )
            _write_model(Path(folder), model, file.content, backend)
            self._client.log_model_artifacts(logged.model_id, folder)
            self._client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
            self._client.log_outputs(self._run_id, [LoggedModelOutput(logged.model_id, step=0)])

    def exists(self) -> bool:
        """Whether a run that is not deleted has a model that is not.

        Raises:
            StorageError: MLflow cannot be asked.
        """
        with storage_errors(f"model of run {self._run_id}"):
            run = self._client.get_run(self._run_id)
            if run.info.lifecycle_stage != "active" or not run.outputs or not run.outputs.model_outputs:
                return False
            try:
                self._client.get_logged_model(run.outputs.model_outputs[0].model_id)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return False
        return True

    def version(self) -> tuple[str, str] | None:
        """Name and number of the version that was first registered of a run's model; None where there is none.

        Raises:
            StorageError: MLflow cannot be asked.
        """
        with storage_errors(f"registered model of run {self._run_id}"):
            versions = self._client.search_model_versions(f"run_id='{self._run_id}'")
        first = min(versions, key=lambda entry: (entry.name, int(entry.version)), default=None)
        return None if first is None else (str(first.name), str(first.version))

    def fetch(self, folder: Path) -> _StoredModel:
        """Downloads the run's model below `folder` and checks it against its record.

        Raises:
            ModelError: the run has no model, or its bytes are not those that were logged.
        """
        model_id = _model_id(self._client.get_run(self._run_id))
        with storage_errors(f"model of run {self._run_id}"):
            uri = f"models:/{model_id}"
            path = Path(download_artifacts(artifact_uri=uri, dst_path=str(folder), tracking_uri=tracking_uri()))
        metadata = Model.load(str(path / MLMODEL_FILE_NAME)).metadata or {}
        if Tag.MODEL_THRESHOLD not in metadata or not (path / _FILE).is_file():
            raise ModelError(f"run {self._run_id}", "its model was not made by lsml", "give a run that lsml made")
        sha256 = hashlib.sha256((path / _FILE).read_bytes()).hexdigest()
        if sha256 != metadata[Tag.MODEL_SHA256]:
            raise ModelError(f"model of run {self._run_id}", "its SHA-256 differs from its record", "train it again")
        # Models from before there were other sensors are of Landslide4Sense.
        described = json.loads(metadata.get(Tag.MODEL_SENSOR, "null")) or LANDSLIDE4SENSE.to_dict()
        return _StoredModel(path / _FILE, float(metadata[Tag.MODEL_THRESHOLD]), sha256, Sensor.from_dict(described))

    def load(self) -> _LoadedModel:
        """The model of a run.

        Raises:
            ModelError: the run has no model, or one that is refused.
            StorageError: it cannot be fetched.
        """
        with tempfile.TemporaryDirectory() as folder:
            stored = self.fetch(Path(folder))
            # Keras comes last: it takes seconds to load, and a store that does not answer is to be known before.
            load_keras()
            from lsml.models.export import load_file

            return _LoadedModel(load_file(stored.path, stored.sensor), stored.threshold, stored.sha256, stored.sensor)


def _model_id(run: Run) -> str:
    outputs = run.outputs
    if not outputs or not outputs.model_outputs:
        study = run.data.tags.get(Tag.PARENT)
        fix = f"its study's run speaks for the registered model: {study}" if study else "lsml study list names others"
        raise ModelError(f"run {run.info.run_id}", "has no model", fix)
    return str(outputs.model_outputs[0].model_id)


def registered_run(client: Client, reference: str) -> str:
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
    fix = "lsml ui lists what is registered; lsml promote RUN registers the model of a run"
    with refusals(f"model {reference}", fix):
        if at:
            return str(client.get_model_version_by_alias(name, alias).run_id)
        name, _, number = plain.rpartition("/")
        return str(client.get_model_version(name, number).run_id)


def named_run(client: Client, run_id: str | None, model: str | None) -> Run:
    """The run of that id, or the one that the registered `NAME@ALIAS` or `NAME/VERSION` came from.

    Raises:
        StorageError: there is no such run, model, alias or version.
    """
    return find_run(client, run_id or registered_run(client, str(model)))


class _Entry(NamedTuple):
    """A line of the history of champions: a tag of the registered model, numbered in order, and the version."""

    key: str
    version: str


class RegisteredModel:
    """A registered model of that name: its versions, and which of them is champion."""

    def __init__(self, client: Client, name: str) -> None:
        self._client, self._name = client, name

    def register(self, run_id: str, *, aliases: Sequence[str], tags: Mapping[str, str]) -> str:
        """The version that holds a run's model; made once per run id.

        The aliases then point to it, and to no other version.

        Raises:
            ModelError: the run has no model.
            StorageError: MLflow refuses.
        """
        with storage_errors(f"registered model {self._name}"):
            try:
                self._client.create_registered_model(self._name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            versions = self._client.search_model_versions(f"name='{self._name}' and run_id='{run_id}'")
            if versions:
                number = min(int(v.version) for v in versions)
            else:
                model_id = _model_id(self._client.get_run(run_id))
                source = self._client.get_logged_model(model_id).artifact_location
                created = self._client.create_model_version(
                    self._name, source, run_id=run_id, tags=dict(tags), model_id=model_id
                )
                number = int(created.version)
            for alias in aliases:
                self._client.set_registered_model_alias(self._name, alias, str(number))
        return str(number)

    def champion(self) -> str | None:
        """The version that has the alias; None where none has.

        Raises:
            StorageError: MLflow cannot be asked.
        """
        with storage_errors(f"registered model {self._name}"):
            version = self._client.get_registered_model(self._name).aliases.get(Alias.CHAMPION)
        return None if version is None else str(version)

    def version(self, number: str) -> ModelVersion:
        """The version of that number, with its run's id and its tags.

        Raises:
            StorageError: MLflow cannot be asked.
        """
        with storage_errors(f"registered model {self._name}"):
            return self._client.get_model_version(self._name, number)

    def set_champion(self, version: str, *, tags: Mapping[str, str]) -> None:
        """Gives a version its tags, then the alias `champion`; killed at any moment and called again, it ends the same.

        Raises:
            StorageError: MLflow refuses.
        """
        self.tag_version(version, tags=tags)
        with storage_errors(f"registered model {self._name}"):
            history = self._history()
            before = [entry for entry in _until(history, self.champion()) if entry.version != version]
            wanted = [*before, _next(before, version)]
            for entry in history:
                if entry not in wanted:
                    self._client.delete_registered_model_tag(self._name, entry.key)
            for entry in wanted:
                if entry not in history:
                    self._client.set_registered_model_tag(self._name, entry.key, entry.version)
            self._client.set_registered_model_alias(self._name, Alias.CHAMPION, version)

    def tag_version(self, version: str, *, tags: Mapping[str, str]) -> None:
        """Gives a version tags, in the place of those of the same keys.

        Raises:
            StorageError: MLflow refuses.
        """
        with storage_errors(f"registered model {self._name}"):
            for key, value in tags.items():
                self._client.set_model_version_tag(self._name, version, key, value)

    def restore_champion(self, *, tag: str, record: Mapping[str, str]) -> tuple[str, str]:
        """Moves the alias back to the previous champion; gives the versions that lost and that got it.

        Args:
            tag: of the version that loses the alias, which gets `record` and the other version as JSON.

        Raises:
            StorageError: there is no such model, no champion or none before it, or MLflow refuses.
        """
        with refusals(f"registered model {self._name}", "lsml ui lists them"):
            self._client.get_registered_model(self._name)
        with storage_errors(f"registered model {self._name}"):
            now, written = self.champion(), self._history()
            history = _until(written, now)
            if now is None or len(history) < 2:
                what = "no version is champion" if now is None else f"no version was champion before version {now}"
                raise StorageError(f"registered model {self._name}", what, "lsml promote RUN makes one")
            before, last = history[-2:]
            self._client.set_model_version_tag(self._name, now, tag, json.dumps({**record, "to": before.version}))
            # First: killed after it, the alias is at a version that the history lacks, and the next call moves it back.
            if last in written:
                self._client.delete_registered_model_tag(self._name, last.key)
            self._client.set_registered_model_alias(self._name, Alias.CHAMPION, before.version)
        return now, before.version

    def _history(self) -> list[_Entry]:
        tags = self._client.get_registered_model(self._name).tags
        return [_Entry(key, str(tags[key])) for key in sorted(tags) if key.startswith(Tag.CHAMPION)]


def _until(history: list[_Entry], champion: str | None) -> list[_Entry]:
    """The history up to the present champion, which is added where somebody moved the alias by hand."""
    if champion is None:
        return []
    for last in reversed(range(len(history))):
        if history[last].version == champion:
            return history[: last + 1]
    return [*history, _next(history, champion)]


def _next(history: list[_Entry], version: str) -> _Entry:
    number = int(history[-1].key.removeprefix(Tag.CHAMPION)) + 1 if history else 1
    return _Entry(f"{Tag.CHAMPION}{number:06d}", version)
