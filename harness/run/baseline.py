"""What a container that does nothing costs on this host."""

from __future__ import annotations

import secrets
import statistics
import time
from dataclasses import replace

from harness.engine.docker import DockerEngine
from harness.engine.probe import probe_image
from harness.errors import HarnessError
from harness.run.context import RunContext
from harness.run.execute import container_spec

_REPEATS = 3
_PATIENCE_S = 60.0


def measure_baseline(context: RunContext) -> float | None:
    """Return the median `run_s` of empty containers, or None where none can be made.

    The image is our own, so that a submission has no say in it.
    """
    if not isinstance(context.engine, DockerEngine):
        return None
    try:
        image = probe_image(context.engine).digest
        return statistics.median(_run_once(context, image) for _ in range(_REPEATS))
    except HarnessError:
        return None


def _run_once(context: RunContext, image: str) -> float:
    spec = container_spec(context, None, name=f"flareharness-{secrets.token_hex(8)}", parent=None)
    container = context.engine.create(replace(spec, image=image, command=("/bin/sh", "-c", ":"), gpu=None))
    try:
        container.start()
        started = time.monotonic()
        while not container.wait(1.0):
            if time.monotonic() - started > _PATIENCE_S:
                raise TimeoutError
        return (container.gone_at() or time.monotonic()) - started
    finally:
        container.remove()
