"""AdamW and its learning-rate schedule; pretrained encoders move later and more slowly than random weights."""

import math
from collections.abc import Container, Sequence
from typing import Any

import keras
from keras import ops

from lsml.config.schema import TrainingConfig

_UNDECAYED = ("bias", "gamma", "beta")
"""Names of the variables that do not decay."""


class PacedAdamW(keras.optimizers.Adam):
    """AdamW (Loshchilov & Hutter 2019) with a smaller learning rate for some variables.

    Decay and step are proportional to the learning rate, so that a share of 0 leaves a variable as it is. Moments of
    gradients are kept from the first step on, also of variables that do not move yet.

    Args:
        slow: paths of the variables with a learning rate of their own.
        share: of the learning rate, which is theirs.
        frozen_steps: so many steps they do not move at all.
        options: of `keras.optimizers.Adam`.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
        *,
        decay: float,
        slow: Container[str],
        share: float,
        frozen_steps: int,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self._decay, self._paths, self._share, self._frozen_steps = decay, slow, share, frozen_steps
        self._slow: tuple[bool, ...] = ()
        self._decaying: tuple[bool, ...] = ()

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Notes which variables are slow, and which decay."""
        super().build(variables)
        self._slow = tuple(variable.path in self._paths for variable in variables)
        self._decaying = tuple(not any(word in variable.name for word in _UNDECAYED) for variable in variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One variable's decay and step."""
        # By its index: TensorFlow's variables come here without their path.
        index = self._get_variable_index(variable)
        rate = ops.cast(learning_rate, variable.dtype)
        if self._slow[index]:
            moving = ops.cast(self.iterations >= self._frozen_steps, variable.dtype)
            rate = rate * moving * self._share
        if self._decaying[index]:
            self.assign_sub(variable, ops.convert_to_tensor(variable) * self._decay * rate)
        super().update_step(gradient, variable, rate)


_WARM_UP_EPOCHS = 3
_WARM_UP_SHARE = 0.05
_FINAL_SHARE = 0.01
"""The learning rate rises over 5 % of all steps, at most 3 epochs, and falls to 1 % of its highest value."""


def make_optimizer(config: TrainingConfig, steps: int, pretrained: frozenset[str]) -> keras.Optimizer:
    """AdamW (Loshchilov & Hutter 2019); biases and normalisation's parameters do not decay.

    Args:
        steps: of an epoch.
        pretrained: paths of the variables that start from pretrained weights.
    """
    averaged = config.weight_averaging > 0
    options = {
        "global_clipnorm": config.gradient_clipping or None,
        "use_ema": averaged,
        **({"ema_momentum": config.weight_averaging} if averaged else {}),
    }
    schedule = _schedule(config, steps)
    if pretrained and (config.freeze_epochs or config.encoder_learning_rate_share < 1):
        return PacedAdamW(
            schedule,
            decay=config.weight_decay,
            slow=pretrained,
            share=config.encoder_learning_rate_share,
            frozen_steps=config.freeze_epochs * steps,
            **options,
        )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay, **options)
    optimizer.exclude_from_weight_decay(var_names=list(_UNDECAYED))
    return optimizer


def _schedule(config: TrainingConfig, steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    if config.schedule == "constant":
        return config.learning_rate
    total = steps * config.epochs
    warm_up = min(_WARM_UP_EPOCHS * steps, math.ceil(_WARM_UP_SHARE * total))
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=_FINAL_SHARE * config.learning_rate,
        warmup_target=config.learning_rate,
        warmup_steps=warm_up,
        decay_steps=max(1, total - warm_up),
        alpha=_FINAL_SHARE,
    )
