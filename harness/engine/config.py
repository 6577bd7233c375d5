"""Turn a ContainerSpec into the Docker Engine API's create request: pure, all isolation in one place."""

from __future__ import annotations

import json
import math
import posixpath
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from harness.engine.base import ContainerSpec, Mount

DEFAULTS = {
    "HOME": "/tmp",
    "USER": "submission",
    "LOGNAME": "submission",
    "PYTHONDONTWRITEBYTECODE": "1",
}
"""What a program asks for that an image for root leaves to chance. The image's own value wins."""

HOMES = {"XDG_CACHE_HOME": "/tmp/.cache", "XDG_CONFIG_HOME": "/tmp/.config"}
"""Folders that follow from HOME: an image that sets HOME to where its weights are must find them there."""

CACHES = {
    "TMPDIR": "/tmp",
    "MPLCONFIGDIR": "/tmp/.config/matplotlib",
    "NUMBA_CACHE_DIR": "/tmp/.cache/numba",
    "TORCHINDUCTOR_CACHE_DIR": "/tmp/.cache/inductor",
    "TRITON_CACHE_DIR": "/tmp/.cache/triton",
    "CUDA_CACHE_PATH": "/tmp/.cache/cuda",
}
"""Folders of no use unless they can be written. Where the image's is read-only, ours takes its place."""

OPEN_FILES_LIMIT = 16384
USER_PROCESSES_LIMIT = 32768
"""Over all containers of one user id; the limit of one container is the cgroup's."""


HOSTNAME = "case"

SYSTEM_CALLS = Path(__file__).with_name("seccomp.json")
"""The system calls that containers may make, in the form that container engines read.

As wide as the engines' own profiles for a container without capabilities, less what would reach beyond the
container or use memory that no limit counts: sockets of the hypervisor and of rare protocols, huge pages,
io_uring. Only the host's own architecture: 32-bit programs make sockets by a call that cannot be looked into.
"""


def pids_limit(cpus: float) -> int:
    """Return the most processes and threads one container may have.

    It stops a fork bomb, and must not stop honest work: OpenMP, BLAS and data loaders each start a
    thread per core they see.
    """
    return max(4096, 256 * math.ceil(cpus))


def create_request(
    spec: ContainerSpec,
    *,
    cores: int,
    podman: bool = False,
    rootless: bool = False,
    filters_calls: bool = True,
) -> dict[str, Any]:
    """Return the body of `POST /containers/create`.

    Args:
        spec: The container.
        cores: CPUs of the host, which decide the process limit where the spec sets no quota.
        podman: Podman names GPUs by CDI instead of a device request, and the owner of a tmpfs in its own way.
        rootless: Whether an ordinary user runs the engine: Podman can then keep that user's id in containers,
            so that what they write is the harness's. Root in them is that user in any case.
        filters_calls: Whether this engine can filter system calls; it refuses a profile otherwise.
    """
    request: dict[str, Any] = {
        "Image": spec.image,
        "User": spec.user,
        "Env": environment(spec),
        "Labels": dict(spec.labels),
        "Hostname": HOSTNAME,
        "AttachStdin": False,
        "AttachStdout": True,
        "AttachStderr": True,
        "OpenStdin": False,
        "Tty": False,
        "NetworkDisabled": True,
        # It would run beside what is measured, and the engine's work for it is on nobody's bill.
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": _host_config(spec, cores=cores, podman=podman)
        | {"SecurityOpt": _security(podman=podman, filters_calls=filters_calls)},
    }
    if podman and rootless and not spec.user.startswith("0:"):
        request["HostConfig"]["UsernsMode"] = "keep-id"
    if spec.command is not None:
        request["Cmd"] = list(spec.command)
    if spec.entrypoint is not None:
        request["Entrypoint"] = list(spec.entrypoint)
    return request


def environment(spec: ContainerSpec) -> list[str]:
    """Return the variables that a container gets besides those of its image, which win over our defaults."""
    own = dict(entry.partition("=")[::2] for entry in spec.image_environment)
    defaults = DEFAULTS if "HOME" in own else DEFAULTS | HOMES
    given = {name: value for name, value in defaults.items() if name not in own}
    given |= {name: value for name, value in CACHES.items() if not _writable(own.get(name, ""), spec)}
    given |= _nvidia(own, spec) | dict(spec.environment)
    return [f"{name}={value}" for name, value in given.items()]


def _writable(folder: str, spec: ContainerSpec) -> bool:
    """Whether a container can write to a folder that its image names for a cache."""
    if not folder.startswith("/"):
        return False
    places = ["/tmp", "/dev/shm", *(mount.target for mount in spec.mounts if mount.writable)]
    places += [declared.target for declared in spec.declared if not declared.copy]
    return spec.writable_root or any(_below(folder, place) for place in places)


def _nvidia(own: Mapping[str, str], spec: ContainerSpec) -> dict[str, str]:
    """Return what the NVIDIA runtime is told, where it is the engine's default and would heed the image."""
    visible = {"NVIDIA_VISIBLE_DEVICES": spec.gpu or "void"}
    if spec.gpu is not None:
        return visible
    return dict.fromkeys((name for name in own if name.startswith("NVIDIA_")), "") | visible


def _host_config(spec: ContainerSpec, *, cores: int, podman: bool) -> dict[str, Any]:
    config: dict[str, Any] = {
        "AutoRemove": False,  # the engine's word on an OOM kill goes with the container
        "NetworkMode": "none",
        "ReadonlyRootfs": not spec.writable_root,
        "Privileged": False,
        "CapAdd": list(spec.capabilities),
        "CapDrop": ["ALL"],
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
        "Tmpfs": _tmpfs(spec, podman=podman),
        "Mounts": [*(_mount(mount) for mount in spec.mounts), *_volumes(spec)],
    }
    if spec.cpus is not None:
        config["NanoCpus"] = round(spec.cpus * 1e9)
    if spec.cpuset:
        config["CpusetCpus"] = spec.cpuset
    if spec.cgroup_parent:
        config["CgroupParent"] = spec.cgroup_parent
    if spec.runtime:
        config["Runtime"] = spec.runtime
    if spec.gpu is not None:
        config |= _gpu(spec.gpu, podman=podman)
    return config


def _security(*, podman: bool, filters_calls: bool) -> list[str]:
    """Return the security options. Docker takes a profile's content, Podman a file of this host."""
    if not filters_calls:
        return ["no-new-privileges"]
    return ["no-new-privileges", f"seccomp={SYSTEM_CALLS if podman else _profile()}"]


@cache
def _profile() -> str:
    return json.dumps(json.loads(SYSTEM_CALLS.read_text()))


def _gpu(gpu: str, *, podman: bool) -> dict[str, Any]:
    if podman:
        return {"Devices": [{"PathOnHost": f"nvidia.com/gpu={gpu}"}]}
    wanted = {"Driver": "nvidia", "DeviceIDs": [gpu], "Capabilities": [["gpu", "compute", "utility"]]}
    return {"DeviceRequests": [wanted]}


def _tmpfs(spec: ContainerSpec, *, podman: bool) -> dict[str, str]:
    """Return the scratch folders: `/tmp`, and volumes that the image declares and has nothing in.

    The engine would give a declared volume a folder on the host's disk that no limit reaches.
    """
    # exec: compiled caches (numba, inductor) are loaded from here.
    options = f"rw,exec,nosuid,nodev,size={spec.tmp_bytes},mode=1777"
    # runc before 1.2 gives a tmpfs the mode that the image's own folder has, whatever it is asked for.
    # The folder's owner can write to it in any usual mode; `U` is Podman's word for the container's user.
    uid, _, gid = spec.user.partition(":")
    options += ",U" if podman else f",uid={uid},gid={gid}"
    mounted = {mount.target for mount in spec.mounts}
    scratch = {posixpath.normpath(volume.target) for volume in spec.declared if not volume.copy}
    scratch -= mounted | {"/", "/tmp"}
    return dict.fromkeys([*([] if spec.tmp_by_engine else ["/tmp"]), *sorted(scratch)], options)


def _volumes(spec: ContainerSpec) -> list[dict[str, Any]]:
    """Return the mounts that the engine makes: copies of declared volumes, and `/tmp` where it must."""
    mounts: list[dict[str, Any]] = [
        {
            "Type": "volume",
            "Source": volume.copy,
            "Target": volume.target,
            "ReadOnly": True,
            "VolumeOptions": {"NoCopy": True},
        }
        for volume in spec.declared
        if volume.copy
    ]
    if spec.tmp_by_engine:
        options = {"type": "tmpfs", "device": "tmpfs", "o": f"size={spec.tmp_bytes},mode=1777,nosuid,nodev"}
        driver = {"Name": "local", "Options": options}
        mounts.append(
            {"Type": "volume", "Target": "/tmp", "VolumeOptions": {"NoCopy": True, "DriverConfig": driver}}
        )
    return mounts


def _below(path: str, folder: str) -> bool:
    path, folder = posixpath.normpath(path), posixpath.normpath(folder)
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _mount(mount: Mount) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": str(mount.source),
        "Target": mount.target,
        "ReadOnly": not mount.writable,
        "BindOptions": {"Propagation": "rprivate"},
    }
