"""What this host is, for the record of a run."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil

from harness.engine.base import EngineFacts
from harness.results.records import HostFacts

_USUAL_RUNTIMES = ("", "runc", "crun")


def host_facts(
    engine: EngineFacts, *, gpus: tuple[str, ...] = (), gpu_driver: str = "", runtime: str = ""
) -> HostFacts:
    """Return the facts that a row names its host by.

    Args:
        engine: What answered.
        gpus: Models.
        gpu_driver: Its version.
        runtime: The OCI runtime that was asked for; by default the engine's own. One that is asked for in
            the place of the engine's own is recorded whatever it is.
    """
    own = next(iter(engine.runtimes), "")
    if runtime in ("", own):
        runtime = "" if own in _USUAL_RUNTIMES else own
    return HostFacts(
        cpu_model=_cpu_model(),
        cores=engine.cores,
        memory_bytes=int(psutil.virtual_memory().total),
        gpus=gpus,
        gpu_driver=gpu_driver,
        kernel=platform.release(),
        engine=f"{engine.name} {engine.version}".strip(),
        cgroup_version=engine.cgroup_version,
        isolated=engine.isolated,
        runtime=runtime,
    )


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or os.uname().machine
