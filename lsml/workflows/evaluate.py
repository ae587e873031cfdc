"""A model on the sealed test split, on the record, or on the validation split; and on a folder of patches."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from lsml.data.hdf5 import read_image, read_mask
from lsml.data.scan import PatchFiles, layout_of
from lsml.data.sealed import split_protocol, test_split
from lsml.data.splits import FoldedData, ScoredPatches, TrainingData, training_splits
from lsml.errors import ConfigError, DataError
from lsml.evaluation.evaluate import (
    Evaluation,
    Patch,
    Predict,
    choose_threshold,
    evaluate_predictions,
    predictions,
)
from lsml.evaluation.predict import Prediction, images_in, over_symmetries, predict_patches
from lsml.names import Artifact, Tag
from lsml.plots import png
from lsml.plots.curves import plot_f1, plot_precision_recall, plot_reliability
from lsml.scoring.bootstrap import Difference, Interval, difference
from lsml.scoring.metrics import PatchScore, f1, to_csv
from lsml.tracking.ledger import Ledger
from lsml.tracking.models import RunModel
from lsml.tracking.runs import (
    RunWriter,
    find_run,
    named_run,
    score_tags,
)
from lsml.tracking.store import Client, open_client
from lsml.tracking.study import model_run_id
from lsml.training.outcome import Panel
from lsml.workflows.sources import SILENT, RecordedData
from lsml.workspace import Progress, pack_cache

if TYPE_CHECKING:
    import pandas

SplitName = Literal["test", "valid"]
Augmentation = Literal["none", "d4"]


@dataclass(frozen=True)
class EvaluationReport:
    """An evaluation of a model, and what it is compared with.

    Attributes:
        run_id: the run that was asked for; `model_run_id` the one whose model was evaluated.
        data: the dataset's folder.
        panels: pictures of the worst patches, worst first, and of the median ones.
        fingerprint: SHA-256 of ids, images and masks, 64 hex digits.
        openings: how often this test split has been opened for the study so far, this time included; None of the
            validation split, which is not sealed.
        augmented: of the mean over the eight orientations of each patch, at the same threshold, which was chosen
            without test-time augmentation; None where it was not asked for.
        baseline: of the per-pixel logistic regression, where it was asked for.
    """

    run_id: str
    model_run_id: str
    data: str
    split: SplitName
    evaluation: Evaluation
    panels: tuple[Panel, ...]
    fingerprint: str
    openings: int | None
    augmented: Evaluation | None
    baseline: Evaluation | None

    @property
    def metrics(self) -> dict[str, float]:
        """The model's scores by name, over all pixels and all objects of the split; ratios are in 0..1."""
        return self.evaluation.metrics

    @property
    def intervals(self) -> dict[str, Interval]:
        """95 % intervals of the pooled scores among `metrics`, by patches resampled: `(low, high)`."""
        return self.evaluation.intervals

    def to_frame(self) -> "pandas.DataFrame":
        """One row a patch, in the order of the split.

        `landslide_share` of its pixels in 0..1; `hits`, `misses` and `false_alarms` in pixels; `f1` in 0..1, missing
        where there is neither landslide nor alarm.
        """
        import pandas

        return pandas.DataFrame(self.evaluation.patches, columns=list(PatchScore._fields))

    @property
    def gained(self) -> Difference | None:
        """By how much F1 is higher with test-time augmentation, over the same patches resampled."""
        return difference(self.augmented.confusion, self.evaluation.confusion, f1) if self.augmented else None

    @property
    def ahead(self) -> Difference | None:
        """By how much the model's F1 is higher than the baseline's, over the same patches resampled."""
        return difference(self.evaluation.confusion, self.baseline.confusion, f1) if self.baseline else None


def evaluate(
    *,
    run_id: str | None = None,
    model: str | None = None,
    split: SplitName = "test",
    tta: Augmentation = "none",
    data: str | Path | None = None,
    baseline: bool = False,
    progress: Progress = SILENT.step,
) -> EvaluationReport:
    """Scores a model on a split, and writes scores, pictures and a table into MLflow.

    The model is that of a run, or `NAME@ALIAS` or `NAME/VERSION` of the registry, whose scores go to the run that it
    came from. A study's run stands for its best trial, and the scores go to both. Only the test split is sealed: only
    its opening is recorded, before the first of its patches is read.

    Args:
        split: `test`, or `valid`, whose scores are optimistically biased.
        tta: `d4` to score the mean over the eight symmetries of each patch too.
        data: the dataset's folder, where it has moved or is another.
        baseline: also score a logistic regression on the bands of one pixel.
        progress: hears how many patches are done.

    Raises:
        ConfigError: neither or both of run and model; or the validation split of a model that was trained in folds.
        StorageError: no such run or registered model.
        ModelError: the run has no model, or one that is refused.
        DataError: no such split, or patches that cannot be used.

    Example:
        >>> report = lsml.evaluate(model="demo@champion", split="test")
        >>> report.metrics["f1"], report.intervals["f1"]
    """
    _check_one_of(run_id, model)
    client = open_client()
    asked = named_run(client, run_id, model)
    run = find_run(client, model_run_id(asked))
    tags = run.data.tags
    root = RecordedData(tags, data).root
    folds_of = tags.get(Tag.DATA_TRAIN) if Tag.DATA_FOLDS in tags else None
    _check_unseen(root, split, trained_on=tags.get(Tag.TRAINED_ON), folds_of=folds_of, cache=pack_cache())
    loaded = RunModel(client, run.info.run_id).load()
    files = test_split(root) if split == "test" else training_splits(root).validation
    patches = _StoredPatches(files, split, progress)
    predict, threshold, digest = loaded.network.predict_on_batch, loaded.threshold, hashlib.sha256()
    ledger = Ledger.of_run(client, run) if split == "test" else None
    opening = ledger.record(run, model_sha256=loaded.sha256, data=str(root)) if ledger else None
    evaluation = evaluate_predictions(predictions(predict, _hashed(patches, digest)), threshold)
    fingerprint, openings = digest.hexdigest(), None
    if ledger and opening:
        ledger.complete(opening, fingerprint)
        openings = ledger.count_openings(fingerprint)
    orientations = predictions(over_symmetries(predict), patches)
    report = EvaluationReport(
        run_id=asked.info.run_id,
        model_run_id=run.info.run_id,
        data=str(root),
        split=split,
        evaluation=evaluation,
        panels=_panels(predict, evaluation, patches),
        fingerprint=fingerprint,
        openings=openings,
        augmented=evaluate_predictions(orientations, threshold) if tta == "d4" else None,
        baseline=_baseline(root, patches, progress) if baseline else None,
    )
    for target in dict.fromkeys((run.info.run_id, asked.info.run_id)):
        _log(client, target, report)
    return report


@dataclass(frozen=True)
class _StoredPatches:
    """The patches of a split, read anew each time that they are iterated over."""

    files: tuple[PatchFiles, ...]
    split: SplitName
    progress: Progress

    def __iter__(self) -> Iterator[Patch]:
        for done, patch in enumerate(self.files, start=1):
            assert patch.mask is not None
            yield Patch(patch.id, read_image(patch.image).astype(np.float32), read_mask(patch.mask))
            self.progress(f"{self.split} patches", done, len(self.files))


def _baseline(root: Path, patches: _StoredPatches, progress: Progress) -> Evaluation:
    """Of a logistic regression on the bands of one pixel, on the same patches, at its best threshold on validation."""
    # Here, because it loads scikit-learn, which no other evaluation needs.
    from lsml.training.baselines import fit_pixel_baseline

    data = TrainingData.prepare(root, pack_cache(), progress=progress)
    classifier = fit_pixel_baseline(data.train)
    threshold = choose_threshold(predictions(classifier.predict, Patch.of_split(data.validation), batch=1))
    medians = np.asarray(data.statistics.median, dtype=np.float32)

    def predict(images: np.ndarray) -> np.ndarray:
        return classifier.predict(np.where(np.isfinite(images), images, medians))

    return evaluate_predictions(predictions(predict, patches), threshold)


def _panels(predict: Predict, evaluation: Evaluation, patches: _StoredPatches) -> tuple[Panel, ...]:
    """Of the worst and the median patches, which are known only after the whole pass: read and predicted once more."""
    files = {file.id: file for file in patches.files}
    chosen = tuple(files[name] for name in (*evaluation.worst, *evaluation.median))
    again = list(replace(patches, files=chosen))
    predicted = zip(again, predictions(predict, again), strict=True)
    return tuple(patch.draw(one.probability, evaluation.threshold, split=patches.split) for patch, one in predicted)


def _hashed(patches: Iterable[Patch], digest: "hashlib._Hash") -> Iterator[Patch]:
    """The patches, of each of which `digest` takes in id, image and mask as it goes by."""
    for patch in patches:
        digest.update(patch.id.encode() + b"\0")
        digest.update(np.ascontiguousarray(patch.image).tobytes())
        digest.update(np.ascontiguousarray(patch.mask).tobytes())
        yield patch


def _check_unseen(root: Path, split: SplitName, *, trained_on: str | None, folds_of: str | None, cache: Path) -> None:
    """Refuses to score a model on patches that it was trained on.

    Args:
        root: the dataset's folder.
        trained_on: what a final model was trained on, `train+valid`; None for others.
        folds_of: the fingerprint of the patches on which the model was cross-validated; None without folds.
        cache: the folder of packed datasets.

    Raises:
        ConfigError: the validation patches are among those that it was trained on.
        DataError: so are the test patches, because a folder without splits gave all of its patches to the folds.
    """
    if split == "valid" and trained_on:
        raise ConfigError(
            "--split valid",
            f"the model was trained on {trained_on}, these patches among them",
            "earned_val_f1 of its run is the score of the model that had not seen them; evaluate with --split test",
        )
    if folds_of is None:
        return
    if split == "valid":
        raise ConfigError(
            "--split valid",
            "the model was cross-validated on its own training patches and has no validation split",
            "best_val_f1 of its run is the score on held-out patches; evaluate with --split test",
        )
    if layout_of(root) != "bare":
        return
    if FoldedData.prepare(root, cache, folds=2, repeats=1).train.fingerprint == folds_of:
        raise DataError(
            f"dataset {root}", "the model was trained on all of it, in folds", "give other patches with --data DIR"
        )


def _named(prefix: str, evaluation: Evaluation) -> dict[str, float]:
    """The scores and the ends of their intervals, as metrics of a run."""
    metrics = {f"{prefix}_{name}": value for name, value in (evaluation.metrics | evaluation.other_averages).items()}
    for name, (low, high) in evaluation.intervals.items():
        metrics |= {f"{prefix}_{name}_low": low, f"{prefix}_{name}_high": high}
    return metrics


def _figures(evaluation: Evaluation, split: SplitName) -> dict[str, bytes]:
    title = f"{split} split, {len(evaluation.patches)} patches"
    counts, threshold = evaluation.counts, evaluation.threshold
    return {
        f"{split}/{Artifact.PRECISION_RECALL}": png(plot_precision_recall(counts, threshold, title)),
        f"{split}/{Artifact.F1_OVER_THRESHOLD}": png(plot_f1(counts, threshold, title)),
        f"{split}/{Artifact.RELIABILITY}": png(plot_reliability(counts, title)),
    }


def _log(client: Client, run_id: str, report: EvaluationReport) -> None:
    split, evaluation = report.split, report.evaluation
    metrics = _named(split, evaluation)
    if report.augmented:
        metrics |= _named(f"{split}_tta", report.augmented)
    if report.baseline:
        metrics |= {f"{split}_pixel_baseline_{name}": value for name, value in report.baseline.metrics.items()}
    tags = {f"{Tag.DATA}{split}": report.fingerprint}
    if split == "test":
        tags |= score_tags("test", ScoredPatches(split_protocol(Path(report.data)), report.fingerprint))
    run = RunWriter(client, run_id)
    run.log_scores(metrics, tags)
    run.log_panels(report.panels)
    rows = [score._asdict() for score in evaluation.worst_first]
    run.log_texts({f"{split}{Artifact.PATCHES}": to_csv(rows)})
    run.log_table(f"{split}{Artifact.SHOWN_PATCHES}", rows)
    run.log_files(_figures(evaluation, split))
    if project_run := os.environ.get("MLFLOW_RUN_ID"):
        RunWriter(client, project_run).log_scores({}, {Tag.EVALUATED_RUN: run_id})


def _check_one_of(run_id: str | None, model: str | None) -> None:
    """Checks that a model is given either by its run or by its name in the registry.

    Raises:
        ConfigError: neither or both are given.
    """
    if (run_id is None) == (model is None):
        raise ConfigError("model", "give either --run-id or --model", "for instance --model demo@candidate")


@dataclass(frozen=True)
class PredictResult:
    """What was predicted.

    Attributes:
        predictions: one a patch, in the order of their numbers.
        threshold: the probability from which a pixel counts as landslide, in 0..1.
        model_run_id: the run whose model predicted.
    """

    predictions: tuple[Prediction, ...]
    threshold: float
    model_run_id: str

    def to_frame(self) -> "pandas.DataFrame":
        """One row a patch: its id, and the share of its pixels that are landslide, in 0..1."""
        import pandas

        return pandas.DataFrame(self.predictions, columns=list(Prediction._fields))


def predict(
    folder: str | Path,
    *,
    run_id: str | None = None,
    model: str | None = None,
    out: str | Path = "predictions",
    progress: Progress = SILENT.step,
) -> PredictResult:
    """Writes masks, probabilities and pictures of the patches in `folder` below `out`.

    The model is that of a run (a study's run stands for its best trial) or `NAME@ALIAS` or `NAME/VERSION` of the
    registry. What an interrupted call wrote is written again.

    Args:
        folder: that holds `image_<number>.h5`, or `img/` with them.
        out: gets `mask/` (uint8 `(H, W)` of 0 and 1), `probability/` (float32 `(H, W)` in 0..1) and `panel/` (PNG).
        progress: hears how many patches are done.

    Raises:
        ConfigError: neither or both of run and model.
        DataError: patches that cannot be read, or an `out` that holds other things.
        StorageError: no such run or registered model.
        ModelError: the run has no model, or one that is refused.

    Example:
        >>> result = lsml.predict("patches", model="demo@champion", out="maps")
        >>> result.to_frame().sort_values("landslide_share")
    """
    _check_one_of(run_id, model)
    patches, out = images_in(Path(folder)), Path(out)
    _check_out(out)
    client = open_client()
    source = model_run_id(named_run(client, run_id, model))
    loaded = RunModel(client, source).load()
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
        raise DataError(f"folder {out}", "is a file", "choose another --out")
    strangers = {path.name for path in out.iterdir()} - {"mask", "probability", "panel"} if out.is_dir() else set()
    if strangers:
        raise DataError(
            f"folder {out}",
            f"contains other files ({sorted(strangers)[0]})",
            "choose an empty folder with --out",
        )
