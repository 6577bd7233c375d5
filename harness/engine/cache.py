"""Where the harness keeps what it can make again: wheels, root file systems, what it knows of images."""

from __future__ import annotations

import os
from pathlib import Path

from harness.errors import PrerequisiteError


def cache_folder() -> Path:
    """Return FLAREHARNESS_CACHE, or ~/.cache/flareharness."""
    chosen = os.environ.get("FLAREHARNESS_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "flareharness"


def made_cache_folder() -> Path:
    """Return the cache folder, made where it is missing.

    Raises:
        PrerequisiteError: it cannot be written.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(error) from error
    return folder


def unwritable(error: OSError) -> PrerequisiteError:
    """Return what to say of a cache folder that cannot be written."""
    return PrerequisiteError(
        f"the cache folder cannot be written: {error.strerror}",
        where=cache_folder(),
        mend="Set FLAREHARNESS_CACHE to a folder of yours.",
    )
