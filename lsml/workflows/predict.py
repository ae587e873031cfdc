"""Applying a run's or a registered model to a folder of patches."""

from dataclasses import dataclass
from pathlib import Path

from lsml.errors import DataError
from lsml.evaluation.predict import Prediction, images_in, predict_patches
from lsml.workflows.sources import Progress, check_one_of, load_model, named_run


@dataclass(frozen=True)
class PredictResult:
    """What was predicted, with which threshold, by which run's model."""

    predictions: tuple[Prediction, ...]
    threshold: float
    model_run_id: str


def predict(folder: Path, *, run_id: str | None, model: str | None, out: Path, progress: Progress) -> PredictResult:
    """Writes masks, probabilities and pictures of the patches in `folder` below `out`.

    The model is that of a run (a study's run speaks for its best trial) or `NAME@ALIAS` or `NAME/VERSION` of the
    registry. What an interrupted call wrote is written again.

    Raises:
        ConfigError: neither or both of run and model.
        DataError: patches that cannot be read, or an `out` that holds other things.
        StorageError: no such run or registered model.
        ModelError: the run has no model, or one that is refused.
    """
    check_one_of(run_id, model)
    patches = images_in(folder)
    _check_out(out)
    from lsml.tracking.store import open_client
    from lsml.tracking.study import model_run_id

    client = open_client()
    source = model_run_id(named_run(client, run_id, model))
    loaded = load_model(client, source)
    predictions = predict_patches(
        loaded.network.predict_on_batch,
        patches,
        loaded.threshold,
        out,
        progress=lambda done, total: progress("patches", done, total),
    )
    return PredictResult(predictions, loaded.threshold, source)


def _check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise DataError(f"folder {out}", "is a file", "give another --out")
    strangers = {path.name for path in out.iterdir()} - {"mask", "probability", "panel"} if out.is_dir() else set()
    if strangers:
        raise DataError(
            f"folder {out}", f"holds other things ({sorted(strangers)[0]})", "give an empty or new folder with --out"
        )
