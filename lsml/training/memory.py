"""A training that runs out of memory: recognised whatever backend says so, let go of, and said in one line."""

import errno
import gc
import sys
from collections.abc import Callable
from typing import TypeVar

from lsml.config.schema import TrainConfig
from lsml.errors import LsmlError, OutOfMemory

_Outcome = TypeVar("_Outcome")

_TYPES = frozenset({"MemoryError", "ResourceExhaustedError", "OutOfMemoryError"})
"""By name, because the backends are not imported: Python's with NumPy's below it, TensorFlow's and PyTorch's."""

_SPEAKERS = frozenset({"RuntimeError", "OpError"})
"""What JAX, PyTorch on a CPU, Keras about a layer's error, and TensorFlow about a library's raise: the text tells."""

_WORDS = (
    *("resource_exhausted", "out of memory", "oom when allocating"),
    *("can't allocate memory", "not enough memory", "alloc_failed", "bad_alloc"),
)


def ran_out(error: BaseException) -> bool:
    """Whether `error` says that memory could not be had, or came up while one was handled that says so."""
    said: BaseException | None = error
    while said is not None:
        if _says_so(said):
            return True
        said = said.__cause__ or said.__context__
    return False


def _says_so(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & _TYPES:
        return True
    return bool(kinds & _SPEAKERS) and any(words in str(error).lower() for words in _WORDS)


def within_memory(training: Callable[[], _Outcome], config: TrainConfig) -> _Outcome:
    """What `training` of `config` gives; where it runs out of memory, this process holds nothing of it afterwards.

    Raises:
        OutOfMemory: instead of what the backend raised.
    """
    try:
        return training()
    except Exception as error:
        # What lsml itself has said in one line stays said.
        if isinstance(error, LsmlError) or not ran_out(error):
            raise
    # Not from within the handler: as the cause of another, the error would keep every frame and its tensors alive.
    _let_go()
    model = config.model
    raise OutOfMemory(
        "out of memory",
        f"batch size {config.training.batch_size} with {model.filters} filters and depth {model.depth} does not fit",
        "lower training.batch_size, model.filters or model.depth",
    )


def _let_go() -> None:
    # Where Keras was not loaded yet, there is no memory to load it now.
    if keras := sys.modules.get("keras"):
        keras.utils.clear_session()
    gc.collect()
