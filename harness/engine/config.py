"""Turn a ContainerSpec into the Docker Engine API's create request: pure, all isolation in one place."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from harness.engine.base import ContainerSpec, Mount

SCRATCH_ENVIRONMENT = {
    "HOME": "/tmp",
    "TMPDIR": "/tmp",
    "XDG_CACHE_HOME": "/tmp/.cache",
    "XDG_CONFIG_HOME": "/tmp/.config",
    "MPLCONFIGDIR": "/tmp/.config/matplotlib",
    "NUMBA_CACHE_DIR": "/tmp/.cache/numba",
    "TORCH_HOME": "/tmp/.cache/torch",
    "TORCHINDUCTOR_CACHE_DIR": "/tmp/.cache/inductor",
    "TRITON_CACHE_DIR": "/tmp/.cache/triton",
    "CUDA_CACHE_PATH": "/tmp/.cache/cuda",
    "PYTHONDONTWRITEBYTECODE": "1",
}
"""Points every usual cache at the one writable place that a read-only container has."""


OPEN_FILES_LIMIT = 16384
USER_PROCESSES_LIMIT = 32768
"""Over all containers of one user id; the limit of one container is the cgroup's."""


def pids_limit(cpus: float) -> int:
    """Return the most processes and threads one container may have.

    It stops a fork bomb, and must not stop honest work: OpenMP, BLAS and data loaders each start a
    thread per core they see.
    """
    return max(4096, 256 * math.ceil(cpus))


def create_request(
    spec: ContainerSpec, *, cores: int, podman: bool = False, volumes: Iterable[str] = ()
) -> dict[str, Any]:
    """Return the body of `POST /containers/create`.

    Args:
        spec: The container.
        cores: CPUs of the host, which decide the process limit where the spec sets no quota.
        podman: Podman names GPUs by CDI instead of a device request.
        volumes: Paths that the image declares as volumes. The engine would give each a folder on the
            host's disk that no limit reaches, so each becomes a tmpfs that counts towards the memory.
    """
    request: dict[str, Any] = {
        "Image": spec.image,
        "User": spec.user,
        "Env": [f"{name}={value}" for name, value in (SCRATCH_ENVIRONMENT | dict(spec.environment)).items()],
        "Labels": dict(spec.labels),
        "Hostname": "case",
        "AttachStdin": False,
        "AttachStdout": True,
        "AttachStderr": True,
        "OpenStdin": False,
        "Tty": False,
        "NetworkDisabled": True,
        "HostConfig": _host_config(spec, cores=cores, podman=podman, volumes=volumes),
    }
    if spec.command is not None:
        request["Cmd"] = list(spec.command)
    if spec.entrypoint is not None:
        request["Entrypoint"] = list(spec.entrypoint)
    return request


def _host_config(spec: ContainerSpec, *, cores: int, podman: bool, volumes: Iterable[str]) -> dict[str, Any]:
    mounted = {mount.target for mount in spec.mounts}
    scratch = ["/tmp", *sorted({volume.rstrip("/") or "/" for volume in volumes} - mounted - {"/tmp", "/"})]
    config: dict[str, Any] = {
        "AutoRemove": False,  # the engine's word on an OOM kill goes with the container
        "NetworkMode": "none",
        "ReadonlyRootfs": not spec.writable_root,
        "Privileged": False,
        "CapAdd": [],
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Init": True,
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "PidMode": "private" if podman else "",
        "RestartPolicy": {"Name": "no"},
        "Memory": spec.memory_bytes,
        "MemorySwap": spec.memory_bytes,
        "ShmSize": spec.shm_bytes,
        "PidsLimit": pids_limit(spec.cpus or cores),
        "Ulimits": [
            {"Name": "core", "Soft": 0, "Hard": 0},
            # Stated, because engines differ: Podman asks for more than some hosts let it have.
            {"Name": "nofile", "Soft": OPEN_FILES_LIMIT, "Hard": OPEN_FILES_LIMIT},
            {"Name": "nproc", "Soft": USER_PROCESSES_LIMIT, "Hard": USER_PROCESSES_LIMIT},
            {"Name": "fsize", "Soft": spec.file_bytes, "Hard": spec.file_bytes},
        ],
        # The harness reads the streams itself and keeps both ends, so the engine stores nothing.
        "LogConfig": {"Type": "none", "Config": {}},
        # exec: compiled caches (numba, inductor) are loaded from here.
        "Tmpfs": {path: f"rw,exec,nosuid,nodev,size={spec.tmp_bytes},mode=1777" for path in scratch},
        "Mounts": [_mount(mount) for mount in spec.mounts],
    }
    if spec.cpus is not None:
        config["NanoCpus"] = round(spec.cpus * 1e9)
    if spec.cpuset:
        config["CpusetCpus"] = spec.cpuset
    if spec.cgroup_parent:
        config["CgroupParent"] = spec.cgroup_parent
    if spec.gpu is not None:
        if podman:
            config["Devices"] = [{"PathOnHost": f"nvidia.com/gpu={spec.gpu}"}]
        else:
            config["DeviceRequests"] = [
                {"Driver": "nvidia", "DeviceIDs": [spec.gpu], "Capabilities": [["gpu", "compute", "utility"]]}
            ]
    return config


def _mount(mount: Mount) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": str(mount.source),
        "Target": mount.target,
        "ReadOnly": not mount.writable,
        "BindOptions": {"Propagation": "rprivate"},
    }
