"""What a trial says of the patches that it scored, with classifiers of pixels for a network."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy.ndimage import label

from lsml.config.schema import TrainConfig, with_values
from lsml.data.splits import FoldData, FoldedData, TrainingData
from lsml.models.export import load_bytes
from lsml.models.unet import build_network, with_probability
from lsml.names import Artifact
from lsml.scoring.calibration import calibrate
from lsml.scoring.comparison import PatchCounts
from lsml.scoring.metrics import PooledCounts
from lsml.study.trial import _pixel_baseline_trial, confirm_trial
from lsml.training.baselines import Kind, PixelLearner
from lsml.training.crossval import CrossValidation, cross_validate
from lsml.training.network import KeptNetwork, Network
from lsml.training.outcome import TrialOutcome, TrialTask
from tests.bands import SENSOR
from tests.patches import make_patches
from tests.training.listening import Listener


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FoldedData:
    """Four patches, with and without landslides, scored twice in two folds."""
    root = tmp_path_factory.mktemp("patches") / "data"
    make_patches(root, train=4, validation=1, test=1, seed=4)
    return FoldedData.prepare(root, root.parent / "cache", folds=2, repeats=2)


Scored = tuple[TrialOutcome, CrossValidation]
"""A trial's outcome, and the cross-validation in it once more."""


@pytest.fixture(scope="module")
def scored(data: FoldedData) -> dict[str, Scored]:
    """A trial that comes to its end, and one that is pruned at once."""

    def of(go_on: bool) -> Scored:
        outcome = _pixel_baseline_trial(TrialTask(TrainConfig(), data, checkpoint=None), lambda event: go_on)
        report = Listener() if go_on else Listener(last=1)
        return outcome, cross_validate(PixelLearner(), data.train, seed=0, folds=2, repeats=2, report=report)

    return {"whole": of(True), "pruned": of(False)}


@pytest.mark.parametrize(("which", "scorings"), [("whole", 8), ("pruned", 2)])
def test_objects_are_counted_where_patches_were_scored(
    data: FoldedData, scored: dict[str, Scored], which: str, scorings: int
) -> None:
    """Hit rate and precision at the folds' threshold, over every patch of every repeat that came to be scored."""
    outcome, again = scored[which]
    landslides = hits = objects = right = patches = 0
    for repeat in range(2):
        for index in range(4):
            probability = again.probability(repeat, index)
            if probability is None:
                continue
            patches += 1
            truth, called = data.train.mask(index) == 1, probability >= again.threshold
            (areas, n_areas), (alarms, n_alarms) = label(truth, np.ones((3, 3))), label(called, np.ones((3, 3)))
            landslides, objects = landslides + n_areas, objects + n_alarms
            hits += sum(called[areas == area].mean() >= 0.5 for area in range(1, n_areas + 1))
            right += sum(truth[alarms == alarm].any() for alarm in range(1, n_alarms + 1))
    assert patches == scorings
    assert hits > 0
    assert right > 0
    assert outcome.metrics["val_object_hit_rate"] == pytest.approx(hits / landslides)
    assert outcome.metrics["val_object_precision"] == pytest.approx(right / objects)
    assert 0 < outcome.metrics["val_calibration_error"] < 1


def test_the_table_of_patches_adds_up_to_the_scores(data: FoldedData, scored: dict[str, Scored]) -> None:
    """One row a patch, of its mean over both repeats: the F1 of the columns' sums is that of the mean."""
    outcome, again = scored["whole"]
    assert outcome.metrics["val_repeats_f1"] == again.value
    rows = list(csv.DictReader(io.StringIO(outcome.tables[Artifact.VALIDATION_PATCHES])))
    assert [row["id"] for row in rows] == list(data.train.ids)
    hits, misses, alarms = (sum(int(row[name]) for row in rows) for name in ("hits", "misses", "false_alarms"))
    assert _f1(rows) == pytest.approx(outcome.value, abs=1e-12)
    assert hits + misses == sum(int(data.train.mask(index).sum()) for index in range(4))
    raw_threshold = outcome.metrics["val_raw_threshold"]
    by_probability = PooledCounts.read(outcome.tables[Artifact.VALIDATION_PIXELS]).at(raw_threshold)
    assert (by_probability.true_positive, by_probability.false_positive) == (hits, alarms)
    first = rows[0]
    pixels = 2 * int(first["hits"]) + int(first["misses"]) + int(first["false_alarms"])
    assert float(first["f1"]) == pytest.approx(2 * int(first["hits"]) / pixels)


@pytest.mark.parametrize("kind", ["regression", "boosting", "rule"])
def test_a_baselines_model_is_fitted_to_all_patches(data: FoldedData, kind: Kind) -> None:
    """Its odds are those of the fit to the power of 1 / T; only a whole cross-validation leaves a model."""
    task = TrialTask(TrainConfig(seed=3), data, checkpoint=None)
    outcome = _pixel_baseline_trial(task, lambda event: True, kind=kind)
    images, _ = data.train.batch(range(4))
    said = PixelLearner(kind).fit(data.train, 3).predict(images).astype(float)
    assert outcome.model
    found = np.asarray(load_bytes(outcome.model.content, SENSOR)(images))
    expected = 1 / (1 + ((1 - said) / said) ** (1 / outcome.temperature))
    # The lowest temperature, .1, makes ten times as much of the last digits.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert outcome.metrics["val_threshold"] == outcome.threshold
    assert set(outcome.costs) == {"parameters", "latency_ms"}
    assert outcome.environment["backend"] == keras.backend.backend()
    assert Artifact.VALIDATION_REPEATS in outcome.tables
    assert _pixel_baseline_trial(task, lambda event: False, kind=kind).model is None


SMALL = {
    "model.filters": 4,
    "model.depth": 1,
    "training.batch_size": 2,
    "training.epochs": 2,
    "training.precision": "float32",
    "seed": 3,
}


@pytest.fixture(scope="module")
def task(data: FoldedData, tmp_path_factory: pytest.TempPathFactory) -> TrialTask:
    """The smallest network in other folds than a search has."""
    folder = tmp_path_factory.mktemp("confirmed")
    return TrialTask(with_values(TrainConfig(), SMALL), data._replace(partition=1), checkpoint=folder)


@pytest.fixture(scope="module")
def confirmed(task: TrialTask) -> TrialOutcome:
    """The configuration, confirmed."""
    return confirm_trial(task, lambda event: True)


def _predicted(task: TrialTask) -> CrossValidation:
    """The cross-validation in a confirmed trial once more, out of its checkpoint."""
    learner, data = KeptNetwork(task.config), task.data
    found = cross_validate(
        learner,
        data.splits[0],
        seed=3,
        folds=2,
        repeats=2,
        partition=1,
        report=lambda event: event.replayed,
        checkpoint=task.checkpoint,
    )
    assert found.stopped == "finished"
    return found


def _f1(rows: list[dict[str, str]]) -> float:
    hits, misses, alarms = (sum(int(row[name]) for row in rows) for name in ("hits", "misses", "false_alarms"))
    return 2 * hits / (2 * hits + misses + alarms)


def test_a_confirmed_configuration_is_scored_as_in_a_search_too(task: TrialTask, confirmed: TrialOutcome) -> None:
    """Beside its own value is F1 over both repeats at their threshold; a table has four patches of each."""
    result, metrics = _predicted(task), confirmed.metrics
    assert (metrics["val_repeats_f1"], metrics["val_repeats_threshold"]) == (result.value, result.threshold)
    rows = list(csv.DictReader(io.StringIO(confirmed.tables[Artifact.VALIDATION_REPEATS])))
    ids = task.data.splits[0].ids
    assert [(row["repeat"], row["id"]) for row in rows] == [(repeat, name) for repeat in "12" for name in ids]
    assert _f1(rows) == pytest.approx(result.value, abs=1e-12)
    for repeat, f1 in zip("12", result.repeat_f1, strict=True):
        assert _f1([row for row in rows if row["repeat"] == repeat]) == pytest.approx(f1, abs=1e-12)
    assert PatchCounts.read(confirmed.tables[Artifact.VALIDATION_PATCHES]).ids == tuple(sorted(ids))


def test_threshold_and_temperature_are_those_of_the_mean_over_repeats(task: TrialTask, confirmed: TrialOutcome) -> None:
    """A pixel's two probabilities are averaged before the threshold is chosen, and every patch is counted once."""
    result, pack = _predicted(task), task.data.splits[0]
    counts = PooledCounts()
    for index in range(4):
        both = [result.probability(repeat, index) for repeat in range(2)]
        counts.update(pack.mask(index), ((both[0].astype(float) + both[1]) / 2).astype(np.float32))
    raw = counts.best_threshold()
    assert confirmed.metrics["val_raw_threshold"] == raw
    expected = calibrate(counts, raw)
    assert confirmed.temperature == confirmed.metrics["val_temperature"] == expected.temperature
    assert confirmed.threshold == confirmed.metrics["val_threshold"] == expected.threshold
    rows = list(csv.DictReader(io.StringIO(confirmed.tables[Artifact.VALIDATION_PATCHES])))
    assert _f1(rows) == pytest.approx(confirmed.value, abs=1e-12)
    assert confirmed.value == confirmed.metrics["val_f1"] == pytest.approx(counts.at(raw).f1, abs=1e-12)
    assert sum(int(row["hits"]) + int(row["misses"]) for row in rows) == sum(int(pack.mask(i).sum()) for i in range(4))
    assert len(confirmed.panels) == 4


def test_the_model_is_the_mean_of_all_folds_networks(task: TrialTask, confirmed: TrialOutcome) -> None:
    """Each fold's network says of its patches what it was scored by; the model's odds are those of the mean to 1/T."""
    result, pack = _predicted(task), task.data.splits[0]
    images, _ = pack.batch(range(4))
    said = []
    for number, network in enumerate(result.networks):
        alone = with_probability(build_network(task.config, network.statistics))
        alone.set_weights(network.weights)
        said.append(np.asarray(alone(images))[..., 0])
        held_out = FoldData.of(pack, number % 2, 2, 1 + number // 2).validation.indices
        for index in held_out:
            # The grid's steps are .01 in the logit, at most .0025 in the probability.
            np.testing.assert_allclose(said[-1][index], result.probability(number // 2, index), atol=0.003)
    assert len(said) == 4
    assert confirmed.model
    found = np.asarray(load_bytes(confirmed.model.content, SENSOR)(images))[..., 0]
    mean = np.mean(said, axis=0, dtype=float)
    expected = 1 / (1 + ((1 - mean) / mean) ** (1 / confirmed.temperature))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    parameters = sum(array.size for network in result.networks for array in network.weights)
    assert confirmed.costs["parameters"] == parameters
    assert confirmed.costs["latency_ms"] > 0
    # Four networks' weights in float32, and what HDF5 and the graph take.
    assert len(confirmed.model.content) < 4 * parameters + 4 * 100_000


def test_a_confirmation_that_is_resumed_ends_with_the_same_model(
    task: TrialTask, confirmed: TrialOutcome, tmp_path: Path
) -> None:
    """With the results of three of four folds the last one alone is trained, and the mean is the same."""
    assert task.checkpoint
    for file in task.checkpoint.iterdir():
        if file.name != "repeat-1-fold-1.result":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    replayed: list[bool] = []
    again = confirm_trial(replace(task, checkpoint=tmp_path), lambda event: replayed.append(event.replayed) is None)
    assert replayed == [True, True, True, False]
    assert again.threshold == confirmed.threshold
    weights = [load_bytes(outcome.model.content, SENSOR).get_weights() for outcome in (again, confirmed)]
    assert all(np.array_equal(one, two) for one, two in zip(*weights, strict=True))


def test_results_without_networks_are_not_resumed_from(task: TrialTask) -> None:
    """A search keeps none, so what it left tells a confirmation nothing."""
    data = FoldData.of(task.data.splits[0], 0, 2)
    assert Network(task.config).key(data, 1) != KeptNetwork(task.config).key(data, 1)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """Six patches to train on, three to validate on."""
    root = tmp_path_factory.mktemp("split") / "data"
    make_patches(root, train=6, validation=3, test=1, seed=4)
    return TrainingData.prepare(root, root.parent / "cache")


@pytest.mark.parametrize("kind", ["regression", "boosting", "rule"])
def test_a_baseline_is_validated_as_a_network_is(split: TrainingData, kind: Kind) -> None:
    """Fitted to train alone; its metrics, at the threshold of the best F1 on validation, those of a network's run."""
    told = []
    outcome = _pixel_baseline_trial(
        TrialTask(TrainConfig(seed=3), split, checkpoint=None), lambda event: told.append(event) or True, kind=kind
    )
    fitted, counts = PixelLearner(kind).fit(split.train, 3), PooledCounts()
    for index in range(3):
        counts.update(split.validation.mask(index), fitted.predict(split.validation.image(index)[None])[0, ..., 0])
    assert outcome.threshold == counts.best_threshold()
    assert outcome.value == outcome.metrics["val_f1"] == counts.at(outcome.threshold).f1 > 0.1
    ratios = ("f1", "iou", "precision", "recall", "average_precision", "calibration_error", "threshold")
    objects = ("object_hit_rate", "object_precision")
    assert set(outcome.metrics) == {f"val_{name}" for name in (*ratios, *objects)}
    assert [(step, replayed) for step, _, replayed in told] == [(1, False)]
    rows = list(csv.DictReader(io.StringIO(outcome.tables[Artifact.VALIDATION_PATCHES])))
    assert [row["id"] for row in rows] == list(split.validation.ids)
    assert sum(int(row["hits"]) for row in rows) == counts.at(outcome.threshold).true_positive
    assert (outcome.steps, len(outcome.panels)) == (("fit", 1), 3)
    assert outcome.model
    images, _ = split.validation.batch(range(3))
    said = np.asarray(load_bytes(outcome.model.content, SENSOR)(images))
    # Both are sums of float32.
    np.testing.assert_allclose(said, fitted.predict(images), rtol=0, atol=2e-6)
    assert set(outcome.costs) == {"parameters", "latency_ms"}
