"""Running out of memory: recognised in every backend's words, said in one line, and nothing is held afterwards."""

import errno
import gc
import os
import pickle
import subprocess
import weakref
from pathlib import Path

import numpy as np
import pytest

from lsml.config.schema import TrainConfig
from lsml.errors import OutOfMemory, StorageError
from lsml.training.device import _ran_out, within_memory
from tests import warm
from tests.processes import PATIENCE, environment

LINE = (
    "out of memory: batch size 16 with 16 filters and depth 4 does not fit; "
    "lower training.batch_size, model.filters or model.depth"
)


class OpError(Exception):
    """Named as what all of TensorFlow's errors derive from."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        np._core._exceptions._ArrayMemoryError((10**6, 10**6), np.dtype("f4")),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        type("ResourceExhaustedError", (OpError,), {})("OOM when allocating tensor with shape[3,3,2048,2048]"),
        OpError("{{function_node x}} Failed to load in-memory CUBIN: CUDNN_STATUS_ALLOC_FAILED"),
        type("JaxRuntimeError", (RuntimeError,), {})("RESOURCE_EXHAUSTED: Out of memory allocating 150994944 bytes."),
        type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"),
        RuntimeError("Exception encountered when calling Conv2D.call(). OOM when allocating tensor with shape[8]"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_backends_words_are_known(error: Exception) -> None:
    """By the type's name where it has one for it, else by what it says."""
    assert _ran_out(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("out of memory"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        OpError("Graph execution error: Incompatible shapes"),
        OSError(errno.ENOSPC, "No space left on device"),
        StorageError("store", "RESOURCE_EXHAUSTED: too many requests", "wait"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    """A full disk, a server that is asked too often and a fault in the code stay what they are."""
    assert not _ran_out(error)

    def training() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        within_memory(training, TrainConfig())
    assert raised.value is error


def test_what_failed_while_cleaning_up_does_not_hide_it() -> None:
    """As when NumPy closes an archive whose buffer could not grow: Python keeps the first error as the context."""

    def training() -> None:
        try:
            raise MemoryError
        finally:
            raise ValueError("I/O operation on closed file.")

    with pytest.raises(OutOfMemory):
        within_memory(training, TrainConfig())


class Held:
    """Stands for tensors."""


def test_what_the_training_held_is_gone() -> None:
    """NumPy cannot have 10^18 bytes; the one line comes without the frames that failed, and survives a pickle."""
    alive: list[weakref.ref[Held]] = []

    def training() -> None:
        held = Held()
        alive.append(weakref.ref(held))
        np.empty(10**18, "uint8")

    gc.disable()
    try:
        with pytest.raises(OutOfMemory) as raised:
            within_memory(training, TrainConfig())
    finally:
        gc.enable()
    assert alive[0]() is None
    assert (raised.value.__context__, raised.value.__cause__) == (None, None)
    again = pickle.loads(pickle.dumps(raised.value))
    assert (type(again), str(again), again.exit_code) == (OutOfMemory, LINE, 6)


@pytest.mark.full
def test_a_tensor_that_is_too_large_is_recognised(tmp_path: Path) -> None:
    """Of 2^42 floats, which are 17.6 TB, on the backend itself: TensorFlow waits ten seconds for them."""
    child = warm.run_module("tests.training.too_large", folder=tmp_path, env=environment(), timeout=PATIENCE)
    assert child.stdout.strip() == LINE, child.stderr


@pytest.mark.full
@pytest.mark.skipif("LSML_JAX_PYTHON" not in os.environ, reason="LSML_JAX_PYTHON names no Python with JAX")
def test_a_tensor_that_is_too_large_is_recognised_under_jax() -> None:
    """The same, in JAX's words."""
    child = subprocess.run(
        [os.environ["LSML_JAX_PYTHON"], "-m", "tests.training.too_large"],
        env=environment(KERAS_BACKEND="jax"),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert child.stdout.strip() == LINE, child.stderr


def test_what_fits_passes_through() -> None:
    """What the training gives is given."""
    assert within_memory(lambda: 7, TrainConfig()) == 7
