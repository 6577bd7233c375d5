"""Apptainer: the command line of a judged container, and why no judged case is run with it yet.

Apptainer (formerly Singularity) is what many clusters have instead of Docker. Most of a container can be said
in its options, and `argv_of` says it. What cannot be said is listed by `unmet`; as long as that list has an
entry for every host, `open_engine` refuses, because a row that was made under weaker rules would stand beside
the others as if it were one of them. On clusters, rootless Podman serves (docs/howto.md).

Facts: apptainer.org, user guide ("Limiting Container Resources", "Network virtualization") and admin guide
("Security in Apptainer"): without root, limits need cgroups v2 with delegation by systemd; a list of system
calls needs root; `--network none` takes root or a setuid installation.
"""

from __future__ import annotations

import os
import shutil

from harness.engine.base import ContainerEngine, ContainerSpec
from harness.engine.config import OPEN_FILES_LIMIT, USER_PROCESSES_LIMIT, pids_limit
from harness.errors import PrerequisiteError


def open_engine(address: str | None = None) -> ContainerEngine:
    """Refuse, with the reasons; see `harness.engine.registry`.

    Raises:
        PrerequisiteError: always, as long as `unmet` has something to say of every host.
    """
    there = shutil.which("apptainer") or shutil.which("singularity")
    raise PrerequisiteError(
        "Apptainer cannot hold a container to the judged rules: " + "; ".join(unmet(root=os.geteuid() == 0)),
        where=there or "and it is not installed here",
        mend="Use rootless Podman, which clusters can offer without a daemon; see docs/howto.md.",
    )


def unmet(*, root: bool) -> list[str]:
    """Return what the judged rules ask for and Apptainer has no option for.

    Args:
        root: Whether it is started by root.
    """
    always = [
        "/tmp and /dev/shm get no size of their own",
        "an image runs as the caller, and not as another user without rights",
        "it is put into no cgroup of ours, so that peaks would be samples and not the kernel's own",
    ]
    without_root = ["a list of system calls takes root", "a network of its own takes root"]
    return always + ([] if root else without_root)


def argv_of(spec: ContainerSpec, image: str, *, cores: int) -> list[str]:
    """Return the command line that comes nearest to a judged container.

    Args:
        spec: The container.
        image: A SIF file or an unpacked root file system.
        cores: Of the host, for the limit of processes where there is no quota.
    """
    limits = [
        f"--nofile={OPEN_FILES_LIMIT}",
        f"--nproc={USER_PROCESSES_LIMIT}",
        f"--fsize={spec.file_bytes}",
        "--core=0",
    ]
    options = [
        "--containall",
        "--cleanenv",
        "--no-eval",
        "--no-privs",
        *("--net", "--network", "none"),
        *("--memory", str(spec.memory_bytes), "--memory-swap", str(spec.memory_bytes)),
        *("--pids-limit", str(pids_limit(spec.cpus or cores))),
    ]
    if spec.cpus is not None:
        options += ["--cpus", f"{spec.cpus:g}"]
    if spec.cpuset:
        options += ["--cpuset-cpus", spec.cpuset]
    if spec.writable_root:
        options += ["--writable-tmpfs"]
    if spec.gpu is not None:
        options += ["--nv", "--env", f"NVIDIA_VISIBLE_DEVICES={spec.gpu}"]
    for mount in spec.mounts:
        options += ["--bind", f"{mount.source}:{mount.target}:{'rw' if mount.writable else 'ro'}"]
    for name, value in sorted(spec.environment.items()):
        options += ["--env", f"{name}={value}"]
    if spec.command is None:
        return ["prlimit", *limits, "apptainer", "run", *options, image]
    return ["prlimit", *limits, "apptainer", "exec", *options, image, *spec.command]
