"""AdamW at two paces: what was trained before moves later and more slowly than what starts from random weights."""

from collections.abc import Container, Sequence
from typing import Any

import keras
from keras import ops

UNDECAYED = ("bias", "gamma", "beta")
"""Names of the variables that do not decay."""


class PacedAdamW(keras.optimizers.Adam):  # type: ignore[misc]
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
        self._decaying = tuple(not any(word in variable.name for word in UNDECAYED) for variable in variables)

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
