"""A harness that is killed leaves nothing running."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

HARNESS = """
import os, sys
from pathlib import Path
from harness.engine.base import ContainerSpec
from harness.engine.process import ProcessEngine
from harness.run.watchdog import Watchdog

spec = ContainerSpec({name!r}, {folder!r}, None, 1, 1, 1, 1, 1000)
with Watchdog("process", None) as watchdog:
    container = ProcessEngine().create(spec)
    with watchdog.over(spec.name):
        container.start()
        print(container.root_pid, watchdog._process.pid, flush=True)
        if {killed!r}:
            os._exit(9)
    container.remove()
"""


def left_running(folder: Path, *, killed: bool) -> tuple[int, int]:
    (folder / "predict.sh").write_text("exec sleep 1000\n")
    source = HARNESS.format(name=f"watched-{folder.name}", folder=str(folder), killed=killed)
    done = subprocess.run(
        [sys.executable, "-c", source], stdout=subprocess.PIPE, check=False, cwd=Path(__file__).parents[3]
    )
    container, watchdog = map(int, done.stdout.split())
    return container, watchdog


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(pid: int) -> None:
    for _ in range(600):
        if is_gone(pid):
            return
        time.sleep(0.05)
    pytest.fail(f"process {pid} is still there")


def test_what_a_killed_harness_left_running_is_ended(tmp_path: Path) -> None:
    container, watchdog = left_running(tmp_path, killed=True)
    wait_until_gone(container)
    psutil.Process(watchdog).kill()  # it would try for ten seconds, for starts that are still under way


def test_a_harness_that_ends_well_takes_its_watchdog_along(tmp_path: Path) -> None:
    container, watchdog = left_running(tmp_path, killed=False)
    assert is_gone(container)
    assert is_gone(watchdog)
