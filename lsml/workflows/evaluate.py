"""A model on the sealed test split, on the record, or on the validation split."""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from lsml.data.holdout import training_splits
from lsml.data.layout import DESCRIPTION, PatchFiles
from lsml.data.pack import PackedSplit
from lsml.data.quality import admit, look_at_files, look_for_repeats
from lsml.data.scan import layout_of
from lsml.data.sealed import split_protocol, test_split
from lsml.data.splits import FoldedData, TrainingData
from lsml.errors import ConfigError, DataError, DataWarning
from lsml.evaluation.evaluate import (
    Evaluation,
    EvaluationReport,
    Patch,
    SplitName,
    StoredPatches,
    choose_threshold,
    evaluate_predictions,
    predictions,
)
from lsml.evaluation.predict import Augmentation, over_symmetries
from lsml.names import Tag
from lsml.scoring.regions import RegionScore
from lsml.tracking import asked_for
from lsml.tracking.ledger import Ledger
from lsml.tracking.models import RunModel
from lsml.tracking.runs import RunWriter
from lsml.tracking.store import check_writable, open_store
from lsml.tracking.study import model_run, named_run
from lsml.workflows.report import renew_report
from lsml.workflows.sources import SILENT, RecordedData
from lsml.workspace import Progress, pack_cache

Grouped = Literal["none", "region"]


def evaluate(
    *,
    run_id: str | None = None,
    model: str | None = None,
    split: SplitName = "test",
    tta: Augmentation = "none",
    data: str | Path | None = None,
    baseline: bool = False,
    by: Grouped = "none",
    force: bool = False,
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
        by: `region` to score each region of the patches by itself too.
        force: only warn of values that look wrong.
        progress: hears how many patches are done.

    Raises:
        ConfigError: neither or both of run and model; the validation split of a model that was trained in folds; or
            `by` regions that are not known.
        StorageError: no such run or registered model, or the run was deleted.
        ModelError: the run has no model, or one that is refused.
        DataError: no such split, patches that cannot be used, or test patches that the model was trained on.

    Examples:
        >>> report = lsml.evaluate(model="demo@champion", split="test")
        >>> report.metrics["f1"], report.intervals["f1"]
    """
    name = asked_for(run_id, model)
    client = open_store()
    asked = named_run(client, name)
    run = model_run(client, asked)
    for target in (run, asked):
        # Before the test split is opened: an opening without scores would count all the same.
        check_writable(client, target)
    tags = run.data.tags
    root = RecordedData(tags, data).root
    folds_of = tags.get(Tag.DATA_TRAIN) if Tag.DATA_FOLDS in tags else None
    _check_unseen(root, split, trained_on=tags.get(Tag.TRAINED_ON), folds_of=folds_of, cache=pack_cache())
    loaded = RunModel(client, run.info.run_id).load()
    files, protocol = _split(root, split)
    _check_known(files, by)
    known = _trained_on(tags, data, progress) if split == "test" else ()
    patches = StoredPatches(files, split, loaded.sensor, progress)
    predict, threshold, digest = loaded.predict, loaded.threshold, hashlib.sha256()
    ledger = Ledger.of_run(client, run) if split == "test" else None
    opening = ledger.record(run, model_sha256=loaded.sha256, data=str(root)) if ledger else None
    found = [*look_at_files(files, loaded.sensor), *look_for_repeats(files, loaded.sensor, known, progress)]
    unusual = admit({f"{split} split": found}, force=force)
    evaluation = evaluate_predictions(predictions(predict, patches.hashed(digest)), threshold)
    fingerprint, openings = digest.hexdigest(), None
    if ledger and opening:
        ledger.complete(opening, fingerprint)
        openings = ledger.count_openings(fingerprint)
    regions = RegionScore.of_patches(evaluation.patches) if by == "region" else ()
    orientations = predictions(over_symmetries(predict), patches)
    report = EvaluationReport(
        run_id=asked.info.run_id,
        model_run_id=run.info.run_id,
        data=str(root),
        split=split,
        evaluation=evaluation,
        panels=patches.panels(predict, evaluation),
        figures=evaluation.draw(split, regions),
        split_protocol=protocol,
        fingerprint=fingerprint,
        openings=openings,
        augmented=evaluate_predictions(orientations, threshold) if tta == "d4" else None,
        baseline=_baseline(root, patches, progress) if baseline else None,
        pixel_metres=loaded.sensor.pixel_metres,
        regions=regions,
    )
    for target in dict.fromkeys((run.info.run_id, asked.info.run_id)):
        writer = RunWriter(client, target)
        writer.evaluation(report)
        writer.log_scores({}, unusual)
    return replace(report, unreported=renew_report(client, run))


def _split(root: Path, split: SplitName) -> tuple[tuple[PatchFiles, ...], str]:
    """The files of the split, and how they were held out, as text."""
    if split == "test":
        return test_split(root), split_protocol(root)
    splits = training_splits(root)
    return splits.validation, splits.held_out


def _trained_on(tags: Mapping[str, str], given: str | Path | None, progress: Progress) -> tuple[PackedSplit, ...]:
    """What a run's model was trained and validated on; none, with a warning, where that cannot be had any more."""
    errors: list[DataError] = []
    # A folder that has moved is given, and so is one of other patches.
    for folder in dict.fromkeys((None, given)):
        try:
            return RecordedData(tags, folder).pack(progress).splits
        except DataError as error:
            errors.append(error)
    why = f"not compared with the patches that the model was trained on: {errors[0].what}: {errors[0].why}"
    warnings.warn(DataWarning(str(DataError("test split", why, "keep those patches apart"))), stacklevel=2)
    return ()


def _check_known(files: Sequence[PatchFiles], by: Grouped) -> None:
    """Raises ConfigError where scores by region are asked for and a patch is of none; before the split is opened."""
    if by == "region" and not all(patch.region for patch in files):
        why = "no regions of the patches are known"
        raise ConfigError("--by region", why, f"say in {DESCRIPTION} regions: folders, or patches: FILE.csv")


def _baseline(root: Path, patches: StoredPatches, progress: Progress) -> Evaluation:
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
    if layout_of(root).name != "bare":
        return
    if FoldedData.prepare(root, cache, folds=2, repeats=1).train.fingerprint == folds_of:
        raise DataError(
            f"dataset {root}", "the model was trained on all of it, in folds", "give other patches with --data DIR"
        )
