"""What a running container writes is counted; what cannot be counted ends it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.run.outcome import Stop
from harness.run.writing import Writing, bytes_before

NOBODY = 65534


@pytest.fixture
def outputs() -> Iterator[Path]:
    """A container's output folder as an ordinary user's harness sees it, who has the container's user id."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:  # others need not be let into TMPDIR
        folder = Path(name)
        if os.geteuid() == 0:  # root may list every folder
            os.chown(folder, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        try:
            yield folder
        finally:
            os.seteuid(os.getuid())


def writing_to(outputs: Path) -> Writing:
    stage: Any = SimpleNamespace(
        outputs=outputs, inputs=outputs, space=outputs, bounded=False, writable_inputs=False
    )
    container: Any = SimpleNamespace()
    meter: Any = SimpleNamespace(pids=lambda: [os.getpid()])
    return Writing(stage, container, meter, before_bytes=bytes_before(stage), writable_root=False)


def test_a_folder_that_is_closed_to_us_is_an_offence_because_nothing_in_it_counts(outputs: Path) -> None:
    closed = outputs / "closed"
    closed.mkdir()
    (closed / "a").write_bytes(bytes(4096))
    closed.chmod(0o300)
    writing = writing_to(outputs)
    assert writing.look() < 4096
    assert writing.limit_reached(1 << 20) == (Stop.CLOSED, None)
    closed.chmod(0o700)


def test_a_file_that_was_deleted_while_open_counts(outputs: Path) -> None:
    writing = writing_to(outputs)
    with (outputs / "a").open("wb") as file:
        (outputs / "a").unlink()
        file.write(bytes(1 << 20))
        file.flush()
        assert writing.look() >= 1 << 20
        assert writing.limit_reached(1 << 19) == (Stop.OUTPUT, writing.total_bytes)
