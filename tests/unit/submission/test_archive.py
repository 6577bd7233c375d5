"""An image archive is understood, checked and written anew; what would hurt the engine never reaches it."""

import gzip
import hashlib
import io
import json
import os
import tarfile

import pytest

from harness.submission.archive import (
    ArchiveLimits,
    FolderBlobs,
    TarBlobs,
    check_layers,
    read_image,
    rewritten,
)
from harness.submission.tarstream import RefusedArchiveError

SMALL = ArchiveLimits(unpacked_bytes=1 << 20, entries=100, layers=4)


def sha(data):
    return hashlib.sha256(data).hexdigest()


def member(name, kind=tarfile.REGTYPE, target="", content=b""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, len(content)
    return info, content


def tar(*members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def layer(*names):
    return tar(*(member(name, content=b"x") for name in names))


def config_of(*layers, **more):
    return json.dumps(
        {"os": "linux", "rootfs": {"diff_ids": [f"sha256:{sha(data)}" for data in layers]}, **more}
    ).encode()


def docker_files(*layers, stored=None):
    """Return the files of a `docker save` archive."""
    config = config_of(*layers)
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    manifest = [{"Config": f"{sha(config)}.json", "RepoTags": ["python:3.11"], "Layers": names}]
    files = {f"{sha(config)}.json": config, "manifest.json": json.dumps(manifest).encode()}
    return files | dict(zip(names, stored or layers, strict=True))


def oci_files(*layers, compress=gzip.compress, platform=None, extra=()):
    """Return the files of an OCI layout."""
    blobs = {}

    def put(data):
        blobs[f"blobs/sha256/{sha(data)}"] = data
        return {"digest": f"sha256:{sha(data)}", "size": len(data)}

    manifest = {"config": put(config_of(*layers)), "layers": [put(compress(data)) for data in layers]}
    entry = put(json.dumps(manifest).encode()) | ({"platform": platform} if platform else {})
    index = {"manifests": [entry, *extra]}
    return {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps(index).encode(),
        **blobs,
    }


@pytest.fixture
def archive(tmp_path):
    """Write files as a tar and open it."""

    def make(files, *more):
        path = tmp_path / "image.tar"
        path.write_bytes(tar(*(member(name, content=data) for name, data in files.items()), *more))
        return TarBlobs(path)

    return make


@pytest.fixture
def folder(tmp_path):
    """Write files as a folder and open it."""

    def make(files):
        for name, data in files.items():
            (tmp_path / "layout" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "layout" / name).write_bytes(data)
        return FolderBlobs(tmp_path / "layout")

    return make


ONE, TWO = layer("etc/one", "usr/bin/two"), layer("workspace/predict.sh")


def test_docker_and_oci_archives_of_one_image_have_one_digest(archive, folder):
    images = [
        read_image(archive(docker_files(ONE, TWO))),
        read_image(archive(oci_files(ONE, TWO))),
        read_image(folder(oci_files(ONE, TWO))),
        read_image(folder(docker_files(ONE, TWO))),
    ]
    assert {image.digest for image in images} == {f"sha256:{sha(config_of(ONE, TWO))}"}
    assert all(len(image.layers) == 2 for image in images)


@pytest.mark.parametrize("files", [docker_files, oci_files])
def test_honest_layers_pass_and_are_counted(archive, files):
    blobs = archive(files(ONE, TWO))
    assert check_layers(blobs, read_image(blobs), SMALL) == len(ONE) + len(TWO)


def test_rewriting_keeps_the_image_and_takes_our_tag_alone(archive, tmp_path):
    blobs = archive(docker_files(ONE, TWO))
    image = read_image(blobs)
    data = b"".join(rewritten(blobs, image, "flareharness/intake/a:1"))
    path = tmp_path / "again.tar"
    path.write_bytes(data)
    with tarfile.open(path) as again:
        manifest = json.load(again.extractfile("manifest.json"))
        assert [each["RepoTags"] for each in manifest] == [["flareharness/intake/a:1"]]
        assert "repositories" not in again.getnames()
    reread = TarBlobs(path)
    assert read_image(reread).digest == image.digest
    check_layers(reread, read_image(reread), SMALL)


def test_rewriting_gives_the_same_bytes_whatever_the_archive_was(archive, folder):
    sources = [archive(docker_files(ONE, TWO)), folder(oci_files(ONE, TWO, compress=lambda data: data))]
    assert len({b"".join(rewritten(blobs, read_image(blobs), "a:1")) for blobs in sources}) == 1


def test_a_layer_that_occurs_twice_is_written_once(archive):
    blobs = archive(docker_files(ONE, TWO, ONE))
    data = b"".join(rewritten(blobs, read_image(blobs), "a:1"))
    with tarfile.open(fileobj=io.BytesIO(data)) as again:
        assert len(again.getnames()) == 4
        assert len(json.load(again.extractfile("manifest.json"))[0]["Layers"]) == 3


def test_a_link_to_a_layer_of_the_same_archive_is_followed(archive):
    files = docker_files(ONE, ONE)
    del files["1/layer.tar"]
    blobs = archive(files, member("1/layer.tar", tarfile.SYMTYPE, "../0/layer.tar"))
    assert check_layers(blobs, read_image(blobs), SMALL) == 2 * len(ONE)


@pytest.mark.parametrize(
    "hostile",
    [
        member("../../etc/cron.d/x", content=b"x"),
        member("/etc/passwd", content=b"x"),
        member("a/layer.tar", tarfile.SYMTYPE, "/etc/shadow"),
        member("a/layer.tar", tarfile.SYMTYPE, "../../outside"),
        member("a/layer.tar", tarfile.SYMTYPE, "missing"),
        member("a/layer.tar", tarfile.LNKTYPE, "/etc/shadow"),
        member("pipe", tarfile.FIFOTYPE),
        member("disk", tarfile.BLKTYPE),
        member("manifest.json", content=b"[]"),
    ],
    ids=lambda value: f"{value[0].name} {value[0].linkname}" if isinstance(value, tuple) else None,
)
def test_hostile_entries_of_the_archive_are_refused(archive, hostile):
    with pytest.raises(RefusedArchiveError):
        archive(docker_files(ONE), hostile)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (member("../../etc/passwd", content=b"x"), "leads upwards"),
        (member("a/../../b", content=b"x"), "leads upwards"),
        (member("a", tarfile.LNKTYPE, "../../etc/shadow"), "leads upwards"),
        (member("a/.wh...", content=b""), "whiteout"),
        (member(".wh.", content=b""), "whiteout"),
    ],
)
def test_hostile_entries_of_a_layer_are_refused(archive, entry, why):
    bad = tar(entry)
    blobs = archive(docker_files(ONE, bad))
    with pytest.raises(RefusedArchiveError, match=why):
        check_layers(blobs, read_image(blobs), SMALL)


def test_what_images_do_every_day_passes(archive):
    usual = tar(
        member("/bin", tarfile.SYMTYPE, "/usr/bin"),
        member("etc/alternatives/x", tarfile.SYMTYPE, "../../../usr/bin/x"),
        member("usr/bin/x", content=b"x"),
        member("usr/bin/y", tarfile.LNKTYPE, "usr/bin/x"),
        member("dev/null", tarfile.CHRTYPE),
        member("var/.wh.cache", content=b""),
        member("var/.wh..wh..opq", content=b""),
    )
    blobs = archive(docker_files(usual))
    check_layers(blobs, read_image(blobs), SMALL)


@pytest.mark.parametrize("files", [docker_files, oci_files])
def test_a_layer_that_unpacks_to_too_much_is_refused(archive, files):
    bomb = tar(member("zeros", content=b"\0" * (2 << 20)))
    blobs = archive(files(bomb))
    with pytest.raises(RefusedArchiveError, match="more than is allowed"):
        check_layers(blobs, read_image(blobs), SMALL)


def test_a_bomb_made_of_one_layer_many_times_is_refused(archive):
    part = tar(member("zeros", content=b"\0" * (400 << 10)))
    blobs = archive(oci_files(part, part, part))
    with pytest.raises(RefusedArchiveError, match="more than is allowed"):
        check_layers(blobs, read_image(blobs), SMALL)


def test_a_layer_with_too_many_entries_is_refused(archive):
    blobs = archive(docker_files(layer(*(f"f{number}" for number in range(101)))))
    with pytest.raises(RefusedArchiveError, match="entries"):
        check_layers(blobs, read_image(blobs), SMALL)


def test_too_many_layers_are_refused(archive):
    blobs = archive(docker_files(*[ONE] * 5))
    with pytest.raises(RefusedArchiveError, match="5 layers"):
        check_layers(blobs, read_image(blobs), SMALL)


def test_a_layer_that_is_not_the_configs_is_refused(archive):
    blobs = archive(docker_files(ONE, TWO, stored=[ONE, ONE]))
    with pytest.raises(RefusedArchiveError, match="not the one its config names"):
        check_layers(blobs, read_image(blobs), SMALL)


def test_an_oci_blob_that_is_not_its_digest_is_refused(archive):
    files = oci_files(ONE)
    index = json.loads(files["index.json"])
    files[f"blobs/sha256/{index['manifests'][0]['digest'][7:]}"] = b"{}"
    with pytest.raises(RefusedArchiveError, match="not what its digest says"):
        read_image(archive(files))


def manifest_json(value):
    return docker_files(ONE) | {
        "manifest.json": json.dumps(value).encode() if not isinstance(value, bytes) else value
    }


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, "neither manifest.json nor index.json"),
        (manifest_json(b"{"), "not JSON"),
        (manifest_json(b"[" * 100_000), "not JSON"),
        (manifest_json({}), "names 0 images"),
        (manifest_json([]), "names 0 images"),
        (manifest_json([{}, {}]), "names 2 images"),
        (manifest_json([{}]), "no config and layers"),
        (manifest_json([1]), "no config and layers"),
        (manifest_json([{"Config": "missing.json", "Layers": []}]), "lacks 'missing.json'"),
        (manifest_json([{"Config": "/etc/passwd", "Layers": []}]), "path"),
        (manifest_json([{"Config": "manifest.json", "Layers": []}]), "config names no layers"),
        (manifest_json([{"Config": f"{sha(config_of(ONE))}.json", "Layers": []}]), "0 layers, its config 1"),
        (manifest_json([{"Config": f"{sha(config_of(ONE))}.json", "Layers": ["../x"]}]), "leads upwards"),
        ({"index.json": b"{}"}, "no image manifest"),
        ({"index.json": b'{"manifests": [1]}'}, "no manifests"),
        ({"index.json": b'{"manifests": [{"digest": "md5:1"}]}'}, "not by a sha256 digest"),
        ({"index.json": b'{"manifests": [{"digest": 5}]}'}, "not by a sha256 digest"),
        ({"index.json": b'{"manifests": []}'}, "names 0 images"),
        ({"manifest.json": b" " * (5 << 20)}, "5242880 bytes"),
    ],
)
def test_manifests_that_make_no_sense_are_refused(archive, files, why):
    with pytest.raises(RefusedArchiveError, match=why):
        read_image(archive(files))


def test_the_image_of_this_platform_is_chosen_from_an_index(archive):
    other = {"digest": f"sha256:{'0' * 64}", "platform": {"os": "linux", "architecture": "arm64"}}
    attestation = {"digest": f"sha256:{'1' * 64}", "platform": {"os": "unknown", "architecture": "unknown"}}
    files = oci_files(ONE, platform={"os": "linux", "architecture": "amd64"}, extra=[other, attestation])
    assert read_image(archive(files)).digest == f"sha256:{sha(config_of(ONE))}"
    with pytest.raises(RefusedArchiveError, match="0 images for linux/s390x"):
        read_image(archive(files), platform="linux/s390x")


@pytest.mark.parametrize("part", ["index.json", "blobs"])
def test_links_in_an_oci_folder_are_not_followed(folder, tmp_path, part):
    blobs = folder(oci_files(ONE))
    real = tmp_path / "layout" / part
    real.rename(tmp_path / "elsewhere")
    real.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RefusedArchiveError):
        read_image(blobs)


def test_a_pipe_in_an_oci_folder_does_not_hang_us(folder, tmp_path):

    blobs = folder({"a": b"1"})
    os.mkfifo(tmp_path / "layout" / "index.json")
    with pytest.raises(RefusedArchiveError, match="neither"):
        read_image(blobs)
