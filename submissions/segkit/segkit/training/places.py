"""Where trainings keep what they make unless told otherwise: outside of the project's folder."""

from __future__ import annotations

import os
from pathlib import Path


def default_work(method: str, name: str) -> Path:
    """The work folder of a training: in the user's cache, since it may grow to hundreds of GB.

    Args:
        method: The submission.
        name: What is trained, and how.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "flareharness" / "training" / method / name


def default_out(work: Path) -> Path:
    """The model folder of a training: in its work folder, so that shipped weights are not overwritten."""
    return work / "model"
