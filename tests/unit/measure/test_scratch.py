"""Scratch folders of a process in a mount namespace of its own, also after its end."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from harness.measure.scratch import ScratchMemory

MIB = 1024**2


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="NEEDS ROOT: a mount namespace of its own"
)
@pytest.mark.parametrize(("written_kib", "is_full"), [(1024, True), (512, False)])
def test_a_folder_of_a_process_that_is_over_is_known_to_have_been_full(
    tmp_path: Path, written_kib: int, is_full: bool
) -> None:
    script = (
        f"mount -t tmpfs -o size=1m tmpfs {tmp_path}; echo mounted; read go; "
        f"dd if=/dev/zero of={tmp_path}/x bs=1k count={written_kib} 2>/dev/null"
    )
    looked = threading.Event()
    child = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"mounted\n"
    rounds = iter(range(100))

    def pids() -> list[int]:
        if next(rounds) == 1:  # the round before has seen the child
            looked.set()
        return [child.pid]

    # A second folder that is nowhere keeps the search going.
    with ScratchMemory(pids, {str(tmp_path): MIB, str(tmp_path / "nowhere"): MIB}) as scratch:
        with scratch.sought():
            assert looked.wait(10)
        child.communicate(b"go\n")
        scratch.look()
        assert scratch.full == ({str(tmp_path): MIB} if is_full else {})


def test_the_hosts_own_folders_are_no_containers() -> None:
    """Before it enters its container, a process sees those of the host, which may be of the same size."""
    state = os.statvfs("/dev/shm")
    looks: list[int] = []

    def pids() -> list[int]:
        looks.append(os.getpid())
        return [os.getpid()]

    with ScratchMemory(pids, {"/dev/shm": state.f_blocks * state.f_frsize}) as scratch:
        scratch.look()
        scratch.look()
    assert len(looks) == 2, "it is still looked for"
