"""AdamW and its learning-rate schedule; pretrained encoders move later and more slowly than random weights."""

import math
from collections.abc import Container, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from lsml.config.schema import TrainingConfig

_UNDECAYED = ("bias", "gamma", "beta")
"""Names of the variables that do not decay."""

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-7
"""Of `keras.optimizers.Adam`."""


class PacedAdamW(keras.optimizers.Optimizer):
    """AdamW (Loshchilov & Hutter 2019), if need be with a smaller learning rate for some variables.

    Decay and step are proportional to the learning rate, so that a share of 0 leaves a variable as it is. Moments of
    gradients are kept from the first step on, also of variables that do not move yet. The update is that of
    `keras.optimizers.AdamW`, to the last digit, but of all variables with one learning rate and decay at once: their
    values stand one after another in one array, which takes ten operations for all where Keras takes ten for each.

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
        self._groups: list[_Group] = []

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Groups the variables by whether they are slow and whether they decay; makes their moments."""
        if self.built:
            return
        super().build(variables)
        members: dict[tuple[bool, bool], list[int]] = {}
        for index, variable in enumerate(variables):
            decays = not any(word in variable.name for word in _UNDECAYED)
            members.setdefault((variable.path in self._paths, decays), []).append(index)
        for (slow, decays), indices in members.items():
            shapes = [tuple(variables[index].shape) for index in indices]
            size = sum(map(math.prod, shapes))
            moments = [self.add_variable((size,), name=f"{name}{len(self._groups)}") for name in ("mean", "variance")]
            self._groups.append(_Group(slow, decays, tuple(indices), *moments))

    def _backend_update_step(
        self, grads: Sequence[Any], trainable_variables: Sequence[Any], learning_rate: Any
    ) -> None:
        """Decay and step of all variables; Keras calls it once a step, with gradients that are clipped already.

        Raises:
            ValueError: a variable has no gradient.
        """
        if len(grads) < sum(len(group.indices) for group in self._groups):
            raise ValueError("every variable that the optimizer was built with has to have a gradient")
        steps = ops.cast(self.iterations + 1, "float32")
        rate = ops.cast(learning_rate, "float32")
        bias1, bias2 = (1 - ops.power(ops.cast(beta, "float32"), steps) for beta in (_BETA1, _BETA2))
        for slow, decays, indices, mean, variance in self._groups:
            own = rate * ops.cast(self.iterations >= self._frozen_steps, "float32") * self._share if slow else rate
            variables = [trainable_variables[index] for index in indices]
            gradient = _flat([grads[index] for index in indices])
            values = _flat([ops.convert_to_tensor(variable) for variable in variables])
            if decays:
                values = values - values * self._decay * own
            mean.assign_add((gradient - mean) * (1 - _BETA1))
            variance.assign_add((ops.square(gradient) - variance) * (1 - _BETA2))
            values = values - mean * (own * ops.sqrt(bias2) / bias1) / (ops.sqrt(variance) + _EPSILON)
            start = 0
            for variable in variables:
                size = math.prod(variable.shape)
                variable.assign(ops.reshape(values[start : start + size], variable.shape))
                start += size


class _Group(NamedTuple):
    """Variables with one learning rate: their places among all, and the moments of their gradients, `(size,)` each."""

    slow: bool
    decays: bool
    indices: tuple[int, ...]
    mean: keras.Variable
    variance: keras.Variable


def _flat(arrays: Sequence[Any]) -> Any:
    return ops.concatenate([ops.reshape(array, (-1,)) for array in arrays])


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
