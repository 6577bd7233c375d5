"""Prove each limit on this host: tiny containers break it on purpose, on the path that submissions take."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from evaluator.formats.nifti_fields import new_header
from harness.challenge import Contract, Limits
from harness.data.dataset import Case
from harness.engine.base import ContainerEngine, ImageInfo
from harness.engine.probe import REPOSITORY, TOOLS, probe_image
from harness.errors import HarnessError, PrerequisiteError
from harness.gate.keeper import Gatekeeper
from harness.measure.cgroup import find_hierarchy
from harness.measure.gpu import Gpu
from harness.results.records import ExecutionRecord, OptOuts, Outcome
from harness.run.canary import try_image
from harness.run.context import RUN_LABEL, Bench, Instruments, Job, Places, Rules
from harness.run.execute import execute_case
from harness.run.opening import check_engine
from harness.run.request import container_owner, results_label
from harness.run.socket_probes import FAMILIES, FILL_NETLINK, FILL_TCP, HUGE_PAGES, counted, perl, refused
from harness.run.space import make_template
from harness.submission.recipes import checkout

MIB = 1024**2

_LIMITS = Limits(
    memory_bytes=64 * MIB,
    shm_bytes=8 * MIB,
    tmp_bytes=16 * MIB,
    output_bytes=16 * MIB,
    log_bytes=64 * 1024,
    time_s=20.0,
)
_PURPOSES = ("env", "engine", "base", "browser", "podman", "vm")
_ALLOCATED = 48 * MIB
_SHARE_OF_A_CORE = 0.25


@dataclass(frozen=True)
class Check:
    """One thing that was tried on this host.

    Attributes:
        passed: None where it does not apply here.
        detail: What was seen.
        mend: What to do if it did not pass.
    """

    name: str
    passed: bool | None
    detail: str
    mend: str = ""


@dataclass(frozen=True)
class _Probe:
    """A container that breaks a limit, and how to tell from its record and log that the limit held.

    Attributes:
        judge: Returns whether it held, and what shows that.
    """

    name: str
    script: str
    judge: Callable[[ExecutionRecord, str], tuple[bool, str]]
    mend: str
    limits: dict[str, float] = field(default_factory=dict)


def checks(engine: ContainerEngine, *, runtime: str = "") -> Iterator[Check]:
    """Yield the checks of this host, one at a time as they are done; about ten seconds in all.

    Where not even a plain container starts, that is said once, and the limits are not tried.

    Args:
        engine: What runs containers here.
        runtime: The OCI runtime to prove; by default the engine's own.
    """
    facts = engine.facts
    users = ", users mapped" if facts.maps_users else ""
    yield Check("engine", True, f"{facts.name} {facts.version}, {facts.cores} cores{users}")
    try:
        check_engine(facts)
    except PrerequisiteError as error:
        yield Check("limits", False, error.what, error.mend)
        return
    if facts.runtimes:
        known = runtime in ("", *facts.runtimes)
        detail = f"{runtime or facts.runtimes[0]}, of {', '.join(facts.runtimes)}"
        yield Check("OCI runtime", known, detail, "Register it in the engine's configuration.")
        if not known:
            return
    yield Check(
        "engine's own warnings",
        not facts.warnings,
        "; ".join(facts.warnings) or "none",
        "Enable what the kernel lacks, e.g. `swapaccount=1` on its command line." if facts.warnings else "",
    )
    try:
        image = probe_image(engine, tools=(*TOOLS, "perl"))
    except HarnessError as error:
        yield Check("probe image", False, error.what, error.mend)
        return
    yield Check("probe image", True, f"{REPOSITORY}, {image.size_bytes / MIB:.1f} MiB")
    with tempfile.TemporaryDirectory(prefix="flareharness-doctor-") as folder:
        rules = replace(_rules(image, Path(folder)), runtime=runtime)
        bench = _bench(engine, Path(folder))
        bound = bench.places.template is not None
        yield Check(
            "output on a file system of its own",
            True if bound else None,
            "mounted, with no set-uid programs and no devices" if bound else "counted instead",
            "" if bound else "It takes root, loop devices and mkfs.ext4 (e2fsprogs).",
        )
        with bench.instruments.gatekeeper:
            plain = _run(_PLAIN, rules, bench)
            yield plain
            if not plain.passed:
                return
            rules = try_image(rules, image, bench).rules
            for probe in _PROBES:
                if probe.script.startswith("perl ") and shutil.which("perl") is None:
                    yield Check(
                        probe.name, None, "not tried: this host has no perl", "apt-get install perl-base"
                    )
                    continue
                yield _run(probe, rules, bench)
    yield _gpu_check()


def packages() -> Check:
    """Say which packages of docker/packages.txt are not here; what each is for decides whether it matters."""
    try:
        script = checkout() / "docker" / "packages.sh"
    except HarnessError as error:
        return Check("packages", None, error.what, error.mend)
    found = subprocess.run(
        ["sh", str(script), "--missing", *_PURPOSES],
        env=os.environ | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    missing = found.stdout.splitlines()
    if not missing:
        return Check("packages", True, "all that the project's commands and tests use")
    names = " ".join(line.partition(":")[0] for line in missing)
    return Check("packages", None, f"not here: {'; '.join(missing)}", f"apt-get install {names}")


def _rules(image: ImageInfo, folder: Path) -> Rules:
    return Rules(
        run="doctor",
        image=image.digest,
        limits=_LIMITS,
        contract=Contract(),
        opt_outs=OptOuts(),
        secret="doctor",
        owner=container_owner(OptOuts())[0],
        label=results_label(folder),
        cpusets=(str(min(os.sched_getaffinity(0))),),
    )


def _bench(engine: ContainerEngine, folder: Path) -> Bench:
    can_give_away = container_owner(OptOuts())[1] and not engine.facts.maps_users
    places = Places(folder, folder / "cache", folder / "run", can_give_away)
    places.work.mkdir()
    template = make_template(places.work, _LIMITS.output_bytes)
    return Bench(replace(places, template=template), Instruments(engine, Gatekeeper([]), find_hierarchy()))


def _run(probe: _Probe, rules: Rules, bench: Bench) -> Check:
    case = Case("probe", _tiny_image(bench.places.folder.with_name("probe_0000.nii.gz")), None)
    rules = replace(
        rules,
        limits=Limits.model_validate(rules.limits.model_dump() | probe.limits),
        contract=Contract(command=("/bin/sh", "-c", probe.script)),
    )
    try:
        execution = execute_case(Job(case, 1, rules), bench=bench)
    except HarnessError as error:
        return Check(probe.name, False, f"{error.what} ({error.where})", error.mend or probe.mend)
    finally:
        bench.instruments.engine.reap(RUN_LABEL, rules.label)
    log_file = bench.places.kept("probe") / "container.log"
    log = log_file.read_text(errors="replace") if log_file.is_file() else ""
    detail = f"{execution.outcome.value}: {execution.evidence.summary}"
    if execution.outcome in (Outcome.INFRASTRUCTURE, Outcome.START_FAILED):
        return Check(probe.name, False, detail, probe.mend)
    held, shown = probe.judge(execution, log)
    return Check(probe.name, held, shown or detail, "" if held else probe.mend)


def _tiny_image(path: Path) -> Path:
    """Write a CT of 4 x 4 x 4 voxels, by hand because the doctor needs no imaging library."""
    sizes = (1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0)
    header = new_header(dim=(3, 4, 4, 4, 1, 1, 1, 1), datatype=4, bitpix=16, pixdim=sizes)
    path.write_bytes(gzip.compress(bytes(header) + bytes(2 * 4**3)))
    return path


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
    return log.strip() in (str(_LIMITS.memory_bytes), "0"), f"the kernel's limit is {log.strip()}"


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


_PLAIN = _Probe(
    "a plain container starts",
    "echo started",
    lambda execution, log: (log.strip() == "started", "it started and ended"),
    "Make `docker run --rm IMAGE true` work first; the engine's log tells more (journalctl -u docker).",
)

_CGROUP_MEND = "Run the harness on the engine's host, with /sys/fs/cgroup readable."
_UPGRADE = "Upgrade the container engine; see docs/isolation.md for what it must support."

_PROBES = (
    _Probe(
        "files are shared with the engine",
        'ls "$FLARE_INPUTS" | grep -q nii.gz && : > "$FLARE_OUTPUTS/x" && echo shared',
        _printed("shared", shows="the input is seen, the output folder written"),
        "The engine must run on this host and see this folder; a remote DOCKER_HOST cannot work.",
    ),
    _Probe(
        "no network",
        "ls /sys/class/net; echo done",
        _no_network,
        _UPGRADE,
    ),
    _Probe(
        "read-only root",
        '(: > /x) 2>/dev/null || echo refused; (: > /tmp/x && : > "$HOME/y") 2>/dev/null && echo written',
        _printed("refused", "written", shows="writing to / is refused, to /tmp and HOME it is not"),
        _UPGRADE,
    ),
    _Probe(
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
    _Probe(
        "not root",
        "id -u",
        _not_root,
        "Run the harness as an ordinary user, or as root without a user namespace that maps to 0.",
    ),
    _Probe(
        "memory limit kills",
        "dd if=/dev/zero of=/dev/null bs=256M count=1; exit 0",
        _ended_as(Outcome.MEMORY_LIMIT),
        "Enable the memory controller: `cgroup_enable=memory` on the kernel's command line.",
    ),
    _Probe(
        "no swap beyond memory",
        "cat /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes 2>/dev/null "
        "|| cat /sys/fs/cgroup/memory.swap.max 2>/dev/null || echo none",
        _no_swap,
        "Enable swap accounting: `swapaccount=1` on the kernel's command line, or turn swap off.",
    ),
    _Probe(
        "peak memory",
        f"exec dd if=/dev/zero of=/dev/null bs={_ALLOCATED} count=1",
        _peak,
        _CGROUP_MEND + " Cgroup version 2 needs Linux 5.19 or newer for memory.peak.",
    ),
    _Probe(
        "process limit",
        "cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max",
        _is_number,
        "Enable the pids controller of the kernel.",
    ),
    _Probe(
        "CPU quota",
        "while :; do :; done",
        _cpu_share,
        "Enable CONFIG_CFS_BANDWIDTH in the kernel. " + _CGROUP_MEND,
        {"cpus": _SHARE_OF_A_CORE, "time_s": 2.0},
    ),
    _Probe(
        "cores can be chosen",
        "cat /proc/self/status",
        _one_core,
        "Enable the cpuset controller; a rootless engine needs it delegated by systemd.",
    ),
    _Probe(
        "time limit kills",
        "trap '' TERM INT; while :; do sleep 1; done",
        _killed_in_time,
        _UPGRADE,
        {"time_s": 1.0},
    ),
    _Probe(
        "output is watched",
        'for i in 1 2 3 4 5 6 7 8; do dd if=/dev/zero of="$FLARE_OUTPUTS/$i" bs=1M count=8; done; sleep 30',
        _ended_as(Outcome.OUTPUT_LIMIT),
        "Use a local disk for the results.",
    ),
    _Probe(
        "memory in sockets counts",
        perl(FILL_TCP),
        counted,
        "With cgroup version 1 the harness must run as root to have it counted; version 2 counts it always.",
    ),
    _Probe(
        "memory in netlink is bounded",
        perl(FILL_NETLINK),
        _ended_as(Outcome.MEMORY_LIMIT),
        _CGROUP_MEND,
    ),
    _Probe(
        "no sockets but local ones, TCP and UDP",
        perl(FAMILIES),
        refused,
        "Let the engine filter system calls: install libseccomp.",
    ),
    _Probe(
        "no huge pages",
        perl(HUGE_PAGES),
        refused,
        "Let the engine filter system calls, or set vm.nr_hugepages to 0: no memory limit counts them.",
    ),
    _Probe(
        "/tmp is limited",
        "dd if=/dev/zero of=/tmp/x bs=1M count=64 2>/dev/null || echo full",
        _printed("full", shows="writing more than its size is refused"),
        _UPGRADE,
    ),
)


def _gpu_check() -> Check:
    try:
        with Gpu() as gpu:
            return Check("GPU", True, f"{gpu.name}, {gpu.total_bytes / 2**30:.0f} GiB, driver {gpu.driver}")
    except HarnessError as error:
        return Check("GPU", None, error.what, "Only challenges with a GPU need one.")
