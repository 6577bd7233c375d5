"""How the kernels are compiled: once, without the interpreter lock, kept on disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _give_numba_a_writable_cache() -> None:
    """Point numba at a cache of the user's own if it cannot write beside this package.

    Numba keeps compiled kernels in `__pycache__`, and falls back to the user's cache folder by itself. In a
    container with a read-only root neither can be written, and without a cache each start costs seconds.
    """
    if os.environ.get("NUMBA_CACHE_DIR"):
        return
    package = Path(__file__).parent
    beside = package / "__pycache__"
    if os.access(beside if beside.is_dir() else package, os.W_OK | os.X_OK):
        return
    if any(beside.glob("*.nbi")):
        return  # the kernels were compiled when the package was installed
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    while not home.is_dir():
        home = home.parent
    if os.access(home, os.W_OK | os.X_OK):
        return
    os.environ["NUMBA_CACHE_DIR"] = str(Path(tempfile.gettempdir()) / f"evaluator-numba-{os.getuid()}")


_give_numba_a_writable_cache()

import numba  # noqa: E402  the environment must be set before numba reads it


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function to machine code, at its first call or from the cache; it releases the GIL.

    Kernels take and return plain NumPy arrays and integers, always of the same types, so that each is
    compiled once. Their arrays are not bounds-checked.
    """
    return numba.njit(nogil=True, cache=True, error_model="numpy")(function)
