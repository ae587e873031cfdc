"""What the network runs on, and the arithmetic and compiler that suit it."""

import os
import platform
from pathlib import Path
from typing import Literal, NamedTuple

import keras
from keras import ops

from lsml.config.schema import TrainingConfig

BFLOAT16_CAPABILITY = (8, 0)
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


class Arithmetic(NamedTuple):
    """What one training run computes on and in."""

    device: Device
    precision: Literal["float32", "mixed_bfloat16"]
    xla: bool

    @property
    def identity(self) -> list[str | bool]:
        """What decides the last digits of a result, as plain data; keras's version among it."""
        return [self.device.kind, self.device.backend, self.precision, self.xla, keras.__version__]

    def in_words(self) -> dict[str, str]:
        """`device` (cpu or gpu), `device_name`, `backend`, `precision` and `xla`."""
        return {
            "device": self.device.kind,
            "device_name": self.device.name,
            "backend": self.device.backend,
            "precision": self.precision,
            "xla": "on" if self.xla else "off",
        }


def choose_arithmetic(config: TrainingConfig) -> Arithmetic:
    """Device, precision and compiler of a run with this configuration in this process."""
    device = describe_device()
    return Arithmetic(device, choose_precision(config, device), choose_xla(config, device))


def describe_device() -> Device:
    """The device of this process; starts the backend where nothing has yet."""
    backend = keras.backend.backend()
    # The one question that every backend answers: where does the result of an operation lie?
    place = str((ops.ones(1) + ops.ones(1)).device).lower()
    if "gpu" in place or "cuda" in place:
        name, capability = _gpu()
        return Device("gpu", name, backend, capability >= BFLOAT16_CAPABILITY)
    name, flags = _cpu()
    # Measured with TensorFlow (oneDNN), which gains from it; XLA's CPU code for JAX is not known to.
    return Device("cpu", name, backend, backend == "tensorflow" and "avx512_bf16" in flags)


def choose_precision(config: TrainingConfig, device: Device) -> Literal["float32", "mixed_bfloat16"]:
    """The dtype policy to train under: the configured one, or bfloat16 where the device is faster in it."""
    if config.precision != "auto":
        return config.precision
    return "mixed_bfloat16" if device.bfloat16 else "float32"


def choose_xla(config: TrainingConfig, device: Device) -> bool:
    """Whether XLA compiles the training step: as configured, or all but TensorFlow on a CPU, which it slows."""
    if device.backend == "torch":
        # It has none: Keras would call torch.compile, which compiles this step anew until it reaches its limit.
        return False
    if config.xla != "auto":
        return config.xla == "on"
    return not (device.backend == "tensorflow" and device.kind == "cpu")


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
