"""Fixtures of tests that run submissions as processes; see tests/support/process_runs.py."""

from process_runs import challenge, dataset, request_for

__all__ = ["challenge", "dataset", "request_for"]
