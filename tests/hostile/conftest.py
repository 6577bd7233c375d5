"""Fixtures of tests in real containers; see tests/support/containers.py."""

from containers import arena, engine, processes_named

__all__ = ["arena", "engine", "processes_named"]
