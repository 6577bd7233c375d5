"""The versions of what made a run."""

from __future__ import annotations

import importlib.metadata
import platform

from evaluator import __version__ as evaluator_version
from harness import __version__


def versions() -> dict[str, str]:
    """Return the versions of what made a run."""
    return {
        "flareharness": __version__,
        "evaluator": evaluator_version,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("docker", "numpy", "pydantic")},
    }
