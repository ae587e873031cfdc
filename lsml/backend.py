"""How a process that will load Keras is set up, and loading it without its backend's greetings."""

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping

ENVIRONMENT: Mapping[str, str] = {
    # Lines about what TensorFlow's build could do; errors are still shown.
    "TF_CPP_MIN_LOG_LEVEL": "2",
    # Without these the first process on a GPU takes all of its memory.
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}


def prepare() -> None:
    """Sets up this process and its children; what their user has set already stays."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def load_keras() -> None:
    """Loads Keras and starts its backend.

    TensorFlow writes a dozen lines on every start, from code that no setting reaches. They are held back, and
    shown only where loading fails.
    """
    prepare()
    sys.stderr.flush()
    with tempfile.TemporaryFile("w+") as held:
        terminal = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            import keras

            keras.ops.convert_to_numpy(keras.ops.ones(1) + keras.ops.ones(1))
        except BaseException:
            os.dup2(terminal, 2)
            held.seek(0)
            shutil.copyfileobj(held, sys.stderr)
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
