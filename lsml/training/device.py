"""The device and backend of this process: their set-up, loading Keras quietly, arithmetic, running out of memory.

Importing this module does not load Keras: processes are set up by it before they do.
"""

import contextlib
import errno
import gc
import json
import math
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple, Self, TypeVar

from lsml.config.schema import TrainConfig, TrainingConfig
from lsml.errors import ConfigError, LsmlError, OutOfMemory
from lsml.workspace import STATE_FOLDER

_Outcome = TypeVar("_Outcome")

_BACKENDS = ("tensorflow", "jax", "torch")
"""What Keras can train with; each is also the name of its package."""

_ENVIRONMENT: Mapping[str, str] = {
    # Lines about what TensorFlow's build could do; errors are still shown.
    "TF_CPP_MIN_LOG_LEVEL": "2",
    # Without these the first process on a GPU takes all of its memory.
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    # Of what XLA compiles for JAX, all that takes a tenth of a second is kept.
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
}


def prepare() -> None:
    """Sets the environment of Keras's backend for this process and its children; variables set already stay.

    Raises:
        ConfigError: the backend is not installed, or cannot train, or Keras cannot be loaded for its own file.
    """
    _check_file()
    # Not what Keras's file in the home folder says: a study is to have the same results whoever runs it.
    loaded = sys.modules.get("keras")
    os.environ["KERAS_BACKEND"] = os.environ.get("KERAS_BACKEND") or (
        loaded.backend.backend() if loaded else _BACKENDS[0]
    )
    _check(os.environ["KERAS_BACKEND"])
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # What XLA has compiled for JAX serves every later trial and study of the same shapes in this folder.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str((STATE_FOLDER / "jax").resolve()))


_KERAS_DEFAULTS = {"floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"}
_KERAS_CHOICES = {"floatx": ("float16", "float32", "float64"), "image_data_format": ("channels_last", "channels_first")}


def _check_file() -> None:
    """Refuses a file of settings that Keras reads when it is loaded, and ends at."""
    file = Path(os.environ.get("KERAS_HOME") or Path("~/.keras").expanduser()) / "keras.json"
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return  # Keras goes on without it
    sound = (
        isinstance(settings, dict)
        and all(settings.get(name, choices[0]) in choices for name, choices in _KERAS_CHOICES.items())
        and isinstance(settings.get("epsilon", 1.0), float)
    )
    if not sound:
        raise ConfigError(f"file {file}", "it holds what Keras refuses", "remove it; lsml needs nothing of it")


def _check(name: str) -> None:
    installed = [package for package in _BACKENDS if find_spec(package)]
    if name in installed:
        return
    why = "is not installed" if name in _BACKENDS else f"is none of {', '.join(_BACKENDS)}"
    fix = f"set KERAS_BACKEND={installed[0]}" if installed else "install lsml's requirements"
    raise ConfigError(f"Keras backend {name}", why, fix)


def check_gpu(kind: str, name: str) -> None:
    """Refuses any device but a GPU, for `--require-gpu`.

    Args:
        kind: `cpu` or `gpu`, as `Device` has it.
        name: the maker's.

    Raises:
        ConfigError: it is no GPU.
    """
    if kind != "gpu":
        raise ConfigError(
            "--require-gpu",
            f"Keras computes on {name}",
            "lsml doctor shows what it finds; install requirements-gpu.lock and check nvidia-smi",
        )


def load_keras() -> None:
    """Loads Keras with its default settings, and starts its backend.

    Raises:
        ConfigError: as of `prepare`.
    """
    prepare()
    loaded = "keras" in sys.modules
    with quietly():
        import keras

        for name, value in _KERAS_DEFAULTS.items():
            getattr(keras.config, f"set_{name}")(value)
        keras.ops.convert_to_numpy(keras.ops.ones(1) + keras.ops.ones(1))
    # What was loaded stays: Keras looks for garbage before each network, and would look through all of it each time.
    if not loaded:
        gc.freeze()


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


_BFLOAT16_CAPABILITY = (8, 0)
"""First CUDA compute capability whose tensor cores take bfloat16 (Ampere)."""


class Device(NamedTuple):
    """The processor or GPU that keras places its tensors on.

    Attributes:
        name: the maker's, such as `NVIDIA A100-SXM4-80GB`.
        backend: keras's, `tensorflow`, `jax` or `torch`.
        bfloat16: whether it computes in bfloat16 faster than in float32.
    """

    kind: Literal["cpu", "gpu"]
    name: str
    backend: str
    bfloat16: bool

    @classmethod
    def current(cls) -> Self:
        """The device of this process; starts the backend where nothing has yet."""
        import keras

        backend = keras.backend.backend()
        # The one question that every backend answers: where does the result of an operation lie?
        where = str((keras.ops.ones(1) + keras.ops.ones(1)).device).lower()
        if "gpu" in where or "cuda" in where:
            name, capability = _gpu()
            return cls("gpu", name, backend, capability >= _BFLOAT16_CAPABILITY)
        name, flags = _cpu()
        # Measured with TensorFlow (oneDNN), which gains from it; XLA's CPU code for JAX is not known to.
        return cls("cpu", name, backend, backend == "tensorflow" and "avx512_bf16" in flags)


class Arithmetic(NamedTuple):
    """What one training run computes on and in.

    Attributes:
        devices: how many of that kind compute each step together, with as many patches of the batch each.
    """

    device: Device
    precision: Literal["float32", "mixed_bfloat16"]
    xla: bool
    devices: int = 1

    @classmethod
    def choose(cls, config: TrainingConfig) -> Self:
        """Devices, precision and compiler of a run with this configuration in this process."""
        device = Device.current()
        precision, xla = _choose_precision(config, device), _choose_xla(config, device)
        return cls(device, precision, xla, _choose_devices(config, device))

    def together(self, batch: int) -> Callable[[], AbstractContextManager[object]]:
        """What makes the scope in which networks are built and trained that share out batches of so many patches."""
        count = math.gcd(self.devices, batch)
        if count == 1:
            return contextlib.nullcontext
        from keras.distribution import DataParallel, list_devices

        scope: Callable[[], AbstractContextManager[object]] = DataParallel(devices=list_devices()[:count]).scope
        return scope

    @property
    def trains_by_fit(self) -> bool:
        """Whether an epoch takes less time by Keras's `fit` than by single batches (`bench/training.py`)."""
        return self.device.kind == "gpu" and self.device.backend == "jax"

    @property
    def identity(self) -> list[str | bool]:
        """What decides the last digits of a result, as plain data; Keras's version among it."""
        several = [f"{self.devices} devices"] if self.devices > 1 else []
        return [self.device.kind, self.device.backend, self.precision, self.xla, version("keras"), *several]

    def describe(self) -> dict[str, str]:
        """`device` (cpu or gpu), `device_name`, `backend`, `precision`, `xla`; `devices` where there are several."""
        return {
            "device": self.device.kind,
            "device_name": self.device.name,
            "backend": self.device.backend,
            "precision": self.precision,
            "xla": "on" if self.xla else "off",
            **({"devices": str(self.devices)} if self.devices > 1 else {}),
        }


def _choose_precision(config: TrainingConfig, device: Device) -> Literal["float32", "mixed_bfloat16"]:
    """The dtype policy to train under: the configured one, or bfloat16 where the device is faster in it."""
    if config.precision != "auto":
        return config.precision
    return "mixed_bfloat16" if device.bfloat16 else "float32"


def _choose_xla(config: TrainingConfig, device: Device) -> bool:
    """Whether XLA compiles the training step: as configured, or all but TensorFlow on a CPU, which it slows."""
    if device.backend == "torch":
        # It has none: Keras would call torch.compile, which compiles this step anew until it reaches its limit.
        return False
    if config.xla != "auto":
        return config.xla == "on"
    return not (device.backend == "tensorflow" and device.kind == "cpu")


def _choose_devices(config: TrainingConfig, device: Device) -> int:
    """Of those that this process sees, as many as share out a batch evenly; Keras does so under JAX alone."""
    if device.backend != "jax":
        return 1
    from keras.distribution import get_device_count

    most = min(get_device_count(), config.batch_size)
    return next(count for count in range(most, 0, -1) if config.batch_size % count == 0)


def _gpu() -> tuple[str, tuple[int, int]]:
    """Name and compute capability of the first visible GPU; no capability where there is no NVIDIA driver to ask."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return "GPU", (0, 0)
    try:
        handle = _nvml_handle(os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip())
        return str(pynvml.nvmlDeviceGetName(handle)), tuple(pynvml.nvmlDeviceGetCudaComputeCapability(handle))
    except pynvml.NVMLError:
        return "GPU", (0, 0)
    finally:
        pynvml.nvmlShutdown()


def _nvml_handle(visible: str) -> object:
    """CUDA_VISIBLE_DEVICES holds indices or, under schedulers and on MIG slices, UUIDs."""
    import pynvml

    if visible.isdecimal():
        return pynvml.nvmlDeviceGetHandleByIndex(int(visible))
    return pynvml.nvmlDeviceGetHandleByUUID(visible)


def _cpu() -> tuple[str, frozenset[str]]:
    """Model name and feature flags, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    entries = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = entries.get("model name") or platform.processor() or platform.machine()
    return name, frozenset(entries.get("flags", "").split())


_MEMORY_ERRORS = frozenset({"MemoryError", "ResourceExhaustedError", "OutOfMemoryError"})
"""By name, because the backends are not imported: Python's with NumPy's below it, TensorFlow's and PyTorch's."""

_GENERAL_ERRORS = frozenset({"RuntimeError", "OpError"})
"""What JAX, PyTorch on a CPU, Keras about a layer's error, and TensorFlow about a library's raise: the text tells."""

_MEMORY_WORDS = (
    *("resource_exhausted", "out of memory", "oom when allocating"),
    *("can't allocate memory", "not enough memory", "alloc_failed", "bad_alloc"),
)


def _ran_out(error: BaseException) -> bool:
    """Whether `error`, or one that it was raised from, means that memory could not be allocated."""
    current: BaseException | None = error
    while current is not None:
        if _is_memory_error(current):
            return True
        current = current.__cause__ or current.__context__
    return False


def _is_memory_error(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & _MEMORY_ERRORS:
        return True
    return bool(kinds & _GENERAL_ERRORS) and any(words in str(error).lower() for words in _MEMORY_WORDS)


def within_memory(training: Callable[[], _Outcome], config: TrainConfig) -> _Outcome:
    """What `training` of `config` gives; where it runs out of memory, this process holds nothing of it afterwards.

    Raises:
        OutOfMemory: instead of what the backend raised.
    """
    try:
        return training()
    except Exception as error:
        # An error that lsml itself has put into one line stays as it is.
        if isinstance(error, LsmlError) or not _ran_out(error):
            raise
    # Not from within the handler: as the cause of another, the error would keep every frame and its tensors alive.
    _free_memory()
    model = config.model
    raise OutOfMemory(
        "out of memory",
        f"batch size {config.training.batch_size} with {model.filters} filters and depth {model.depth} does not fit",
        "lower training.batch_size, model.filters or model.depth",
    )


def _free_memory() -> None:
    # Where Keras was not loaded yet, there is no memory to load it now.
    if keras := sys.modules.get("keras"):
        keras.utils.clear_session()
    gc.collect()
