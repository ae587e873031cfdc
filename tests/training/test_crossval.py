"""Cross-validation: the same rule for every learner, honest, prunable, and the same whether or not it was killed."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from sklearn.metrics import f1_score

from lsml.config.schema import PUBLIC_RECIPE, TrainConfig, with_values
from lsml.data.formats import read_mask
from lsml.data.pack import PackedSplit
from lsml.data.splits import FoldData, FoldedData
from lsml.models.export import load_bytes
from lsml.scoring.metrics import THRESHOLDS, Metrics, grid_index
from lsml.training import network as networks
from lsml.training.baselines import PixelLearner
from lsml.training.crossval import UNSEEN, CrossValidation, FoldOutcome, Learner, _mean_best_length, cross_validate
from lsml.training.network import Network, _RefittedNetwork, refit
from lsml.training.outcome import StepEvent
from tests import warm
from tests.bands import PATCH_SIZE, SENSOR
from tests.eager import eagerly
from tests.patches import SUFFIX, make_patches, write_array
from tests.processes import PATIENCE, environment
from tests.training.listening import Listener

pytestmark = pytest.mark.usefixtures("without_tracing")

FOLDS, REPEATS, EPOCHS, BATCH = 3, 2, 3, 2
TIMES = {"epoch_seconds", "images_per_second", "fold_seconds"}


class Killer(Listener):
    """After fold 1 lets the process die when training asks for the third patch of the second epoch of fold 2."""

    def __init__(self, pack: "Asked") -> None:
        super().__init__()
        self._pack = pack

    def __call__(self, event: StepEvent) -> bool:
        self._pack.left = 2 * BATCH + 3
        return super().__call__(event)


class Asked(PackedSplit):
    """A pack that counts how often training asked for a patch, and dies when `left` of them are gone."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked = 0
        self.left: int | None = None

    def image(self, index: int) -> np.ndarray:
        self.asked += 1
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().image(index)


def toy_config(**values: object) -> TrainConfig:
    """The smallest network, with dropout, augmentation and a schedule."""
    small = {
        "model.filters": 4,
        "model.depth": 1,
        "training.batch_size": BATCH,
        "training.epochs": EPOCHS,
        "training.learning_rate": 0.02,
    }
    return with_values(TrainConfig(), small | {name.replace("__", "."): value for name, value in values.items()})


def validate(
    pack: PackedSplit, listener: Listener, checkpoint: Path | None, *, repeats: int = REPEATS, seed: int = 0
) -> CrossValidation:
    """Cross-validates the smallest network."""
    return cross_validate(
        Network(toy_config()),
        pack,
        seed=seed,
        folds=FOLDS,
        repeats=repeats,
        report=listener,
        checkpoint=checkpoint,
    )


def untimed(metrics: Sequence[Metrics]) -> list[Metrics]:
    """What has to repeat to the last digit."""
    return [{name: value for name, value in one.items() if name not in TIMES} for one in metrics]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven synthetic patches to train on."""
    root = tmp_path_factory.mktemp("crossval") / "data"
    make_patches(root, train=7, validation=1, test=1, seed=3)
    return root


@pytest.fixture(scope="module")
def pack(dataset: Path) -> PackedSplit:
    """The patches, packed; folds of 3, 2 and 2."""
    return FoldedData.prepare(dataset, dataset.parent / "cache", folds=FOLDS, repeats=REPEATS).train


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the whole run keeps its results."""
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="module")
def whole(pack: PackedSplit, folder: Path) -> tuple[CrossValidation, Listener]:
    """All folds of both repeats, never interrupted."""
    listener = Listener()
    return validate(pack, listener, folder), listener


def out_of_fold(result: CrossValidation, pack: PackedSplit, patches: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth and probability of the first `patches` predictions, repeat by repeat, one long array each."""
    pairs = [(repeat, index) for repeat in range(REPEATS) for index in range(len(pack))][:patches]
    truth = np.concatenate([pack.mask(index).ravel() for _, index in pairs])
    return truth, np.concatenate([result.probability(*pair).ravel() for pair in pairs])


def test_the_value_is_f1_over_all_out_of_fold_pixels(
    whole: tuple[CrossValidation, Listener], pack: PackedSplit
) -> None:
    """scikit-learn finds the same F1 in the concatenated pixels at that threshold, and no better one near it."""
    result, _ = whole
    truth, probability = out_of_fold(result, pack, REPEATS * len(pack))
    assert result.stopped == "finished"
    assert result.value == pytest.approx(f1_score(truth, probability >= result.threshold), abs=1e-12)
    others = [f1_score(truth, probability >= threshold) for threshold in THRESHOLDS[::160]]
    assert result.value >= max(others)
    halves = zip(np.split(truth, REPEATS), np.split(probability, REPEATS), strict=True)
    assert result.repeat_f1 == pytest.approx([f1_score(t, p >= result.threshold) for t, p in halves], abs=1e-12)


def test_every_fold_tells_the_pooled_score_so_far(whole: tuple[CrossValidation, Listener], pack: PackedSplit) -> None:
    """Steps count on through both repeats; after step 4 all seven patches and the first three again are pooled."""
    result, listener = whole
    assert [event.step for event in listener.events] == [1, 2, 3, 4, 5, 6]
    assert not any(event.replayed for event in listener.events)
    # folds of 3, 2 and 2 of 7 patches: 3, 5, 7, 10, 12 and 14 predictions after each step
    for event, patches in zip(listener.events, (3, 5, 7, 10, 12, 14), strict=True):
        truth, probability = out_of_fold(result, pack, patches)
        expected = f1_score(truth, probability >= event.metrics["val_threshold"])
        assert event.metrics["val_f1"] == pytest.approx(expected, abs=1e-12)
    assert result.metrics == listener.events[-1].metrics
    assert result.value == result.metrics["val_f1"]


def test_every_fold_trains_to_the_end_with_a_seed_of_its_own(whole: tuple[CrossValidation, Listener]) -> None:
    """Six curves of all epochs, no two alike, in spite of a patience that would have ended them; their mean length."""
    result, listener = whole
    assert [len(history) for history in result.histories] == [EPOCHS] * 6
    assert len({history[0]["loss"] for history in result.histories}) == 6
    best = [event.metrics["fold_best_epoch"] for event in listener.events]
    assert best == [1 + np.argmax([m["val_f1"] for m in history]) for history in result.histories]
    assert result.length == int(np.mean(best) + 0.5)


def test_what_is_held_out_has_no_say_in_its_own_prediction(
    whole: tuple[CrossValidation, Listener], dataset: Path, tmp_path: Path
) -> None:
    """With other masks in fold 1, its scores change and its probabilities do not, to the last bit."""
    changed = tmp_path / "data"
    shutil.copytree(dataset, changed)
    for number in (1, 2, 3):
        mask = changed / "TrainData" / "mask" / f"mask_{number}{SUFFIX}"
        write_array(mask, 1 - read_mask(mask, SENSOR))
    result, listener = whole
    once = Listener(last=1)
    other = validate(FoldedData.prepare(changed, tmp_path / "cache", folds=FOLDS, repeats=REPEATS).train, once, None)
    np.testing.assert_array_equal(other.grid_indices[0, :3], result.grid_indices[0, :3])
    assert once.events[0].metrics["val_f1"] != listener.events[0].metrics["val_f1"]


def test_the_observer_ends_it(whole: tuple[CrossValidation, Listener], pack: PackedSplit, folder: Path) -> None:
    """Pruned after step 2: the value so far, no whole repeat, and no prediction of the third fold's patches."""
    listener = Listener(last=2)
    result = validate(pack, listener, folder)
    assert (result.stopped, len(listener.events), result.repeat_f1) == ("pruned", 2, ())
    assert result.value == whole[1].events[1].metrics["val_f1"]
    assert result.probability(0, 4) is not None
    assert result.probability(0, 5) is None
    assert result.probability(1, 0) is None
    assert (result.grid_indices[0, 5:] == UNSEEN).all()


def run_until_killed(pack: str, folder: str) -> None:
    """In the child: fold 1, and fold 2 up to the middle of its second epoch, with a checkpoint after its first."""
    networks.CHECKPOINT_SECONDS = 0.0
    asked = Asked(Path(pack))
    with eagerly():
        validate(asked, Killer(asked), Path(folder))


def test_a_killed_run_resumes_to_the_last_digit(
    whole: tuple[CrossValidation, Listener], pack: PackedSplit, tmp_path: Path
) -> None:
    """A process killed by SIGKILL in the middle of fold 2, then resumed here, equals the whole run's first repeat."""
    child = warm.run_module(
        __name__, str(pack.path), str(tmp_path), folder=pack.path.parent, env=environment(), timeout=300
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert {file.name for file in tmp_path.iterdir()} == {"repeat-0-fold-0.result", "fold.checkpoint"}

    expected, told = whole
    asked, listener = Asked(pack.path), Listener()
    result = validate(asked, listener, tmp_path, repeats=1)
    # Statistics ask for the 4, 5 and 5 patches of each fold twice. Training asks for 4 an epoch: two folds are left,
    # and of the first of them two epochs of three.
    assert asked.asked == 2 * (4 + 5 + 5) + 4 * (2 * EPOCHS - 1)
    assert [event.replayed for event in listener.events] == [True, False, False]
    assert untimed([e.metrics for e in listener.events]) == untimed([e.metrics for e in told.events[:3]])
    assert [untimed(history) for history in result.histories] == [untimed(h) for h in expected.histories[:3]]
    np.testing.assert_array_equal(result.grid_indices[0], expected.grid_indices[0])
    assert (result.value, result.threshold) == (
        told.events[2].metrics["val_f1"],
        told.events[2].metrics["val_threshold"],
    )


def test_nothing_is_pruned_after_the_last_fold(pack: PackedSplit) -> None:
    """False after the second of two folds ends what is over anyway."""
    learner = PixelLearner()
    listener = Listener(last=2)
    result = cross_validate(learner, pack, seed=0, folds=2, repeats=1, report=listener)
    assert (result.stopped, len(result.repeat_f1)) == ("finished", 1)


def test_repeats_of_another_partition_have_folds_of_their_own(pack: PackedSplit) -> None:
    """From partition 1 on, the folds of 7 patches begin with the second and then with the third; in 0 they stay."""
    learner = _Listed([])
    for partition in (0, 1):
        cross_validate(learner, pack, seed=0, folds=3, repeats=2, partition=partition, report=Listener())
    assert learner.held_out == [
        *([(0, 1, 2), (3, 4), (5, 6)] * 2),
        *((1, 2, 3), (4, 5), (0, 6)),
        *((2, 3, 4), (5, 6), (0, 1)),
    ]


class _Listed(NamedTuple):
    """A learner that notes which patches it is to predict, and says .5 of each."""

    held_out: list[tuple[int, ...]]

    def key(self, data: FoldData, seed: int) -> str:
        return ""

    def learn(self, data: FoldData, seed: int, checkpoint: Path | None) -> FoldOutcome:
        self.held_out.append(data.validation.indices)
        masks = np.stack([data.validation.mask(index) for index in range(len(data.validation))])
        return FoldOutcome([{"epoch_seconds": 0.0}], grid_index(np.full(masks.shape, 0.5, np.float32)))

    def environment(self) -> dict[str, str]:
        return {}


def test_a_damaged_result_is_trained_again(
    whole: tuple[CrossValidation, Listener], pack: PackedSplit, folder: Path, tmp_path: Path
) -> None:
    """The result of fold 2, cut short, is replaced by the same; that of fold 1 is taken as it is."""
    for number, kept in ((0, None), (1, -9)):
        name = f"repeat-0-fold-{number}.result"
        (tmp_path / name).write_bytes((folder / name).read_bytes()[:kept])
    listener = Listener(last=2)
    result = validate(pack, listener, tmp_path)
    assert [event.replayed for event in listener.events] == [True, False]
    np.testing.assert_array_equal(result.grid_indices[0, :5], whole[0].grid_indices[0, :5])


def test_results_of_another_configuration_are_not_taken(
    whole: tuple[CrossValidation, Listener], pack: PackedSplit, folder: Path, tmp_path: Path
) -> None:
    """Another seed trains fold 1 anew in the same folder, and finds something else."""
    name = "repeat-0-fold-0.result"
    (tmp_path / name).write_bytes((folder / name).read_bytes())
    listener = Listener(last=1)
    result = validate(pack, listener, tmp_path, seed=1)
    assert not listener.events[0].replayed
    assert (result.grid_indices[0, :3] != whole[0].grid_indices[0, :3]).any()


@pytest.fixture(scope="module")
def refitted(pack: PackedSplit, tmp_path_factory: pytest.TempPathFactory) -> tuple[_RefittedNetwork, Path]:
    """Two epochs on all patches, where the configuration says three."""
    path = tmp_path_factory.mktemp("refit") / "refit.checkpoint"
    return refit(toy_config(), pack, epochs=2, report=lambda event: True, checkpoint=path), path


def test_refit_trains_for_the_epochs_it_is_given(refitted: tuple[_RefittedNetwork, Path]) -> None:
    """Two epochs, the learning rate at the end of its course, nothing validated."""
    result, _ = refitted
    assert result.epochs == 2
    assert result.metrics["learning_rate"] == pytest.approx(0.01 * 0.02, rel=1e-4)
    assert set(result.metrics) == {"loss", "learning_rate", "epoch_seconds", "images_per_second"}


def test_a_refitted_model_takes_stored_bands(refitted: tuple[_RefittedNetwork, Path], pack: PackedSplit) -> None:
    """The exported file loads, and gives probabilities of the patches that it was trained on."""
    images, _ = pack.batch([0, 6])
    probability = np.asarray(load_bytes(refitted[0].model.content, SENSOR)(images))
    assert probability.shape == (2, PATCH_SIZE, PATCH_SIZE, 1)
    assert 0 <= probability.min() < probability.max() <= 1


def test_a_refitted_model_divides_its_logits(refitted: tuple[_RefittedNetwork, Path], pack: PackedSplit) -> None:
    """At a temperature of 2 the odds of a landslide are the square roots of what they were."""
    asked = refit(toy_config(), pack, epochs=2, temperature=2.0, report=lambda event: True, checkpoint=refitted[1])
    images, _ = pack.batch([0, 6])
    plain, halved = (np.asarray(load_bytes(result.model.content, SENSOR)(images)) for result in (refitted[0], asked))
    np.testing.assert_allclose((halved / (1 - halved)) ** 2, plain / (1 - plain), rtol=1e-4)


def test_a_finished_refit_is_not_trained_on(refitted: tuple[_RefittedNetwork, Path], pack: PackedSplit) -> None:
    """Called again with its checkpoint it asks for patches only for the statistics, and gives the same weights.

    Both epochs are told of again, as trained before.
    """
    asked, told = Asked(pack.path), []
    again = refit(toy_config(), asked, epochs=2, report=told.append, checkpoint=refitted[1])
    assert asked.asked == 2 * len(pack)
    assert [(event.step, event.replayed) for event in told] == [(1, True), (2, True)]
    weights = [load_bytes(result.model.content, SENSOR).get_weights() for result in (again, refitted[0])]
    assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))


def test_the_mean_best_length_is_rounded() -> None:
    """Best epochs 1, 2 and 2 have the mean 1.67, so 2; 1 and 2 the mean 1.5, so 2; the first of equals counts."""
    early, late, level = ([{"val_f1": f1} for f1 in scores] for scores in ((0.5, 0.1), (0.1, 0.5), (0.3, 0.3)))
    assert _mean_best_length([early, late, late]) == 2
    assert _mean_best_length([early, late]) == 2
    assert _mean_best_length([level, level, late]) == 1


def test_the_length_of_a_learner_that_scores_no_epoch() -> None:
    """Without `val_f1` there is no best epoch: folds of 3 and 4 epochs have the mean length 3.5, so 4."""
    assert _mean_best_length([[{"epoch_seconds": 1.0}] * 3, [{"epoch_seconds": 1.0}] * 4]) == 4


class Fault(Listener):
    """Fails after the first fold, as a lost coordinator does."""

    def __call__(self, event: StepEvent) -> bool:
        super().__call__(event)
        raise ConnectionError


class ScoredPatches(NamedTuple):
    """A learner in two folds of four patches, never interrupted."""

    learner: Learner
    pack: PackedSplit
    result: CrossValidation
    events: list[StepEvent]


LEARNERS = {
    "network": Network(toy_config(training__epochs=2)),
    "pixel regression": PixelLearner(),
    "pixel boosting": PixelLearner("boosting"),
    "NDVI and slope": PixelLearner("rule"),
}


def cross_validated(
    learner: Learner, pack: PackedSplit, listener: Listener, checkpoint: Path | None = None
) -> CrossValidation:
    """One repeat of two folds."""
    return cross_validate(learner, pack, seed=5, folds=2, repeats=1, report=listener, checkpoint=checkpoint)


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> PackedSplit:
    """Four packed patches."""
    root = tmp_path_factory.mktemp("four") / "data"
    make_patches(root, train=4, validation=1, test=1, seed=4)
    return FoldedData.prepare(root, root.parent / "cache", folds=2, repeats=1).train


@pytest.fixture(scope="module", params=LEARNERS)
def scored(request: pytest.FixtureRequest, four: PackedSplit) -> ScoredPatches:
    """Each learner in turn."""
    learner, listener = LEARNERS[request.param], Listener()
    return ScoredPatches(learner, four, cross_validated(learner, four, listener), listener.events)


def test_every_learner_is_scored_by_the_same_rule(scored: ScoredPatches) -> None:
    """Its value is scikit-learn's F1 over the pixels of all patches, each scored by what learnt from the others."""
    truth = np.concatenate([scored.pack.mask(index).ravel() for index in range(4)])
    called = np.concatenate([scored.result.probability(0, i).ravel() >= scored.result.threshold for i in range(4)])
    assert scored.result.value == pytest.approx(f1_score(truth, called), abs=1e-12)
    assert {"device", "backend"} <= set(scored.result.environment)


def test_what_an_event_tells_is_what_the_learner_has(scored: ScoredPatches) -> None:
    """Every learner's scores and time; its loss, its validation loss and its best epoch where there are such."""
    ratios = ("f1", "iou", "precision", "recall", "average_precision", "calibration_error")
    scores = {f"val_{name}" for name in (*ratios, "threshold")}
    own = {
        Network: {"loss", "val_loss", "fold_best_epoch"},
        PixelLearner: set(),
    }[type(scored.learner)]
    for event, history in zip(scored.events, scored.result.histories, strict=True):
        assert set(event.metrics) == scores | {"fold_f1", "fold_seconds"} | own
        assert event.metrics["fold_seconds"] == pytest.approx(sum(metrics["epoch_seconds"] for metrics in history))
        assert all(event.metrics[name] == history[-1][name] for name in own & {"loss", "val_loss"})


def test_every_learner_resumes_after_a_fold(scored: ScoredPatches, tmp_path: Path) -> None:
    """An observer that fails after fold 1 leaves its result; called again, fold 2 makes it the uninterrupted run."""
    with pytest.raises(ConnectionError):
        cross_validated(scored.learner, scored.pack, Fault(), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["repeat-0-fold-0.result"]
    listener = Listener()
    result = cross_validated(scored.learner, scored.pack, listener, tmp_path)
    assert [event.replayed for event in listener.events] == [True, False]
    assert untimed([e.metrics for e in listener.events]) == untimed([e.metrics for e in scored.events])
    np.testing.assert_array_equal(result.grid_indices, scored.result.grid_indices)
    assert (result.value, result.threshold, result.length) == (
        scored.result.value,
        scored.result.threshold,
        scored.result.length,
    )


@pytest.mark.parametrize(
    ("learner", "other"),
    [
        (Network(toy_config()), Network(toy_config(model__dropout=0.2))),
        (Network(toy_config()), Network(PUBLIC_RECIPE)),
        (PixelLearner(), Network(toy_config())),
        (PixelLearner("boosting"), PixelLearner("rule")),
    ],
)
def test_a_key_tells_results_apart(learner: Learner, other: Learner, four: PackedSplit) -> None:
    """The same settings, patches and seed have one key; any other of them another."""
    first, second = (FoldData.of(four, fold, 2) for fold in range(2))
    swapped = FoldData(first.train, first.train, first.statistics)
    assert learner.key(first, 1) == learner.key(FoldData.of(four, 0, 2), 1)
    others = [other.key(first, 1), learner.key(first, 2), learner.key(second, 1), learner.key(swapped, 1)]
    assert learner.key(first, 1) not in others


def test_a_regression_is_validated_without_keras() -> None:
    """Neither the loop nor the logistic regression loads Keras."""
    code = "import sys, lsml.training.baselines, lsml.training.crossval; sys.exit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], timeout=PATIENCE).returncode == 0


if __name__ == "__main__":
    run_until_killed(*sys.argv[1:])
