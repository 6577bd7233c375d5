"""Where the base image's root file system comes from: a registry where one answers, otherwise debootstrap."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.engine.cache import cache_folder
from harness.engine.images import EngineRefused, ImageClient
from harness.errors import ConfigurationError, PrerequisiteError
from harness.submission.image import CONTENT_LABEL, Progress, content_of
from harness.submission.program import run_script
from harness.submission.recipes import checkout

REGISTRY_IMAGE = "python:3.11-slim-bookworm"
DEBOOTSTRAP_IMAGE = "flareharness/debootstrap:bookworm"
REGISTRY_ANSWER_S = 10.0
"""How long the engine may take to say whether a registry has the image."""

_SCRIPT = "docker/base/debootstrap.sh"

Kind = Literal["registry", "debootstrap"]


@dataclass(frozen=True)
class BaseSource:
    """One of the two sources. `identity` goes into the base image's content hash."""

    kind: Kind
    reference: str
    identity: str


def sources() -> tuple[BaseSource, ...]:
    """Return the sources that BASE (registry, debootstrap, or auto) allows, in the order of preference.

    Raises:
        ConfigurationError: BASE is something else.
    """
    script = hashlib.sha256((checkout() / _SCRIPT).read_bytes()).hexdigest()
    known: dict[str, BaseSource] = {
        "registry": BaseSource("registry", REGISTRY_IMAGE, f"registry {REGISTRY_IMAGE}"),
        "debootstrap": BaseSource("debootstrap", DEBOOTSTRAP_IMAGE, f"debootstrap {script}"),
    }
    chosen = os.environ.get("BASE", "auto")
    if chosen == "auto":
        return tuple(known.values())
    if chosen not in known:
        raise ConfigurationError(
            f"BASE={chosen} is unknown",
            where="environment",
            mend="Use BASE=registry, BASE=debootstrap or BASE=auto.",
        )
    return (known[chosen],)


def provide(images: ImageClient, allowed: tuple[BaseSource, ...], progress: Progress) -> BaseSource:
    """Make one of the allowed sources present in the engine, and return it.

    Raises:
        PrerequisiteError: no registry answers, and debootstrap is impossible here.
    """
    for source in allowed:
        if is_present(images, source):
            return source
    alone = len(allowed) == 1
    for source in allowed:
        if source.kind == "debootstrap":
            _debootstrap(images, source, progress)
            return source
        if alone or images.is_offered(source.reference, within_s=REGISTRY_ANSWER_S):
            _pull(images, source.reference, progress)
            return source
        progress("no registry answers: the base is made with debootstrap")
    raise AssertionError("sources() never returns nothing")


def is_present(images: ImageClient, source: BaseSource) -> bool:
    """Whether the engine has the source's image, made from the script as it is now."""
    if source.kind == "registry":
        return images.inspect(source.reference) is not None
    return content_of(images, source.reference) == source.identity


def _pull(images: ImageClient, reference: str, progress: Progress) -> None:
    progress(f"pulling {reference}")
    try:
        images.pull(reference)
    except EngineRefused as error:
        raise _not_pulled(reference, str(error)) from error


def _not_pulled(reference: str, why: str) -> PrerequisiteError:
    return PrerequisiteError(
        f"no registry gives {reference}: {why}",
        where="BASE=registry",
        mend="Check the engine's network, or use BASE=debootstrap (as root on Debian or Ubuntu).",
    )


def _debootstrap(images: ImageClient, source: BaseSource, progress: Progress) -> None:
    archive = _root_file_system(source, progress)
    progress(f"importing {source.reference}")
    images.import_root(archive, source.reference, {CONTENT_LABEL: source.identity})


def _root_file_system(source: BaseSource, progress: Progress) -> Path:
    archive = cache_folder() / f"bookworm-{source.identity.split()[1][:16]}.tar.gz"
    if not archive.is_file():
        progress("making Debian's root file system with debootstrap (about a minute)")
        run_script(
            ["sh", str(checkout() / _SCRIPT), str(archive)],
            what="making the base image",
            environment=os.environ,
            progress=progress,
        )
        for old in archive.parent.glob("bookworm-*.tar.gz"):
            if old != archive:
                old.unlink(missing_ok=True)
    return archive
