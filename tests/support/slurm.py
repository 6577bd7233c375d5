"""A Slurm of one node for tests: munged, slurmctld and slurmd on ports and in folders of their own (root)."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from packages import want

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"

CONFIGURATION = """
ClusterName=onenode
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
SlurmctldPort={ctld}
SlurmdPort={slurmd}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_interval=1,batch_sched_delay=0
KillWait=5
MessageTimeout=3
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def one_node(folder: Path) -> Iterator[tuple[dict[str, str], dict[str, subprocess.Popen[bytes]]]]:
    """Start a Slurm of this one host and yield the variables by which it is found, and its daemons."""
    if os.geteuid() != 0:
        pytest.skip("NO SLURM: starting its daemons takes root")
    want("slurm")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    configuration = folder / "slurm.conf"
    configuration.write_text(
        CONFIGURATION.format(
            host=platform.node().partition(".")[0],
            folder=folder,
            ctld=free_port(),
            slurmd=free_port(),
            cpus=os.cpu_count(),
        )
    )
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    variables = {"SLURM_CONF": str(configuration), "PATH": PATH}
    environment = os.environ | variables
    places = [f"--socket={folder}/munge.sock", f"--key-file={key}", f"--pid-file={folder}/munged.pid"]
    places += [
        f"--seed-file={folder}/munge.seed",
        f"--log-file={folder}/munged.log",
        "--force",
        "--foreground",
    ]
    daemons: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for argv in (
            ["munged", *places],
            ["slurmctld", "-D"],
            ["slurmd", "-D", "-N", platform.node().partition(".")[0]],
        ):
            with (folder / f"{argv[0]}.out").open("wb") as out:
                daemons[argv[0]] = subprocess.Popen(
                    [shutil.which(argv[0], path=PATH) or argv[0], *argv[1:]],
                    env=environment,
                    stdout=out,
                    stderr=out,
                )
            time.sleep(0.5)
        wait_until_idle(environment, folder)
        yield variables, daemons
    finally:
        for daemon in reversed(daemons.values()):
            daemon.terminate()
            daemon.wait()


def wait_until_idle(environment: dict[str, str], folder: Path) -> None:
    deadline = time.monotonic() + 120
    while True:
        asked = subprocess.run(
            ["sinfo", "-h", "-o", "%t"], env=environment, capture_output=True, text=True, check=False
        )
        if asked.stdout.strip() in ("idle", "mix", "alloc"):
            return
        if time.monotonic() > deadline:
            logs = "".join(path.read_text()[-2000:] for path in folder.glob("*.log"))
            pytest.fail(f"Slurm does not start: {asked.stdout}{asked.stderr}\n{logs}")
        time.sleep(0.3)
