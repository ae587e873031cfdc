"""Models in MLflow: logging a trained file as MLflow's own `keras` flavour, and fetching what its run vouches for."""

import hashlib
import hmac
import json
import math
import platform
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import mlflow.pyfunc
import numpy as np
import yaml
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModelOutput, LoggedModelStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.models.model import MLMODEL_FILE_NAME
from mlflow.models.utils import _save_example
from mlflow.store.artifact.models_artifact_repo import REGISTERED_MODEL_META_FILE_NAME
from mlflow.types import Schema, TensorSpec

from lsml.data.sensor import LANDSLIDE4SENSE, Sensor
from lsml.data.tiles import tiled
from lsml.errors import ModelError
from lsml.models.export import ModelFile, check_probabilities
from lsml.names import VERSION, Artifact, Tag
from lsml.tracking import signing_key, tracking_uri
from lsml.tracking.places import local_folder
from lsml.tracking.store import Client, Run, storage_errors
from lsml.training.device import load_keras
from lsml.workspace import sha256_of

if TYPE_CHECKING:
    import keras

_FILE = Path("data") / "model.keras"
_MAX_DESCRIPTION_BYTES = 1 << 18
_RETRAIN = "train it again"


def _signature(bands: int) -> ModelSignature:
    inputs, outputs = (Schema([TensorSpec(np.dtype(np.float32), (-1, -1, -1, channels))]) for channels in (bands, 1))
    return ModelSignature(inputs=inputs, outputs=outputs)


_EXAMPLE_PIXELS = 32
"""The side of a model's input example, which the stride of any network divides; the file is text, and grows fast."""


def _input_example(sensor: Sensor) -> np.ndarray:
    """A patch `(1, H, W, C)` of the usual stored value of each band, for whoever asks a served model first."""
    usual = np.array([band.typical for band in sensor.bands], np.float32)
    return np.tile(usual, (1, _EXAMPLE_PIXELS, _EXAMPLE_PIXELS, 1))


@dataclass(frozen=True)
class _StoredModel:
    """A model file fetched from a run, its bytes checked against their record."""

    path: Path
    threshold: float
    sha256: str
    sensor: Sensor


class _Record(NamedTuple):
    """What vouches for the model of a run: tags of the run, which whoever can write the model's files cannot change.

    Attributes:
        model_id: which of the models that were logged with the run is lsml's.
        sha256: of the `.keras` file.
        files_sha256: of all files of the model, see `_digest`.
        threshold: the probability from which a pixel is landslide.
    """

    model_id: str
    sha256: str
    files_sha256: str
    threshold: str

    @classmethod
    def of(cls, run: Run) -> Self | None:
        """That of a run; None where an lsml logged its model that did not write one yet."""
        found = [run.data.tags.get(key) for key in _RECORD]
        return cls(*map(str, found)) if all(found) else None

    def signature(self, key: bytes, run_id: str) -> str:
        """HMAC-SHA256 (RFC 2104) of the run's id and the record, a line each: 64 hex digits.

        The run's id is in it, for a record that was copied to another run would be as good there.
        """
        return hmac.new(key, "\n".join((run_id, *self)).encode(errors="replace"), hashlib.sha256).hexdigest()


_RECORD = (Tag.MODEL_ID, Tag.MODEL_SHA256, Tag.MODEL_FILES, Tag.MODEL_THRESHOLD)


def _requirements(backend: str) -> list[str]:
    """What a process needs to load and run the model: Keras, its backend and NumPy, as installed here."""
    return [f"{name}=={found}" for name in ("keras", backend, "numpy") if (found := _version(name))]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _write_model(folder: Path, model: Model, file: ModelFile, backend: str) -> None:
    """Writes what `mlflow.keras.save_model` would write for a model whose `.keras` file has that content."""
    (folder / _FILE).parent.mkdir()
    (folder / _FILE).write_bytes(file.content)
    _save_example(model, _input_example(file.sensor), str(folder))
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
    model.model_size_bytes = len(file.content)
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
        """Stored bands float32 `(B, H, W, C)` to landslide probability `(B, H, W, 1)`; large ones by squares.

        Raises:
            ModelError: what the network gives is none.
        """
        tile, predict = self.sensor.tile, self.network.predict_on_batch
        return check_probabilities((tiled(predict, tile) if tile else predict)(images), images, "model")

    def predict_whole(self, images: np.ndarray) -> np.ndarray:
        """As `predict`, of images that are squares of a larger one themselves: none is cut further."""
        return check_probabilities(self.network.predict_on_batch(images), images, "model")

    def members(self) -> Callable[[np.ndarray], np.ndarray]:
        """As `predict_whole`, of each network that the model is the mean of: `(B, H, W, members)`."""
        from lsml.models.ensemble import member_network

        predict: Callable[[np.ndarray], np.ndarray] = member_network(self.network).predict_on_batch
        return predict


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
        _threshold(threshold, f"model of run {self._run_id}")
        with storage_errors(f"model of run {self._run_id}"), tempfile.TemporaryDirectory() as folder:
            experiment_id = self._client.get_run(self._run_id).info.experiment_id
            # Shown on the model's page, which shows nothing of the metadata.
            shown = {"bands": ", ".join(band.name for band in file.sensor.bands), "threshold": f"{threshold:.4g}"}
            logged = self._client.create_logged_model(
                experiment_id, Artifact.MODEL, source_run_id=self._run_id, params=shown
            )
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
            _write_model(Path(folder), model, file, backend)
            record = _Record(logged.model_id, file.sha256, _digest(Path(folder)), repr(threshold))
            tags = dict(zip(_RECORD, record, strict=True))
            if key := signing_key():
                tags[Tag.MODEL_SIGNATURE] = record.signature(key, self._run_id)
            # First: a model without it would be taken for one of an lsml that wrote none.
            self._client.log_batch(self._run_id, tags=[RunTag(*tag) for tag in tags.items()])
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
            if run.info.lifecycle_stage != "active" or not _logged(run):
                return False
            try:
                self._client.get_logged_model(_model_id(run))
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return False
        return True

    def location(self) -> tuple[str, str]:
        """The id of the run's model, and where its files are, as MLflow has it.

        Raises:
            ModelError: the run has no model, or one that is not signed and has to be.
            StorageError: MLflow cannot be asked.
        """
        with storage_errors(f"model of run {self._run_id}"):
            return self._location(self._client.get_run(self._run_id))

    def _location(self, run: Run) -> tuple[str, str]:
        model_id = _model_id(run)
        _check_signature(run)
        return model_id, str(self._client.get_logged_model(model_id).artifact_location)

    def fetch(self, folder: Path, *, unrecorded: bool = False) -> _StoredModel:
        """Downloads the run's model below `folder` and checks it against the record in the run's tags.

        Args:
            unrecorded: take the model of a run without record, of an earlier lsml, at the word of its own files.

        Raises:
            ModelError: the run has no model, or its files are not those that were logged.
        """
        name = f"model of run {self._run_id}"
        with storage_errors(name):
            run = self._client.get_run(self._run_id)
            record, (model_id, location) = _Record.of(run), self._location(run)
            _refuse_links(location, name)
            # Not by `models:/`, which adds a file of its own.
            path = Path(download_artifacts(artifact_uri=location, dst_path=str(folder), tracking_uri=tracking_uri()))
        if record is None and not unrecorded:
            why = "an earlier lsml made it, whose runs hold no SHA-256 of their model's files"
            raise ModelError(name, why, f"{_RETRAIN}, for instance with lsml refit {self._run_id}")
        if not (path / _FILE).is_file():
            raise ModelError(f"run {self._run_id}", "its model was not made by lsml", "give a run that lsml made")
        metadata = _metadata(path / MLMODEL_FILE_NAME, name)
        if record is None:
            own = (str(metadata.get(key, "")) for key in (Tag.MODEL_SHA256, Tag.MODEL_THRESHOLD))
            sha256, threshold = own
            record = _Record(model_id, sha256, _digest(path), threshold)
        found = _Record(model_id, sha256_of(path / _FILE), _digest(path), record.threshold)
        if found != record:
            raise ModelError(name, "its SHA-256 differs from its record", _RETRAIN)
        return _StoredModel(path / _FILE, _threshold(record.threshold, name), record.sha256, _sensor(metadata, name))

    def load(self) -> _LoadedModel:
        """The model of a run.

        Raises:
            ModelError: the run has no model, or one that is refused.
            StorageError: it cannot be fetched.
        """
        with tempfile.TemporaryDirectory() as folder:
            stored = self.fetch(Path(folder), unrecorded=True)
            # Keras comes last: it takes seconds to load, and a store that does not answer is to be known before.
            load_keras()
            from lsml.models.export import load_file

            network = load_file(stored.path, stored.sensor, name=f"model of run {self._run_id}")
            return _LoadedModel(network, stored.threshold, stored.sha256, stored.sensor)


def _logged(run: Run) -> list[str]:
    """The ids of the models that were logged with a run, each once."""
    return list(dict.fromkeys(str(output.model_id) for output in run.outputs.model_outputs)) if run.outputs else []


def _model_id(run: Run) -> str:
    """The id of the model that lsml logged with a run, whatever else was logged with it."""
    logged = _logged(run)
    if not logged:
        study = run.data.tags.get(Tag.PARENT)
        fix = f"its study's run speaks for the registered model: {study}" if study else "lsml study list names others"
        raise ModelError(f"run {run.info.run_id}", "has no model", fix)
    recorded = run.data.tags.get(Tag.MODEL_ID, logged[0] if len(logged) == 1 else None)
    if recorded not in logged:
        why = f"{len(logged)} models were logged with it, and it does not say which of them lsml made"
        raise ModelError(f"run {run.info.run_id}", why, _RETRAIN)
    return str(recorded)


def _check_signature(run: Run) -> None:
    """Refuses a model whose record is not signed with the key that is configured, where one is."""
    key, record, signed = signing_key(), _Record.of(run), run.data.tags.get(Tag.MODEL_SIGNATURE, "")
    if key is None:
        return
    right = record.signature(key, run.info.run_id) if record else ""
    if not right or not hmac.compare_digest(right.encode(), signed.encode(errors="replace")):
        why = "its signature is not that of its record" if signed else "it is not signed"
        raise ModelError(f"model of run {run.info.run_id}", f"{why}, and LSML_SIGNING_KEY_FILE is set", _RETRAIN)


def _digest(folder: Path) -> str:
    """SHA-256 of all files below a folder, by name and content: 64 hex digits.

    But for the note that MLflow leaves there when somebody loads a model of this machine by its registered name.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = {path: path.relative_to(folder).as_posix() for path in files}
    lines = (f"{sha256_of(path)}  {name}\n" for path, name in names.items() if name != REGISTERED_MODEL_META_FILE_NAME)
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def _refuse_links(location: str, name: str) -> None:
    """Refuses a model on this machine that is not made of plain files: MLflow would read whatever a link leads to."""
    folder = local_folder(location)
    for path in folder.rglob("*") if folder else ():
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ModelError(name, f"{path.name} is a link or no plain file", _RETRAIN)


def _metadata(path: Path, name: str) -> dict[str, Any]:
    """What lsml wrote into an MLmodel file.

    Raises:
        ModelError: the file does not hold it.
    """
    try:
        with path.open("rb") as file:
            described = yaml.safe_load(file.read(_MAX_DESCRIPTION_BYTES))
    except (OSError, yaml.YAMLError, ValueError, TypeError, RecursionError):
        described = None
    metadata = described.get("metadata") if isinstance(described, dict) else None
    if not isinstance(metadata, dict):
        raise ModelError(name, "its MLmodel is damaged, or was not made by lsml", _RETRAIN)
    return {key: value for key, value in metadata.items() if isinstance(value, str | float)}


def _sensor(metadata: dict[str, Any], name: str) -> Sensor:
    # Models from before there were other sensors are of Landslide4Sense.
    if Tag.MODEL_SENSOR not in metadata:
        return LANDSLIDE4SENSE
    try:
        return Sensor.from_dict(json.loads(metadata[Tag.MODEL_SENSOR]))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise ModelError(name, "its MLmodel does not say what its bands are", _RETRAIN) from None


def _threshold(recorded: str | float, name: str) -> float:
    """A threshold, above 0 and at most 1: at 0 each pixel would be landslide.

    Raises:
        ModelError: it is something else.
    """
    try:
        threshold = float(recorded)
    except ValueError:
        threshold = math.nan
    if not 0 < threshold <= 1:
        why = f"its threshold is {recorded or 'missing'}, which is not above 0 and at most 1"
        raise ModelError(name, why, _RETRAIN)
    return threshold
