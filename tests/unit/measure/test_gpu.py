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
    instances: tuple[str, ...] = ()
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

    def nvmlDeviceGetUUID(self, handle: int | str) -> bytes:
        return handle.encode() if isinstance(handle, str) else b"GPU-5ff3"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int | str:
        if uuid in self.instances:
            return uuid
        if uuid != "GPU-5ff3":
            raise NVMLError("Not Found")
        return 0

    def nvmlDeviceGetMigMode(self, handle: int) -> list[int]:
        if not self.instances:
            raise NVMLError("Not Supported")
        return [1, 1]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: int) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: int, index: int) -> str:
        if index >= len(self.instances):
            raise NVMLError("Not Found")
        return self.instances[index]

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


EXCLUSIVE = [
    ("the driver gives no number per process", [(10, None)], 1000, 1000, BY_DEVICE),
    ("the driver numbers processes of another PID namespace", [(4_000_000, 700)], 700, 700, BY_DEVICE),
    ("managed memory belongs to no process", [(10, 300)], 5300, 5300, BY_DEVICE),
    ("managed memory, and no process is listed", [], 5000, 5000, BY_DEVICE),
    ("a process holds what the device does not count yet", [(10, 400)], 100, 400, BY_PROCESS),
    ("a process beside ours that came later", [(10, 300), (1, 200)], 500, 500, BY_DEVICE),
    ("nothing", [], 0, 0, BY_PROCESS),
]


@pytest.mark.parametrize(
    ("what", "processes", "above_mib", "used_mib", "method"), EXCLUSIVE, ids=[row[0] for row in EXCLUSIVE]
)
def test_on_an_exclusive_gpu_the_larger_of_processes_and_device_counts(
    what: str, processes: list[tuple[int, int | None]], above_mib: int, used_mib: int, method: str
) -> None:
    nvml = FakeNvml(device_bytes=450 * MIB)
    gpu = opened(nvml)
    nvml.processes = [(pid, None if used is None else used * MIB) for pid, used in processes]
    nvml.device_bytes = (450 + above_mib) * MIB
    assert gpu.used_bytes(lambda pid: pid == 10) == used_mib * MIB
    assert gpu.method == method


def test_the_method_is_that_of_the_peak() -> None:
    nvml = FakeNvml(device_bytes=0)
    gpu = opened(nvml)
    for device, process in ((900, 100), (200, 300)):
        nvml.device_bytes, nvml.processes = device * MIB, [(10, process * MIB)]
        gpu.used_bytes(lambda pid: True)
    assert gpu.method == BY_DEVICE
    gpu.note_baseline()
    assert gpu.method == BY_PROCESS


def test_a_split_gpu_asks_for_one_of_its_instances() -> None:
    nvml = FakeNvml(instances=("MIG-1", "MIG-2"))
    with pytest.raises(PrerequisiteError, match=r"split into MIG instances.*=MIG-1 \(or MIG-2\)"):
        Gpu(nvml=nvml)
    assert nvml.closed


def test_an_instance_is_opened_by_its_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAREHARNESS_GPU", "MIG-2")
    with Gpu(nvml=FakeNvml(instances=("MIG-1", "MIG-2"))) as gpu:
        assert gpu.uuid == "MIG-2"


def test_an_unknown_uuid_is_one_clear_line() -> None:
    with pytest.raises(PrerequisiteError, match=r"no GPU GPU-0000.*nvidia-smi -L"):
        Gpu("GPU-0000", nvml=FakeNvml())


def test_a_shared_gpu_without_numbers_is_unknown_not_zero() -> None:
    nvml = FakeNvml(processes=[(1, None)])
    gpu = opened(nvml)
    nvml.processes.append((10, None))
    assert gpu.used_bytes(lambda pid: pid == 10) is None


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
