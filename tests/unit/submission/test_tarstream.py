"""A stranger's tar is read in one pass, and what no honest tar holds is refused."""

import io
import tarfile

import pytest

from harness.submission.tarstream import (
    LONGEST_EXTENSION_BYTES,
    RefusedArchiveError,
    TarStream,
    safe_name,
)


def tar(*members, format=tarfile.PAX_FORMAT):
    """Make a tar of (name, content) pairs and TarInfo objects."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return file.getvalue()


def entry(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def with_header(edit):
    """Make a tar of one empty file whose header was edited, its checksum right again."""
    header = bytearray(tar(("a", b""))[:512])
    edit(header)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + b"\0" * 1024


def walk(data):
    return list(TarStream(io.BytesIO(data)))


class Drip:
    """A stream that gives one byte at a time, as a network may."""

    def __init__(self, data):
        self.file = io.BytesIO(data)

    def read(self, size):
        return self.file.read(min(size, 1))


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_come_in_order_with_kind_size_and_target(format):
    data = tar(
        ("a/b", b"12345"),
        entry("folder", tarfile.DIRTYPE),
        entry("soft", tarfile.SYMTYPE, "a/b"),
        entry("hard", tarfile.LNKTYPE, "a/b"),
        entry("pipe", tarfile.FIFOTYPE),
        entry("device", tarfile.CHRTYPE),
        format=format,
    )
    assert [(member.name.rstrip("/"), member.kind, member.size, member.target) for member in walk(data)] == [
        ("a/b", "file", 5, ""),
        ("folder", "folder", 0, ""),
        ("soft", "symlink", 0, "a/b"),
        ("hard", "hardlink", 0, "a/b"),
        ("pipe", "fifo", 0, ""),
        ("device", "device", 0, ""),
    ]


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names_are_read(format):
    names = ["d/" + "x" * 300, "Ä/ö", "y" * 150]
    assert [member.name for member in walk(tar(*((name, b"1") for name in names), format=format))] == names


def test_offsets_point_at_the_contents():
    data = tar(("a", b"first"), ("b" * 200, b"second"))
    assert [data[member.offset : member.offset + member.size] for member in walk(data)] == [
        b"first",
        b"second",
    ]


def test_a_tar_within_a_tar_is_read_without_unpacking():
    outer = TarStream(io.BytesIO(tar(("inner.tar", tar(("x", b"1"), ("y", b"22"))), ("after", b"3"))))
    found = [
        (member.name, [each.name for each in TarStream(outer)] if member.size > 512 else [])
        for member in outer
    ]
    assert found == [("inner.tar", ["x", "y"]), ("after", [])]


def test_a_slow_stream_is_read_like_a_fast_one():
    data = tar(("a", b"x" * 700), ("b", b"2"))
    assert [member.name for member in TarStream(Drip(data))] == ["a", "b"]


@pytest.mark.parametrize("length", [600, 1024 + 100, 1])
def test_a_tar_that_ends_early_is_refused(length):
    with pytest.raises(RefusedArchiveError):
        walk(tar(("a", b"x" * 2000))[:length])


def set_size(text):
    def edit(header):
        header[124:136] = text

    return edit


def set_type(kind):
    def edit(header):
        header[156:157] = kind

    return edit


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"PK\x03\x04" + b"x" * 600, "no tar"),
        (with_header(set_size(b"7777777777\0\0")), "ends in the middle"),
        (with_header(set_size(b"\xff" + b"\xff" * 11)), "negative"),
        (with_header(set_size(b"\x80" + b"\x7f" * 11)), "ends in the middle"),
        (with_header(set_size(b"99999999999\0")), "damaged"),
        (with_header(set_type(b"S")), "sparse"),
        (with_header(set_type(b"Z")), "unknown type"),
        (tar(("a" * 5000, b"")), "path of 5000 characters"),
        (tar(entry("a", tarfile.SYMTYPE, "b" * 5000)), "path of 5000 characters"),
    ],
)
def test_hostile_headers_are_refused(data, why):
    with pytest.raises(RefusedArchiveError, match=why):
        walk(data)


def test_a_flipped_bit_in_a_header_is_refused():
    data = bytearray(tar(("a", b"")))
    data[3] ^= 1
    with pytest.raises(RefusedArchiveError, match="damaged"):
        walk(bytes(data))


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_an_extended_header_of_gigabytes_is_refused_before_it_is_read(kind):
    def edit(header):
        header[156:157] = kind
        header[124:136] = b"%011o\0" % (LONGEST_EXTENSION_BYTES + 1)

    with pytest.raises(RefusedArchiveError, match="extended header of"):
        walk(with_header(edit))


@pytest.mark.parametrize("records", [b"12345 a=b\n", b"x a=b\n", b"9 abcdef\n", b"6 a=bc\n", b"0 a=b\n"])
def test_damaged_extended_headers_are_refused(records):
    def edit(header):
        header[156:157] = b"x"
        header[124:136] = b"%011o\0" % len(records)

    with pytest.raises(RefusedArchiveError, match="extended header is damaged"):
        walk(with_header(edit)[:512] + records.ljust(512, b"\0") + tar(("a", b"")))


def test_sparse_files_in_pax_records_are_refused():
    info = tarfile.TarInfo("a")
    info.pax_headers = {"GNU.sparse.major": "1"}
    with pytest.raises(RefusedArchiveError, match="sparse"):
        walk(tar(info))


def test_too_many_members_are_refused():
    with pytest.raises(RefusedArchiveError, match="more than 3 entries"):
        list(TarStream(io.BytesIO(tar(*((str(number), b"") for number in range(4)))), max_members=3))


@pytest.mark.parametrize(
    ("name", "rooted", "expected"),
    [
        ("a/b", False, "a/b"),
        ("./a/", False, "a"),
        ("./", False, ""),
        ("a//b", False, "a/b"),
        ("/usr/bin", True, "usr/bin"),
        ("..a/b..", False, "..a/b.."),
    ],
)
def test_honest_names_are_made_plain(name, rooted, expected):
    assert safe_name(name, rooted=rooted) == expected


@pytest.mark.parametrize(
    ("name", "rooted"), [("/a", False), ("../a", False), ("a/../../b", True), ("a/..", False), ("a\0b", True)]
)
def test_names_that_lead_out_are_refused(name, rooted):
    with pytest.raises(RefusedArchiveError):
        safe_name(name, rooted=rooted)
