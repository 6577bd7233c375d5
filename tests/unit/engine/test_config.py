"""The create request holds every limit and every isolation, for each kind of container."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.engine.base import ContainerSpec, Declared, Mount
from harness.engine.config import CACHES, SYSTEM_CALLS, create_request, pids_limit

SPEC = ContainerSpec(
    name="c",
    image="sha256:0123",
    command=("/bin/bash", "-c", "sh predict.sh"),
    memory_bytes=8 << 30,
    shm_bytes=1 << 30,
    tmp_bytes=2 << 30,
    file_bytes=3 << 30,
    log_bytes=1 << 20,
    mounts=(
        Mount(Path("/stage/in"), "/workspace/inputs"),
        Mount(Path("/stage/out"), "/workspace/outputs", True),
    ),
    labels={"flareharness.results": "x"},
    cgroup_parent="/flareharness/abc",
)


def host_config(spec: ContainerSpec = SPEC, **options: Any) -> dict[str, Any]:
    return dict(create_request(spec, cores=2, **options)["HostConfig"])


ALWAYS = {
    "NetworkMode": "none",
    "ReadonlyRootfs": True,
    "Privileged": False,
    "CapAdd": [],
    "CapDrop": ["ALL"],
    "Init": True,
    "IpcMode": "private",
    "CgroupnsMode": "private",
    "AutoRemove": False,
    "Memory": 8 << 30,
    "MemorySwap": 8 << 30,
    "ShmSize": 1 << 30,
    "PidsLimit": 4096,
    "CgroupParent": "/flareharness/abc",
    "Tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,size={2 << 30},mode=1777,uid=65532,gid=65532"},
    "Ulimits": [
        {"Name": "core", "Soft": 0, "Hard": 0},
        {"Name": "nofile", "Soft": 16384, "Hard": 16384},
        {"Name": "nproc", "Soft": 32768, "Hard": 32768},
        {"Name": "fsize", "Soft": 3 << 30, "Hard": 3 << 30},
    ],
}


@pytest.mark.parametrize("name", ALWAYS)
def test_isolation_that_always_holds(name: str) -> None:
    assert host_config()[name] == ALWAYS[name]


def profile() -> dict[str, Any]:
    privileges, seccomp = host_config()["SecurityOpt"]
    assert privileges == "no-new-privileges"
    return dict(json.loads(seccomp.removeprefix("seccomp=")))


def rules_for(call: str) -> list[dict[str, Any]]:
    return [rule for rule in profile()["syscalls"] if call in rule["names"]]


def test_only_named_system_calls_can_be_made() -> None:
    assert profile()["defaultAction"] == "SCMP_ACT_ERRNO"
    for dangerous in ("bpf", "mount", "unshare", "setns", "keyctl", "io_uring_setup", "perf_event_open"):
        assert rules_for(dangerous) == []


def test_every_socket_is_of_a_family_that_is_named() -> None:
    families = {rule["args"][0]["value"] for rule in rules_for("socket")}
    assert families == {socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK}
    assert [rule["args"][0]["value"] for rule in rules_for("socketpair")] == [socket.AF_UNIX]


@pytest.mark.parametrize("call", ["mmap", "memfd_create", "shmget", "clone", "personality"])
def test_calls_with_dangerous_flags_are_looked_at(call: str) -> None:
    assert rules_for(call)
    assert all(rule.get("args") for rule in rules_for(call))


def test_podman_takes_the_profile_as_a_file() -> None:
    assert host_config(podman=True)["SecurityOpt"][1] == f"seccomp={SYSTEM_CALLS}"
    assert SYSTEM_CALLS.is_file()


def test_an_engine_that_filters_nothing_is_given_no_profile() -> None:
    assert host_config(filters_calls=False)["SecurityOpt"] == ["no-new-privileges"]


def test_inputs_are_read_only_and_outputs_are_not() -> None:
    mounts = host_config()["Mounts"]
    assert [(mount["Target"], mount["ReadOnly"]) for mount in mounts] == [
        ("/workspace/inputs", True),
        ("/workspace/outputs", False),
    ]
    assert all(mount["Type"] == "bind" for mount in mounts)


def test_nobody_is_root_by_default() -> None:
    assert create_request(SPEC, cores=2)["User"] == "65532:65532"


def test_the_images_own_entrypoint_stays() -> None:
    assert "Entrypoint" not in create_request(SPEC, cores=2)
    assert create_request(SPEC, cores=2)["Cmd"] == ["/bin/bash", "-c", "sh predict.sh"]


def test_a_contract_without_a_command_runs_the_images_own() -> None:
    assert "Cmd" not in create_request(replace(SPEC, command=None), cores=2)


def test_caches_go_where_a_read_only_container_can_write() -> None:
    environment = create_request(SPEC, cores=2)["Env"]
    assert "HOME=/tmp" in environment
    assert not any(value.split("=")[1].startswith("/root") for value in environment)


def test_a_writable_root_is_an_opt_out() -> None:
    assert host_config(replace(SPEC, writable_root=True))["ReadonlyRootfs"] is False


def test_cpus_are_a_quota() -> None:
    assert "NanoCpus" not in host_config()
    assert host_config(replace(SPEC, cpus=1.5))["NanoCpus"] == 1_500_000_000


def test_cores_can_be_named() -> None:
    assert host_config(replace(SPEC, cpuset="0-3"))["CpusetCpus"] == "0-3"


def test_one_gpu_by_its_id() -> None:
    assert "DeviceRequests" not in host_config()
    (request,) = host_config(replace(SPEC, gpu="GPU-7"))["DeviceRequests"]
    assert request["DeviceIDs"] == ["GPU-7"]
    assert "Count" not in request


def test_scratch_belongs_to_the_containers_user_on_podman_too() -> None:
    """Whatever mode the image's own folder gives it."""
    assert host_config(podman=True)["Tmpfs"]["/tmp"].split(",")[-1] == "U"


def test_a_users_podman_keeps_the_users_id_in_containers() -> None:
    assert host_config(podman=True, rootless=True)["UsernsMode"] == "keep-id"
    assert "UsernsMode" not in host_config(podman=True)
    # Docker has no such thing; and root in a user's container is that user already.
    assert "UsernsMode" not in host_config(rootless=True)
    assert "UsernsMode" not in host_config(replace(SPEC, user="0:0"), podman=True, rootless=True)


def test_podman_names_a_gpu_by_cdi() -> None:
    config = host_config(replace(SPEC, gpu="GPU-7"), podman=True)
    assert config["Devices"] == [{"PathOnHost": "nvidia.com/gpu=GPU-7"}]
    assert "DeviceRequests" not in config


@pytest.mark.parametrize(("cpus", "limit"), [(0.5, 4096), (2, 4096), (16, 4096), (16.5, 4352), (128, 32768)])
def test_the_process_limit_grows_with_the_cores(cpus: float, limit: int) -> None:
    assert pids_limit(cpus) == limit


def test_a_declared_volume_with_nothing_in_it_is_a_tmpfs_within_the_memory_limit() -> None:
    declared = tuple(map(Declared, ("/data/", "/tmp", "/workspace/inputs")))
    tmpfs = host_config(replace(SPEC, declared=declared))["Tmpfs"]
    assert set(tmpfs) == {"/tmp", "/data"}
    assert tmpfs["/data"] == tmpfs["/tmp"]


def test_a_declared_volume_shows_what_the_image_has_there_and_takes_nothing() -> None:
    config = host_config(replace(SPEC, declared=(Declared("/weights", "copy"),)))
    (mount,) = (mount for mount in config["Mounts"] if mount["Type"] == "volume")
    assert (mount["Source"], mount["Target"], mount["ReadOnly"]) == ("copy", "/weights", True)
    assert "/weights" not in config["Tmpfs"]


def variables(*image_environment: str, **changes: Any) -> dict[str, str]:
    spec = replace(SPEC, image_environment=image_environment, **changes)
    return dict(entry.split("=", 1) for entry in create_request(spec, cores=2)["Env"])


@pytest.mark.parametrize(
    "own",
    [
        "HOME=/opt/home",
        "USER=me",
        "TORCH_HOME=/opt/torch",
        "XDG_CACHE_HOME=/opt/cache",
        "HF_HOME=/opt/hf",
        "TMPDIR=/tmp/mine",
        "NUMBA_CACHE_DIR=/dev/shm/numba",
        "MPLCONFIGDIR=/workspace/outputs/mpl",
    ],
)
def test_what_the_image_sets_holds_as_it_does_at_home(own: str) -> None:
    assert own.partition("=")[0] not in variables(own)


def test_weights_below_the_images_home_or_cache_are_found_there() -> None:
    """Where the hub of torch looks follows from HOME and XDG_CACHE_HOME unless something names it."""
    assert not {"TORCH_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"} & variables("HOME=/opt/home").keys()
    assert not {"TORCH_HOME", "XDG_CACHE_HOME"} & variables("XDG_CACHE_HOME=/opt/cache").keys()


@pytest.mark.parametrize("name", sorted(CACHES))
def test_a_cache_in_the_read_only_root_moves(name: str) -> None:
    assert variables(f"{name}=/root/cache")[name].startswith("/tmp")
    assert name not in variables(f"{name}=/root/cache", writable_root=True)


def test_somebody_is_named_for_programs_that_ask_who_runs_them() -> None:
    assert {"USER", "LOGNAME"} <= variables().keys()


def test_an_images_wish_for_gpus_is_heard_only_where_one_was_granted() -> None:
    own = ("NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_REQUIRE_CUDA=cuda>=12.4")
    without = variables(*own)
    assert (without["NVIDIA_VISIBLE_DEVICES"], without["NVIDIA_REQUIRE_CUDA"]) == ("void", "")
    granted = variables(*own, gpu="GPU-7")
    assert granted["NVIDIA_VISIBLE_DEVICES"] == "GPU-7"
    assert "NVIDIA_REQUIRE_CUDA" not in granted


def test_no_health_check_runs_beside_the_work() -> None:
    assert create_request(SPEC, cores=2)["Healthcheck"] == {"Test": ["NONE"]}


def test_a_runtime_is_passed_on() -> None:
    assert "Runtime" not in host_config()
    assert host_config(replace(SPEC, runtime="runsc"))["Runtime"] == "runsc"


def test_the_engine_makes_tmp_where_the_image_closed_its_own() -> None:
    config = host_config(replace(SPEC, tmp_by_engine=True))
    assert config["Tmpfs"] == {}
    (mount,) = (mount for mount in config["Mounts"] if mount["Type"] == "volume")
    assert mount["Target"] == "/tmp"
    assert mount["VolumeOptions"]["DriverConfig"]["Options"]["o"] == f"size={2 << 30},mode=1777,nosuid,nodev"
