"""Fixtures of tests in real containers; see tests/support/containers.py and built_images.py."""

from built_images import client, submission
from containers import arena, engine, processes_named

__all__ = ["arena", "client", "engine", "processes_named", "submission"]
