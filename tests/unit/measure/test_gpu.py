"""NVML, replayed at its API: what it answers on a real host becomes one container's number."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import InfrastructureError, PrerequisiteError
from harness.measure.gpu import BY_DEVICE, BY_PROCESS, Gpu

MIB = 1024**2


class NVMLError(Exception):
    """As pynvml's."""


@dataclass
class FakeNvml:
    """Answers as pynvml does, from what the test says is on the GPU.

    `processes` are (pid, used) pairs; `used` is None where the driver does not tell, as under WDDM and in
    some virtual machines. `device_bytes` is what the whole device holds.
    """

    gpus: int = 1
    processes: list[tuple[int, int | None]] = field(default_factory=list)
    device_bytes: int = 0
    broken: bool = False
    closed: bool = False
    NVMLError = NVMLError

    def nvmlInit(self) -> None:
        if self.gpus == 0:
            raise NVMLError("Driver Not Loaded")

    def nvmlShutdown(self) -> None:
        self.closed = True

    def nvmlDeviceGetCount(self) -> int:
        return self.gpus

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> bytes:
        return b"GPU-5ff3"

    def nvmlDeviceGetName(self, handle: int) -> str:
        return "NVIDIA A100"

    def nvmlSystemGetDriverVersion(self) -> str:
        return "550.54"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return SimpleNamespace(total=40960 * MIB, used=self.device_bytes)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[Any]:
        if self.broken:
            raise NVMLError("GPU is lost")
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.processes]


def opened(nvml: FakeNvml) -> Gpu:
    gpu = Gpu(nvml=nvml)
    gpu.note_baseline()
    return gpu


def test_a_gpu_says_what_it_is() -> None:
    nvml = FakeNvml()
    with Gpu(nvml=nvml) as gpu:
        assert (gpu.uuid, gpu.name, gpu.driver) == ("GPU-5ff3", "NVIDIA A100", "550.54")
        assert gpu.total_bytes == 40960 * MIB
    assert nvml.closed


def test_only_the_containers_processes_count() -> None:
    nvml = FakeNvml(processes=[(1, 900 * MIB)])
    gpu = opened(nvml)
    nvml.processes += [(10, 300 * MIB), (11, 200 * MIB)]
    assert gpu.used_bytes(lambda pid: pid in (10, 11)) == 500 * MIB
    assert gpu.method == BY_PROCESS


def test_nothing_of_ours_on_a_shared_gpu_is_zero() -> None:
    nvml = FakeNvml(processes=[(1, 900 * MIB)])
    assert opened(nvml).used_bytes(lambda pid: False) == 0


def test_an_exclusive_gpu_falls_back_to_the_device_above_its_baseline() -> None:
    nvml = FakeNvml(device_bytes=450 * MIB)
    gpu = opened(nvml)
    nvml.processes, nvml.device_bytes = [(10, None)], 1450 * MIB
    assert gpu.used_bytes(lambda pid: pid == 10) == 1000 * MIB
    assert gpu.method == BY_DEVICE


def test_an_exclusive_gpu_counts_processes_that_cannot_be_traced() -> None:
    nvml = FakeNvml(device_bytes=450 * MIB)
    gpu = opened(nvml)
    # The driver numbers processes of another PID namespace.
    nvml.processes, nvml.device_bytes = [(4_000_000, 700 * MIB)], 1150 * MIB
    assert gpu.used_bytes(lambda pid: False) == 700 * MIB
    assert gpu.method == BY_DEVICE


def test_a_shared_gpu_without_numbers_is_unknown_not_zero() -> None:
    nvml = FakeNvml(processes=[(1, None)])
    gpu = opened(nvml)
    nvml.processes.append((10, None))
    assert gpu.used_bytes(lambda pid: pid == 10) is None


def test_an_idle_container_uses_nothing() -> None:
    assert opened(FakeNvml(device_bytes=450 * MIB)).used_bytes(lambda pid: True) == 0


def test_no_driver_is_a_missing_prerequisite() -> None:
    with pytest.raises(PrerequisiteError, match="no usable NVIDIA GPU"):
        Gpu(nvml=FakeNvml(gpus=0))


def test_a_gpu_that_is_not_there_is_named() -> None:
    with pytest.raises(PrerequisiteError, match="no GPU 2"):
        Gpu(2, nvml=FakeNvml())


def test_a_lost_gpu_is_infrastructure() -> None:
    nvml = FakeNvml()
    gpu = opened(nvml)
    nvml.broken = True
    with pytest.raises(InfrastructureError, match="GPU is lost"):
        gpu.used_bytes(lambda pid: True)
