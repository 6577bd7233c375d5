"""Prove each limit on this host: tiny containers break it on purpose, on the path that submissions take."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
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
from harness.results.records import OptOuts, Outcome
from harness.run.canary import try_image
from harness.run.context import RUN_LABEL, Bench, Instruments, Job, Places, Rules
from harness.run.execute import execute_case
from harness.run.opening import check_engine
from harness.run.probes import LIMITS, PLAIN, PROBES, Probe
from harness.run.request import container_owner, results_label
from harness.run.space import make_template
from harness.submission.recipes import checkout

MIB = 1024**2

_PURPOSES = ("env", "engine", "base", "browser", "podman", "vm")


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
            plain = _run(PLAIN, rules, bench)
            yield plain
            if not plain.passed:
                return
            rules = try_image(rules, image, bench).rules
            for probe in PROBES:
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
        limits=LIMITS,
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
    template = make_template(places.work, LIMITS.output_bytes)
    return Bench(replace(places, template=template), Instruments(engine, Gatekeeper([]), find_hierarchy()))


def _run(probe: Probe, rules: Rules, bench: Bench) -> Check:
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


def _gpu_check() -> Check:
    try:
        with Gpu() as gpu:
            return Check("GPU", True, f"{gpu.name}, {gpu.total_bytes / 2**30:.0f} GiB, driver {gpu.driver}")
    except HarnessError as error:
        return Check("GPU", None, error.what, "Only challenges with a GPU need one.")
