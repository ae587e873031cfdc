"""One trial: what a worker is given, what it hands back, and the training in between."""

import itertools
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from lsml.calibration import Calibration, calibrate, moved
from lsml.config import OBJECTIVE, Scalar, TrainConfig
from lsml.data.folds import FoldedData
from lsml.data.pack import PackedSplit
from lsml.data.split import Split
from lsml.data.training import Steps, StudyData, TrainingData
from lsml.kept import PROBABILITIES, pack
from lsml.memory import within_memory
from lsml.metrics import PooledCounts, score_patch
from lsml.models.files import ModelFile
from lsml.objects import ObjectCounts, count_objects
from lsml.tables import to_csv

if TYPE_CHECKING:
    from lsml.baseline import Kind, PixelLearner
    from lsml.crossval import Learner

Role = Literal["trial", "confirm", "refit", "baseline"]
"""Which stage of a study an attempt belongs to: the search, or what comes after it."""

State = Literal["complete", "pruned", "failed", "superseded"]
"""How an attempt ended; a superseded one was lost or interrupted, and its slot has a later attempt."""

PANEL_PATCHES = 4

PATCH_TABLE = "validation_patches.csv"
"""Each patch's pixels by truth and prediction, of patches that were not trained on: what runs are compared by."""

PIXEL_TABLE = "validation_pixels.csv"
"""The same patches' pixels by truth and probability, as `PooledCounts.rows`: what curves are drawn from."""


@dataclass(frozen=True)
class Attempt:
    """One try at one slot of a stage of a study.

    Attributes:
        number: the trial's number in the stage's database, unique within the stage.
        slot: which of the stage's slots this is, from 0.
        ordinal: which try at the slot this is, from 1.
        role: the stage.
        label: names the slot within its stage.
        config: what to train.
        searched: the values in `config` that the search chose, by dotted field name.
        params: what its run shows as parameters.
    """

    number: int
    slot: int
    ordinal: int
    role: Role
    label: str
    config: TrainConfig
    searched: Mapping[str, Scalar]
    params: Mapping[str, Scalar]

    @property
    def title(self) -> str:
        """For people: `trial 3`, `confirm trial 3`, `refit trial 3`."""
        return f"{self.role} {self.label}"


@dataclass(frozen=True)
class TrialTask:
    """What a worker needs for one attempt; `checkpoint` belongs to the slot, so a later attempt goes on."""

    config: TrainConfig
    data: StudyData
    checkpoint: Path | None
    keep_probabilities: bool = False


class Panel(NamedTuple):
    """One patch as a picture.

    Attributes:
        key: the same in every trial of a study, so that the pictures line up.
        image: uint8 (h, w, 3).
    """

    key: str
    image: np.ndarray


@dataclass(frozen=True)
class TrialOutcome:
    """What a worker hands back.

    Attributes:
        value: the objective, F1 pooled over pixels at `threshold`: of the best epoch on validation patches, or of
            all folds on the patches that they held out.
        stopped: why it ended.
        steps: epochs or folds that it reported, by that noun.
        best_epoch: the epoch of the best value, from 1; the mean over folds where there are folds.
        threshold: the probability from which a pixel counts as landslide, chosen on the same pixels as `value`.
        temperature: what `model`'s logits are divided by; of folds, what those of a network trained on all patches
            are to be divided by.
        metrics: all metrics of the best epoch, or over all folds, and `val_object_hit_rate` and `val_object_precision`
            of `lsml.objects.ObjectCounts` at `threshold`.
        environment: device, backend, precision and versions in words, and the SHA-256 of a file of weights.
        model: None where folds left many networks and none that saw all patches.
        panels: pictures of patches that the network did not train on.
        tables: CSV texts by file name.
        files: other contents by file name.
        costs: of a network, `parameters` and `latency_ms`, see `lsml.models.cost.costs`.
    """

    value: float
    stopped: Literal["finished", "early", "pruned"]
    steps: Steps
    best_epoch: int
    threshold: float
    metrics: Mapping[str, float]
    environment: Mapping[str, str]
    temperature: float = 1.0
    model: ModelFile | None = None
    panels: tuple[Panel, ...] = ()
    tables: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)


Report = Callable[[int, Mapping[str, float], bool], bool]
"""`report(step, metrics, replayed)` tells of an epoch or fold that ended; False in return means stop."""

TrialFunction = Callable[[TrialTask, Report], TrialOutcome]


def train_trial(task: TrialTask, report: Report) -> TrialOutcome:
    """Trains the task's configuration, once or in folds as its data ask, and packs up what came out.

    Raises:
        TrainingDiverged: the loss left the finite numbers.
        OutOfMemory: the configuration does not fit.
    """
    return within_memory(lambda: _trained(task, report), task.config)


def _trained(task: TrialTask, report: Report) -> TrialOutcome:
    if isinstance(task.data, FoldedData):
        from lsml.networks import Network, costs_of

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
    from lsml.networks import refit

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


class Earned(NamedTuple):
    """What a configuration's folds came to: how long to train it on all patches, and what then goes with it.

    Attributes:
        value: F1 over all out-of-fold pixels at `threshold`; the network trained on all patches has none of its own.
        threshold: the probability from which a pixel counts as landslide.
        epochs: the mean over folds of the best epoch.
        temperature: what the logits of the network are divided by, fitted to all out-of-fold pixels; `threshold` is
            that of the networks in folds, before it.
    """

    value: float
    threshold: float
    epochs: int
    temperature: float = 1.0


def pixel_baseline_trial(task: TrialTask, report: Report, *, kind: "Kind" = "regression") -> TrialOutcome:
    """Judges a classifier of single pixels in the folds of the task's data, or, fitted to train, on validation."""
    from lsml.baseline import PixelLearner

    learner = PixelLearner(kind)
    if isinstance(task.data, FoldedData):
        return _cross_validated(learner, task, report)
    assert isinstance(task.data, TrainingData)
    return _validated(learner, task.data, task.config.seed, report)


def public_recipe_trial(task: TrialTask, report: Report) -> TrialOutcome:
    """Judges the six-input U-Net of public notebooks in the folds of the task's data."""
    from lsml.networks import Network
    from lsml.recipe import PUBLIC_RECIPE

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
    from lsml.fit import EpochEvent, fit

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
    from lsml.crossval import FoldEvent, cross_validate

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
    from lsml.figures import panel

    drawn = ((index, probability(index)) for index in panel_patches(split))
    return tuple(
        Panel(f"validation/{split.ids[index]}", panel(split.image(index), split.mask(index), found, threshold))
        for index, found in drawn
        if found is not None
    )
