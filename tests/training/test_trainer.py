"""Training: it learns, stops when it should, and a killed and resumed run equals an uninterrupted one."""

import hashlib
import math
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from lsml.config.schema import TrainConfig, TrainingConfig, with_values
from lsml.data.splits import TrainingData
from lsml.data.statistics import PERCENTS, BandStatistics
from lsml.errors import StorageError
from lsml.models.export import load_bytes
from lsml.training import trainer
from lsml.training.device import Device, _choose_precision, _choose_xla
from lsml.training.fit import FitResult, fit
from lsml.training.outcome import Checkpoint, StepEvent
from lsml.training.trainer import Trainer, TrainingDiverged, last_epoch
from tests import warm
from tests.bands import N_BANDS, SENSOR
from tests.eager import eagerly
from tests.processes import environment
from tests.training.listening import Listener

SIZE = 32
TIMES = {"epoch_seconds", "images_per_second"}
METRICS = {
    *("loss", "val_loss", "val_f1", "val_iou", "val_precision", "val_recall", "val_average_precision"),
    *("val_calibration_error", "val_threshold", "learning_rate"),
} | TIMES
STATISTICS = BandStatistics(
    SENSOR,
    mean=(1.0,) * N_BANDS,
    std=(0.5,) * N_BANDS,
    minimum=(0.0,) * N_BANDS,
    maximum=(4.0,) * N_BANDS,
    median=(1.0,) * N_BANDS,
    quantiles=tuple((percent / 25,) * N_BANDS for percent in PERCENTS),
)


class Squares:
    """A split in memory: noise in 14 bands, and squares that are brighter in two of them and are the landslides."""

    def __init__(self, name: str, count: int) -> None:
        random = np.random.default_rng([count, len(name)])
        self.images = random.normal(1, 0.4, (count, SIZE, SIZE, N_BANDS)).astype("float32")
        self.masks = np.zeros((count, SIZE, SIZE), "uint8")
        for image, mask in zip(self.images, self.masks, strict=True):
            row, column = random.integers(0, SIZE - 10, 2)
            mask[row : row + 10, column : column + 10] = 1
            image[mask == 1, 3:5] += 1.5
        self.sensor = SENSOR
        self.fingerprint = hashlib.sha256(self.images.tobytes()).hexdigest()
        self.left: int | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def landslide_fractions(self) -> np.ndarray:
        return self.masks.mean((1, 2))

    def image(self, index: int) -> np.ndarray:
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                # Batches are prepared ahead: the steps on those before this one take their time.
                time.sleep(1)
                os.kill(os.getpid(), signal.SIGKILL)
        return self.images[index]

    def mask(self, index: int) -> np.ndarray:
        return self.masks[index]

    def batch(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.images[indices], self.masks[indices][..., None].astype("float32")


class Killer(Listener):
    """Lets the process die in the epoch after `epoch`, when the loader asks for its 30th patch of 32 or more."""

    def __init__(self, data: TrainingData, epoch: int) -> None:
        super().__init__()
        self._data, self._epoch = data, epoch

    def __call__(self, event: StepEvent) -> bool:
        if event.step == self._epoch:
            self._data.train.left = 30
        return super().__call__(event)


def toy_data() -> TrainingData:
    """35 patches to train on and 9 to validate: neither fills the last batch of 8."""
    return TrainingData(Squares("train", 35), Squares("validation", 9), STATISTICS, "squares")


def toy_config(**values: object) -> TrainConfig:
    """A network of depth 2 with dropout, augmentation, schedule and automatic arithmetic."""
    small = {
        "model.filters": 8,
        "model.depth": 2,
        "training.batch_size": 8,
        "training.epochs": 5,
        "training.learning_rate": 0.01,
    }
    return with_values(TrainConfig(), small | {name.replace("__", "."): value for name, value in values.items()})


def untimed(events: Sequence[StepEvent]) -> list[dict[str, float]]:
    """The metrics that have to repeat to the last digit."""
    return [{name: value for name, value in event.metrics.items() if name not in TIMES} for event in events]


def weights_of(result: FitResult) -> list[np.ndarray]:
    """Of the exported network."""
    return load_bytes(result.model.content, SENSOR).get_weights()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[FitResult, Listener]:
    """A whole run."""
    listener = Listener()
    path = tmp_path_factory.mktemp("fit") / "run.checkpoint"
    return fit(toy_config(), toy_data(), listener, checkpoint=path), listener


def test_an_easy_problem_is_learnt(uninterrupted: tuple[FitResult, Listener]) -> None:
    """Five epochs on bright squares lower the loss and pass an F1 of .8."""
    result, listener = uninterrupted
    losses = [event.metrics["loss"] for event in listener.events]
    assert losses[-1] < 0.8 * losses[0]
    assert result.metrics["val_f1"] > 0.8
    assert result.stopped == "finished"
    assert result.epochs == 5


def test_events_hold_every_metric(uninterrupted: tuple[FitResult, Listener]) -> None:
    """Each epoch is told once, in order, with finite values of all metrics."""
    _, listener = uninterrupted
    assert [event.step for event in listener.events] == [1, 2, 3, 4, 5]
    for event in listener.events:
        assert not event.replayed
        assert set(event.metrics) == METRICS
        assert all(type(value) is float and math.isfinite(value) for value in event.metrics.values())


def test_the_learning_rate_ends_at_one_percent(uninterrupted: tuple[FitResult, Listener]) -> None:
    """The cosine arrives at .01 of the highest rate with the last step."""
    rates = [event.metrics["learning_rate"] for event in uninterrupted[1].events]
    # 4 steps an epoch, 20 in all, of which 1 warms up: after 4 steps 3/19 of the way down the cosine
    assert rates[0] == pytest.approx(0.01 * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * 3 / 19))), rel=1e-4)
    assert rates[-1] == pytest.approx(1e-4, rel=1e-4)


def test_the_result_is_that_of_the_best_epoch(uninterrupted: tuple[FitResult, Listener]) -> None:
    """Model, probabilities, threshold and metrics all belong to the first epoch with the highest F1."""
    result, listener = uninterrupted
    scores = [event.metrics["val_f1"] for event in listener.events]
    assert result.best_epoch == 1 + scores.index(max(scores))
    # Its course is the epoch's; its scores are those of the model, which may be more exact than what was trained.
    told = listener.events[result.best_epoch - 1].metrics
    assert result.metrics.keys() == told.keys()
    assert all(result.metrics[name] == told[name] for name in ("loss", "val_loss", "learning_rate"))
    assert result.metrics["val_f1"] == pytest.approx(told["val_f1"], abs=0.01)
    chosen, temperature = result.metrics["val_threshold"], result.calibration.temperature
    moved = 1 / (1 + ((1 - chosen) / chosen) ** (1 / temperature))
    assert result.threshold == pytest.approx(moved, rel=1e-6)
    assert temperature != 1
    assert result.model.sha256 == hashlib.sha256(result.model.content).hexdigest()

    split = toy_data().validation
    images, truth = split.batch(np.arange(9))
    probability = np.asarray(load_bytes(result.model.content, SENSOR)(images))
    np.testing.assert_allclose(result.probabilities, probability[..., 0], rtol=0, atol=1e-6)
    predicted, landslide = probability >= result.threshold, truth == 1
    f1 = 2 * (predicted & landslide).sum() / (predicted.sum() + landslide.sum())
    # A pixel more or less would change it by more than that.
    assert f1 == pytest.approx(result.metrics["val_f1"], abs=1e-9)


def test_the_environment_is_said(uninterrupted: tuple[FitResult, Listener]) -> None:
    """Device, backend, precision and XLA are reported as they were chosen."""
    device, config = Device.current(), toy_config().training
    environment = uninterrupted[0].environment
    assert environment == {
        "device": device.kind,
        "device_name": device.name,
        "backend": keras.backend.backend(),
        "precision": _choose_precision(config, device),
        "xla": "on" if _choose_xla(config, device) else "off",
    }
    assert keras.config.dtype_policy().name == "float32"


def test_a_killed_run_resumes_to_the_last_digit(uninterrupted: tuple[FitResult, Listener], tmp_path: Path) -> None:
    """A process killed by SIGKILL in the middle of epoch 3, then resumed here, ends like the uninterrupted run."""
    path = tmp_path / "killed.checkpoint"
    child = warm.run_module(__name__, str(path), folder=tmp_path, env=environment(), timeout=300)
    assert child.returncode == -signal.SIGKILL, child.stderr

    expected, told = uninterrupted
    listener = Listener()
    result = fit(toy_config(), toy_data(), listener, checkpoint=path)
    assert [event.replayed for event in listener.events] == [True, True, False, False, False]
    # The replayed epochs come from another process, so this also holds two processes equal.
    assert untimed(listener.events) == untimed(told.events)
    assert all(np.array_equal(a, b) for a, b in zip(weights_of(result), weights_of(expected), strict=True))
    np.testing.assert_array_equal(result.probabilities, expected.probabilities)
    assert (result.threshold, result.best_epoch, result.epochs) == (
        expected.threshold,
        expected.best_epoch,
        expected.epochs,
    )

    again = Listener()
    finished = fit(toy_config(), toy_data(), again, checkpoint=path)
    assert [(event.step, event.metrics, event.replayed) for event in again.events] == [
        (event.step, event.metrics, True) for event in listener.events
    ]
    assert (finished.stopped, finished.epochs) == ("finished", 5)


def run_until_killed(path: str) -> None:
    """In the child: two epochs and a part of the third."""
    data = toy_data()
    fit(toy_config(), data, Killer(data, epoch=2), checkpoint=Path(path))


@pytest.mark.full
def test_supervised_networks_beside_trees_resume_to_the_last_digit(tmp_path: Path) -> None:
    """All heads train, are in the checkpoint and not in the model; the same trees grow again; metrics are as ever."""
    path = tmp_path / "supervised.checkpoint"
    config = toy_config(
        model__members=2,
        model__tree_weight=0.3,
        model__deep_supervision=True,
        model__attention="gate",
        training__epochs=3,
    )
    whole, rest = Listener(), Listener()
    expected = fit(config, toy_data(), whole)
    fit(config, toy_data(), Listener(last=2), checkpoint=path)
    resumed = fit(config, toy_data(), rest, checkpoint=path)

    assert [event.replayed for event in rest.events] == [True, True, False]
    assert untimed(rest.events) == untimed(whole.events)
    assert all(np.array_equal(a, b) for a, b in zip(weights_of(resumed), weights_of(expected), strict=True))
    assert set(whole.events[0].metrics) == METRICS
    members = [layer for layer in load_bytes(resumed.model.content, SENSOR).layers if isinstance(layer, keras.Model)]
    # The trees of single pixels are the third.
    assert len(members) == 3
    assert np.any(members[2].get_layer("leaves").get_weights()[0])
    assert not any(layer.name == "logits1" for member in members for layer in member.layers)
    assert whole.events[-1].metrics["loss"] < whole.events[0].metrics["loss"]


def _run(path: Path | None = None, **values: object) -> Trainer:
    """A training in one step an epoch, without dropout, that keeps its last weights."""
    data = toy_data()
    small = {"model__depth": 1, "training__batch_size": 35, "training__precision": "float32", "training__epochs": 3}
    config = toy_config(**(small | {"model__dropout": 0.0} | values))
    return Trainer(config, data.train, data.statistics, validation=data.validation, keep=last_epoch, checkpoint=path)


@eagerly()
def test_averaged_weights_are_scored_and_kept_and_last_ones_trained() -> None:
    """With momentum .5 the kept weights are w1, then half of those kept before and half of w2, of w3, ...

    The losses show that w1, w2, ... are those of the same training without averaging.
    """
    plain, averaged = _run(), _run(training__weight_averaging=0.5)
    trained = [variable.path for variable in plain.network.trainable_variables]
    expected: dict[str, np.ndarray] = {}
    for epoch in range(3):
        plain.epoch()
        averaged.epoch()
        models = plain.model(), averaged.model()
        last, kept = ({weight.path: np.array(weight) for weight in model.weights} for model in models)
        for name, weight in last.items():
            average = 0.5 * expected[name] + 0.5 * weight if epoch and name in trained else weight
            expected[name] = average
            np.testing.assert_allclose(kept[name], average, rtol=0, atol=1e-5, err_msg=f"{name} {epoch}")
        # What `lsml.training.network` scores held-out patches by is the network itself.
        for weight in averaged.network.weights:
            np.testing.assert_array_equal(weight, kept[weight.path])
    losses, others = ([metrics["loss"] for metrics in run.history] for run in (plain, averaged))
    assert losses == pytest.approx(others, abs=1e-5)
    assert plain.history[-1]["val_loss"] != pytest.approx(averaged.history[-1]["val_loss"], abs=1e-3)


@eagerly()
def test_averaging_resumes_to_the_last_digit(tmp_path: Path) -> None:
    """Both the average and the last weights are in the checkpoint."""
    path = tmp_path / "averaged.checkpoint"
    whole, first = _run(training__weight_averaging=0.9), _run(path, training__weight_averaging=0.9)
    for run in (whole, whole, whole, first, first):
        run.epoch()
    rest = _run(path, training__weight_averaging=0.9)
    assert len(rest.history) == 2
    rest.epoch()
    events = [StepEvent(1, metrics) for metrics in whole.history]
    assert untimed([StepEvent(1, metrics) for metrics in rest.history]) == untimed(events)
    for one, two in zip(rest.model().get_weights(), whole.model().get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.full
@pytest.mark.skipif("LSML_JAX_PYTHON" not in os.environ, reason="LSML_JAX_PYTHON names no Python with JAX")
@pytest.mark.parametrize("what", ["train_averaged", "train_in_both_ways"])
def test_training_goes_on_under_jax(what: str) -> None:
    """JAX gives away the memory of weights at each step: averages that shared it would be gone in epoch 2."""
    subprocess.run(
        [os.environ["LSML_JAX_PYTHON"], "-c", f"from tests.training import test_trainer; test_trainer.{what}()"],
        cwd=Path(__file__).parent,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "KERAS_BACKEND": "jax"},
        check=True,
        timeout=300,
    )


def train_averaged() -> None:
    """In the child: three epochs on unchanged patches, each from the last weights of the one before."""
    run = _run(training__weight_averaging=0.5, training__schedule="constant", augment__strength=0.0)
    losses = [run.epoch().metrics["loss"] for _ in range(3)]
    assert losses[2] < losses[1] < losses[0], losses


def train_in_both_ways() -> None:
    """In the child: two epochs by single batches and, as on a GPU, by `fit`, of one network and of two at once."""
    by_batches = trainer._train_on_batches
    for members in (1, 2):
        losses, weights = [], []
        for way in (by_batches, trainer._fit):
            trainer._train_on_batches = way
            run = _run(model__members=members, training__weight_averaging=0.5)
            losses.append([run.epoch().metrics["loss"] for _ in range(2)])
            weights.append(run.kept_weights)
            assert run.laps.epochs[1]["training steps"] > run.laps.epochs[1]["batches: waiting for them"] > 0
        np.testing.assert_allclose(*losses, rtol=1e-5)
        for one, two in zip(*weights, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


@eagerly()
def test_drawn_patches_and_asked_steps_resume_to_the_last_digit(tmp_path: Path) -> None:
    """Six steps of eight patches, half of them with landslide, go on after epoch 1 as if nothing had been.

    The learning rate's course is that of the steps asked for, not of the four that 35 patches fill: of 12 in all one
    warms up, so that after 6 steps the cosine is 5/11 of the way down, and after 12 at its end.
    """
    path = tmp_path / "drawn.checkpoint"
    config = toy_config(
        model__depth=1, training__epochs=2, training__steps_per_epoch=6, training__positive_fraction=0.5
    )
    data = toy_data()
    data.train.masks[::3] = 0
    whole, rest = Listener(), Listener()
    expected = fit(config, data, whole)
    fit(config, data, Listener(last=1), checkpoint=path)
    resumed = fit(config, data, rest, checkpoint=path)

    assert [event.replayed for event in rest.events] == [True, False]
    assert untimed(rest.events) == untimed(whole.events)
    assert all(np.array_equal(a, b) for a, b in zip(weights_of(resumed), weights_of(expected), strict=True))
    rates = [event.metrics["learning_rate"] for event in whole.events]
    assert rates[0] == pytest.approx(0.01 * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * 5 / 11))), rel=1e-4)
    assert rates[1] == pytest.approx(1e-4, rel=1e-4)
    # 48 patches in less than the whole epoch's time.
    for event in whole.events:
        assert event.metrics["images_per_second"] * event.metrics["epoch_seconds"] >= 48


@eagerly()
def test_long_gradients_are_shortened() -> None:
    """Clipped to a length of 1e-10, far below Adam's epsilon of 1e-7, a gradient moves nothing; short ones stay."""
    moved = {}
    for clipping in (100.0, 1e-10):
        run = _run(training__gradient_clipping=clipping, training__weight_decay=0.0, training__schedule="constant")
        before = [np.array(weight) for weight in run.network.trainable_variables]
        run.epoch()
        after = run.network.trainable_variables
        moved[clipping] = max(np.abs(np.array(a) - b).max() for a, b in zip(after, before, strict=True))
    # The first step of Adam is the learning rate of .01 in each weight, g / (|g| + 1e-7) of it to be exact.
    assert moved[100.0] == pytest.approx(0.01, rel=0.01)
    assert moved[1e-10] < 0.01 * 1e-3


@eagerly()
def test_the_observer_ends_training(tmp_path: Path) -> None:
    """False after epoch 1 prunes; so it does when the epoch is told again after a resume."""
    path = tmp_path / "pruned.checkpoint"
    config = toy_config(model__depth=1, training__precision="float32")
    first, again = Listener(last=1), Listener(last=1)
    results = [fit(config, toy_data(), listener, checkpoint=path) for listener in (first, again)]
    assert [result.stopped for result in results] == ["pruned", "pruned"]
    assert [result.epochs for result in results] == [1, 1]
    assert again.events == [first.events[0]._replace(replayed=True)]


@eagerly()
def test_nothing_is_pruned_after_the_last_epoch(tmp_path: Path) -> None:
    """False after epoch 2 of 2 ends a training that is over anyway, also when it is told again."""
    path = tmp_path / "finished.checkpoint"
    config = toy_config(model__depth=1, training__epochs=2)
    results = [fit(config, toy_data(), Listener(last=2), checkpoint=path) for _ in range(2)]
    assert [(result.stopped, result.epochs) for result in results] == [("finished", 2)] * 2


@eagerly()
def test_training_stops_early() -> None:
    """With a learning rate of nearly nothing F1 gets no better: epoch 1 stays best, and patience runs out."""
    config = toy_config(
        model__depth=1, model__normalization="none", training__learning_rate=1e-12, training__patience=2
    )
    result = fit(config, toy_data(), Listener())
    assert (result.stopped, result.best_epoch, result.epochs) == ("early", 1, 3)


@eagerly()
def test_a_diverged_loss_is_an_error(tmp_path: Path) -> None:
    """NaN in the loss ends the run with the epoch and the value, and leaves no checkpoint of it."""
    path = tmp_path / "diverged.checkpoint"
    data = toy_data()._replace(statistics=replace(STATISTICS, mean=(math.nan,) * N_BANDS))
    with pytest.raises(TrainingDiverged, match="loss became nan in epoch 1") as diverged:
        fit(toy_config(model__depth=1), data, Listener(), checkpoint=path)
    assert not path.exists()
    assert str(pickle.loads(pickle.dumps(diverged.value))) == str(diverged.value)


def _checkpoint(key: str = "run") -> Checkpoint:
    weights = (np.arange(6, dtype="float32").reshape(2, 3), np.int64(7) * np.ones((), "int64"))
    return Checkpoint(key, ({"loss": 0.1 + 0.2}, {"loss": 1 / 3}), {"network": weights, "best": ()})


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    """Key, metrics to the last digit, and arrays with their types."""
    path = tmp_path / "new" / "run.checkpoint"
    _checkpoint().save(path)
    found = Checkpoint.load(path, "run")
    assert found is not None
    assert (found.key, found.history) == ("run", ({"loss": 0.1 + 0.2}, {"loss": 1 / 3}))
    for array, expected in zip(found.arrays["network"], _checkpoint().arrays["network"], strict=True):
        assert array.dtype == expected.dtype
        np.testing.assert_array_equal(array, expected)
    assert [entry.name for entry in path.parent.iterdir()] == ["run.checkpoint"]


def test_arrays_of_one_content_are_written_once(tmp_path: Path) -> None:
    """The kept weights are often the network's: 8 kB of each group, and a header of less than 1 kB."""
    path = tmp_path / "run.checkpoint"
    groups = {name: [np.full(1000, value)] for name, value in (("network", 1.0), ("kept", 1.0), ("optimizer", 2.0))}
    Checkpoint("run", [], groups).save(path)
    assert 16_000 < path.stat().st_size < 17_000
    loaded = Checkpoint.load(path, "run")
    assert loaded is not None
    assert {name: arrays[0].tolist() for name, arrays in loaded.arrays.items()} == {
        name: arrays[0].tolist() for name, arrays in groups.items()
    }


def _cut(share: float) -> Callable[[bytes], bytes]:
    return lambda content: content[: int(len(content) * share)]


def _turn(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "damage", [*(_cut(tenth / 10) for tenth in range(10)), _cut(0.999), _turn, lambda content: content + b"\0"]
)
def test_a_damaged_checkpoint_is_none(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """Cut off anywhere, with one bit turned or a byte added, a checkpoint counts as absent."""
    path = tmp_path / "run.checkpoint"
    _checkpoint().save(path)
    path.write_bytes(damage(path.read_bytes()))
    assert Checkpoint.load(path, "run") is None


def test_a_checkpoint_of_another_run_is_none(tmp_path: Path) -> None:
    """Neither a missing file nor one with another key is taken for the run's own."""
    assert Checkpoint.load(tmp_path / "absent", "run") is None
    _checkpoint("other").save(tmp_path / "run.checkpoint")
    assert Checkpoint.load(tmp_path / "run.checkpoint", "run") is None


def test_a_checkpoint_that_cannot_be_written_keeps_the_last_one(tmp_path: Path) -> None:
    """A full or read-only place is a storage error that names the file and its bytes; the old one stays."""
    path = tmp_path / "run.checkpoint"
    _checkpoint().save(path)
    (tmp_path / "run.checkpoint.partial").mkdir()
    with pytest.raises(StorageError, match=r"run\.checkpoint: .* \([\d,]+ bytes to write\)"):
        _checkpoint("later").save(path)
    assert Checkpoint.load(path, "run") is not None


@pytest.mark.parametrize(
    ("device", "precision", "xla"),
    [
        (Device("cpu", "", "tensorflow", True), "mixed_bfloat16", False),
        (Device("cpu", "", "tensorflow", False), "float32", False),
        (Device("cpu", "", "jax", False), "float32", True),
        (Device("cpu", "", "torch", False), "float32", False),
        (Device("gpu", "", "tensorflow", True), "mixed_bfloat16", True),
        (Device("gpu", "", "tensorflow", False), "float32", True),
    ],
)
def test_arithmetic_suits_the_device(device: Device, precision: str, xla: bool) -> None:
    """What auto means on each kind of device; what is configured is taken everywhere."""
    assert _choose_precision(TrainingConfig(), device) == precision
    assert _choose_xla(TrainingConfig(), device) is xla
    assert _choose_precision(TrainingConfig(precision="float32"), device) == "float32"
    assert _choose_xla(TrainingConfig(xla="on"), device) is (device.backend != "torch")


if __name__ == "__main__":
    run_until_killed(sys.argv[1])
