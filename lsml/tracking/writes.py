"""What is written into a run of MLflow, as values that can be sent now or later, and sent again: the same is left."""

import hashlib
import io
import json
import re
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.tracking.multimedia import compress_image_size, convert_to_pil_image
from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_IMAGES

from lsml.config.fields import Scalar
from lsml.config.schema import TrainConfig
from lsml.data.pack import PackedSplit
from lsml.data.sensor import Sensor
from lsml.errors import redact
from lsml.models.export import ModelFile
from lsml.names import Artifact, Tag
from lsml.tracking.models import RunModel
from lsml.tracking.store import Client, storage_errors
from lsml.training.outcome import Panel

_Kind = Literal["run", "batch", "inputs", "files", "model", "end"]
_WHAT: Mapping[_Kind, str] = {
    "run": "MLflow run",
    "batch": "metrics and tags of run",
    "inputs": "datasets of run",
    "files": "files of run",
    "model": "model of run",
    "end": "end of run",
}
_SHOWN_DIGEST = 32
_MAX_TAG = 4900
_NOT_IN_KEYS = re.compile(r"[^\w\-./ ]", re.ASCII)
"""What a patch may be called and a picture in MLflow may not."""


@dataclass(frozen=True)
class Write:
    """One thing to be written.

    Attributes:
        run: the id of the run; of one that MLflow has not made yet, its identity, which has a slash.
        facts: what is written, as JSON holds it, with the time at which it came up.
        files: contents by artifact path; of a model, the one.
    """

    kind: _Kind
    run: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def what(self) -> str:
        """For messages."""
        return f"{_WHAT[self.kind]} {self.run}"

    @classmethod
    def of_run(cls, identity: str, experiment_id: str, tags: Mapping[str, str]) -> "Write":
        """Makes the run with that identity."""
        # MLflow's page of a run shows them in this order: what is short is read, and hashes come last.
        shown = dict(sorted(_shown(tags).items(), key=lambda tag: len(tag[1])))
        facts = {"experiment_id": experiment_id, "time": _now(), "tags": {**shown, Tag.IDENTITY: identity}}
        return cls("run", identity, facts)

    @classmethod
    def of_values(
        cls,
        run: str,
        *,
        metrics: Mapping[str, float] | None = None,
        step: int = 0,
        params: Mapping[str, Scalar] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> "Write":
        """Metrics of a step, parameters and tags."""
        numbers = {name: float(value) for name, value in (metrics or {}).items()}
        texts = {name: redact(str(value)) for name, value in (params or {}).items()}
        facts = {"metrics": numbers, "step": step, "params": texts, "tags": _shown(tags or {}), "time": _now()}
        return cls("batch", run, facts)

    @classmethod
    def of_inputs(cls, run: str, splits: Iterable[PackedSplit], root: str) -> "Write":
        """The splits as MLflow's datasets; a digest is the start of a fingerprint, which MLflow limits."""
        return cls("inputs", run, {"splits": [_described(split, root) for split in splits]})

    @classmethod
    def of_config(cls, run: str, config: TrainConfig) -> "Write":
        """A whole configuration, as the `base` of an experiment has it."""
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
        return cls("files", run, files={Artifact.CONFIG: redact(text).encode()})

    @classmethod
    def of_panels(cls, run: str, panels: Sequence[Panel]) -> "Write":
        """Pictures, where MLflow's image grid lays the same patch of several runs side by side."""
        now, files = _now(), dict[str, bytes]()
        for panel in panels:
            files |= _pictures(panel, now)
        return cls("files", run, {"tags": {MLFLOW_LOGGED_IMAGES: "True"}}, files)

    @classmethod
    def of_model(cls, run: str, file: ModelFile, *, threshold: float, backend: str) -> "Write":
        """A model, with the threshold that goes with it."""
        facts = {"sha256": file.sha256, "sensor": file.sensor.to_dict(), "threshold": threshold, "backend": backend}
        return cls("model", run, facts, {Artifact.MODEL: file.content})

    @classmethod
    def of_end(cls, run: str, status: str) -> "Write":
        """Closes a run with MLflow's status."""
        return cls("end", run, {"status": status, "time": _now()})


def _shown(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags as they may be stored: without passwords, and no longer than MLflow takes them."""
    return {name: redact(value)[:_MAX_TAG] for name, value in tags.items()}


def send(client: Client, run_id: str, write: Write) -> str:
    """Writes it into the run of that id, and gives the id; of a new run, the one that it has got.

    Raises:
        StorageError: MLflow does not take it.
    """
    facts = write.facts
    with storage_errors(write.what):
        match write.kind:
            case "run":
                made = client.create_run(facts["experiment_id"], facts["time"], dict(facts["tags"]))
                return str(made.info.run_id)
            case "batch":
                _send_values(client, run_id, facts)
            case "inputs":
                client.log_inputs(run_id, [_dataset_input(split) for split in facts["splits"]])
            case "files":
                _send_files(client, run_id, write)
            case "model":
                file = ModelFile(write.files[Artifact.MODEL], facts["sha256"], Sensor.from_dict(facts["sensor"]))
                RunModel(client, run_id).log(file, threshold=facts["threshold"], backend=facts["backend"])
            case "end":
                client.set_terminated(run_id, facts["status"], facts["time"])
    return run_id


def send_again(client: Client, run_id: str, write: Write) -> str:
    """As `send`, of what may have been sent before: then it is not made once more.

    Raises:
        StorageError: MLflow does not take it.
    """
    with storage_errors(write.what):
        if write.kind == "run" and (made := client.run_of(write.run, [write.facts["experiment_id"]])):
            return str(made.info.run_id)
        if write.kind == "model" and RunModel(client, run_id).exists():
            return run_id
    return send(client, run_id, write)


def _send_values(client: Client, run_id: str, facts: Mapping[str, Any]) -> None:
    metrics = [Metric(name, value, facts["time"], facts["step"]) for name, value in facts["metrics"].items()]
    params = [Param(name, value) for name, value in facts["params"].items()]
    client.log_batch(run_id, metrics, params, _run_tags(facts["tags"]))


def _send_files(client: Client, run_id: str, write: Write) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for path, content in write.files.items():
            target = Path(folder, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        client.log_artifacts(run_id, folder)
    if tags := write.facts.get("tags"):
        client.log_batch(run_id, tags=_run_tags(tags))


def _run_tags(tags: Mapping[str, str]) -> list[RunTag]:
    return [RunTag(key, value) for key, value in tags.items()]


def _now() -> int:
    """In milliseconds, as MLflow counts."""
    return int(time.time() * 1000)


def _described(split: PackedSplit, root: str) -> dict[str, str]:
    profile = {
        "patches": len(split),
        "patches_without_landslide": int((split.landslide_fractions == 0).sum()),
        "landslide_share": float(split.landslide_fractions.mean()),
    }
    return {
        "name": f"landslide4sense-{split.name}",
        "digest": split.fingerprint[:_SHOWN_DIGEST],
        "source": f'{{"uri": "{root}"}}',
        "profile": json.dumps(profile),
        "context": {"train": "training"}.get(split.name, split.name),
    }


def _dataset_input(split: Mapping[str, str]) -> DatasetInput:
    dataset = Dataset(split["name"], split["digest"], "local", split["source"], profile=split["profile"])
    return DatasetInput(dataset, [InputTag(Tag.DATA_CONTEXT, split["context"])])


def _pictures(panel: Panel, now: int) -> dict[str, bytes]:
    """The files of a picture under the names that `MlflowClient.log_image` would give them, but always the same."""
    key = _image_key(panel.key)
    identity = hashlib.sha256(f"{key} {now}".encode()).hexdigest()[:_SHOWN_DIGEST]
    stem = f"{Artifact.IMAGES}/{key.replace('/', '~')}+step+0+timestamp+{now}+{identity}"
    image = convert_to_pil_image(panel.image)
    files = {f"{stem}.png": (image, "PNG"), f"{stem}+compressed.webp": (compress_image_size(image), "WEBP")}
    return {path: _encoded(*picture) for path, picture in files.items()}


def _encoded(image: Any, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def _image_key(key: str) -> str:
    """One that MLflow takes, the same for the same patch; two patches keep two."""
    allowed = _NOT_IN_KEYS.sub("_", key)
    return key if allowed == key else f"{allowed}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
