"""Workers started by Slurm: an array of jobs, each a `harness worker` that has its node to itself.

A job is never put back in the queue by Slurm (`--no-requeue`): the cases that it held are taken by others. It
takes no case that may not end before its time is up, which Slurm tells in SLURM_JOB_END_TIME. Partition,
account and time are the cluster's business: sbatch reads them from SBATCH_PARTITION, SBATCH_ACCOUNT and
SBATCH_TIMELIMIT.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Self

from harness.cluster.processes import WorkerCommand
from harness.cluster.queue import QUEUE_FOLDER
from harness.errors import InfrastructureError, PrerequisiteError

_PATIENCE_S = 60
_WARNING_S = 60
"""How long before its end a job is told, so that it removes its container itself."""


class SlurmFront:
    """Workers on nodes of a Slurm cluster.

    Args:
        command: Starts a worker.
        nodes: How many nodes to ask for.
    """

    slots = 1
    spreads = True

    def __init__(self, command: WorkerCommand, *, nodes: int) -> None:
        self._command = command
        self._nodes = nodes
        self._jobs: list[str] = []

    def __enter__(self) -> Self:
        if shutil.which("sbatch") is None:
            raise PrerequisiteError(
                "this host has no sbatch",
                where="--cluster slurm",
                mend="Run this on a login node of the cluster.",
            )
        return self

    def __exit__(self, *_: object) -> None:
        for job in self._jobs:
            with suppress(InfrastructureError):
                _call("scancel", job)

    def start(self) -> None:
        """See `FrontEnd`."""
        logs = self._command.results.resolve() / QUEUE_FOLDER / "slurm"
        logs.mkdir(parents=True, exist_ok=True)
        script = batch_script(self._command, nodes=self._nodes, logs=logs)
        answer = _call("sbatch", "--parsable", given=script)
        self._jobs.append(answer.strip().partition(";")[0])

    def working(self) -> int:
        """See `FrontEnd`. A controller that does not answer takes no worker away."""
        try:
            listed = _call("squeue", "--noheader", "--array", "--format=%i", f"--jobs={','.join(self._jobs)}")
        except InfrastructureError as error:
            return 0 if "Invalid job id" in str(error) else self._nodes
        return len(listed.split())


def batch_script(command: WorkerCommand, *, nodes: int, logs: Path) -> str:
    """Return what sbatch is given."""
    return "\n".join(
        [
            "#!/bin/sh",
            "#SBATCH --job-name=flareharness",
            f"#SBATCH --array=0-{nodes - 1}",
            "#SBATCH --nodes=1",
            "#SBATCH --ntasks=1",
            "#SBATCH --exclusive",
            "#SBATCH --no-requeue",
            f"#SBATCH --signal=B:TERM@{_WARNING_S}",
            f"#SBATCH --output={logs}/%A_%a.log",
            f"exec {shlex.join(command.argv())}",
            "",
        ]
    )


def _call(program: str, *arguments: str, given: str = "") -> str:
    try:
        done = subprocess.run(
            [program, *arguments],
            input=given,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InfrastructureError(f"{program} does not answer", mend=f"{error}.") from error
    if done.returncode != 0:
        raise InfrastructureError(
            f"{program} failed: {' '.join(done.stderr.split())}", mend="Ask Slurm with `sinfo` and `squeue`."
        )
    return done.stdout
