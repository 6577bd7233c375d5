"""The versions of what made a run."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import subprocess
import sys
from pathlib import Path

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


def provenance() -> dict[str, str]:
    """Return what this installation is made of: where it lies, its commit, Python, and every dependency's version."""
    folder = Path(__file__).resolve().parents[2]
    return {
        "flareharness": __version__,
        "evaluator": evaluator_version,
        "installed": str(folder),
        "commit": _commit(folder),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "executable": sys.executable,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        **dict(sorted(_dependencies())),
    }


def _commit(folder: Path) -> str:
    """Return the checkout's commit, with `+changes` where files differ from it; or that it is no checkout."""
    if not (folder / ".git").exists():
        return "none: not a checkout"
    git = ["git", "-C", str(folder), "-c", f"safe.directory={folder}"]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        changes = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown: git does not answer"
    return head.stdout.strip() + ("+changes" if changes.stdout.strip() else "")


def _dependencies() -> list[tuple[str, str]]:
    """Return name and version of what the package requires, where it is installed."""
    found = []
    for requirement in importlib.metadata.requires("flareharness") or ():
        match = re.match(r"[A-Za-z0-9._-]+", requirement)
        if match and "extra ==" not in requirement:
            try:
                found.append((match[0], importlib.metadata.version(match[0])))
            except importlib.metadata.PackageNotFoundError:
                continue  # for another Python than this one
    return found
