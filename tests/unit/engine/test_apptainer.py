"""Apptainer: what of a judged container its options can say, and a refusal that says the rest."""

import itertools
import subprocess
from pathlib import Path

import pytest

from harness.engine.apptainer import argv_of, unmet
from harness.engine.base import ContainerSpec, Mount
from harness.engine.registry import open_engine
from harness.errors import PrerequisiteError

SPEC = ContainerSpec(
    name="n",
    image="sha256:0",
    command=("/bin/bash", "-c", "sh predict.sh"),
    memory_bytes=1 << 30,
    shm_bytes=1 << 20,
    tmp_bytes=1 << 20,
    file_bytes=1 << 24,
    log_bytes=1,
    mounts=(
        Mount(Path("/in put"), "/workspace/inputs"),
        Mount(Path("/out"), "/workspace/outputs", writable=True),
    ),
    environment={"FLARE_INPUTS": "/workspace/inputs"},
    cpus=2.0,
    cpuset="0,1",
)


def options_of(argv: list[str]) -> list[tuple[str, str]]:
    return list(itertools.pairwise(argv))


def test_limits_mounts_and_network_are_said():
    argv = argv_of(SPEC, "team.sif", cores=8)
    pairs = options_of(argv)
    for pair in (
        ("--network", "none"),
        ("--memory", str(1 << 30)),
        ("--memory-swap", str(1 << 30)),
        ("--cpus", "2"),
        ("--cpuset-cpus", "0,1"),
        ("--bind", "/in put:/workspace/inputs:ro"),
        ("--bind", "/out:/workspace/outputs:rw"),
        ("--env", "FLARE_INPUTS=/workspace/inputs"),
    ):
        assert pair in pairs
    assert {"--containall", "--cleanenv", "--no-privs"} <= set(argv)
    assert argv[-4:] == ["team.sif", "/bin/bash", "-c", "sh predict.sh"]
    assert "--writable-tmpfs" not in argv
    assert "--nv" not in argv


def test_prlimit_knows_the_limits_that_it_is_given():
    argv = argv_of(SPEC, "team.sif", cores=8)
    limits = argv[: argv.index("apptainer")]
    shown = subprocess.run(
        [*limits, "sh", "-c", "ulimit -n; ulimit -f"], capture_output=True, text=True, check=True
    )
    assert shown.stdout.split() == ["16384", str((1 << 24) // 512)]


def test_an_image_s_own_command_is_run():
    argv = argv_of(ContainerSpec(**{**vars(SPEC), "command": None, "gpu": "GPU-1"}), "team.sif", cores=8)
    assert "run" in argv
    assert argv[-1] == "team.sif"
    assert ("--env", "NVIDIA_VISIBLE_DEVICES=GPU-1") in options_of(argv)


def test_it_is_refused_with_what_it_cannot_hold_and_what_to_use():
    assert set(unmet(root=True)) < set(unmet(root=False))
    with pytest.raises(PrerequisiteError, match=r"/dev/shm.*Podman"):
        open_engine("apptainer")
