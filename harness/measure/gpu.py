"""Device memory of one container's processes, through NVML.

NVML keeps no peak per process, so these numbers are samples: a peak shorter than the sampling
interval can be missed, and the record says so by its method.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from harness.errors import InfrastructureError, PrerequisiteError

BY_PROCESS = "nvml-process-sampled"
BY_DEVICE = "nvml-device-minus-baseline-sampled"


def load_nvml() -> Any:
    """Return the NVML bindings.

    Raises:
        PrerequisiteError: they are not installed.
    """
    try:
        import pynvml
    except ImportError as error:
        raise PrerequisiteError("the NVML bindings are missing", mend="pip install nvidia-ml-py") from error
    return pynvml


class Gpu:
    """One GPU of this host, and what was on it before the container.

    Attributes:
        uuid: How an engine is told to attach it.
        name: The model.
        driver: The driver's version.
        total_bytes: Device memory.
        method: How `used_bytes` got its last number.
    """

    def __init__(self, index: int = 0, *, nvml: Any = None) -> None:
        """Open a GPU.

        Args:
            index: NVML's number of it.
            nvml: The bindings, or something that answers like them.

        Raises:
            PrerequisiteError: there is no driver, or no such GPU.
        """
        self._nvml = nvml if nvml is not None else load_nvml()
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            raise PrerequisiteError(
                "this host has no usable NVIDIA GPU",
                where=str(error),
                mend="Install the driver, run on a host with a GPU, or evaluate a CPU submission.",
            ) from error
        count = self._nvml.nvmlDeviceGetCount()
        if not 0 <= index < count:
            self._nvml.nvmlShutdown()
            raise PrerequisiteError(
                f"there is no GPU {index}", mend=f"This host has {count}; the first is 0."
            )
        self._handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
        self.uuid = _text(self._nvml.nvmlDeviceGetUUID(self._handle))
        self.name = _text(self._nvml.nvmlDeviceGetName(self._handle))
        self.driver = _text(self._nvml.nvmlSystemGetDriverVersion())
        self.total_bytes = int(self._nvml.nvmlDeviceGetMemoryInfo(self._handle).total)
        self.method = BY_PROCESS
        self._baseline_bytes = 0
        self._exclusive = False

    def note_baseline(self) -> None:
        """Remember what is in use now, before the container starts."""
        self._exclusive = not self._processes()
        self._baseline_bytes = self._device_bytes()

    def used_bytes(self, owns: Callable[[int], bool]) -> int | None:
        """Return the device memory that a container's processes hold now.

        Where the driver gives no number per process, and nothing else was on the GPU at the start, it is
        what the whole device holds above that start. On a shared GPU it is then unknown.

        Args:
            owns: Says of a host process id whether it is the container's.

        Raises:
            InfrastructureError: the driver stopped answering.
        """
        processes = self._processes()
        owned = [process.usedGpuMemory for process in processes if owns(process.pid)]
        strangers = len(processes) - len(owned)
        if owned and all(used is not None for used in owned) and not (self._exclusive and strangers):
            self.method = BY_PROCESS
            return int(sum(owned))
        if not processes:
            return 0
        if self._exclusive:
            # Inside a PID namespace of its own the driver's numbers cannot be traced to a container.
            self.method = BY_DEVICE
            return max(0, self._device_bytes() - self._baseline_bytes)
        return None if owned else 0

    def close(self) -> None:
        """Let go of the driver."""
        self._nvml.nvmlShutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _processes(self) -> list[Any]:
        return list(self._ask(self._nvml.nvmlDeviceGetComputeRunningProcesses))

    def _device_bytes(self) -> int:
        return int(self._ask(self._nvml.nvmlDeviceGetMemoryInfo).used)

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        try:
            return question(self._handle)
        except self._nvml.NVMLError as error:
            raise InfrastructureError("the GPU driver stopped answering", where=str(error)) from error


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
