"""Run one of the scripts under docker/ and pass its lines on."""

from __future__ import annotations

import subprocess
from collections import deque
from collections.abc import Mapping, Sequence

from harness.errors import InfrastructureError, PrerequisiteError
from harness.submission.image import Progress

_PREREQUISITE_MISSING = 3


def run_script(argv: Sequence[str], *, what: str, environment: Mapping[str, str], progress: Progress) -> None:
    """Run a script without standard input; every line it prints goes to `progress`.

    Raises:
        PrerequisiteError: it exited with 3, its last line saying what is missing.
        InfrastructureError: it failed otherwise; the last lines are in the message.
    """
    last: deque[str] = deque(maxlen=5)
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(environment),
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip():
                last.append(line.strip())
                progress(line.rstrip())
    if process.returncode == _PREREQUISITE_MISSING:
        raise PrerequisiteError(f"{what} is not possible here", where=last[-1] if last else argv[0])
    if process.returncode != 0:
        raise InfrastructureError(f"{what} failed", where=argv[0], mend=" / ".join(last))
