"""lsml's networks, training and scores for KerasTuner's own tuners, which then keep their own book of trials."""

from collections.abc import Sequence

import keras
import keras_tuner
from keras_tuner.errors import FatalValueError

from lsml.config.experiment import EPOCHS
from lsml.config.schema import TrainConfig, with_values
from lsml.config.space import Space
from lsml.data.splits import TrainingData
from lsml.scoring.metrics import best_epoch
from lsml.study.oracles import HyperSuggester
from lsml.training.outcome import StepEvent
from lsml.training.trainer import Trainer


class SegmentationHyperModel(keras_tuner.HyperModel):
    """What `lsml tune` does with one configuration, as KerasTuner's `HyperModel`.

        experiment = lsml.config.experiment.load_experiment(Path("experiments/demo.yaml"))
        data = lsml.data.splits.prepare(Path("data/demo"), Path(".lsml/packs"))
        hypermodel = SegmentationHyperModel(experiment.space, experiment.base, data)
        objective = keras_tuner.Objective("val_f1", direction="max")
        keras_tuner.RandomSearch(hypermodel, objective=objective, max_trials=10).search()

    With TensorFlow, KerasTuner's tuners ask for the package tensorboard, which neither they nor lsml install.

    Under KerasTuner's Hyperband a trial continues with the weights of a shorter one; the course of its learning rate,
    with a warm-up, is fitted to the epochs that it trains itself.

    Args:
        space: the fields to search.
        base: the values of all others, the seed among them.
        data: the patches to train and validate on.
    """

    def __init__(self, space: Space, base: TrainConfig, data: TrainingData) -> None:
        super().__init__(name="lsml")
        self._space, self._base, self._data = space, base, data
        self._built: Trainer | None = None

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """The compiled network, from stored bands float32 `(B, H, W, C)` to logits float32 `(B, H, W, 1)`.

        With deep supervision, several members or trees beside it, a network that shares its weights is compiled and
        trained in its place.

        Raises:
            ConfigError: values that a configuration cannot have together.
        """
        config = self._space.configure(self._base, HyperSuggester(hp, self._space))
        if "tuner/epochs" in hp.values:
            config = with_values(config, {EPOCHS: hp.values["tuner/epochs"] - hp.values["tuner/initial_epoch"]})
        data = self._data
        run = Trainer(config, data.train, data.statistics, validation=data.validation, keep=best_epoch, checkpoint=None)
        self._built = run
        return run.network

    def fit(
        self,
        hp: keras_tuner.HyperParameters,
        model: keras.Model,
        *,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        epochs: int | None = None,
        initial_epoch: int = 0,
        verbose: object = None,
    ) -> dict[str, float]:
        """Trains the network that `build` gave last; the best epoch's metrics, as `Trainer.epoch` reports them.

        Args:
            callbacks: hear of the start, the end and each epoch, with all its metrics, and may stop the training. They
                hear of no batch, and a learning rate that has a schedule is not theirs to set.
            epochs: the last epoch; only KerasTuner's Hyperband may say so, others set `training.epochs`.
            initial_epoch: how many were trained before.
            verbose: KerasTuner's own, ignored.

        Raises:
            FatalValueError: `model` is not what `build` gave last, or `epochs` comes from the caller of `search`.
            TrainingDiverged: a loss or an output became NaN or infinite.
        """
        if self._built is None or self._built.network is not model:
            raise FatalValueError("model: not the one that build() gave last; build it again")
        if epochs is not None and epochs != hp.values.get("tuner/epochs"):
            raise FatalValueError("epochs: unknown to the learning rate's course; set training.epochs in base or space")
        run = self._built
        listeners = keras.callbacks.CallbackList(list(callbacks), model=model)
        model.stop_training = False
        listeners.on_train_begin()
        listeners.on_epoch_begin(initial_epoch)
        run.train(_Callbacks(listeners, model, initial_epoch))
        listeners.on_train_end()
        return dict(run.history[best_epoch(run.history) - 1])


class _Callbacks:
    """An `lsml.training.outcome.Report` that hands epochs on, numbered from 0 as Keras does."""

    def __init__(self, listeners: keras.callbacks.CallbackList, model: keras.Model, initial_epoch: int) -> None:
        self._listeners, self._model, self._first = listeners, model, initial_epoch

    def __call__(self, event: StepEvent) -> bool:
        """False when a callback has stopped the training."""
        epoch = self._first + event.step - 1
        self._listeners.on_epoch_end(epoch, dict(event.metrics))
        if self._model.stop_training:
            return False
        self._listeners.on_epoch_begin(epoch + 1)
        return True
