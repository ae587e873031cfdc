"""The training behind a trial, which workers run, and its outcome."""

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from lsml.config.schema import TrainConfig
from lsml.data.pack import PackedSplit
from lsml.data.sensor import BLUE, ELEVATION, GREEN, NEAR_INFRARED, RED, SLOPE
from lsml.data.splits import FoldedData, Split, Steps, StudyData, TrainingData
from lsml.data.tiles import evenly
from lsml.evaluation.evaluate import (
    Evaluation,
    Patch,
    PredictedPatch,
    choose_threshold,
    evaluate_predictions,
    predictions,
)
from lsml.models.export import costs, export
from lsml.names import OBJECTIVE, Artifact, Metric
from lsml.scoring.calibration import Calibration, calibrate
from lsml.scoring.ensemble_selection import StoredProbabilities
from lsml.scoring.metrics import PatchScore, to_csv
from lsml.training.device import within_memory
from lsml.training.outcome import (
    CvSummary,
    Panel,
    Report,
    StepEvent,
    TrialFunctions,
    TrialOutcome,
    TrialTask,
)

if TYPE_CHECKING:
    import keras

    from lsml.training.baselines import Kind, PixelLearner
    from lsml.training.crossval import CrossValidation, Learner

_PANEL_PATCHES = 4


def train_trial(task: TrialTask, report: Report) -> TrialOutcome:
    """Trains the task's configuration, once, or in folds where its data have some.

    Raises:
        TrainingDiverged: the loss left the finite numbers.
        OutOfMemory: the configuration does not fit.
    """
    return within_memory(lambda: _trained(task, report), task.config)


def _trained(task: TrialTask, report: Report) -> TrialOutcome:
    if isinstance(task.data, FoldedData):
        from lsml.training.network import Network

        network = Network(task.config)
        return replace(_cross_validated(network, task, report), costs=network.costs(task.data.train))
    assert isinstance(task.data, TrainingData)
    return _fitted(task.data, task, report)


def confirm_trial(task: TrialTask, report: Report) -> TrialOutcome:
    """Trains the task's configuration in folds as `train_trial` does; its model is the mean of all folds' networks.

    The model says the mean of several networks: so `value`, its threshold and temperature, and the tables of patches
    and of pixels are of each pixel's mean probability over repeats, by the networks that did not train on it. F1 over
    the pixels of all repeats, which is `value` of `train_trial`, is `val_repeats_f1`, at a threshold of its own, which
    is that of the table of repeats too: `val_repeats_threshold`.

    Raises:
        TrainingDiverged: the loss left the finite numbers.
        OutOfMemory: the configuration does not fit.
    """
    return within_memory(lambda: _confirmed(task.config, task, report), task.config)


def _confirmed(config: TrainConfig, task: TrialTask, report: Report) -> TrialOutcome:
    from lsml.training.network import KeptNetwork

    learner = KeptNetwork(config)
    return _with_model(learner, task, report, lambda result: learner.mean(result.networks))


def refit_trial(task: TrialTask, report: Report, *, summary: CvSummary) -> TrialOutcome:
    """Trains the task's configuration on all patches, as long as its folds did on average.

    Raises:
        TrainingDiverged: the loss left the finite numbers.
        OutOfMemory: the configuration does not fit.
    """
    return within_memory(lambda: _refitted(task, report, summary), task.config)


def _refitted(task: TrialTask, report: Report, summary: CvSummary) -> TrialOutcome:
    from lsml.training.network import refit

    (pack,) = task.data.splits
    result = refit(
        task.config,
        pack,
        epochs=summary.epochs,
        temperature=summary.temperature,
        report=report,
        checkpoint=task.checkpoint,
    )
    return TrialOutcome(
        value=summary.value,
        stopped="finished",
        steps=Steps("epoch", summary.epochs),
        best_epoch=summary.epochs,
        threshold=summary.exported_threshold,
        temperature=summary.temperature,
        metrics=summary.metrics,
        environment=_versions(result.environment),
        model=result.model,
        costs=result.costs,
        epoch_seconds=result.epoch_seconds,
    )


def _pixel_baseline_trial(task: TrialTask, report: Report, *, kind: "Kind" = "regression") -> TrialOutcome:
    """Cross-validates a classifier of single pixels, or, where the data have a validation split, scores it there.

    Its model is the classifier of all patches that are trained on: in folds of all, by the threshold and temperature of
    the mean over repeats, as that of `confirm_trial`.
    """
    from lsml.training.baselines import PixelLearner

    learner, data, seed = PixelLearner(kind), task.data, task.config.seed
    if isinstance(data, FoldedData):
        pack = data.train
        return _with_model(learner, task, report, lambda _: learner.fit(pack, seed).network(pack.statistics))
    assert isinstance(data, TrainingData)
    return _validated(learner, data, seed, report)


def _public_recipe_trial(task: TrialTask, report: Report) -> TrialOutcome:
    """Cross-validates the six-input U-Net of public notebooks, as `confirm_trial`."""
    from lsml.config.schema import PUBLIC_RECIPE

    return within_memory(lambda: _confirmed(PUBLIC_RECIPE, task, report), PUBLIC_RECIPE)


_RULE, _PUBLIC_RECIPE = "NDVI and slope threshold", "six-input U-Net of public notebooks"

FUNCTIONS = TrialFunctions(
    search=train_trial,
    confirm=confirm_trial,
    refit=refit_trial,
    baselines={
        "logistic regression on single pixels": _pixel_baseline_trial,
        "gradient boosting on single pixels": partial(_pixel_baseline_trial, kind="boosting"),
        _RULE: partial(_pixel_baseline_trial, kind="rule"),
    },
    fold_baselines={_PUBLIC_RECIPE: _public_recipe_trial},
    roles={
        _RULE: (RED, NEAR_INFRARED, SLOPE),
        _PUBLIC_RECIPE: (RED, GREEN, BLUE, NEAR_INFRARED, SLOPE, ELEVATION),
    },
)


def _fitted(data: TrainingData, task: TrialTask, report: Report) -> TrialOutcome:
    from lsml.training.fit import fit

    validation = data.validation
    result = fit(task.config, data, report, checkpoint=task.checkpoint)
    evaluation = evaluate_predictions(PredictedPatch.of_split(validation, result.probabilities), result.threshold)
    kept = validation.ids, validation.fingerprint, result.probabilities
    thresholds = {
        Metric.VAL_THRESHOLD: result.threshold,
        Metric.VAL_RAW_THRESHOLD: result.metrics[Metric.VAL_THRESHOLD],
    }
    return TrialOutcome(
        value=result.metrics[OBJECTIVE],
        stopped=result.stopped,
        steps=Steps("epoch", result.epochs),
        best_epoch=result.best_epoch,
        threshold=result.threshold,
        temperature=result.calibration.temperature,
        metrics={**result.metrics, **thresholds, **_calibration(result.calibration), **_object_scores(evaluation)},
        environment=_versions(result.environment),
        model=result.model,
        costs=result.costs,
        epoch_seconds=result.laps.summary(),
        panels=validation_panels(validation, result.probabilities.__getitem__, result.threshold),
        tables=_tables(evaluation),
        files={Artifact.PROBABILITIES: StoredProbabilities.pack(*kept)} if task.keep_probabilities else {},
    )


def _cross_validated(learner: "Learner", task: TrialTask, report: Report) -> TrialOutcome:
    return _of_folds(_in_folds(learner, task, report), task.data)


def _in_folds(learner: "Learner", task: TrialTask, report: Report) -> "CrossValidation":
    from lsml.training.crossval import cross_validate

    data = task.data
    assert isinstance(data, FoldedData)
    return cross_validate(
        learner,
        data.train,
        seed=task.config.seed,
        folds=data.folds,
        repeats=data.repeats,
        report=report,
        partition=data.partition,
        checkpoint=task.checkpoint,
    )


def _of_folds(result: "CrossValidation", data: StudyData) -> TrialOutcome:
    assert isinstance(data, FoldedData)
    evaluation = evaluate_predictions(_out_of_fold(result, data.train), result.threshold)
    calibration = calibrate(evaluation.counts, result.threshold)
    by_repeat = {f"{Metric.VAL_F1_REPEAT}{number}": f1 for number, f1 in enumerate(result.repeat_f1, start=1)}
    return TrialOutcome(
        value=result.value,
        stopped=result.stopped,
        steps=Steps("fold", len(result.histories)),
        best_epoch=result.length,
        threshold=result.threshold,
        temperature=calibration.temperature,
        metrics={**result.metrics, **_calibration(calibration), **_object_scores(evaluation), **by_repeat},
        environment=_versions(result.environment),
        panels=validation_panels(data.train, lambda index: result.probability(0, index), result.threshold),
        tables={
            Artifact.FOLDS: _curves(result.histories, data.folds),
            Artifact.VALIDATION_REPEATS: _by_repeat(result, data.train),
            **_tables(evaluation),
        },
    )


def _with_model(
    learner: "Learner", task: TrialTask, report: Report, network: Callable[["CrossValidation"], "keras.Model"]
) -> TrialOutcome:
    """As `_cross_validated`, and with a model of the threshold and temperature of the mean over repeats.

    Args:
        network: of the folds' result, stored bands `(B, H, W, C)` to logits `(B, H, W, 1)`; not asked for if pruned.
    """
    from lsml.models.unet import with_probability

    result, (pack,) = _in_folds(learner, task, report), task.data.splits
    outcome = _of_folds(result, task.data)
    if result.stopped == "pruned":
        return outcome
    raw_threshold = choose_threshold(_averaged(result, pack))
    evaluation = evaluate_predictions(_averaged(result, pack), raw_threshold)
    calibration = calibrate(evaluation.counts, raw_threshold)
    model = with_probability(network(result), calibration.temperature)
    thresholds = {
        Metric.VAL_THRESHOLD: calibration.threshold,
        Metric.VAL_RAW_THRESHOLD: raw_threshold,
        Metric.VAL_REPEATS_THRESHOLD: result.threshold,
    }
    metrics = evaluation.counts.validation_metrics()
    averaged = {**metrics, **thresholds, **_calibration(calibration), **_object_scores(evaluation)}
    return replace(
        outcome,
        value=metrics[OBJECTIVE],
        threshold=calibration.threshold,
        temperature=calibration.temperature,
        metrics={**outcome.metrics, **averaged, Metric.VAL_REPEATS_F1: outcome.value},
        epoch_seconds=result.epoch_seconds,
        model=export(model, pack.sensor.with_typical(pack.statistics.median)),
        costs=costs(model, pack.batch([0])[0]),
        panels=validation_panels(pack, result.mean_probability, raw_threshold),
        tables={**outcome.tables, **_tables(evaluation)},
    )


def _averaged(result: "CrossValidation", split: PackedSplit) -> Iterator[PredictedPatch]:
    """Each patch with its mean out-of-fold probability over the repeats, all of which are whole."""
    return PredictedPatch.of_split(split, map(result.mean_probability, range(len(split))))


def _by_repeat(result: "CrossValidation", split: PackedSplit) -> str:
    """Pixels of each patch in each repeat at the threshold of the folds, of those that were predicted.

    Rows are sampled in pairs where two configurations are compared in the same folds.
    """
    scores = (
        (repeat + 1, PatchScore.of(name, split.mask(index), probability, result.threshold))
        for repeat in range(len(result.grid_indices))
        for index, name in enumerate(split.ids)
        if (probability := result.probability(repeat, index)) is not None
    )
    return to_csv(
        [
            {
                "repeat": repeat,
                "id": score.id,
                "hits": score.hits,
                "false_alarms": score.false_alarms,
                "misses": score.misses,
            }
            for repeat, score in scores
        ]
    )


def _out_of_fold(result: "CrossValidation", split: PackedSplit) -> Iterator[PredictedPatch]:
    """Each patch with its out-of-fold probabilities of all repeats; without those that pruning left out."""
    for index, name in enumerate(split.ids):
        repeats = [result.probability(repeat, index) for repeat in range(len(result.grid_indices))]
        if predicted := [probability for probability in repeats if probability is not None]:
            yield PredictedPatch(name, split.mask(index), np.stack(predicted), split.region(index))


def _validated(learner: "PixelLearner", data: TrainingData, seed: int, report: Report) -> TrialOutcome:
    """Fits to train once and scores on validation patches as a network is, but for temperature scaling."""
    from lsml.models.unet import with_probability

    started, validation = time.perf_counter(), data.validation
    fitted = learner.fit(data.train, seed)
    seconds = time.perf_counter() - started
    predicted = list(predictions(fitted.predict, Patch.of_split(validation), batch=1))
    evaluation = evaluate_predictions(predicted, choose_threshold(predicted))
    metrics = evaluation.counts.validation_metrics()
    report(StepEvent(1, metrics | {"fit_seconds": seconds}))
    model = with_probability(fitted.network(data.statistics))
    return TrialOutcome(
        value=metrics[OBJECTIVE],
        stopped="finished",
        steps=Steps("fit", 1),
        best_epoch=1,
        threshold=evaluation.threshold,
        metrics=metrics | _object_scores(evaluation),
        environment=_versions(learner.environment()),
        model=export(model, data.statistics.sensor.with_typical(data.statistics.median)),
        costs=costs(model, validation.batch([0])[0]),
        panels=validation_panels(validation, lambda index: predicted[index].probability, evaluation.threshold),
        tables=_tables(evaluation),
    )


def _calibration(calibration: Calibration) -> dict[str, float]:
    """Metrics of temperature scaling; `val_calibration_error` is that of before."""
    return {Metric.VAL_TEMPERATURE: calibration.temperature, Metric.VAL_SCALED_CALIBRATION_ERROR: calibration.error}


def _object_scores(evaluation: Evaluation) -> dict[str, float]:
    return {f"{Metric.VAL}{name}": value for name, value in evaluation.objects.scores().items()}


def _tables(evaluation: Evaluation) -> dict[str, str]:
    return {
        Artifact.VALIDATION_PATCHES: evaluation.patch_table,
        Artifact.VALIDATION_PIXELS: to_csv(evaluation.counts.rows()),
    }


def _versions(environment: Mapping[str, str]) -> dict[str, str]:
    return {**environment, "keras": version("keras"), "machine": platform.node()}


def _curves(histories: Iterable[Sequence[Mapping[str, float]]], folds: int) -> str:
    """One row an epoch of every fold of every repeat."""
    return to_csv(
        [
            {"repeat": number // folds + 1, "fold": number % folds + 1, "epoch": epoch, **metrics}
            for number, history in enumerate(histories)
            for epoch, metrics in enumerate(history, start=1)
        ]
    )


def _panel_patches(split: Split, count: int = _PANEL_PATCHES) -> list[int]:
    """Which patches are drawn: evenly over the split ordered by landslide share, from none to most.

    The choice depends on the masks alone, so that every trial of a study draws the same.
    """
    order = np.argsort(split.landslide_fractions, kind="stable")
    return [int(order[place]) for place in evenly(len(order), count)]


def validation_panels(
    split: PackedSplit, probability: Callable[[int], np.ndarray | None], threshold: float
) -> tuple[Panel, ...]:
    """Pictures of `_panel_patches`, without those that have no probabilities."""
    predicted = ((index, probability(index)) for index in _panel_patches(split))
    return tuple(
        patch.draw(probabilities, threshold, split="validation")
        for index, probabilities in predicted
        if probabilities is not None
        for patch in Patch.of_split(split, [index])
    )
