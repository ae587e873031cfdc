"""AdamW: Keras's own steps, and those of a slower part."""

import keras
import numpy as np
import pytest

from lsml.config.schema import TrainingConfig
from lsml.training.optimizer import PacedAdamW, make_optimizer

SHAPES = {"kernel": (3, 3, 2, 5), "bias": (5,), "gamma": (7,), "other_kernel": (4, 6), "last_beta": (1,)}


@pytest.mark.parametrize(
    "values", [{}, {"gradient_clipping": 0.5}, {"weight_averaging": 0.9}, {"schedule": "constant"}], ids=str
)
def test_steps_are_those_of_keras(values: dict[str, float | str]) -> None:
    """Ten steps on variables that decay and others, with gradients of very different sizes."""
    config = TrainingConfig(epochs=4, **values)
    generator = np.random.default_rng(3)
    start = {name: generator.normal(size=shape).astype("float32") for name, shape in SHAPES.items()}
    ours, theirs = ([keras.Variable(value, name=name) for name, value in start.items()] for _ in range(2))
    optimizer = make_optimizer(config, 3, frozenset())
    reference = keras.optimizers.AdamW(
        config.learning_rate if config.schedule == "constant" else optimizer._learning_rate,
        weight_decay=config.weight_decay,
        global_clipnorm=config.gradient_clipping or None,
        use_ema=config.weight_averaging > 0,
        ema_momentum=config.weight_averaging or 0.99,
    )
    reference.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    for each, variables in ((optimizer, ours), (reference, theirs)):
        each.build(variables)
    for step in range(10):
        gradients = [
            generator.normal(scale=10.0 ** (step % 5 - 3), size=shape).astype("float32") for shape in SHAPES.values()
        ]
        for each, variables in ((optimizer, ours), (reference, theirs)):
            each.apply([keras.ops.convert_to_tensor(gradient) for gradient in gradients], variables)
    if config.weight_averaging:
        optimizer.put_averages(ours)
        reference.finalize_variable_values(theirs)
    for one, other, value in zip(ours, theirs, start.values(), strict=True):
        np.testing.assert_allclose(np.array(one), np.array(other), rtol=1e-5, atol=1e-7)
        assert not np.array_equal(np.array(one), value)


def test_a_variable_without_gradient_is_an_error() -> None:
    """Its place among the moments would be another's."""
    kernel, bias = keras.Variable([1.0], name="kernel"), keras.Variable([1.0], name="bias")
    optimizer = PacedAdamW(0.1, decay=0.2)
    optimizer.build([kernel, bias])
    with pytest.warns(UserWarning, match="[Gg]radients"), pytest.raises(ValueError, match="has to have a gradient"):
        optimizer.apply([keras.ops.zeros(1), None], [kernel, bias])


def test_paced_steps_are_those_of_adamw_at_another_rate() -> None:
    """Kept from moving for two steps, then at half the rate, and after that as AdamW with that rate from there."""
    gradients = [np.array([value, -1.0], "float32") for value in (1.0, 0.5, 2.0, 1.5)]
    fast, slow, twin = (keras.Variable([1.0, 2.0], name=name) for name in ("kernel", "slow_kernel", "twin_kernel"))
    paced = PacedAdamW(0.1, decay=0.2, slow={slow.path}, share=0.5, frozen_steps=2)
    paced.build([fast, slow])
    plain = keras.optimizers.AdamW(0.1, weight_decay=0.2)
    plain.build([twin])
    for step, gradient in enumerate(map(keras.ops.convert_to_tensor, gradients)):
        before, before_twin = np.array(slow), np.array(twin)
        paced.apply([gradient, gradient], [fast, slow])
        plain.apply([gradient], [twin])
        np.testing.assert_allclose(np.array(fast), np.array(twin), rtol=1e-5)
        if step < 2:
            np.testing.assert_array_equal(np.array(slow), before)
            continue
        # Adam's own part of a step has nothing to do with where the variable is; the decay is rate * decay * value.
        own = np.array(twin) - before_twin * (1 - 0.1 * 0.2)
        np.testing.assert_allclose(np.array(slow), before * (1 - 0.05 * 0.2) + own / 2, rtol=1e-5)


def test_biases_do_not_decay_at_either_pace() -> None:
    """Without a gradient a kernel of 1 shrinks by rate * decay = .02, and a bias stays."""
    kernel, bias = keras.Variable([1.0], name="kernel"), keras.Variable([1.0], name="bias")
    optimizer = PacedAdamW(0.1, decay=0.2, slow=(), share=0.5, frozen_steps=0)
    optimizer.build([kernel, bias])
    zero = keras.ops.zeros(1)
    optimizer.apply([zero, zero], [kernel, bias])
    np.testing.assert_allclose([*np.array(kernel), *np.array(bias)], [0.98, 1.0], rtol=1e-5)
