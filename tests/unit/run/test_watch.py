"""A watch over a container: what it says of one that is over before anybody looks."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.challenge import Contract, Limits
from harness.results.records import OptOuts
from harness.run.context import Rules
from harness.run.stage import Stage
from harness.run.watch import Watch

RULES = Rules(
    run="run",
    image="image",
    limits=Limits(memory_bytes=1 << 30, time_s=60),
    contract=Contract(),
    opt_outs=OptOuts(),
    secret="secret",
    owner=(0, 0),
    label="label",
)
METER: Any = SimpleNamespace(
    memory=lambda: None,
    pids=list,
    oom_kills=lambda: None,
    throttled_s=lambda: None,
    cpu_s=lambda: None,
)


@pytest.mark.parametrize(("gone_after_s", "run_s"), [(-0.00005, 0.0), (0.0, 0.0), (1.5, 1.5)])
def test_no_container_ran_for_less_than_nothing(tmp_path: Path, gone_after_s: float, run_s: float) -> None:
    started = time.monotonic()
    container: Any = SimpleNamespace(
        id="over", wait=lambda timeout_s: True, gone_at=lambda: started + gone_after_s, kill=lambda: None
    )
    stage = Stage(folder=tmp_path, opaque="a", expected="a.nii.gz", space=tmp_path)
    stage.outputs.mkdir()
    scratch: Any = SimpleNamespace(look=lambda: None, full={})
    watch = Watch(
        container, METER, RULES, stage, before_bytes=0, scratch=scratch, gpu=None, kernel_enforces=False
    )
    watched = watch.until_gone(started, threading.Event())
    assert watched.run_s == pytest.approx(run_s)
    assert watched.run_s >= 0
