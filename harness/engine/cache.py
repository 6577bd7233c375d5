"""Where the harness keeps what it can make again: wheels, root file systems, what it knows of images."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return FLAREHARNESS_CACHE, or ~/.cache/flareharness."""
    chosen = os.environ.get("FLAREHARNESS_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "flareharness"
