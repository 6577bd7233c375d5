"""What a stranger left in a folder is looked at without being followed, opened or believed."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import InfrastructureError
from harness.gate.harvest import harvest, take_census

NAME = "case_1.nii.gz"


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    folder = tmp_path / "outputs"
    folder.mkdir()
    return folder


def test_a_plain_file_is_copied_and_hashed(outputs: Path, tmp_path: Path) -> None:
    (outputs / NAME).write_bytes(b"voxels")
    found = harvest(outputs, NAME, tmp_path / "kept", most_bytes=100)
    assert found.path == tmp_path / "kept"
    assert found.path.read_bytes() == b"voxels"
    assert found.sha256 == hashlib.sha256(b"voxels").hexdigest()
    assert found.size_bytes == 6


def test_nothing_there(outputs: Path, tmp_path: Path) -> None:
    assert harvest(outputs, NAME, tmp_path / "kept", most_bytes=100).missing.endswith("; it wrote nothing")


def test_other_names_are_told(outputs: Path, tmp_path: Path) -> None:
    for name in ("b.nii.gz", "a\x1b[2J.nii", "c", "d"):
        (outputs / name).write_bytes(b"")
    assert harvest(outputs, NAME, tmp_path / "kept", most_bytes=100).missing == (
        f"no file {NAME}; it wrote a\\x1b[2J.nii, b.nii.gz, c"
    )


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


STRANGE: list[tuple[str, Callable[[Path], object], str]] = [
    ("a link to a file", lambda path: path.symlink_to("/etc/passwd"), "symbolic link"),
    ("a link to nothing", lambda path: path.symlink_to("/nowhere"), "symbolic link"),
    ("a link to itself", lambda path: path.symlink_to(path), "symbolic link"),
    ("a named pipe", lambda path: os.mkfifo(path), "a named pipe"),
    ("a folder", lambda path: path.mkdir(), "a folder"),
    ("a socket", _socket, "cannot be opened"),
    ("too many bytes", lambda path: path.write_bytes(bytes(101)), "has 101 bytes"),
]


@pytest.mark.parametrize(("what", "make", "reason"), STRANGE, ids=[row[0] for row in STRANGE])
def test_what_is_no_plain_file_is_refused(
    outputs: Path, tmp_path: Path, what: str, make: Callable[[Path], object], reason: str
) -> None:
    make(outputs / NAME)
    found = harvest(outputs, NAME, tmp_path / "kept", most_bytes=100)
    assert found.path is None
    assert reason in found.refused
    assert not (tmp_path / "kept").exists()


def test_a_hard_link_is_refused_unless_the_folder_is_our_own(outputs: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"label")
    (outputs / NAME).hardlink_to(tmp_path / "secret")
    assert "hard link" in harvest(outputs, NAME, tmp_path / "kept", most_bytes=100).refused
    assert harvest(outputs, NAME, tmp_path / "kept", most_bytes=100, hard_links=True).path is not None


def test_an_output_folder_that_became_a_link_is_not_entered(outputs: Path, tmp_path: Path) -> None:
    outputs.rmdir()
    outputs.symlink_to("/etc")
    with pytest.raises(OSError, match="outputs"):
        harvest(outputs, "passwd", tmp_path / "kept", most_bytes=1 << 20)


def test_a_copy_that_cannot_be_written_is_the_harnesss_fault(outputs: Path, tmp_path: Path) -> None:
    (outputs / NAME).write_bytes(b"voxels")
    with pytest.raises(InfrastructureError, match="cannot be stored"):
        harvest(outputs, NAME, tmp_path / "missing" / "kept", most_bytes=100)


def test_the_census_counts_bytes_and_entries(outputs: Path) -> None:
    (outputs / "a").write_bytes(bytes(10_000))
    (outputs / "deep").mkdir()
    (outputs / "deep" / "b").write_bytes(bytes(20_000))
    census = take_census(outputs, most_entries=100)
    assert census.entries == 3
    assert 30_000 <= census.size_bytes < 60_000
    assert census.names == ("a", "deep")


def test_the_census_counts_a_hole_by_its_apparent_size(outputs: Path) -> None:
    with (outputs / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    assert take_census(outputs, most_entries=100).size_bytes == 1 << 30


def test_the_census_stops_counting(outputs: Path) -> None:
    for number in range(50):
        (outputs / str(number)).touch()
    assert take_census(outputs, most_entries=10).entries == 11


def test_the_census_follows_no_link(outputs: Path) -> None:
    (outputs / "root").symlink_to("/")
    (outputs / "loop").symlink_to(outputs)
    assert take_census(outputs, most_entries=1000).entries == 2


def test_the_census_does_not_descend_for_ever(outputs: Path) -> None:
    folder = outputs
    for _ in range(60):
        folder = folder / "d"
        folder.mkdir()
    assert take_census(outputs, most_entries=1000).too_deep


def algorithm_output(tmp_path):
    folder = tmp_path / "outputs" / "images" / "organs"
    folder.mkdir(parents=True)
    return folder


def take_any(tmp_path):
    return harvest(tmp_path / "outputs", "images/organs/*.mha", tmp_path / "kept", most_bytes=100)


def test_any_name_counts_below_an_algorithms_folder(tmp_path):
    folder = algorithm_output(tmp_path)
    (folder / "Output.MHA").write_bytes(b"labels")
    (folder / "log.txt").write_bytes(b"words")
    found = take_any(tmp_path)
    assert found.path is not None
    assert found.path.read_bytes() == b"labels"


def test_two_images_of_an_algorithm_are_refused_and_none_is_missing(tmp_path):
    folder = algorithm_output(tmp_path)
    assert take_any(tmp_path).missing
    for name in ("one.mha", "two.mha"):
        (folder / name).write_bytes(b"labels")
    assert "2 files" in take_any(tmp_path).refused


def test_a_folder_that_is_a_link_leads_nowhere(tmp_path):
    elsewhere = tmp_path / "secrets" / "organs"
    elsewhere.mkdir(parents=True)
    (elsewhere / "a.mha").write_bytes(b"secret")
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "images").symlink_to(tmp_path / "secrets")
    found = take_any(tmp_path)
    assert found.path is None
    assert "symbolic link" in found.refused


def test_a_file_where_a_folder_was_expected_is_refused(tmp_path):
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "images").write_bytes(b"")
    assert take_any(tmp_path).refused
