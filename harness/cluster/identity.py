"""Who a process is, among many hosts: names may be equal and clocks wrong, so neither decides anything.

A boot id is made anew by each kernel that starts, and with the namespace of process ids and the moment a
process started it names one process of the world. So whoever shares a kernel with a dead process knows at
once that it is dead.
"""

from __future__ import annotations

import os
import platform
import secrets
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Holder(BaseModel):
    """A process that holds, or held, a case.

    Attributes:
        worker: Its name, which no other has.
        host: What its host calls itself.
        boot: The boot id of its kernel and its namespace of process ids.
        pid: Its process id there.
        started: When it started, in clock ticks since that boot; process ids are used again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    worker: str
    host: str
    boot: str
    pid: int
    started: int

    @property
    def where(self) -> str:
        """The host, as a case's tries count it."""
        return f"{self.host}/{self.boot[:8]}"


@dataclass(frozen=True)
class _Here:
    """What is the same for all of this host."""

    @cached_property
    def boot(self) -> str:
        link = Path("/proc/self/ns/pid")
        namespace = str(link.readlink()) if link.is_symlink() else ""
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except OSError:
            boot = f"unknown-{platform.node()}"
        return f"{boot}{namespace.removeprefix('pid:')}"

    @property
    def token(self) -> str:
        """Names this process in file names."""
        return f"{self.boot[:8]}-{os.getpid()}"


HERE = _Here()


def this_process() -> Holder:
    """Return who this process is, under a name that no other has had."""
    pid = os.getpid()
    return Holder(
        worker=f"{platform.node().partition('.')[0]}-{pid}-{secrets.token_hex(4)}",
        host=platform.node(),
        boot=HERE.boot,
        pid=pid,
        started=started_ticks(pid) or 0,
    )


def host_of(worker: str) -> str:
    """Return the host's name in a worker's."""
    return worker.rsplit("-", 2)[0]


def is_known_dead(holder: Holder) -> bool:
    """Whether a process shares this kernel and is gone. False where that cannot be known from here."""
    return holder.boot == HERE.boot and started_ticks(holder.pid) != holder.started


def started_ticks(pid: int) -> int | None:
    """Return when a process of this host started, in clock ticks since boot; None if it is gone."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    after_name = status.rpartition(")")[2].split()
    return None if after_name[0] in "ZX" else int(after_name[19])
