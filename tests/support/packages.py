"""What a test wants of docker/packages.txt: there, installed for it, or a skip that names it in capitals."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "docker" / "packages.sh"


def want(purpose: str) -> None:
    """Go on only if all packages of a purpose are here.

    `make test` sets FLAREHARNESS_INSTALL: as root on Debian or Ubuntu they are installed then. A test that is
    started in another way changes nothing on its host.
    """
    if missing(purpose) and os.environ.get("FLAREHARNESS_INSTALL") and os.geteuid() == 0:
        _packages(purpose)
    if left := missing(purpose):
        pytest.skip(f"NO {purpose.upper()}: INSTALL {' '.join(line.partition(':')[0] for line in left)}")


def missing(purpose: str) -> list[str]:
    """Return the lines `package: what it is for` of what this host lacks."""
    return _packages("--missing", purpose).stdout.splitlines()


def _packages(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(SCRIPT), *arguments],
        env=os.environ | {"PYTHON": sys.executable},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
