"""The building blocks that encoders and decoder share, under one configuration, arithmetic and stream of seeds."""

import math
from collections.abc import Iterator

import keras
from keras import KerasTensor, layers, ops

from lsml.config.schema import ModelConfig
from lsml.models.kernels import OF_KERAS, Layers

BATCH_MOMENTUM = 0.9
"""Of the batch statistics' moving average: some 20 steps are enough to follow, where Keras's .99 needs 200."""

NORMALIZATION_GROUPS = 8

MOST_DROPPED = 0.8
"""Where dropout and its rise come to more together."""


class Blocks:
    """The building blocks of one network.

    Args:
        config: the network's hyperparameters.
        seeds: an endless stream; every layer that draws random numbers takes one for itself, so that no layer
            depends on what else drew in the process.
        precision: the layers' dtype policy, `float32` or `mixed_bfloat16`.
        kinds: `OF_KERAS`, which can be exported, or `FAST`, to train.
    """

    def __init__(self, config: ModelConfig, seeds: Iterator[int], precision: str, kinds: Layers = OF_KERAS) -> None:
        self.config, self._seeds, self.precision, self._kinds = config, seeds, precision, kinds

    def convolve(
        self,
        x: KerasTensor,
        filters: int,
        name: str,
        *,
        kernel: int = 3,
        stride: int = 1,
        initializer: keras.Initializer | str | None = None,
    ) -> KerasTensor:
        """Convolution alone, `(B, H, W, C)` to `(B, H/stride, W/stride, filters)`; He's normal weights by default.

        With a stride of 2 the borders are padded alike on both sides, so that output i is centred on input 2 i, which
        is also the pixel that a 1 x 1 convolution sees. That one gets every second pixel and no stride, which is the
        same to the last bit: TensorFlow's float32 gradient of a strided 1 x 1 convolution of less than 16 channels
        writes past its memory on a CPU (TensorFlow 2.21 with oneDNN), and the process dies.
        """
        if stride > 1 and kernel == 1:
            x, stride = self.pool(x, 1, f"{name}_pool"), 1
        elif stride > 1:
            x = self.pad(x, kernel // 2, f"{name}_pad")
        return layers.Conv2D(
            filters,
            kernel,
            strides=stride,
            padding="same" if stride == 1 else "valid",
            use_bias=self.config.normalization == "none",
            kernel_initializer=initializer or self._he_normal(),
            dtype=self.precision,
            name=name,
        )(x)

    def normalize(self, x: KerasTensor, name: str, *, epsilon: float = 1e-3) -> KerasTensor:
        """The configured normalisation, `epsilon` added to the variance; `x` itself where there is none."""
        options = {"epsilon": epsilon, "dtype": self.precision, "name": name}
        if self.config.normalization == "batch":
            return self._kinds.batch_normalization(momentum=BATCH_MOMENTUM, **options)(x)
        if self.config.normalization == "group":
            return layers.GroupNormalization(math.gcd(NORMALIZATION_GROUPS, x.shape[-1]), **options)(x)
        return x

    def activate(self, x: KerasTensor, name: str) -> KerasTensor:
        """ReLU."""
        return layers.ReLU(dtype=self.precision, name=name)(x)

    def convolution(self, x: KerasTensor, filters: int, name: str) -> KerasTensor:
        """3 x 3 convolution, normalisation and ReLU, `(B, H, W, C)` to `(B, H, W, filters)`."""
        x = self.convolve(x, filters, name)
        return self.activate(self.normalize(x, f"{name}_norm"), f"{name}_relu")

    def level(self, x: KerasTensor, filters: int, name: str, *, number: int) -> KerasTensor:
        """Two convolutions with dropout between them.

        Args:
            number: of the level, from 0, the finest, to `depth`.
        """
        x = self.convolution(x, filters, f"{name}_conv1")
        return self.convolution(self._drop(x, f"{name}_dropout", number), filters, f"{name}_conv2")

    def _drop(self, x: KerasTensor, name: str, number: int) -> KerasTensor:
        rate = min(self.config.dropout + self.config.dropout_increment * number / self.config.depth, MOST_DROPPED)
        if not rate:
            return x
        kind = self._kinds.channel_dropout if self.config.dropout_unit == "channel" else layers.Dropout
        return kind(rate, seed=self.seed(), dtype=self.precision, name=name)(x)

    def pad(self, x: KerasTensor, width: int, name: str) -> KerasTensor:
        """Zeros around height and width, `(B, H, W, C)` to `(B, H + 2 width, W + 2 width, C)`."""
        return layers.ZeroPadding2D(width, dtype=self.precision, name=name)(x)

    def pool(self, x: KerasTensor, size: int, name: str) -> KerasTensor:
        """The largest of every `size` x `size` pixels, two pixels apart, without padding."""
        return layers.MaxPooling2D(size, strides=2, dtype=self.precision, name=name)(x)

    def upsample(self, x: KerasTensor, filters: int, name: str) -> KerasTensor:
        """`(B, H, W, C)` to `(B, 2H, 2W, filters)`, as configured.

        `bilinear` is a 1 x 1 convolution and interpolation, in this order: both are linear and the weights of an
        interpolation sum to one, so the other order gives the same and computes four times as much.
        """
        if self.config.upsampling == "bilinear":
            return self.interpolate(self.convolve(x, filters, f"{name}_conv", kernel=1), name)
        return self._kinds.transposed_convolution(
            filters, 2, strides=2, kernel_initializer=self._he_normal(), dtype=self.precision, name=name
        )(x)

    def interpolate(self, x: KerasTensor, name: str) -> KerasTensor:
        """Bilinear interpolation to twice the height and width, pixel centres at half steps, borders repeated.

        Every pixel four times and then [1 2 1] / 4 both ways gives the weights 3/4 and 1/4. `UpSampling2D` has bilinear
        interpolation too, but XLA cannot differentiate TensorFlow's, and it is not exported for images of any size.
        """
        interpolated = layers.UpSampling2D(2, dtype=x.dtype, name=name)(x)
        interpolated = ops.pad(interpolated, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="symmetric")
        for turn in (1, 2):
            mean = layers.AveragePooling2D(2, strides=1, dtype=x.dtype, name=f"{name}_mean{turn}")
            interpolated = mean(interpolated)
        return interpolated

    def merge(self, x: KerasTensor, skip: KerasTensor, name: str) -> KerasTensor:
        """The decoder's features and the encoder's of the same resolution, channels side by side."""
        return layers.Concatenate(dtype=self.precision, name=name)([skip, x])

    def weigh(self, x: KerasTensor, weights: KerasTensor, name: str) -> KerasTensor:
        """`(B, H, W, C)` times weights of one for each pixel `(B, H, W, 1)` or each channel `(B, 1, 1, C)`."""
        return layers.Multiply(dtype=self.precision, name=name)([x, weights])

    def squeeze_and_excite(self, x: KerasTensor, units: int, name: str, *, activation: str) -> KerasTensor:
        """Each channel times a number in 0..1 that the means of all channels give; `(B, H, W, C)` as it was.

            weight = sigmoid(W2 activation(W1 mean(x)))

        with the mean over height and width, so that a patch is weighted as a whole, and `units` rows in W1. Source:
        Hu et al. 2018, "Squeeze-and-Excitation Networks", equations 2 to 4 (https://arxiv.org/abs/1709.01507).
        """
        # A sum over 16,384 pixels would not survive bfloat16's 8 bits.
        weights = layers.GlobalAveragePooling2D(keepdims=True, dtype="float32", name=f"{name}_squeeze")(x)
        for part, size, nonlinearity in (("reduce", units, activation), ("excite", x.shape[-1], "sigmoid")):
            weights = layers.Dense(
                size,
                activation=nonlinearity,
                kernel_initializer=self.glorot_uniform(),
                dtype="float32",
                name=f"{name}_{part}",
            )(weights)
        return self.weigh(x, weights, f"{name}_weigh")

    def add(self, x: KerasTensor, shortcut: KerasTensor, name: str) -> KerasTensor:
        """The sum of a residual branch and its shortcut, of one shape."""
        return layers.Add(dtype=self.precision, name=name)([shortcut, x])

    def seed(self) -> int:
        """The next number of the stream, for a layer or an initializer that draws."""
        return next(self._seeds)

    def glorot_uniform(self) -> keras.Initializer:
        """Initial weights of a layer that no ReLU follows."""
        return keras.initializers.GlorotUniform(seed=self.seed())

    def _he_normal(self) -> keras.Initializer:
        return keras.initializers.HeNormal(seed=self.seed())
