"""What a container costs on this host: one that does nothing, and one that does a fixed piece of work."""

from __future__ import annotations

import secrets
import statistics
import time
from dataclasses import replace

from harness.engine.base import ContainerEngine
from harness.engine.probe import probe_image
from harness.errors import HarnessError, InfrastructureError
from harness.run.container import container_spec
from harness.run.context import Rules

_REPEATS = 3
_PATIENCE_S = 60.0
_NOTHING = ":"
_COUNTING = "i=0; while [ $i -lt 500000 ]; do i=$((i+1)); done"


def measure_baseline(rules: Rules, engine: ContainerEngine) -> float | None:
    """Return the median `run_s` of empty containers, or None where none can be made.

    The image is our own, so that a submission has no say in it.
    """
    return _median_s(rules, engine, _NOTHING)


def measure_speed(rules: Rules, engine: ContainerEngine) -> float | None:
    """Return the median `run_s` of a fixed piece of work on the judged cores, or None where none can be made.

    A shell counts: integer work of one core, without memory or disk. It tells a host that is slower than
    others of its kind (another clock, a noisy neighbour), not how much slower a network runs there.
    """
    return _median_s(rules, engine, _COUNTING)


def _median_s(rules: Rules, engine: ContainerEngine, script: str) -> float | None:
    if not engine.facts.isolated:
        return None
    try:
        image = probe_image(engine).digest
        return statistics.median(_run_once(rules, engine, image, script) for _ in range(_REPEATS))
    except HarnessError:
        return None


def _run_once(rules: Rules, engine: ContainerEngine, image: str, script: str) -> float:
    spec = container_spec(rules, None, name=f"flareharness-{secrets.token_hex(8)}", parent=None)
    spec = replace(spec, image=image, command=("/bin/sh", "-c", script), gpu=None)
    container = engine.create(replace(spec, image_environment=(), declared=()))
    try:
        container.start()
        started = container.started_at()
        while not container.wait(1.0):
            if time.monotonic() - started > _PATIENCE_S:
                raise InfrastructureError("an empty container does not end", where=container.id)
        return max(0.0, (container.gone_at() or time.monotonic()) - started)
    finally:
        container.remove()
