"""AdamW and its learning-rate schedule; pretrained encoders move later and more slowly than random weights."""

import math
from collections.abc import Container, Sequence
from typing import Any

import keras
from keras import ops

from lsml.config.schema import TrainingConfig
from lsml.models.kernels import ADAM_BETAS, adam_step

_UNDECAYED = ("bias", "gamma", "beta")
"""Names of the variables that do not decay."""


class PacedAdamW(keras.optimizers.Optimizer):
    """AdamW (Loshchilov & Hutter 2019), if need be with a smaller learning rate for some variables.

    Decay and step are proportional to the learning rate, so that a share of 0 leaves a variable as it is. Moments of
    gradients are kept from the first step on, also of variables that do not move yet. The update is that of
    `keras.optimizers.AdamW`, where the backend has a kernel for it in one pass over a variable.

    Args:
        decay: share of a variable that goes with each step, before the learning rate is multiplied with it.
        slow: paths of the variables with a learning rate of their own.
        share: of the learning rate, which is theirs.
        frozen_steps: so many steps they do not move at all.
        options: of `keras.optimizers.Optimizer`.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
        *,
        decay: float,
        slow: Container[str] = (),
        share: float = 1.0,
        frozen_steps: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, name="adamw", **options)
        self._decay, self._paths, self._share, self._frozen_steps = decay, slow, share, frozen_steps
        self._moments: list[tuple[keras.Variable, keras.Variable]] = []

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Makes the moments of the variables' gradients."""
        if self.built:
            return
        super().build(variables)
        self._moments = [
            (self.add_variable_from_reference(variable, "mean"), self.add_variable_from_reference(variable, "variance"))
            for variable in variables
        ]

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        """Nothing: Keras's `fit` would put averages in the place of the weights, which the next epoch goes on from."""

    def put_averages(self, variables: Sequence[keras.Variable]) -> None:
        """Gives the variables the moving averages of their values."""
        super().finalize_variable_values(variables)

    def _backend_update_step(
        self, grads: Sequence[Any], trainable_variables: Sequence[Any], learning_rate: Any
    ) -> None:
        """Decay and step of all variables; Keras calls it once a step, with gradients that are clipped already.

        Raises:
            ValueError: a variable has no gradient.
        """
        if len(grads) < len(self._moments):
            raise ValueError("every variable that the optimizer was built with has to have a gradient")
        rate, steps = ops.cast(learning_rate, "float32"), ops.cast(self.iterations + 1, "float32")
        slow_rate = rate * ops.cast(self.iterations >= self._frozen_steps, "float32") * self._share
        powers = [ops.power(ops.cast(beta, "float32"), steps) for beta in ADAM_BETAS]
        for gradient, variable, moments in zip(grads, trainable_variables, self._moments, strict=True):
            own = slow_rate if variable.path in self._paths else rate
            if not any(word in variable.name for word in _UNDECAYED):
                variable.assign_sub(ops.convert_to_tensor(variable) * (self._decay * own))
            adam_step(variable, moments, gradient, own, powers)


_WARM_UP_EPOCHS = 3
_WARM_UP_SHARE = 0.05
_FINAL_SHARE = 0.01
"""The learning rate rises over 5 % of all steps, at most 3 epochs, and falls to 1 % of its highest value."""


def make_optimizer(config: TrainingConfig, steps: int, pretrained: frozenset[str]) -> PacedAdamW:
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
    return PacedAdamW(
        _schedule(config, steps),
        decay=config.weight_decay,
        slow=pretrained,
        share=config.encoder_learning_rate_share,
        frozen_steps=config.freeze_epochs * steps,
        **options,
    )


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
