"""What a container engine's answers mean: whose fault a refusal is, and that it went away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import requests
from docker.errors import APIError

from harness.engine.base import StartRefused
from harness.errors import InfrastructureError, PrerequisiteError

__all__ = ["ENGINE_GONE", "engine_answers", "full_disk", "is_full_disk", "reason", "refusal", "said"]

ENGINE_GONE = (requests.exceptions.RequestException, OSError)
"""What the SDK raises where nobody answers; APIError, an answer, is one of them."""

_IMAGE_FAULTS = (
    'exec: "',
    "exec format error",
    "exec user process",
    "executable file",
    "no command specified",
    "no command or entrypoint",
    "does not match the specified platform",
    "image operating system",
)
_HOST_LACKS = (
    (
        "could not select device driver",
        "the container engine cannot attach a GPU",
        "Install the NVIDIA container toolkit and restart the engine.",
    ),
    (
        "unresolvable cdi devices",
        "the container engine cannot attach a GPU",
        "Install the NVIDIA container toolkit and run `nvidia-ctk cdi generate`.",
    ),
    (
        "unsatisfied condition: cuda",
        "the GPU driver of this host is older than the CUDA that the image asks for",
        "Update the driver, or build the image on an older CUDA.",
    ),
    (
        "nvidia-container-cli",
        "the NVIDIA container toolkit failed",
        "Run `nvidia-smi` and `nvidia-container-cli info` on this host.",
    ),
    (
        "unknown or invalid runtime name",
        "the container engine does not know this OCI runtime",
        "Register it in the engine's configuration (Docker: `runtimes` of daemon.json).",
    ),
    (
        "container-init binary not found",
        "the container engine lacks an init for its containers",
        "Install the package `catatonit` (Podman) or `docker-init`.",
    ),
    (
        "apparmor",
        "the container engine cannot load the AppArmor profile that this kernel asks for",
        "Install the package `apparmor` and restart the engine.",
    ),
    (
        "bind source path does not exist",
        "the container engine does not see this host's folders",
        "Run the harness on the engine's host, outside of other containers. An engine with mounts of its own "
        "sees ours only after `mount --make-rshared /` and a restart.",
    ),
    (
        "cgroup mountpoint does not exist",
        "the container engine finds no cgroups",
        "Mount them at /sys/fs/cgroup (Debian's package `cgroupfs-mount` does) and restart the engine.",
    ),
)
"""What an engine says when the host lacks something: text, what it means, the mend."""


@contextmanager
def engine_answers(doing: str) -> Iterator[None]:
    """Turn a lost connection to the engine into one InfrastructureError; the engine's own answers pass."""
    try:
        yield
    except APIError:
        raise
    except ENGINE_GONE as error:
        raise InfrastructureError(
            f"the container engine went away while {doing}",
            where=reason(error),
            mend="Start it and run the same command again: finished cases are kept.",
        ) from error


def refusal(error: APIError, doing: str) -> Exception:
    """Return what an engine's no to a container means: the host's, the image's or the engine's own fault."""
    text = said(error)
    for sign, what, mend in _HOST_LACKS:
        if sign in text.lower():
            return PrerequisiteError(what, where=text, mend=mend)
    if any(fault in text.lower() for fault in _IMAGE_FAULTS):
        return StartRefused(text)
    return InfrastructureError(f"the container engine failed while {doing}", where=text)


def said(error: APIError) -> str:
    """Return the engine's own words, on one line."""
    return " ".join(str(error.explanation or error).split())


def is_full_disk(text: str) -> bool:
    """Whether an engine's message says that its disk is full."""
    return "no space left on device" in text.lower()


def full_disk(doing: str) -> InfrastructureError:
    """Return the error for an engine whose disk is full."""
    return InfrastructureError(
        "the disk is full", where=doing, mend="Free space where the engine keeps its images."
    )


def reason(error: Exception) -> str:
    """Return why nobody answers, in few words."""
    text = str(error)
    for known, plain in (
        ("FileNotFoundError", "no such socket"),
        ("PermissionError", "permission denied"),
        ("Connection refused", "nothing listens there"),
    ):
        if known in text:
            return plain
    return " ".join(text.split())[:120]
