"""Device memory of one container's processes, through NVML.

NVML keeps no peak per process, so these numbers are samples: a peak shorter than the sampling
interval can be missed, and the record says so by its method.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from harness.errors import InfrastructureError, PrerequisiteError

BY_PROCESS = "nvml-process-sampled"
BY_DEVICE = "nvml-device-minus-baseline-sampled"

CHOICE = "FLAREHARNESS_GPU"
"""Names the GPU, by number or UUID, on a host with several or with MIG instances."""

_MIG_ENABLED = 1


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
    """One GPU of this host, or one MIG instance, and what was on it before the container.

    Attributes:
        uuid: How an engine is told to attach it.
        name: The model.
        driver: The driver's version.
        total_bytes: Device memory.
        method: How the largest of `used_bytes` was got.
    """

    def __init__(self, chosen: int | str | None = None, *, nvml: Any = None) -> None:
        """Open a GPU.

        Args:
            chosen: NVML's number of it, or the UUID of a GPU or MIG instance; by default what the variable
                FLAREHARNESS_GPU says, or else the first.
            nvml: The bindings, or something that answers like them.

        Raises:
            PrerequisiteError: there is no driver, no such GPU, or it is split into MIG instances and none
                of them was named.
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
        try:
            self._handle = self._find(os.environ.get(CHOICE, "0") if chosen is None else str(chosen))
        except PrerequisiteError:
            self._nvml.nvmlShutdown()
            raise
        self.uuid = _text(self._nvml.nvmlDeviceGetUUID(self._handle))
        self.name = _text(self._nvml.nvmlDeviceGetName(self._handle))
        self.driver = _text(self._nvml.nvmlSystemGetDriverVersion())
        self.total_bytes = int(self._nvml.nvmlDeviceGetMemoryInfo(self._handle).total)
        self.method = BY_PROCESS
        self._baseline_bytes = 0
        self._exclusive = False
        self._largest = -1

    def _find(self, chosen: str) -> Any:
        if not chosen.isdigit():
            try:
                return self._nvml.nvmlDeviceGetHandleByUUID(chosen)
            except self._nvml.NVMLError as error:
                raise PrerequisiteError(
                    f"there is no GPU {chosen}", where=str(error), mend="`nvidia-smi -L` lists what there is."
                ) from error
        count, index = self._nvml.nvmlDeviceGetCount(), int(chosen)
        if index >= count:
            raise PrerequisiteError(
                f"there is no GPU {index}", mend=f"This host has {count}; the first is 0."
            )
        handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
        if instances := self._instances(handle):
            raise PrerequisiteError(
                f"GPU {index} is split into MIG instances, and a container gets one of them",
                mend=f"Name it: {CHOICE}={instances[0]}"
                + (f" (or {', '.join(instances[1:])})." if instances[1:] else "."),
            )
        return handle

    def _instances(self, handle: Any) -> list[str]:
        """Return the UUIDs of a GPU's MIG instances; none where it is whole or too old for them."""
        found = []
        try:
            if self._nvml.nvmlDeviceGetMigMode(handle)[0] != _MIG_ENABLED:
                return []
            for number in range(self._nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
                with contextlib.suppress(self._nvml.NVMLError):  # fewer than there may be
                    instance = self._nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)
                    found.append(_text(self._nvml.nvmlDeviceGetUUID(instance)))
        except self._nvml.NVMLError:
            return []
        return found or ["the UUID of an instance, of which there is none yet"]

    def note_baseline(self) -> None:
        """Remember what is in use now, before the container starts."""
        self._exclusive = not self._processes()
        self._baseline_bytes = self._device_bytes()
        self.method, self._largest = BY_PROCESS, -1

    def used_bytes(self, owns: Callable[[int], bool]) -> int | None:
        """Return the device memory that a container holds now.

        On a GPU that nothing else used at the start it is the larger of two: the sum over the processes, and
        what the whole device holds above that start. The driver attributes managed memory to no process,
        knows none in some virtual machines, and numbers those of other PID namespaces in its own way; the
        device's own count misses nothing. On a shared GPU only the processes' sum can be told apart, and it
        is unknown where the driver gives none.

        Args:
            owns: Says of a host process id whether it is the container's.

        Raises:
            InfrastructureError: the driver stopped answering.
        """
        processes = self._processes()
        owned = [process.usedGpuMemory for process in processes if owns(process.pid)]
        told = int(sum(used for used in owned if used is not None))
        if not self._exclusive:
            if any(used is None for used in owned):
                return None
            self._keep(told, BY_PROCESS)
            return told
        above = max(0, self._device_bytes() - self._baseline_bytes)
        used = max(told, above)
        self._keep(used, BY_PROCESS if told >= above else BY_DEVICE)
        return used

    def _keep(self, used: int, method: str) -> None:
        if used > self._largest:
            self._largest, self.method = used, method

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
