"""What workers run: the training behind one trial, and what it hands back."""

import itertools
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from lsml.config.schema import OBJECTIVE
from lsml.data.folds import FoldedData
from lsml.data.pack import PackedSplit
from lsml.data.splits import Split, Steps, TrainingData
from lsml.scoring.calibration import Calibration, calibrate, moved
from lsml.scoring.ensemble_selection import PROBABILITIES
from lsml.scoring.ensemble_selection import pack_probabilities as pack
from lsml.scoring.metrics import PooledCounts, score_patch, to_csv
from lsml.scoring.objects import ObjectCounts, count_objects
from lsml.training.memory import within_memory
from lsml.training.outcome import (
    PATCH_TABLE,
    PIXEL_TABLE,
    Earned,
    Panel,
    Report,
    TrialFunction,
    TrialOutcome,
    TrialTask,
)

if TYPE_CHECKING:
    from lsml.training.baselines import Kind, PixelLearner
    from lsml.training.crossval import Learner

PANEL_PATCHES = 4


def train_trial(task: TrialTask, report: Report) -> TrialOutcome:
    """Trains the task's configuration, once or in folds as its data ask, and packs up what came out.

    Raises:
        TrainingDiverged: the loss left the finite numbers.
        OutOfMemory: the configuration does not fit.
    """
    return within_memory(lambda: _trained(task, report), task.config)


def _trained(task: TrialTask, report: Report) -> TrialOutcome:
    if isinstance(task.data, FoldedData):
        from lsml.training.network import Network, costs_of

        outcome = _cross_validated(Network(task.config), task, report)
        return replace(outcome, costs=costs_of(task.config, task.data.train))
    assert isinstance(task.data, TrainingData)
    return _fitted(task.data, task, report)


def refit_trial(task: TrialTask, report: Report, *, earned: "Earned") -> TrialOutcome:
    """Trains the task's configuration on all patches, as long as its folds did on average.

    Raises:
        TrainingDiverged: the loss left the finite numbers.
        OutOfMemory: the configuration does not fit.
    """
    return within_memory(lambda: _refitted(task, report, earned), task.config)


def _refitted(task: TrialTask, report: Report, earned: "Earned") -> TrialOutcome:
    from lsml.training.network import refit

    (pack,) = task.data.splits
    result = refit(
        task.config,
        pack,
        epochs=earned.epochs,
        temperature=earned.temperature,
        epoch_ended=lambda event: report(event.epoch, event.metrics, event.replayed),
        checkpoint=task.checkpoint,
    )
    return TrialOutcome(
        value=earned.value,
        stopped="finished",
        steps=Steps("epoch", earned.epochs),
        best_epoch=earned.epochs,
        threshold=moved(earned.threshold, earned.temperature),
        temperature=earned.temperature,
        metrics={OBJECTIVE: earned.value, "val_threshold": earned.threshold},
        environment=_versions(result.environment),
        model=result.model,
        costs=result.costs,
    )


def pixel_baseline_trial(task: TrialTask, report: Report, *, kind: "Kind" = "regression") -> TrialOutcome:
    """Judges a classifier of single pixels in the folds of the task's data, or, fitted to train, on validation."""
    from lsml.training.baselines import PixelLearner

    learner = PixelLearner(kind)
    if isinstance(task.data, FoldedData):
        return _cross_validated(learner, task, report)
    assert isinstance(task.data, TrainingData)
    return _validated(learner, task.data, task.config.seed, report)


def public_recipe_trial(task: TrialTask, report: Report) -> TrialOutcome:
    """Judges the six-input U-Net of public notebooks in the folds of the task's data."""
    from lsml.config.schema import PUBLIC_RECIPE
    from lsml.training.network import Network

    return _cross_validated(Network(PUBLIC_RECIPE), task, report)


@dataclass(frozen=True)
class TrialFunctions:
    """What workers run at each stage of a study.

    Attributes:
        search: one configuration; also to confirm it.
        refit: one configuration on all patches.
        baselines: what a network has to beat, by name.
        fold_baselines: what it has to beat besides where patches are judged in folds.
    """

    search: TrialFunction = train_trial
    refit: Callable[..., TrialOutcome] = refit_trial
    baselines: Mapping[str, TrialFunction] = field(
        default_factory=lambda: {
            "logistic regression on single pixels": pixel_baseline_trial,
            "gradient boosting on single pixels": partial(pixel_baseline_trial, kind="boosting"),
            "NDVI and slope threshold": partial(pixel_baseline_trial, kind="rule"),
        }
    )
    fold_baselines: Mapping[str, TrialFunction] = field(
        default_factory=lambda: {"six-input U-Net of public notebooks": public_recipe_trial}
    )


def _fitted(data: TrainingData, task: TrialTask, report: Report) -> TrialOutcome:
    from lsml.training.trainer import EpochEvent, fit

    class _Observer:
        def epoch_ended(self, event: EpochEvent) -> bool:
            return report(event.epoch, event.metrics, event.replayed)

    result = fit(task.config, data, _Observer(), checkpoint=task.checkpoint)
    probabilities, threshold = result.probabilities, result.threshold
    return TrialOutcome(
        value=result.metrics[OBJECTIVE],
        stopped=result.stopped,
        steps=Steps("epoch", result.epochs),
        best_epoch=result.best_epoch,
        threshold=threshold,
        temperature=result.calibration.temperature,
        metrics={
            **result.metrics,
            **_of_calibration(result.calibration),
            **_object_scores(enumerate(probabilities), data.validation, threshold),
        },
        environment=_versions(result.environment),
        model=result.model,
        costs=result.costs,
        panels=_panels(data.validation, probabilities.__getitem__, threshold),
        tables={
            PATCH_TABLE: _patch_table(enumerate(probabilities), data.validation, threshold),
            PIXEL_TABLE: to_csv(_pixels(enumerate(probabilities), data.validation).rows()),
        },
        files=_kept(data.validation, probabilities) if task.keep_probabilities else {},
    )


def _kept(split: PackedSplit, probabilities: np.ndarray) -> dict[str, bytes]:
    return {PROBABILITIES: pack(split.ids, split.fingerprint, probabilities)}


def _cross_validated(learner: "Learner", task: TrialTask, report: Report) -> TrialOutcome:
    from lsml.training.crossval import FoldEvent, cross_validate

    class _Observer:
        def fold_ended(self, event: FoldEvent) -> bool:
            return report(event.step, event.metrics, event.replayed)

    data = task.data
    assert isinstance(data, FoldedData)
    result = cross_validate(
        learner,
        data.train,
        seed=task.config.seed,
        folds=data.folds,
        repeats=data.repeats,
        observer=_Observer(),
        checkpoint=task.checkpoint,
    )

    def judged() -> Iterator[tuple[int, np.ndarray]]:
        for repeat, index in itertools.product(range(data.repeats), range(len(data.train))):
            if (found := result.probability(repeat, index)) is not None:
                yield index, found

    counts = _pixels(judged(), data.train)
    calibration = calibrate(counts, result.threshold)
    by_repeat = {f"val_f1_repeat_{number}": f1 for number, f1 in enumerate(result.repeat_f1, start=1)}
    return TrialOutcome(
        value=result.value,
        stopped=result.stopped,
        steps=Steps("fold", len(result.histories)),
        best_epoch=result.length,
        threshold=result.threshold,
        temperature=calibration.temperature,
        metrics={
            **result.metrics,
            **_of_calibration(calibration),
            **_object_scores(judged(), data.train, result.threshold),
            **by_repeat,
        },
        environment=_versions(result.environment),
        panels=_panels(data.train, lambda index: result.probability(0, index), result.threshold),
        tables={
            "folds.csv": _curves(result.histories, data.folds),
            PATCH_TABLE: _patch_table(judged(), data.train, result.threshold),
            PIXEL_TABLE: to_csv(counts.rows()),
        },
    )


def _of_calibration(calibration: Calibration) -> dict[str, float]:
    """Beside `val_calibration_error`, which is that before."""
    return {"val_temperature": calibration.temperature, "val_scaled_calibration_error": calibration.error}


def _validated(learner: "PixelLearner", data: TrainingData, seed: int, report: Report) -> TrialOutcome:
    """Fitted to train once, judged on validation patches as a network is."""
    started, validation = time.perf_counter(), data.validation
    fitted = learner.fit(data.train, seed)
    seconds = time.perf_counter() - started
    probabilities = np.stack([fitted.predict(validation.image(i)[None])[0, ..., 0] for i in range(len(validation))])
    counts = _pixels(enumerate(probabilities), validation)
    threshold = counts.best_threshold()
    metrics = {f"val_{name}": value for name, value in counts.scores(threshold).items()} | {"val_threshold": threshold}
    report(1, metrics | {"fit_seconds": seconds}, False)
    return TrialOutcome(
        value=metrics[OBJECTIVE],
        stopped="finished",
        steps=Steps("fit", 1),
        best_epoch=1,
        threshold=threshold,
        metrics=metrics | _object_scores(enumerate(probabilities), validation, threshold),
        environment=_versions(learner.environment()),
        panels=_panels(validation, probabilities.__getitem__, threshold),
        tables={PATCH_TABLE: _patch_table(enumerate(probabilities), validation, threshold)},
    )


def _object_scores(judged: Iterable[tuple[int, np.ndarray]], split: PackedSplit, threshold: float) -> dict[str, float]:
    """Of patches, by their place in the split, and the probabilities `(H, W)` that a network gave them unseen."""
    counts = (count_objects(split.mask(index), probability >= threshold) for index, probability in judged)
    return {f"val_{name}": value for name, value in sum(counts, ObjectCounts()).scores().items()}


def _patch_table(judged: Iterable[tuple[int, np.ndarray]], split: PackedSplit, threshold: float) -> str:
    """One row a patch, its pixels summed over all the times that it was judged."""
    found: dict[int, list[np.ndarray]] = {}
    for index, probability in judged:
        found.setdefault(index, []).append(probability)
    rows = []
    for index, probabilities in sorted(found.items()):
        truth = np.stack([split.mask(index)] * len(probabilities))
        rows.append(score_patch(split.ids[index], truth, np.stack(probabilities), threshold)._asdict())
    return to_csv(rows)


def _pixels(judged: Iterable[tuple[int, np.ndarray]], split: PackedSplit) -> PooledCounts:
    """All pixels of all the times that patches were judged."""
    counts = PooledCounts()
    for index, probability in judged:
        counts.update(split.mask(index), probability)
    return counts


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


def panel_patches(split: Split, count: int = PANEL_PATCHES) -> list[int]:
    """Which patches are drawn: evenly over the split ordered by landslide share, from none to most.

    The choice depends on the masks alone, so that every trial of a study draws the same.
    """
    order = np.argsort(split.landslide_fractions, kind="stable")
    return [int(order[place]) for place in np.unique(np.linspace(0, len(order) - 1, count).round().astype(int))]


def _panels(split: PackedSplit, probability: Callable[[int], np.ndarray | None], threshold: float) -> tuple[Panel, ...]:
    from lsml.plots.patches import panel

    drawn = ((index, probability(index)) for index in panel_patches(split))
    return tuple(
        Panel(f"validation/{split.ids[index]}", panel(split.image(index), split.mask(index), found, threshold))
        for index, found in drawn
        if found is not None
    )
