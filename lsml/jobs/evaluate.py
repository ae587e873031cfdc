"""Evaluation: a run's model on the sealed test split, on the record."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lsml.bootstrap import Difference, difference, f1
from lsml.data.folders import layout_of
from lsml.data.folds import prepare_folds
from lsml.data.hdf5 import read_image, read_mask
from lsml.data.layout import PatchFiles
from lsml.data.sealed import test_split
from lsml.data.training import prepare
from lsml.errors import DataError
from lsml.evaluate import Evaluation, Patch, evaluate
from lsml.jobs.models import load_model
from lsml.jobs.sources import Progress, pack_cache
from lsml.metrics import PooledCounts
from lsml.tables import to_csv

SPLIT = "test"


@dataclass(frozen=True)
class Judgement:
    """What an evaluation found.

    Attributes:
        run_id: the run that was asked for; `model_run_id` the one whose model was judged.
        looks: how often this test split has been opened by the study so far, this time included.
        baseline: what the per-pixel logistic regression says of the same patches, where it was asked for.
    """

    run_id: str
    model_run_id: str
    data: str
    evaluation: Evaluation
    looks: int
    baseline: Evaluation | None

    @property
    def ahead(self) -> Difference | None:
        """By how much the model's F1 is higher than the baseline's, over the same patches resampled."""
        return difference(self.evaluation.confusion, self.baseline.confusion, f1) if self.baseline else None


def judge(run_id: str, *, data: Path | None, baseline: bool, progress: Progress) -> Judgement:
    """Opens the test split for the run's model, and writes scores, pictures and a table into MLflow.

    For a study's run the model is that of its best trial, and the scores go to both runs.

    Raises:
        StorageError: no such run.
        ModelError: the run has no model, or one that is refused.
        DataError: no test split, or patches that cannot be used.
    """
    from lsml.tracking.ledger import record_opening
    from lsml.tracking.runs import DATA_ROOT, find_run
    from lsml.tracking.store import open_client
    from lsml.tracking.study import model_run_id

    client = open_client()
    asked = find_run(client, run_id)
    run = find_run(client, model_run_id(asked))
    root = _root(run.data.tags.get(DATA_ROOT), data)
    _check_unseen(root, run.data.tags)
    model = load_model(client, run.info.run_id)
    files = test_split(root)
    found = evaluate(model.network.predict_on_batch, _read(files, progress), model.threshold, split=SPLIT)
    looks = record_opening(client, run, model_sha256=model.sha256, fingerprint=found.fingerprint)
    simple = _baseline(root, files, progress) if baseline else None
    for target in dict.fromkeys((run.info.run_id, asked.info.run_id)):
        _log(client, target, found, simple)
    return Judgement(run_id, run.info.run_id, str(root), found, looks, simple)


def _root(recorded: str | None, given: Path | None) -> Path:
    root = given or (Path(recorded) if recorded else None)
    if root is None or not root.is_dir():
        raise DataError(f"dataset {root or ''}".strip(), "no such folder", "give its path with --data DIR")
    return root.resolve()


def _check_unseen(root: Path, tags: Mapping[str, str]) -> None:
    """A bare pair of folders keeps a block for the test, unless all of it was trained on in folds."""
    from lsml.tracking.runs import FOLDS, TRAIN

    if FOLDS not in tags or layout_of(root) != "bare":
        return
    whole = prepare_folds(root, pack_cache(), folds=2, repeats=1).train
    if whole.fingerprint == tags[TRAIN]:
        raise DataError(
            f"dataset {root}", "the model was trained on all of it, in folds", "give other patches with --data DIR"
        )


def _read(files: tuple[PatchFiles, ...], progress: Progress) -> Iterator[Patch]:
    for done, patch in enumerate(files, start=1):
        assert patch.mask is not None
        yield Patch(patch.id, read_image(patch.image).astype(np.float32), read_mask(patch.mask))
        progress("test patches", done, len(files))


def _baseline(root: Path, files: tuple[PatchFiles, ...], progress: Progress) -> Evaluation:
    """What a logistic regression on the bands of one pixel makes of the test split, at validation's threshold."""
    from lsml.baseline import fit_pixel_baseline

    data = prepare(root, pack_cache(), progress=progress)
    classifier = fit_pixel_baseline(data.train)
    counts = PooledCounts()
    for index in range(len(data.validation)):
        image, mask = data.validation.batch([index])
        counts.update(mask[..., 0], classifier.predict(image)[..., 0])
    threshold = counts.best_threshold()
    medians = np.asarray(data.statistics.median, dtype=np.float32)

    def predict(images: np.ndarray) -> np.ndarray:
        return classifier.predict(np.where(np.isfinite(images), images, medians))

    return evaluate(predict, _read(files, progress), threshold, split=SPLIT)


def _log(client: object, run_id: str, found: Evaluation, baseline: Evaluation | None) -> None:
    from lsml.tracking.runs import log_panels, log_scores, log_texts

    metrics = {f"{SPLIT}_{name}": value for name, value in found.metrics.items()}
    for name, (low, high) in found.intervals.items():
        metrics |= {f"{SPLIT}_{name}_low": low, f"{SPLIT}_{name}_high": high}
    if baseline:
        metrics |= {f"{SPLIT}_pixel_baseline_{name}": value for name, value in baseline.metrics.items()}
    log_scores(client, run_id, metrics, {"lsml.data.test": found.fingerprint})
    log_panels(client, run_id, found.panels)
    log_texts(client, run_id, {f"{SPLIT}_patches.csv": to_csv([score._asdict() for score in found.patches])})
    if project_run := os.environ.get("MLFLOW_RUN_ID"):
        log_scores(client, project_run, {}, {"lsml.evaluated_run_id": run_id})
