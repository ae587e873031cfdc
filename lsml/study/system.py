"""What a worker's process and its GPU are doing, in the names that MLflow's system page shows."""

import os

import psutil

_MEGABYTE = 1e6


def gpu_ids() -> list[str]:
    """The GPUs that this process may use, as values for `CUDA_VISIBLE_DEVICES`; empty without NVIDIA's driver."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [gpu.strip() for gpu in visible.split(",") if gpu.strip() not in ("", "-1")]
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    return [str(index) for index in range(pynvml.nvmlDeviceGetCount())]


class SystemProbe:
    """Samples this process and the GPUs that it may use."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._process.cpu_percent()
        self._gpus = gpu_ids()

    def sample(self) -> dict[str, float]:
        """CPU in percent of one core since the last sample, resident memory and GPU memory in megabytes."""
        values = {
            "system/process_cpu_percentage": self._process.cpu_percent(),
            "system/process_memory_megabytes": self._process.memory_info().rss / _MEGABYTE,
        }
        for position, gpu in enumerate(self._gpus):
            values |= _gpu_figures(position, gpu)
        return values


def _gpu_figures(position: int, gpu: str) -> dict[str, float]:
    import pynvml

    pynvml.nvmlInit()
    by_index = gpu.isdecimal()
    handle = pynvml.nvmlDeviceGetHandleByIndex(int(gpu)) if by_index else pynvml.nvmlDeviceGetHandleByUUID(gpu)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return {
        f"system/gpu_{position}_utilization_percentage": float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        f"system/gpu_{position}_memory_usage_megabytes": memory.used / _MEGABYTE,
    }
