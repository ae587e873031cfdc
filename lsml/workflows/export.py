"""Export: a run's or a registered model, checked as for every other use, in a format that needs no Keras."""

from dataclasses import dataclass
from pathlib import Path

from lsml.errors import ConfigError
from lsml.models.portable import Channels, Format, write_onnx, write_saved_model
from lsml.names import VERSION
from lsml.tracking.models import RunModel
from lsml.tracking.store import open_store
from lsml.tracking.study import model_run, named_run


@dataclass(frozen=True)
class ExportResult:
    """What was written.

    Attributes:
        path: of the file, or of the folder of a SavedModel.
        run_id: the run whose model it is.
        threshold: from which probability on a pixel is landslide.
        differs: from Keras's probabilities, at most, on a trial image.
    """

    path: Path
    run_id: str
    threshold: float
    differs: float


def export(reference: str, *, to: Format, out: Path | None = None, channels: Channels = "last") -> ExportResult:
    """Writes the model that `reference` names as ONNX or as TensorFlow's SavedModel.

    Args:
        reference: what `lsml evaluate` takes: a run, a study, `NAME@ALIAS` or `NAME/VERSION`.
        out: a path that is not there yet; `model.onnx` or `saved_model` where it is not given.
        channels: of ONNX: `first` for `(B, C, H, W)`.

    Raises:
        ConfigError: `out` exists or cannot be written, a package is missing, or `channels` of a SavedModel.
        StorageError: nothing has that name, or it cannot be fetched.
        ModelError: the run has no model, or one that is refused, or what was written computes something else.
    """
    path = out or Path("model.onnx" if to == "onnx" else "saved_model")
    if path.exists():
        raise ConfigError(f"--out {path}", "exists", "name another one, or remove it")
    if to == "savedmodel" and channels == "first":
        raise ConfigError("--channels first", "is for ONNX alone", "leave it out")
    client = open_store()
    run_id = str(model_run(client, named_run(client, reference)).info.run_id)
    loaded = RunModel(client, run_id).load()
    metadata = {
        "lsml": VERSION,
        "run_id": run_id,
        "sha256": loaded.sha256,
        "threshold": loaded.threshold,
        "bands": [band.name for band in loaded.sensor.bands],
    }
    if to == "onnx":
        differs = write_onnx(loaded.network, path, loaded.sensor, metadata, channels=channels)
    else:
        differs = write_saved_model(loaded.network, path, loaded.sensor, metadata)
    return ExportResult(path.resolve(), run_id, loaded.threshold, differs)
