"""What a container of other users left is opened by a container of ours, and only if it must be."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.engine.base import ContainerSpec, ImageInfo
from harness.errors import InfrastructureError
from harness.run import access
from harness.run.access import restore_access


class Engine:
    """Opens a folder as a container with the rights to do so would."""

    facts = SimpleNamespace(isolated=True)

    def __init__(self, *, ends: bool = True) -> None:
        self.made: list[ContainerSpec] = []
        self.removed = 0
        self._ends = ends

    def create(self, spec: ContainerSpec) -> Any:
        self.made.append(spec)
        return SimpleNamespace(start=lambda: None, wait=lambda timeout_s: self._ends, remove=self._remove)

    def _remove(self) -> None:
        self.removed += 1


@pytest.fixture
def closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths that an ordinary user may not use, whoever runs the tests."""
    paths: list[str] = []
    monkeypatch.setattr(access.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(access.os, "access", lambda path, mode: os.fspath(path) not in paths)
    monkeypatch.setattr(access, "probe_image", lambda engine: ImageInfo("probe", "sha256:0", 1))
    (tmp_path / "outputs" / "folder").mkdir(parents=True)
    (tmp_path / "outputs" / "file").touch()
    (tmp_path / "outputs" / "link").symlink_to("/etc/shadow")
    return paths


def test_nothing_is_run_where_all_can_be_read(tmp_path: Path, closed: list[str]) -> None:
    restore_access(tmp_path, engine := Engine(), label="x")  # type: ignore[arg-type]
    assert engine.made == []


def test_a_link_is_not_followed(tmp_path: Path, closed: list[str]) -> None:
    closed.append(str(tmp_path / "outputs" / "link"))
    restore_access(tmp_path, engine := Engine(), label="x")  # type: ignore[arg-type]
    assert engine.made == []


@pytest.mark.parametrize("name", ["file", "folder"])
def test_what_is_closed_is_opened_by_an_image_of_ours_with_no_more_rights_than_it_takes(
    tmp_path: Path, closed: list[str], name: str
) -> None:
    closed.append(str(tmp_path / "outputs" / name))
    restore_access(tmp_path, engine := Engine(), label="x")  # type: ignore[arg-type]
    (spec,) = engine.made
    assert (spec.image, spec.user, spec.labels) == ("sha256:0", "0:0", {"flareharness.results": "x"})
    assert set(spec.capabilities) == {"DAC_OVERRIDE", "FOWNER"}
    assert [mount.source for mount in spec.mounts] == [tmp_path]
    assert engine.removed == 1


def test_one_that_does_not_end_is_removed_and_told_of(tmp_path: Path, closed: list[str]) -> None:
    closed.append(str(tmp_path / "outputs" / "file"))
    engine = Engine(ends=False)
    with pytest.raises(InfrastructureError, match="cannot be opened in time"):
        restore_access(tmp_path, engine, label="x")  # type: ignore[arg-type]
    assert engine.removed == 1
