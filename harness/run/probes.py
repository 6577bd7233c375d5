"""What doctor tries: containers that break each limit on purpose, and how to tell whether it held."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from harness.challenge import Limits
from harness.results.records import ExecutionRecord, Outcome
from harness.run.socket_probes import FAMILIES, FILL_NETLINK, FILL_TCP, HUGE_PAGES, counted, perl, refused

__all__ = ["LIMITS", "PLAIN", "PROBES", "Probe"]

MIB = 1024**2

LIMITS = Limits(
    memory_bytes=64 * MIB,
    shm_bytes=8 * MIB,
    tmp_bytes=16 * MIB,
    output_bytes=16 * MIB,
    log_bytes=64 * 1024,
    time_s=20.0,
)
"""What holds for each probe that asks for nothing else."""
_ALLOCATED = 48 * MIB
_SHARE_OF_A_CORE = 0.25


@dataclass(frozen=True)
class Probe:
    """A container that breaks a limit, and how to tell from its record and log that the limit held.

    Attributes:
        judge: Returns whether it held, and what shows that.
    """

    name: str
    script: str
    judge: Callable[[ExecutionRecord, str], tuple[bool, str]]
    mend: str
    limits: dict[str, float] = field(default_factory=dict)


def _ended_as(outcome: Outcome) -> Callable[[ExecutionRecord, str], tuple[bool, str]]:
    return lambda execution, log: (execution.outcome is outcome, execution.evidence.summary)


def _printed(*expected: str, shows: str) -> Callable[[ExecutionRecord, str], tuple[bool, str]]:
    def judge(execution: ExecutionRecord, log: str) -> tuple[bool, str]:
        held = all(text in log for text in expected)
        return held, shows if held else f"it printed: {' '.join(log.split())[:160]}"

    return judge


def _no_network(execution: ExecutionRecord, log: str) -> tuple[bool, str]:
    return log.split() == ["lo", "done"], f"interfaces: {log.replace('done', '').strip()}"


def _not_root(execution: ExecutionRecord, log: str) -> tuple[bool, str]:
    return log.strip().isdigit() and int(log) != 0, f"uid {log.strip()}"


def _no_swap(execution: ExecutionRecord, log: str) -> tuple[bool, str]:
    return log.strip() in (str(LIMITS.memory_bytes), "0"), f"the kernel's limit is {log.strip()}"


def _is_number(execution: ExecutionRecord, log: str) -> tuple[bool, str]:
    return log.strip().isdigit(), f"at most {log.strip()}"


def _peak(execution: ExecutionRecord, log: str) -> tuple[bool, str]:
    peak, method = execution.usage.peak_memory_bytes, execution.usage.peak_memory_method
    if peak is None:
        return False, "no cgroup could be read"
    shown = f"{peak / MIB:.1f} MiB by {method} for {_ALLOCATED / MIB:.0f} MiB allocated"
    return method != "sampled-lower-bound" and _ALLOCATED <= peak <= _ALLOCATED + 8 * MIB, shown


def _cpu_share(execution: ExecutionRecord, log: str) -> tuple[bool, str]:
    """A busy loop got its share of CPU time, or the kernel says that it held the loop back.

    Either will do: a virtual machine that waits for a busy host is charged for the waiting.
    """
    cpu_s, run_s = execution.usage.cpu_s, execution.stages.run_s
    if cpu_s is None or run_s is None:
        return False, "CPU time could not be read"
    throttled_s = execution.usage.throttled_s or 0.0
    shown = f"{cpu_s:.2f} CPU s in {run_s:.2f} s under a quota of {_SHARE_OF_A_CORE:g}, "
    shown += f"held back for {throttled_s:.2f} s"
    return cpu_s <= (_SHARE_OF_A_CORE * run_s) * 1.2 + 0.1 or throttled_s > run_s / 4, shown


def _one_core(execution: ExecutionRecord, log: str) -> tuple[bool, str]:
    found = re.search(r"^Cpus_allowed_list:\t(\S+)$", log, flags=re.MULTILINE)
    allowed = found[1] if found else "unknown"
    return allowed.isdigit(), f"a container with one core may use core {allowed}"


def _killed_in_time(execution: ExecutionRecord, log: str) -> tuple[bool, str]:
    run_s = execution.stages.run_s or 0.0
    return execution.outcome is Outcome.TIME_LIMIT and run_s < 6.0, f"gone after {run_s:.2f} s of 1 s allowed"


PLAIN = Probe(
    "a plain container starts",
    "echo started",
    lambda execution, log: (log.strip() == "started", "it started and ended"),
    "Make `docker run --rm IMAGE true` work first; the engine's log tells more (journalctl -u docker).",
)

_CGROUP_MEND = "Run the harness on the engine's host, with /sys/fs/cgroup readable."
_UPGRADE = "Upgrade the container engine; see docs/isolation.md for what it must support."

PROBES = (
    Probe(
        "files are shared with the engine",
        'ls "$FLARE_INPUTS" | grep -q nii.gz && : > "$FLARE_OUTPUTS/x" && echo shared',
        _printed("shared", shows="the input is seen, the output folder written"),
        "The engine must run on this host and see this folder; a remote DOCKER_HOST cannot work.",
    ),
    Probe(
        "no network",
        "ls /sys/class/net; echo done",
        _no_network,
        _UPGRADE,
    ),
    Probe(
        "read-only root",
        '(: > /x) 2>/dev/null || echo refused; (: > /tmp/x && : > "$HOME/y") 2>/dev/null && echo written',
        _printed("refused", "written", shows="writing to / is refused, to /tmp and HOME it is not"),
        _UPGRADE,
    ),
    Probe(
        "no privileges",
        "cat /proc/self/status",
        _printed(
            "CapBnd:\t0000000000000000",
            "CapEff:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
            shows="no capabilities, no new privileges, system calls filtered",
        ),
        "Do not run the engine with --seccomp-profile=unconfined; install libseccomp.",
    ),
    Probe(
        "not root",
        "id -u",
        _not_root,
        "Run the harness as an ordinary user, or as root without a user namespace that maps to 0.",
    ),
    Probe(
        "memory limit kills",
        "dd if=/dev/zero of=/dev/null bs=256M count=1; exit 0",
        _ended_as(Outcome.MEMORY_LIMIT),
        "Enable the memory controller: `cgroup_enable=memory` on the kernel's command line.",
    ),
    Probe(
        "no swap beyond memory",
        "cat /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes 2>/dev/null "
        "|| cat /sys/fs/cgroup/memory.swap.max 2>/dev/null || echo none",
        _no_swap,
        "Enable swap accounting: `swapaccount=1` on the kernel's command line, or turn swap off.",
    ),
    Probe(
        "peak memory",
        f"exec dd if=/dev/zero of=/dev/null bs={_ALLOCATED} count=1",
        _peak,
        _CGROUP_MEND + " Cgroup version 2 needs Linux 5.19 or newer for memory.peak.",
    ),
    Probe(
        "process limit",
        "cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max",
        _is_number,
        "Enable the pids controller of the kernel.",
    ),
    Probe(
        "CPU quota",
        "while :; do :; done",
        _cpu_share,
        "Enable CONFIG_CFS_BANDWIDTH in the kernel. " + _CGROUP_MEND,
        {"cpus": _SHARE_OF_A_CORE, "time_s": 2.0},
    ),
    Probe(
        "cores can be chosen",
        "cat /proc/self/status",
        _one_core,
        "Enable the cpuset controller; a rootless engine needs it delegated by systemd.",
    ),
    Probe(
        "time limit kills",
        "trap '' TERM INT; while :; do sleep 1; done",
        _killed_in_time,
        _UPGRADE,
        {"time_s": 1.0},
    ),
    Probe(
        "output is watched",
        'for i in 1 2 3 4 5 6 7 8; do dd if=/dev/zero of="$FLARE_OUTPUTS/$i" bs=1M count=8; done; sleep 30',
        _ended_as(Outcome.OUTPUT_LIMIT),
        "Use a local disk for the results.",
    ),
    Probe(
        "memory in sockets counts",
        perl(FILL_TCP),
        counted,
        "With cgroup version 1 the harness must run as root to have it counted; version 2 counts it always.",
    ),
    Probe(
        "memory in netlink is bounded",
        perl(FILL_NETLINK),
        _ended_as(Outcome.MEMORY_LIMIT),
        _CGROUP_MEND,
    ),
    Probe(
        "no sockets but local ones, TCP and UDP",
        perl(FAMILIES),
        refused,
        "Let the engine filter system calls: install libseccomp.",
    ),
    Probe(
        "no huge pages",
        perl(HUGE_PAGES),
        refused,
        "Let the engine filter system calls, or set vm.nr_hugepages to 0: no memory limit counts them.",
    ),
    Probe(
        "/tmp is limited",
        "dd if=/dev/zero of=/tmp/x bs=1M count=64 2>/dev/null || echo full",
        _printed("full", shows="writing more than its size is refused"),
        _UPGRADE,
    ),
)
