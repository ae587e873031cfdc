"""How a process that will load Keras is set up, and loading it without its backend's greetings."""

import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from lsml.errors import ConfigError

BACKENDS = ("tensorflow", "jax", "torch")
"""What Keras can train with; each is also the name of its package."""

ENVIRONMENT: Mapping[str, str] = {
    # Lines about what TensorFlow's build could do; errors are still shown.
    "TF_CPP_MIN_LOG_LEVEL": "2",
    # Without these the first process on a GPU takes all of its memory.
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}


def prepare() -> None:
    """Sets up this process and its children; what their user has set already stays.

    Raises:
        ConfigError: the backend that Keras will choose is not installed, or cannot train.
    """
    _check(_chosen())
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def _chosen() -> str:
    """The backend as Keras chooses it: by the variable, else by its file in the home folder, else TensorFlow."""
    if name := os.environ.get("KERAS_BACKEND"):
        return name
    home = Path(os.environ.get("KERAS_HOME") or Path("~/.keras").expanduser())
    try:
        settings = json.loads((home / "keras.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        settings = {}
    return str(settings.get("backend", BACKENDS[0])) if isinstance(settings, dict) else BACKENDS[0]


def _check(name: str) -> None:
    installed = [known for known in BACKENDS if find_spec(known)]
    if name in installed:
        return
    why = "is not installed" if name in BACKENDS else f"is none of {', '.join(BACKENDS)}"
    fix = f"set KERAS_BACKEND={installed[0]}" if installed else "install lsml's requirements"
    raise ConfigError(f"Keras backend {name}", why, fix)


def check_gpu(kind: str, name: str) -> None:
    """Accepts a GPU alone, for whoever would rather wait for one than train on what is there.

    Args:
        kind: `cpu` or `gpu`, as `lsml.training.device.Device` has it.
        name: the maker's.

    Raises:
        ConfigError: it is no GPU.
    """
    if kind != "gpu":
        raise ConfigError(
            "--require-gpu",
            f"Keras computes on {name}",
            "lsml doctor says what it finds; install requirements-gpu.lock and check nvidia-smi",
        )


def load_keras() -> None:
    """Loads Keras and starts its backend.

    Raises:
        ConfigError: the backend that Keras will choose is not installed, or cannot train.
    """
    prepare()
    with quietly():
        import keras

        keras.ops.convert_to_numpy(keras.ops.ones(1) + keras.ops.ones(1))


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """For loading Keras, or what loads it: holds back what is written to standard error.

    TensorFlow writes a dozen lines on every start, from code that no setting reaches. They are shown only where
    loading fails.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile("w+") as held:
        terminal = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(terminal, 2)
            held.seek(0)
            shutil.copyfileobj(held, sys.stderr)
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
