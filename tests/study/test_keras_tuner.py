"""lsml's networks in a tuner of KerasTuner's own."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest
from keras_tuner.errors import FatalValueError

from lsml.config.schema import with_values
from lsml.config.space import Space
from lsml.study.keras_tuner import SegmentationHyperModel
from lsml.training.fit import fit
from tests.processes import environment
from tests.training.test_trainer import Listener, toy_config, toy_data, weights_of

BASE = toy_config(
    model__filters=4, model__depth=1, training__epochs=2, training__precision="float32", augment__strength=0.0
)
SPACE = Space.parse(
    {
        "model.dropout": {"low": 0.0, "high": 0.3},
        "training.learning_rate": {"low": 1e-3, "high": 1e-2, "log": True},
    },
    BASE,
)


class Ears(keras.callbacks.Callback):
    """Keeps what it hears, and stops the training after `last` epochs."""

    def __init__(self, last: int | None = None) -> None:
        super().__init__()
        self.last, self.heard = last, []

    def on_train_begin(self, logs: Any = None) -> None:
        self.heard.append("begin")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        assert logs is not None
        self.heard.append((epoch, logs["val_f1"]))
        if epoch + 1 == self.last:
            self.model.stop_training = True

    def on_train_end(self, logs: Any = None) -> None:
        self.heard.append("end")


class WithoutTensorBoard(keras_tuner.RandomSearch):
    """Under TensorFlow KerasTuner asks for the package tensorboard, which lsml does without, whatever the callbacks."""

    def _configure_tensorboard_dir(self, callbacks: Any, trial: Any, execution: int = 0) -> None:
        pass


@pytest.mark.full
def test_a_random_search_trains_what_lsml_trains(tmp_path: Path) -> None:
    """Two trials of KerasTuner's own tuner: the best one's score and saved weights are those of `trainer`."""
    check_random_search(WithoutTensorBoard, tmp_path)


@pytest.mark.full
@pytest.mark.skipif("LSML_JAX_PYTHON" not in os.environ, reason="LSML_JAX_PYTHON names no Python with JAX")
def test_a_random_search_under_jax(tmp_path: Path) -> None:
    """The same without TensorFlow, by KerasTuner's tuner as it is."""
    script = (
        "import sys, keras_tuner, pathlib; from tests.study.test_keras_tuner import check_random_search;"
        "check_random_search(keras_tuner.RandomSearch, pathlib.Path(sys.argv[1]));"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run(
        [os.environ["LSML_JAX_PYTHON"], "-c", script, str(tmp_path)],
        env=environment() | {"KERAS_BACKEND": "jax"},
        check=True,
        timeout=300,
    )


def check_random_search(kind: type[keras_tuner.RandomSearch], folder: Path) -> None:
    """Searches, and trains the best configuration again without KerasTuner."""
    hypermodel = SegmentationHyperModel(SPACE, BASE, toy_data())
    objective = keras_tuner.Objective("val_f1", direction="max")
    tuner = kind(hypermodel, objective=objective, max_trials=2, seed=3, directory=folder)
    tuner.search(verbose=0)
    trials = tuner.oracle.get_best_trials(2)
    assert [trial.status for trial in trials] == ["COMPLETED", "COMPLETED"]
    assert set(trials[0].hyperparameters.values) == set(SPACE.dimensions)
    assert trials[0].hyperparameters.values != trials[1].hyperparameters.values
    again = fit(with_values(BASE, trials[0].hyperparameters.values), toy_data(), Listener())
    assert trials[0].score == again.metrics["val_f1"]
    assert trials[0].metrics.get_best_value("val_loss") == again.metrics["val_loss"]
    (model,) = tuner.get_best_models()
    assert model.compiled
    for kept, expected in zip(model.get_weights(), weights_of(again), strict=True):
        np.testing.assert_array_equal(kept, expected)


def test_callbacks_hear_of_epochs_and_may_stop() -> None:
    """They hear the beginning, each epoch's metrics and the end; what it returns are those of the best epoch."""
    hypermodel, hp = SegmentationHyperModel(SPACE, BASE, toy_data()), keras_tuner.HyperParameters()
    ears = Ears(last=2)
    metrics = hypermodel.fit(hp, hypermodel.build(hp), callbacks=[ears])
    assert [entry if isinstance(entry, str) else entry[0] for entry in ears.heard] == ["begin", 0, 1, "end"]
    assert metrics["val_f1"] == max(entry[1] for entry in ears.heard[1:3])


def test_hyperbands_epochs_set_the_course_of_the_learning_rate() -> None:
    """Going on from one epoch to two, one is trained, at whose end the learning rate is 1 % of its highest."""
    hypermodel, hp = SegmentationHyperModel(SPACE, BASE, toy_data()), keras_tuner.HyperParameters()
    hp.values = {"tuner/epochs": 2, "tuner/initial_epoch": 1}
    model, ears = hypermodel.build(hp), Ears()
    metrics = hypermodel.fit(hp, model, callbacks=[ears], epochs=2, initial_epoch=1)
    assert [entry[0] for entry in ears.heard[1:-1]] == [1]
    assert metrics["learning_rate"] == pytest.approx(hp.get("training.learning_rate") / 100, rel=1e-5)


def test_what_lsml_cannot_do_right_is_refused() -> None:
    """Epochs of the caller, and a network that was not built last, end the search with a reason."""
    hypermodel, hp = SegmentationHyperModel(SPACE, BASE, toy_data()), keras_tuner.HyperParameters()
    first, second = hypermodel.build(hp), hypermodel.build(hp)
    with pytest.raises(FatalValueError, match=r"set training\.epochs"):
        hypermodel.fit(hp, second, epochs=5)
    with pytest.raises(FatalValueError, match="build it again"):
        hypermodel.fit(hp, first)
