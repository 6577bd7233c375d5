"""Start an image once, under the judged specification and without running anything of it.

An engine that cannot start a container says so in words of its own, which do not tell the image's fault
(WORKDIR is a file, a file lies where a folder must be mounted) from the host's. So when it fails, our own
image is started in the same way: if that works, the submission's image is at fault, and that is a verdict.
"""

from __future__ import annotations

import contextlib
import secrets
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from harness.engine.base import Container, ContainerEngine, ContainerSpec, ImageInfo, StartRefused
from harness.engine.config import DEFAULTS
from harness.engine.probe import probe_image
from harness.errors import HarnessError, InfrastructureError
from harness.run.container import container_spec
from harness.run.context import RUN_LABEL, Bench, Places, Rules
from harness.run.stage import Stage, discard_stages, empty_stage

_NOTHING = "/flareharness-canary"
"""A program that no image has: the container is made, its init finds nothing to run and ends."""
_PATIENCE_S = 60.0
_SEEN = "seen"
_PASSWD = "/etc/passwd"
_LARGEST_PASSWD_BYTES = 1 << 16


@dataclass(frozen=True)
class Trial:
    """What came of it.

    Attributes:
        rules: With what was learnt of the image.
        refused: Why no container of this image can start; empty if one can.
    """

    rules: Rules
    refused: str = ""


def try_image(rules: Rules, image: ImageInfo, bench: Bench) -> Trial:
    """Start an image once, and learn how its containers must be made.

    Raises:
        PrerequisiteError: this host cannot run it: no GPU support, a driver that is too old.
        InfrastructureError: the engine fails with our own image, too, or does not see the harness's folders.
    """
    engine = bench.instruments.engine
    try:
        declared = engine.copy_declared(
            image, inside=(rules.contract.inputs, rules.contract.outputs), labels={RUN_LABEL: rules.label}
        )
        rules = replace(rules, declared=declared)
        with _folders(rules, bench.places) as stage:
            with _made(_spec(rules, stage), engine) as container:
                _check_seen(container, rules, stage)
                rules = replace(rules, passwd=_with_owner(container, rules))
                # Podman's volumes can be no tmpfs of a chosen size: there it stays closed.
                closed = engine.facts.name != "podman" and _tmp_is_closed(container)
                if not closed:
                    _run_to_its_end(container)
            if closed:
                rules = replace(rules, tmp_by_engine=True)
                with _made(_spec(rules, stage), engine) as container:
                    _run_to_its_end(container)
    except StartRefused as error:
        return Trial(rules, str(error))
    except InfrastructureError as error:
        if not _is_there(image, engine) or not _our_own_starts(rules, bench):
            raise
        return Trial(rules, error.where or error.what)
    return Trial(rules)


@contextlib.contextmanager
def _folders(rules: Rules, places: Places) -> Iterator[Stage]:
    stage = empty_stage(rules, places)
    try:
        (stage.outputs / _SEEN).touch()
        yield stage
    finally:
        discard_stages(stage.folder)


def _spec(rules: Rules, stage: Stage) -> ContainerSpec:
    name = f"flareharness-{rules.label}{secrets.token_hex(8)}"
    spec = container_spec(replace(rules, passwd=b""), stage, name=name, parent=None)
    return replace(spec, entrypoint=(_NOTHING,), command=())


def _check_seen(container: Container, rules: Rules, stage: Stage) -> None:
    """Check that the engine sees what we put into the output folder.

    Raises:
        InfrastructureError: it does not.
    """
    if container.mode_of(f"{rules.contract.outputs}/{_SEEN}") is None:
        raise InfrastructureError(
            "the container engine does not see this host's folders",
            where=stage.folder,
            mend="Run the harness on the engine's host, outside of other containers.",
        )


def _tmp_is_closed(container: Container) -> bool:
    """Whether the image's own /tmp has a mode that even its owner cannot write with."""
    mode = container.mode_of("/tmp")
    return mode is not None and stat.S_ISDIR(mode) and mode & stat.S_IRWXU != stat.S_IRWXU


def _with_owner(container: Container, rules: Rules) -> bytes:
    """Return the image's /etc/passwd with a line for who will run in it; empty if it needs none.

    Programs that ask for the name of their user fail where there is none: `whoami`, `pwd.getpwuid`, MPI.
    """
    content = container.content_of(_PASSWD, most_bytes=_LARGEST_PASSWD_BYTES)
    uid, gid = rules.owner
    if content is None or any(line.split(b":")[2:3] == [b"%d" % uid] for line in content.splitlines()):
        return b""
    own = dict(entry.partition("=")[::2] for entry in rules.image_environment)
    home = own.get("HOME", DEFAULTS["HOME"]).replace(":", "").replace("\n", "")
    line = f"{DEFAULTS['USER']}:x:{uid}:{gid}::{home}:/bin/sh\n"
    return content + (b"" if content.endswith(b"\n") or not content else b"\n") + line.encode()


def _run_to_its_end(container: Container) -> None:
    container.start()
    deadline = time.monotonic() + _PATIENCE_S
    while not container.wait(1.0):
        if time.monotonic() > deadline:
            raise InfrastructureError("an empty container does not end", where=container.id)


@contextlib.contextmanager
def _made(spec: ContainerSpec, engine: ContainerEngine) -> Iterator[Container]:
    container = engine.create(spec)
    try:
        yield container
    finally:
        container.remove()


def _is_there(image: ImageInfo, engine: ContainerEngine) -> bool:
    try:
        engine.image(image.digest)
    except HarnessError:
        return False
    return True


def _our_own_starts(rules: Rules, bench: Bench) -> bool:
    engine = bench.instruments.engine
    try:
        ours = probe_image(engine)
        rules = replace(rules, image=ours.digest, image_environment=(), declared=())
        with _folders(rules, bench.places) as stage, _made(_spec(rules, stage), engine) as container:
            _run_to_its_end(container)
    except (HarnessError, StartRefused):
        return False
    return True
