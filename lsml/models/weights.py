"""What an encoder may start from, as far as it can be told without Keras: is it there, and does the rest suit it?"""

import contextlib
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

from lsml.config.schema import ModelConfig, TrainConfig
from lsml.errors import ConfigError, ModelError

PUBLISHED_FILTERS = 64

FIELDS = (
    *("model.architecture", "model.encoder", "model.weights", "model.stem", "model.filters", "model.normalization"),
    "input.visible",
)
"""All that decides whether an encoder can start from pretrained weights."""


def identity(config: ModelConfig) -> str:
    """Tells apart what encoders start from: `none`, `imagenet`, or the SHA-256 of the file, 64 hex digits.

    Of ImageNet's weights keras has a hash of its own, to which it holds the file.

    Raises:
        ModelError: the file cannot be read.
    """
    if not config.pretrained:
        return "none"
    if config.weights == "imagenet":
        return config.weights
    with opened(config) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def opened(config: ModelConfig) -> Iterator[io.BufferedReader]:
    """The file of weights.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        with Path(config.weights).open("rb") as file:
            yield file
    except OSError as error:
        raise ModelError(
            f"model.weights {config.weights}", f"cannot be read: {error.strerror}", "check the path"
        ) from None


def provenance(identity: str) -> dict[str, str]:
    """`weights_sha256` where an `identity` is that of a file; empty where it is not."""
    return {} if identity in ("none", "imagenet") else {"weights_sha256": identity}


def check_suits(config: TrainConfig) -> None:
    """Whether the rest of a configuration suits its pretrained weights, whatever is in their file.

    Raises:
        ConfigError: it does not.
    """
    model = config.model
    if model.weights == "imagenet" and model.encoder != "resnet50":
        raise ConfigError(
            "model.weights",
            f"keras.applications has no ImageNet weights of {model.encoder}",
            "set model.encoder=resnet50, or model.weights to a file",
        )
    if model.weights == "imagenet" and model.filters != PUBLISHED_FILTERS:
        raise ConfigError(
            "model.weights",
            f"ImageNet's are of {PUBLISHED_FILTERS} filters, and model.filters is {model.filters}",
            f"set model.filters={PUBLISHED_FILTERS}",
        )
    if model.normalization != "batch":
        raise ConfigError(
            "model.weights",
            f"pretrained encoders have batch normalisation, and model.normalization is {model.normalization}",
            "set model.normalization=batch",
        )
    if config.input.features != "bands":
        raise ConfigError(
            "model.weights",
            f"pretrained encoders look at bands, and input.features is {config.input.features}",
            "set input.features=bands",
        )
    if model.stem == "inflate" and not config.input.visible:
        raise ConfigError(
            "model.stem",
            "inflate carries filters to blue, green and red, and input.visible is false",
            "set input.visible=true or model.stem=project",
        )
