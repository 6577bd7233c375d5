"""A layer is written anew from what was understood, so that it means one thing to every reader."""

import io
import json
import tarfile
import tempfile

import pytest
from archives import config_of, docker_files, files_tar, member, sha, tar

from harness.submission.archive import read_image
from harness.submission.blobs import TarBlobs
from harness.submission.layers import ArchiveLimits, archive_anew, check_layers
from harness.submission.tarstream import RefusedArchiveError

BLOCK = 512


def opened(files):
    """Write the files of an archive, open it, and read its image."""
    with tempfile.TemporaryFile() as file:
        file.write(files_tar(files))
        file.flush()
        blobs = TarBlobs(file)
        return blobs, read_image(blobs)


def anew(*layers, limits=None):
    """Return the files of the archive that the engine gets for these layers, by name."""
    blobs, image = opened(docker_files(*layers))
    clean = check_layers(blobs, image, limits or ArchiveLimits())
    data = b"".join(archive_anew(blobs, clean, "flareharness/intake/a:1"))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {each.name: archive.extractfile(each).read() for each in archive}


def layers_of(files):
    (entry,) = json.loads(files["manifest.json"])
    return [files[name] for name in entry["Layers"]]


def members_of(layer):
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        return {
            each.name: (each.type, each.mode, archive.extractfile(each).read() if each.isreg() else b"")
            for each in archive
        }


def header(name, *, kind=b"0", size=0, mode=b"0000644", magic=b"ustar\x0000"):
    """Return a tar header as anyone may write it, its checksum right."""
    data = bytearray(BLOCK)
    data[0 : len(name)] = name
    data[100:107], data[108:115], data[116:123] = mode, b"0000000", b"0000000"
    data[124:135] = b"%011o" % size
    data[156:157] = kind
    data[257 : 257 + len(magic)] = magic
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data)
    return bytes(data)


def block(content):
    return content + bytes(-len(content) % BLOCK)


def pax(*records):
    body = b""
    for record in records:
        length = len(record) + 2
        while len(b"%d %s\n" % (length, record)) != length:
            length += 1
        body += b"%d %s\n" % (length, record)
    return header(b"pax", kind=b"x", size=len(body)) + block(body)


def long_name(name):
    return header(b"././@LongLink", kind=b"L", size=len(name) + 1) + block(name + b"\0")


END = bytes(2 * BLOCK)


def test_what_the_engine_gets_is_one_config_with_the_new_layers():
    files = anew(tar(member("a", content=b"1")), tar(member("b", content=b"2")))
    (entry,) = json.loads(files["manifest.json"])
    assert entry["RepoTags"] == ["flareharness/intake/a:1"]
    config = json.loads(files[entry["Config"]])
    assert entry["Config"] == f"{sha(files[entry['Config']])}.json"
    assert config["rootfs"]["diff_ids"] == [f"sha256:{sha(layer)}" for layer in layers_of(files)]
    assert [list(members_of(layer)) for layer in layers_of(files)] == [["a"], ["b"]]


def test_the_rest_of_the_config_stays():
    settings = {"Env": ["A=ä"], "Labels": {"x": "y"}, "Cmd": ["run"]}
    layer = tar(member("a"))
    blobs, image = opened(docker_files(layer, config=config_of(layer, config=settings, architecture="amd64")))
    clean = json.loads(check_layers(blobs, image, ArchiveLimits()).config)
    assert (clean["config"], clean["architecture"]) == (settings, "amd64")


def test_the_same_layer_always_gives_the_same_bytes():
    plain, gnu = io.BytesIO(), io.BytesIO()
    name = "d/" + "x" * 150
    for file, form in ((plain, tarfile.PAX_FORMAT), (gnu, tarfile.GNU_FORMAT)):
        with tarfile.open(fileobj=file, mode="w", format=form) as archive:
            archive.addfile(*[member(name, content=b"1")[0], io.BytesIO(b"1")])
    one, other = (layers_of(anew(file.getvalue())) for file in (plain, gnu))
    assert one == other
    assert layers_of(anew(one[0])) == one, "what is written anew is written so again"


def test_ordinary_entries_keep_all_that_a_case_needs():
    layer = tar(
        member("srv", tarfile.DIRTYPE, mode=0o1777),
        member("srv/Ä" + "y" * 200, content=b"data", mode=0o640, uid=65532, gid=7, mtime=1_700_000_000),
        member("srv/link", tarfile.SYMTYPE, "../" + "z" * 150),
        member("srv/hard", tarfile.LNKTYPE, "srv/Ä" + "y" * 200),
        member("srv/big", uid=3_000_000, mtime=5),
        member("srv/.wh.old"),
        member("./", tarfile.DIRTYPE),
    )
    (clean,) = layers_of(anew(layer))
    with tarfile.open(fileobj=io.BytesIO(clean)) as archive:
        found = {each.name: each for each in archive}
    file = found["srv/Ä" + "y" * 200]
    assert (file.mode, file.uid, file.gid, file.mtime) == (0o640, 65532, 7, 1_700_000_000)
    assert (found["srv"].mode, found["srv"].isdir()) == (0o1777, True)
    assert found["srv/link"].linkname == "../" + "z" * 150
    assert found["srv/hard"].linkname == file.name
    assert (found["srv/big"].uid, found["srv/big"].mtime) == (3_000_000, 5)
    assert "srv/.wh.old" in found


def test_names_that_are_no_utf8_stay_as_they_are():
    (clean,) = layers_of(anew(header(b"a\xff\xfe", size=1) + block(b"1") + END))
    with tarfile.open(fileobj=io.BytesIO(clean), errors="surrogateescape") as archive:
        assert [each.name for each in archive] == ["a\udcff\udcfe"]


def test_devices_and_set_user_id_bits_go():
    layer = tar(
        member("dev/sda", tarfile.BLKTYPE, mode=0o666),
        member("dev/null", tarfile.CHRTYPE, mode=0o666),
        member("bin/su", content=b"1", mode=0o4755),
        member("bin/wall", content=b"1", mode=0o2755),
        member("var/mail", tarfile.DIRTYPE, mode=0o2775),
    )
    (clean,) = layers_of(anew(layer))
    assert {name: mode for name, (_, mode, _) in members_of(clean).items()} == {
        "bin/su": 0o755,
        "bin/wall": 0o755,
        "var/mail": 0o775,
    }


def test_file_capabilities_and_other_attributes_go():
    layer = pax(b"SCHILY.xattr.security.capability=\x01\0\0\x02") + header(b"a", size=1) + block(b"1") + END
    (clean,) = layers_of(anew(layer))
    assert b"xattr" not in clean


HIDDEN = block(header(b"../../../srv/SMUGGLED", size=1) + block(b"1"))
"""Bytes that are a file's to one reader, and headers to another."""


@pytest.mark.parametrize(
    ("layer", "understood"),
    [
        # An empty value of an extended header takes a name back: this file is called by its own header.
        (pax(b"path=") + header(b"real", size=1) + block(b"1"), {"real": b"1"}),
        (long_name(b"long") + pax(b"path=later") + header(b"short", size=1) + block(b"1"), {"later": b"1"}),
        (
            pax(b"path=first") + long_name(b"second") + header(b"short", size=1) + block(b"1"),
            {"second": b"1"},
        ),
        (header(b"plain", size=len(HIDDEN)) + HIDDEN, {"plain": HIDDEN}),
        (pax(b"size=%d" % len(HIDDEN)) + header(b"plain") + HIDDEN, {"plain": HIDDEN}),
        (header(b"old/", kind=b"\0", magic=b""), {"old": b""}),
    ],
    ids=[
        "empty pax path",
        "long name, then pax",
        "pax, then long name",
        "headers in a file",
        "pax size",
        "old",
    ],
)
def test_what_readers_may_take_in_two_ways_is_written_in_one(layer, understood):
    (clean,) = layers_of(anew(layer + END))
    assert {name: content for name, (_, _, content) in members_of(clean).items()} == understood
    for at in range(0, len(clean), BLOCK):
        assert clean[at + 156 : at + 157] not in (b"L", b"K", b"S", b"g"), "one form of header alone"


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (header(b"a/", kind=b"\0", size=len(HIDDEN), magic=b"") + HIDDEN, "a folder with bytes of its own"),
        (pax(b"path=../up") + header(b"fine"), "leads upwards"),
        (long_name(b"../up") + header(b"fine"), "leads upwards"),
        (pax(b"linkpath=../../up") + header(b"fine", kind=b"1"), "leads upwards"),
        (pax(b"GNU.sparse.major=1", b"GNU.sparse.minor=0") + header(b"a"), "sparse"),
        (pax(b"GNU.sparse.realsize=1610612736", b"GNU.sparse.map=0,1") + header(b"a"), "sparse"),
        (header(b"a", kind=b"S"), "sparse"),
        (pax(b"size=-1") + header(b"a"), "no number"),
        (pax(b"size=\xd9\xa1") + header(b"a"), "no number"),
        (pax(b"uid=1e3") + header(b"a"), "no number"),
        (header(b"/", kind=b"2"), "the place of the image's root"),
        (header(b"a", kind=b"V"), "unknown type"),
    ],
)
def test_what_no_honest_layer_holds_is_refused(layer, why):
    with pytest.raises(RefusedArchiveError, match=why):
        anew(layer + END)


def test_a_sparse_file_by_a_global_header_has_the_bytes_that_are_there():
    """A header for all that follows is no engine's concern: what is written anew holds what was counted."""
    record = b"28 GNU.sparse.realsize=9999\n"
    layer = (
        header(b"g", kind=b"g", size=len(record)) + block(record) + header(b"a", size=1) + block(b"1") + END
    )
    (clean,) = layers_of(anew(layer))
    assert members_of(clean)["a"][2] == b"1"
    assert b"sparse" not in clean


def test_a_layer_that_changes_after_it_was_checked_is_refused(tmp_path):
    path = tmp_path / "image.tar"
    path.write_bytes(files_tar(docker_files(tar(member("a", content=b"1" * 600)))))
    with path.open("r+b") as file:
        blobs = TarBlobs(file)
        clean = check_layers(blobs, read_image(blobs), ArchiveLimits())
        content = path.read_bytes()
        path.write_bytes(content.replace(b"1" * 600, b"2" * 600))
        with pytest.raises(RefusedArchiveError, match="changed while it was read"):
            list(archive_anew(blobs, clean, "a:1"))


def test_headers_that_grow_when_written_anew_count_towards_the_limit():
    layer = tar(*(member("d" * 90 + f"/{'n' * 60}{number}") for number in range(100)))
    with pytest.raises(RefusedArchiveError, match="more than is allowed"):
        anew(layer, limits=ArchiveLimits(unpacked_bytes=len(layer) // 2))
