"""The process engine runs a submission's folder, and says that it isolates nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.engine.base import ContainerSpec, Mount
from harness.engine.process import ProcessEngine


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A submission that prints what it was given."""
    place = tmp_path / "submission"
    place.mkdir()
    (place / "predict.sh").write_text('echo "$TASK in $FLARE_INPUTS"\n')
    return place


def printed(folder: Path, *built_with: str) -> str:
    inputs = folder.parent / "inputs"
    container = ProcessEngine().create(
        ContainerSpec(
            name="case",
            image=str(folder),
            command=None,
            memory_bytes=1 << 30,
            shm_bytes=1 << 20,
            tmp_bytes=1 << 20,
            file_bytes=1 << 20,
            log_bytes=1 << 16,
            mounts=(Mount(inputs, "/workspace/inputs"),),
            environment={"FLARE_INPUTS": "/workspace/inputs"},
            image_environment=built_with,
        )
    )
    container.start()
    assert container.wait(20)
    assert container.state().exit_code == 0
    return container.log().content().decode().strip()


def test_it_isolates_nothing_and_says_so() -> None:
    assert ProcessEngine().facts.isolated is False


def test_build_arguments_come_as_variables_and_folders_where_they_really_are(folder: Path) -> None:
    assert printed(folder, "TASK=liver") == f"liver in {folder.parent / 'inputs'}"


def test_what_the_harness_says_wins_over_a_build_argument(folder: Path) -> None:
    assert printed(folder, "FLARE_INPUTS=/elsewhere", "TASK=liver") == f"liver in {folder.parent / 'inputs'}"


def test_its_name_changes_with_what_its_programs_import(folder: Path) -> None:
    imported = folder.parent / "toolkit"
    imported.mkdir()
    (imported / "read.py").write_text("LIMIT = 1\n")
    reference = f"{folder}{os.pathsep}{imported}"
    before = ProcessEngine().image(reference)
    assert before.source == str(folder)
    assert before.digest != ProcessEngine().image(str(folder)).digest
    (imported / "__pycache__").mkdir()
    (imported / "__pycache__/read.pyc").write_bytes(b"compiled")
    assert ProcessEngine().image(reference).digest == before.digest
    (imported / "read.py").write_text("LIMIT = 2\n")
    assert ProcessEngine().image(reference).digest != before.digest
