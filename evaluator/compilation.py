"""How the kernels are compiled: once, without the interpreter lock, kept on disk."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba

_config: Any = numba.config
_STAMP = "kernels.stamp"


def writable_cache(package: Path) -> str:
    """Return the folder for compiled kernels; empty for the one that numba finds by itself.

    Numba keeps compiled kernels in `__pycache__` beside the source, or in the user's cache folder. In a
    container with a read-only root neither can be written, and without a cache each start costs seconds.

    Args:
        package: The folder of the kernels' source.
    """
    beside = package / "__pycache__"
    if os.access(beside if beside.is_dir() else package, os.W_OK | os.X_OK):
        return ""
    if any(beside.glob("*.nbi")):
        return ""  # the kernels were compiled when the package was installed
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    while not home.is_dir():
        home = home.parent
    if os.access(home, os.W_OK | os.X_OK):
        return ""
    private = Path(tempfile.gettempdir()) / f"evaluator-kernels-{os.getuid()}"
    try:
        private.mkdir(mode=0o700, exist_ok=True)
        status = private.lstat()
    except OSError:
        return ""
    # Cached kernels are unpickled and run, so the folder must be nobody else's.
    is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077
    return str(private) if is_ours else ""


def drop_stale(package: Path) -> None:
    """Remove compiled kernels beside the source that any other source file has outlived.

    Numba looks at the file of a kernel alone, and not at those of the functions compiled into it.

    Args:
        package: The folder of the kernels' source.
    """
    compiled = package / "__pycache__"
    with suppress(OSError):
        sources = hashlib.blake2b(b"".join(path.read_bytes() for path in sorted(package.glob("*.py"))))
        stamp = sources.hexdigest()
        if (compiled / _STAMP).exists() and (compiled / _STAMP).read_text(encoding="ascii") == stamp:
            return
        for path in compiled.glob("*.nb[ic]"):
            path.unlink(missing_ok=True)
        (compiled / _STAMP).write_text(stamp, encoding="ascii")


if not _config.CACHE_DIR:
    _config.CACHE_DIR = writable_cache(Path(__file__).parent)
if not _config.CACHE_DIR:
    drop_stale(Path(__file__).parent)


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function to machine code, at its first call or from the cache; it releases the GIL.

    Kernels take and return plain NumPy arrays and integers, always of the same types, so that each is
    compiled once. Their arrays are not bounds-checked.
    """
    try:
        return numba.njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # nowhere to keep it: compile in every process
        return numba.njit(nogil=True, error_model="numpy")(function)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function into each kernel that calls it, for calls that would cost more than the work."""
    return numba.njit(nogil=True, error_model="numpy", forceinline=True)(function)
