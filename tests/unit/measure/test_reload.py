"""A reload of systemd during a case is seen afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.measure.reload import reloaded_since


@pytest.mark.parametrize(
    ("answer", "reloaded"),
    [("echo 5000000", True), ("echo 3999999", False), ("echo", False), ("exit 1", False)],
)
def test_a_reload_after_the_start_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, reloaded: bool
) -> None:
    program = tmp_path / "systemctl"
    program.write_text(f"#!/bin/sh\n{answer}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert reloaded_since(4.0) is reloaded


def test_a_host_without_systemd_was_not_reloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not reloaded_since(0.0)
