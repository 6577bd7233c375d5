"""Open what a container left to an ordinary user's harness: files of other user ids, folders closed to us.

A container's users are others on the host where the engine maps them, and root where a submission asks for
it. The engine can do what we may not, so our own image is run over the folder, with the rights that it takes.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from harness.engine.base import ContainerEngine, ContainerSpec, Mount, StartRefused
from harness.engine.probe import probe_image
from harness.errors import InfrastructureError
from harness.run.context import RUN_LABEL

_MEMORY_BYTES = 64 << 20
_PATIENCE_S = 60.0
# Set-uid, set-gid and sticky bits go, too.
_COMMAND = ("/bin/sh", "-c", "chmod -R a=rwX,-s,-t /left/*")


def restore_access(folder: Path, engine: ContainerEngine, *, label: str) -> None:
    """Make everything below a folder readable and removable, if anything there is not.

    Args:
        folder: Nothing that runs may still write to it.
        engine: What ran the container.
        label: Value of `RUN_LABEL`.

    Raises:
        InfrastructureError: the engine failed.
    """
    if os.geteuid() == 0 or not engine.facts.isolated or not _is_closed(folder):
        return
    spec = ContainerSpec(
        name=f"flareharness-{label}{secrets.token_hex(8)}",
        image=probe_image(engine).digest,
        command=_COMMAND,
        entrypoint=(),
        memory_bytes=_MEMORY_BYTES,
        shm_bytes=1 << 20,
        tmp_bytes=1 << 20,
        file_bytes=1 << 20,
        log_bytes=4096,
        mounts=(Mount(folder.resolve(), "/left", writable=True),),
        labels={RUN_LABEL: label},
        user="0:0",
        capabilities=("DAC_OVERRIDE", "FOWNER"),
    )
    try:
        container = engine.create(spec)
        try:
            container.start()
            if not container.wait(_PATIENCE_S):
                raise InfrastructureError("what a container left cannot be opened in time", where=folder)
        finally:
            container.remove()
    except StartRefused as error:
        raise InfrastructureError("what a container left cannot be opened", where=error) from error


def _is_closed(folder: Path) -> bool:
    """Whether something below a folder cannot be read or removed by us."""
    waiting = [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if not os.access(entry.path, os.R_OK | os.W_OK | os.X_OK):
                            return True
                        waiting.append(Path(entry.path))
                    elif entry.is_file(follow_symlinks=False) and not os.access(entry.path, os.R_OK):
                        return True
        except PermissionError:
            return True
        except FileNotFoundError:
            continue
    return False
