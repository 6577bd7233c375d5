"""Locks in a shared folder, so that several machines can train members of one ensemble."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from segkit.log import log

_BEAT_S = 30.0
_STALE_S = 600.0
_LOOK_S = 2.0


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold a lock while the block runs; gives False, and holds nothing, where another holds it.

    The lock is a file that is made whole or not at all and touched twice a minute. One that nobody has
    touched for ten minutes was left by a machine that is gone, and is taken over.

    Args:
        path: The lock; its folder is made where missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not _taken(path):
        yield False
        return
    done = threading.Event()
    beat = threading.Thread(target=_keep_fresh, args=(path, done), daemon=True)
    beat.start()
    try:
        yield True
    finally:
        done.set()
        beat.join()
        path.unlink(missing_ok=True)


@contextmanager
def waited_for(path: Path, what: str) -> Iterator[None]:
    """Hold a lock while the block runs, once nobody else does.

    Args:
        path: The lock.
        what: What the other is doing, for the line that says why nothing happens.
    """
    told = False
    while True:
        with held(path) as free:
            if free:
                yield
                return
        if not told:
            log.info(f"{what} by {holder(path)}; waiting")
            told = True
        time.sleep(_LOOK_S)


def holder(path: Path) -> str:
    """Who holds a lock, in words."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return f"{told['host']}, process {told['process']}"
    except (OSError, ValueError, KeyError):
        return "another process"


def _taken(path: Path) -> bool:
    for _ in range(2):
        with suppress(FileExistsError):
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({"host": socket.gethostname(), "process": os.getpid()}, file)
            return True
        if not _is_left(path):
            return False
        path.unlink(missing_ok=True)
    return False


def _is_left(path: Path) -> bool:
    """Whether nobody works under a lock any more: its process is gone from this machine, or it is stale."""
    try:
        age_s = time.time() - path.stat().st_mtime
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["host"] == socket.gethostname():
            return not Path(f"/proc/{told['process']}").exists() and Path("/proc").exists()
    except FileNotFoundError:
        return True
    except (ValueError, KeyError):
        pass  # being written this moment, or by a machine that died at it
    return age_s > _STALE_S


def _keep_fresh(path: Path, done: threading.Event) -> None:
    while not done.wait(_BEAT_S):
        with suppress(OSError):
            os.utime(path)
