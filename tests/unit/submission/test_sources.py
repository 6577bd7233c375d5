"""An archive is opened under any compression and in any folder, and what is none is named for what it is."""

import bz2
import gzip
import io
import lzma
import os
import signal
import subprocess
import sys
import tarfile
import threading
import zipfile

import imagecodecs
import pytest
from archives import docker_files, files_tar, layer, member, oci_files, tar

from harness.submission.archive import read_image
from harness.submission.sources import opened
from harness.submission.tarstream import RefusedArchiveError

ONE = layer("etc/one", "workspace/predict.sh")
SAVED = files_tar(docker_files(ONE))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FLAREHARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def digest(path, limit=1 << 24):
    with opened(path, limit) as blobs:
        return read_image(blobs).digest


def refused(tmp_path, data, *, name="team.tar"):
    """Return the one line that a file is refused with."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(RefusedArchiveError) as raised:
        digest(tmp_path / name)
    line = raised.value.one_line()
    assert str(tmp_path / name) in line
    return line


PACKED = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": imagecodecs.zstd_encode,
}


@pytest.mark.parametrize("suffix", PACKED)
def test_every_compression_gives_the_same_image(tmp_path, suffix):
    plain, packed = tmp_path / "plain.tar", tmp_path / f"team.tar{suffix}"
    plain.write_bytes(SAVED)
    packed.write_bytes(PACKED[suffix](SAVED))
    assert digest(packed) == digest(plain)


@pytest.mark.parametrize("suffix", list(PACKED)[1:])
def test_a_bomb_is_refused_in_every_compression_and_leaves_no_file(tmp_path, cache, suffix):
    path = tmp_path / f"bomb{suffix}"
    path.write_bytes(PACKED[suffix](bytes(32 << 20)))
    with pytest.raises(RefusedArchiveError, match="more than is allowed"):
        digest(path, limit=1 << 20)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("suffix", list(PACKED)[1:])
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_a_download_that_broke_off_is_said_to_be_cut_short(tmp_path, suffix, part):
    noise = docker_files(tar(member("weights", content=bytes(range(256)) * 40)))
    packed = PACKED[suffix](files_tar(noise))
    assert "cut short" in refused(tmp_path, packed[: int(len(packed) * part)])


@pytest.mark.parametrize("kept", [len(SAVED) // 2, 700, 1300])
def test_a_plain_tar_that_broke_off_is_said_to_be_cut_short(tmp_path, kept):
    assert "cut short" in refused(tmp_path, SAVED[:kept])


def test_a_tar_that_broke_off_between_two_files_is_said_to_be_cut_short(tmp_path):
    files = docker_files(ONE)
    del files["0/layer.tar"]
    path = tmp_path / "team.tar"
    path.write_bytes(files_tar(files).rstrip(b"\0").ljust(2 * 1024, b"\0")[: 4 * 512])
    with opened(path, 1 << 20) as blobs, pytest.raises(RefusedArchiveError, match="cut short"):
        blobs.size(read_image(blobs).layers[0])


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("team.tar", SAVED)
    return file.getvalue()


ROOT = tar(
    member("bin", tarfile.SYMTYPE, "usr/bin"),
    member("dev/console", tarfile.CHRTYPE),
    member("etc/passwd", content=b"x"),
    member("usr/bin/x", content=b"x"),
    member("usr/share/doc/manifest.json", content=b"{}"),
    member("var/log", tarfile.DIRTYPE),
)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty (0 bytes)"),
        (zipped(), "a zip file"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(2000), "a 7z file"),
        (b"Rar!\x1a\x07" + bytes(2000), "a RAR file"),
        (b"<!DOCTYPE html><html>" + b" " * 2000, "an HTML page"),
        (b"\n\n  <HTML lang='en'>" + b"x" * 2000, "an HTML page"),
        (b"\xef\xbb\xbf<!doctype HTML>", "an HTML page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML document"),
        (b'{"message": "not found"}', "a JSON document"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "a Git LFS pointer"),
        (b"#!/usr/bin/env run-singularity\n\0".ljust(32, b"\0") + b"SIF_MAGIC\0" + bytes(900), "Singularity"),
        (b"hsqs" + bytes(2000), "squashfs"),
        (b"Please ask for access.\n", "a text file"),
        (gzip.compress(gzip.compress(SAVED)), "twice, gzip in gzip"),
        (gzip.compress(lzma.compress(SAVED)), "twice, xz in gzip"),
        (gzip.compress(zipped()), "a zip file"),
        (gzip.compress(b""), "empty (0 bytes)"),
        (bytes(10240), "neither manifest.json nor index.json"),
        (ROOT, "the root file system of a container, as `docker export` writes it"),
        (gzip.compress(ROOT), "the root file system of a container"),
        (ROOT[:2700], "the root file system of a container"),
        (files_tar({"team/readme.md": b"x", "team/image.tar": SAVED}), "another archive, 'team/image.tar'"),
        (files_tar({"repositories": b"{}", "a1/json": b"{}", "a1/layer.tar": ROOT}), "Docker before 1.10"),
        (b"\x01\x02\x03" * 1000, "no tar"),
    ],
)
def test_what_is_no_image_archive_is_named_for_what_it_is(tmp_path, data, words):
    line = refused(tmp_path, data)
    assert words in line
    assert line.rstrip(".").count(". ") >= 1 or "mend" in line, "says what to do"


def test_a_file_system_with_more_files_than_any_archive_is_still_named(tmp_path):
    many = [member(f"usr/lib/f{number}") for number in range(10_050)]
    data = tar(member("bin/sh"), member("etc/x"), *many)
    assert "docker export" in refused(tmp_path, data)


@pytest.mark.parametrize("files", [docker_files, oci_files])
@pytest.mark.parametrize("around", ["team/", "./team/", "a/b/"])
def test_a_folder_around_it_all_is_left_out(tmp_path, files, around):
    inside, plain = tmp_path / "inside.tar", tmp_path / "plain.tar"
    plain.write_bytes(files_tar(files(ONE)))
    packed = {f"{around}{name}": data for name, data in files(ONE).items()}
    litter = {f"{around}._manifest.json": b"x", "__MACOSX/._team": b"x", f"{around}.DS_Store": b"x"}
    inside.write_bytes(files_tar(litter | packed))
    assert digest(inside) == digest(plain)


def test_links_inside_the_folder_still_point_to_its_files(tmp_path):
    files = {f"team/{name}": data for name, data in docker_files(ONE, ONE).items()}
    del files["team/1/layer.tar"]
    path = tmp_path / "team.tar"
    path.write_bytes(files_tar(files, member("team/1/layer.tar", tarfile.SYMTYPE, "../0/layer.tar")))
    with opened(path, 1 << 20) as blobs:
        assert blobs.size("1/layer.tar") == len(ONE)


def test_an_unpacked_folder_is_an_archive_also_below_another(tmp_path):
    for name, data in docker_files(ONE).items():
        path = tmp_path / "download" / "team" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    assert digest(tmp_path / "download") == digest(tmp_path / "download" / "team")


def test_a_pipe_is_read_as_a_file(tmp_path):
    plain, pipe = tmp_path / "plain.tar", tmp_path / "pipe"
    plain.write_bytes(SAVED)
    os.mkfifo(pipe)
    writing = threading.Thread(target=pipe.write_bytes, args=(SAVED,))
    writing.start()
    assert digest(pipe) == digest(plain)
    writing.join()


KILLED_WHILE_READING = """
import os, signal, sys
from pathlib import Path
from harness.submission.sources import opened
with opened(Path(sys.argv[1]), 1 << 30):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_harness_that_is_killed_while_it_reads_leaves_nothing(tmp_path, cache):
    (tmp_path / "team.tar.gz").write_bytes(gzip.compress(SAVED))
    done = subprocess.run([sys.executable, "-c", KILLED_WHILE_READING, tmp_path / "team.tar.gz"], check=False)
    assert done.returncode == -signal.SIGKILL
    assert list(cache.iterdir()) == []


def test_what_killed_harnesses_left_in_the_cache_is_removed(tmp_path, cache):
    cache.mkdir()
    (cache / "intake-abc.tar").write_bytes(b"x")
    (tmp_path / "team.tar.gz").write_bytes(gzip.compress(SAVED))
    digest(tmp_path / "team.tar.gz")
    assert list(cache.iterdir()) == []
