"""Fixtures of tests in real containers; see tests/support/containers.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from containers import arena, engine, processes_named

__all__ = ["arena", "engine", "processes_named"]
