"""A stream is read whatever it is compressed with, in bounded memory, and never more than is allowed."""

import bz2
import gzip
import io
import lzma
import random
import tracemalloc

import pytest

from harness.submission.compression import Decompressed, compression_of, zstd
from harness.submission.tarstream import RefusedArchiveError


def zstd_with_checksum(data):
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})


FORMATS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": zstd_with_checksum}
EVERY_FORMAT = pytest.mark.parametrize("name", FORMATS)
SKIPPED_FRAME = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"note"


def read(data, max_bytes=1 << 20, step=7):
    source = Decompressed(io.BytesIO(data), max_bytes=max_bytes)
    parts = []
    while part := source.read(step):
        assert len(part) <= step
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("content", [b"", b"1", b"hello" * 1000])
def test_a_plain_stream_passes(content):
    assert read(content) == content
    assert Decompressed(io.BytesIO(content), max_bytes=1 << 20).compression is None


@EVERY_FORMAT
@pytest.mark.parametrize("content", [b"", b"1", b"hello" * 1000])
def test_every_format_gives_its_content(name, content):
    assert read(FORMATS[name](content)) == content
    assert Decompressed(io.BytesIO(FORMATS[name](content)), max_bytes=1).compression == name


@EVERY_FORMAT
def test_streams_that_follow_each_other_are_one(name):
    pack = FORMATS[name]
    assert read(pack(b"first, ") + pack(b"second")) == b"first, second"


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz"])
def test_zeros_after_the_last_are_padding(name):
    assert read(FORMATS[name](b"first") + bytes(512)) == b"first"


@EVERY_FORMAT
@pytest.mark.parametrize("rest", [b"x", b"signature of a download\n" * 9, bytes(40) + b"late"])
@pytest.mark.parametrize("step", [7, 1 << 19])
def test_what_follows_the_last_and_is_no_stream_is_left_out(name, rest, step):
    assert read(FORMATS[name](b"first") + rest, step=step) == b"first"


def test_frames_of_zstd_that_are_to_be_skipped_are():
    pack = FORMATS["zstd"]
    data = SKIPPED_FRAME + pack(b"first, ") + SKIPPED_FRAME + pack(b"second") + SKIPPED_FRAME
    assert compression_of(data) == "zstd"
    assert read(data) == b"first, second"


@EVERY_FORMAT
def test_a_bomb_is_refused_long_before_it_is_unpacked(name):
    bomb = FORMATS[name](bytes(64 << 20))
    assert len(bomb) < 100_000
    tracemalloc.start()
    with pytest.raises(RefusedArchiveError, match="more than is allowed"):
        read(bomb, max_bytes=1 << 20, step=1 << 16)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


@EVERY_FORMAT
def test_what_ends_too_early_is_said_to_be_cut_short(name):
    with pytest.raises(RefusedArchiveError, match="cut short"):
        read(FORMATS[name](bytes(range(256)) * 20)[:-10])


@EVERY_FORMAT
def test_damaged_data_is_refused(name):
    data = FORMATS[name](random.Random(1).randbytes(5000) + b"words " * 500)
    with pytest.raises(RefusedArchiveError, match=r"damaged|cut short"):
        read(data[:1000] + bytes(8) + data[1008:])


def test_a_window_that_would_take_gigabytes_is_refused():
    """A frame's header alone says how much memory its reader needs: here 2 GiB."""
    header = b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([(31 - 10) << 3])
    with pytest.raises(RefusedArchiveError, match="zstd"):
        read(header + b"\x01\x00\x00" + bytes(100))
