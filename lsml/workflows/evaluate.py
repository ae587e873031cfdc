"""Evaluation: a model on the sealed test split, on the record, or on the validation split."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from lsml.data.folds import prepare_folds
from lsml.data.hdf5 import read_image, read_mask
from lsml.data.scan import PatchFiles, layout_of
from lsml.data.sealed import set_apart, test_split
from lsml.data.splits import Judged, prepare, training_splits
from lsml.errors import ConfigError, DataError
from lsml.evaluation.evaluate import Evaluation, Patch, Predict, draw, evaluate
from lsml.evaluation.predict import over_symmetries
from lsml.plots.curves import draw_f1, draw_precision_recall, draw_reliability
from lsml.scoring.bootstrap import Difference, difference, f1
from lsml.scoring.metrics import PooledCounts, to_csv
from lsml.training.outcome import Panel
from lsml.workflows.sources import Progress, check_one_of, load_model, named_run
from lsml.workspace import pack_cache

SplitName = Literal["test", "valid"]
Augmentation = Literal["none", "d4"]


@dataclass(frozen=True)
class Judgement:
    """What an evaluation found.

    Attributes:
        run_id: the run that was asked for; `model_run_id` the one whose model was judged.
        panels: pictures of the worst patches, worst first, and of the median ones.
        looks: how often this test split has been opened for the study so far, this time included; None where it was
            the validation split, which is not sealed.
        augmented: what the model says of the same patches averaged over their eight orientations, at the same
            threshold, which was chosen without that; None where it was not asked for.
        baseline: what the per-pixel logistic regression says of the same patches, where it was asked for.
    """

    run_id: str
    model_run_id: str
    data: str
    split: SplitName
    evaluation: Evaluation
    panels: tuple[Panel, ...]
    looks: int | None
    augmented: Evaluation | None
    baseline: Evaluation | None

    @property
    def gained(self) -> Difference | None:
        """By how much F1 is higher with test-time augmentation, over the same patches resampled."""
        return difference(self.augmented.confusion, self.evaluation.confusion, f1) if self.augmented else None

    @property
    def ahead(self) -> Difference | None:
        """By how much the model's F1 is higher than the baseline's, over the same patches resampled."""
        return difference(self.evaluation.confusion, self.baseline.confusion, f1) if self.baseline else None


def judge(
    *,
    run_id: str | None,
    model: str | None,
    split: SplitName,
    tta: Augmentation,
    data: Path | None,
    baseline: bool,
    progress: Progress,
) -> Judgement:
    """Judges a model on a split, and writes scores, pictures and a table into MLflow.

    The model is that of a run, or `NAME@ALIAS` or `NAME/VERSION` of the registry, whose scores go to the run that it
    came from. A study's run speaks for its best trial, and the scores go to both. Only the test split is sealed: only
    its opening is recorded, before the first of its patches is read.

    Raises:
        ConfigError: neither or both of run and model; or the validation split of a model that was trained in folds.
        StorageError: no such run or registered model.
        ModelError: the run has no model, or one that is refused.
        DataError: no such split, or patches that cannot be used.
    """
    check_one_of(run_id, model)
    from lsml.tracking.ledger import ledger_of
    from lsml.tracking.runs import DATA_ROOT, find_run
    from lsml.tracking.store import open_client
    from lsml.tracking.study import model_run_id

    client = open_client()
    asked = named_run(client, run_id, model)
    run = find_run(client, model_run_id(asked))
    root = _root(run.data.tags.get(DATA_ROOT), data)
    _check_unseen(root, run.data.tags, split)
    loaded = load_model(client, run.info.run_id)
    files = test_split(root) if split == "test" else training_splits(root).validation
    patches = Patches(files, split, progress)
    predict = loaded.network.predict_on_batch
    ledger = ledger_of(client, run) if split == "test" else None
    opening = ledger.record(run, model_sha256=loaded.sha256, data=str(root)) if ledger else None
    found = evaluate(predict, patches, loaded.threshold, split=split)
    looks = None
    if ledger and opening:
        ledger.complete(opening, found.fingerprint)
        looks = ledger.looks(found.fingerprint)
    panels = found.panels + _median_panels(predict, found, patches)
    augmented = evaluate(over_symmetries(predict), patches, loaded.threshold, split=split) if tta == "d4" else None
    simple = _baseline(root, patches, progress) if baseline else None
    judgement = Judgement(asked.info.run_id, run.info.run_id, str(root), split, found, panels, looks, augmented, simple)
    for target in dict.fromkeys((run.info.run_id, asked.info.run_id)):
        _log(client, target, judgement)
    return judgement


def _root(recorded: str | None, given: Path | None) -> Path:
    root = given or (Path(recorded) if recorded else None)
    if root is None or not root.is_dir():
        raise DataError(f"dataset {root or ''}".strip(), "no such folder", "give its path with --data DIR")
    return root.resolve()


def _check_unseen(root: Path, tags: Mapping[str, str], split: SplitName) -> None:
    """A bare pair of folders keeps blocks for validation and test, unless all of it was trained on in folds."""
    from lsml.tracking.runs import FOLDS, TRAIN, TRAINED_ON

    if split == "valid" and TRAINED_ON in tags:
        raise ConfigError(
            "--split valid",
            f"the model was trained on {tags[TRAINED_ON]}, these patches among them",
            "earned_val_f1 of its run is the score of the model that had not seen them; judge it with --split test",
        )
    if FOLDS not in tags:
        return
    if split == "valid":
        raise ConfigError(
            "--split valid",
            "the model was judged in folds of its own training patches, not on a validation split",
            "best_val_f1 of its run is the score on patches held out; judge it with --split test",
        )
    if layout_of(root) != "bare":
        return
    whole = prepare_folds(root, pack_cache(), folds=2, repeats=1).train
    if whole.fingerprint == tags[TRAIN]:
        raise DataError(
            f"dataset {root}", "the model was trained on all of it, in folds", "give other patches with --data DIR"
        )


@dataclass(frozen=True)
class Patches:
    """The patches of a split, read anew each time that they are gone through."""

    files: tuple[PatchFiles, ...]
    split: SplitName
    progress: Progress

    def __iter__(self) -> Iterator[Patch]:
        for done, patch in enumerate(self.files, start=1):
            assert patch.mask is not None
            yield Patch(patch.id, read_image(patch.image).astype(np.float32), read_mask(patch.mask))
            self.progress(f"{self.split} patches", done, len(self.files))


def _baseline(root: Path, patches: Patches, progress: Progress) -> Evaluation:
    """What a logistic regression on the bands of one pixel makes of the same patches, at validation's threshold."""
    from lsml.training.baselines import fit_pixel_baseline

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

    return evaluate(predict, patches, threshold, split=patches.split)


def _median_panels(predict: Predict, found: Evaluation, patches: Patches) -> tuple[Panel, ...]:
    """Of the patches in the middle, which only the whole pass has told: read and predicted once more."""
    chosen = tuple(file for file in patches.files if file.id in found.median)
    return draw(predict, list(replace(patches, files=chosen)), found.threshold, split=patches.split)


def _named(prefix: str, found: Evaluation) -> dict[str, float]:
    """The scores and the ends of their intervals, as metrics of a run."""
    metrics = {f"{prefix}_{name}": value for name, value in (found.metrics | found.other_averages).items()}
    for name, (low, high) in found.intervals.items():
        metrics |= {f"{prefix}_{name}_low": low, f"{prefix}_{name}_high": high}
    return metrics


def _figures(found: Evaluation, split: SplitName) -> dict[str, bytes]:
    title = f"{split} split, {len(found.patches)} patches"
    return {
        f"{split}/precision_recall.png": draw_precision_recall(found.counts, found.threshold, title),
        f"{split}/f1_over_threshold.png": draw_f1(found.counts, found.threshold, title),
        f"{split}/reliability.png": draw_reliability(found.counts, title),
    }


def _log(client: object, run_id: str, judgement: Judgement) -> None:
    from lsml.tracking.runs import log_files, log_panels, log_scores, log_table, log_texts
    from lsml.tracking.scores import score_tags

    split, found, baseline = judgement.split, judgement.evaluation, judgement.baseline
    metrics = _named(split, found)
    if augmented := judgement.augmented:
        metrics |= _named(f"{split}_tta", augmented)
    if baseline:
        metrics |= {f"{split}_pixel_baseline_{name}": value for name, value in baseline.metrics.items()}
    tags = {f"lsml.data.{split}": found.fingerprint}
    if split == "test":
        tags |= score_tags("test", Judged(set_apart(Path(judgement.data)), found.fingerprint))
    log_scores(client, run_id, metrics, tags)
    log_panels(client, run_id, judgement.panels)
    rows = [score._asdict() for score in found.patches]
    log_texts(client, run_id, {f"{split}_patches.csv": to_csv(rows)})
    log_table(client, run_id, f"{split}_patches.json", rows)
    log_files(client, run_id, _figures(found, split))
    if project_run := os.environ.get("MLFLOW_RUN_ID"):
        log_scores(client, project_run, {}, {"lsml.evaluated_run_id": run_id})
