"""Files are whole or not there, also on disks that refuse what a local one grants."""

import errno
import os
import stat

import pytest

from harness.files import sync_folder, whole_file, write_whole


def test_a_file_appears_whole_and_nothing_stays_beside_it(tmp_path):
    write_whole(tmp_path / "a.json", "caf\u00e9\n", durable=True)
    assert (tmp_path / "a.json").read_bytes() == "caf\u00e9\n".encode()
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_failure_keeps_the_old_file_and_leaves_no_part(tmp_path):
    write_whole(tmp_path / "a", "old")
    with pytest.raises(RuntimeError), whole_file(tmp_path / "a") as unfinished:
        unfinished.write_text("half")
        raise RuntimeError
    assert (tmp_path / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_share_that_cannot_sync_a_folder_is_written_all_the_same(tmp_path, monkeypatch, number):
    real = os.fsync

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_whole(tmp_path / "a", "x", durable=True)
    assert (tmp_path / "a").read_text() == "x"


def test_a_disk_that_fails_is_not_taken_for_one_that_cannot(tmp_path, monkeypatch):
    def fsync(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="Input/output"):
        sync_folder(tmp_path)
