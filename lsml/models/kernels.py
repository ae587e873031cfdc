"""Keras's layers as they are trained: the same weights and results, computed in fewer passes over memory.

What is exported has Keras's own layers in their place, so these are never saved. Here alone a backend is imported, the
one in use, for what it has and `keras.ops` has not.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import keras
from keras import layers, ops


class Layers(NamedTuple):
    """The classes that a network is built of where there are two that compute the same."""

    batch_normalization: type[layers.BatchNormalization]
    transposed_convolution: type[layers.Conv2DTranspose]
    channel_dropout: type[layers.SpatialDropout2D]


ADAM_BETAS = (0.9, 0.999)
"""What is kept of a mean and of a variance from step to step, of `keras.optimizers.Adam`."""

_ADAM_EPSILON = 1e-7


def adam_step(
    variable: keras.Variable, moments: Sequence[keras.Variable], gradient: Any, rate: Any, powers: Sequence[Any]
) -> None:
    """One step of Adam (Kingma & Ba 2015, section 2, the order of computation at its end), in place.

    Args:
        moments: mean and variance of the gradients so far, of the variable's shape.
        rate: the learning rate, a float32 scalar.
        powers: of each of `ADAM_BETAS`, with the number of the step from 1 as the exponent.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        handles = dict(zip(("var", "m", "v"), (each.value.handle for each in (variable, *moments)), strict=True))
        options = dict(zip(("beta1", "beta2", "beta1_power", "beta2_power"), (*ADAM_BETAS, *powers), strict=True))
        tf.raw_ops.ResourceApplyAdam(**handles, **options, lr=rate, epsilon=_ADAM_EPSILON, grad=gradient)
        return
    for moment, sample, beta in zip(moments, (gradient, ops.square(gradient)), ADAM_BETAS, strict=True):
        moment.assign_add((sample - moment) * (1 - beta))
    mean, variance = moments
    corrected = rate * ops.sqrt(1 - powers[1]) / (1 - powers[0])
    variable.assign_sub(mean * corrected / (ops.sqrt(variance) + _ADAM_EPSILON))


class _Kernels(Protocol):
    """Batch normalisation of `x`, `(B, H, W, C)`, in float32; `parameters` are scale and offset, float32 `(C,)`."""

    def by_batch(self, x: Any, parameters: Sequence[Any], epsilon: float) -> tuple[Any, Any, Any]:
        """By the batch's own moments over all but the channels; the output, mean and variance, which divides by n."""

    def by_moments(self, x: Any, parameters: Sequence[Any], moments: Sequence[Any], epsilon: float) -> Any:
        """By mean and variance from elsewhere; the output."""


class _TensorFlow:
    def by_batch(self, x: Any, parameters: Sequence[Any], epsilon: float) -> tuple[Any, Any, Any]:
        import tensorflow as tf

        output, mean, variance = tf.compat.v1.nn.fused_batch_norm(_fitting(x), *parameters, epsilon=epsilon)
        # The kernel divides the squares by n - 1, or by 1 where n is 1.
        n = ops.cast(ops.prod(ops.shape(x)[:-1]), "float32")
        return ops.cast(output, x.dtype), mean, variance * (ops.maximum(n - 1, 1) / n)

    def by_moments(self, x: Any, parameters: Sequence[Any], moments: Sequence[Any], epsilon: float) -> Any:
        import tensorflow as tf

        kernel, given = tf.compat.v1.nn.fused_batch_norm, (_fitting(x), *parameters, *moments)
        return ops.cast(kernel(*given, epsilon=epsilon, is_training=False)[0], x.dtype)


_VECTOR = 16
"""bfloat16 numbers that a vector register of the kernel on a CPU takes."""


def _fitting(x: Any) -> Any:
    """In float32 where the channels do not fill a register: in bfloat16 that takes ten times as long."""
    return x if x.shape[-1] % _VECTOR == 0 else ops.cast(x, "float32")


class _Torch:
    def by_batch(self, x: Any, parameters: Sequence[Any], epsilon: float) -> tuple[Any, Any, Any]:
        import torch

        output, mean, scale = torch.native_batch_norm(x.movedim(-1, 1), *parameters, None, None, True, 0.0, epsilon)
        return output.movedim(1, -1), mean.detach(), scale.detach() ** -2 - epsilon

    def by_moments(self, x: Any, parameters: Sequence[Any], moments: Sequence[Any], epsilon: float) -> Any:
        import torch

        return torch.nn.functional.batch_norm(x.movedim(-1, 1), *moments, *parameters, eps=epsilon).movedim(1, -1)


_KERNELS: Mapping[str, _Kernels] = {"tensorflow": _TensorFlow(), "torch": _Torch()}
"""By Keras's backend."""


class _FusedBatchNormalization(layers.BatchNormalization):
    """`keras.layers.BatchNormalization` of `(B, H, W, C)` by the backend's kernel, where Keras has twenty operations.

    The output has the input's type, the moments are float32. Under JAX it is Keras's layer, which XLA fuses by itself.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: None = None) -> Any:
        """`(B, H, W, C)` as it was; moves the moving moments in training."""
        kernels = _KERNELS.get(keras.backend.backend())
        if kernels is None:
            return super().call(inputs, training=training, mask=mask)
        parameters = [ops.convert_to_tensor(variable) for variable in (self.gamma, self.beta)]
        if not training or not self.trainable:
            moments = [ops.convert_to_tensor(variable) for variable in (self.moving_mean, self.moving_variance)]
            return kernels.by_moments(inputs, parameters, moments, self.epsilon)
        output, *moments = kernels.by_batch(inputs, parameters, self.epsilon)
        for moving, moment in zip((self.moving_mean, self.moving_variance), moments, strict=True):
            moving.assign(ops.convert_to_tensor(moving) * self.momentum + moment * (1.0 - self.momentum))
        return output


class _ShuffledTranspose(layers.Conv2DTranspose):
    """`keras.layers.Conv2DTranspose` whose stride is its kernel's size, as a 1 x 1 convolution.

    No two outputs share a pixel of the input then: each pixel gives its `size` x `size` outputs as channels, which
    are put side by side. The gradient of a 1 x 1 convolution's kernel costs a quarter of the other's.
    """

    def call(self, inputs: Any) -> Any:
        """`(B, H, W, C)` to `(B, size H, size W, filters)`."""
        size = self.strides[0]
        # (size, size, filters, C) to (1, 1, C, size * size * filters)
        kernel = ops.reshape(
            ops.transpose(ops.cast(self.kernel, self.compute_dtype), (3, 0, 1, 2)), (1, 1, inputs.shape[-1], -1)
        )
        output = ops.conv(inputs, kernel)
        if self.use_bias:
            output = ops.add(output, ops.tile(ops.cast(self.bias, self.compute_dtype), [size * size]))
        return ops.depth_to_space(output, size)


class _MultipliedDropout(layers.SpatialDropout2D):
    """`keras.layers.SpatialDropout2D` as one product with 0 or 1 / (1 - rate) for each channel; the draws are its."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        """`(B, H, W, C)` as it was."""
        if not training or not self.rate:
            return inputs
        ones = ops.ones((ops.shape(inputs)[0], 1, 1, inputs.shape[-1]), dtype=inputs.dtype)
        return inputs * keras.random.dropout(ones, self.rate, seed=self.seed_generator)


def trace_once(network: keras.Model, side: Sequence[int]) -> None:
    """Has one trace serve `predict_on_batch` for batches of any number of patches of one height and width.

    TensorFlow would make another one for each number, to the same results; other backends have no such trace.

    Args:
        network: that has not predicted yet.
        side: height and width of the patches.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        network.make_predict_function()
        images = tf.TensorSpec((None, *side, network.input_shape[-1]), "float32")
        network.predict_function.get_concrete_function([(images,)])


OF_KERAS = Layers(layers.BatchNormalization, layers.Conv2DTranspose, layers.SpatialDropout2D)
FAST = Layers(_FusedBatchNormalization, _ShuffledTranspose, _MultipliedDropout)
