"""An image archive is understood, checked and written anew; what would hurt the engine never reaches it."""

import gzip
import io
import json
import os
import tarfile

import imagecodecs
import pytest
from archives import config_of, docker_files, layer, member, oci_files, sha, tar

from harness.submission.archive import read_image
from harness.submission.blobs import FolderBlobs, TarBlobs
from harness.submission.layers import ArchiveLimits, archive_as_it_is, check_layers
from harness.submission.tarstream import RefusedArchiveError

SMALL = ArchiveLimits(unpacked_bytes=1 << 20, entries=100, layers=4)


@pytest.fixture
def archive(tmp_path):
    """Write files as a tar and open it."""

    def make(files, *more):
        path = tmp_path / "image.tar"
        path.write_bytes(tar(*(member(name, content=data) for name, data in files.items()), *more))
        with path.open("rb") as file:
            return TarBlobs(file)

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


COMPRESSIONS = {
    "none": lambda data: data,
    "gzip": gzip.compress,
    "zstd": imagecodecs.zstd_encode,
}
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
    assert check_layers(blobs, read_image(blobs), SMALL).unpacked_bytes == len(ONE) + len(TWO)


def test_rewriting_keeps_the_image_and_takes_our_tag_alone(archive, tmp_path):
    blobs = archive(docker_files(ONE, TWO))
    image = read_image(blobs)
    data = b"".join(archive_as_it_is(blobs, image, "flareharness/intake/a:1"))
    path = tmp_path / "again.tar"
    path.write_bytes(data)
    with tarfile.open(path) as again:
        manifest = json.load(again.extractfile("manifest.json"))
        assert [each["RepoTags"] for each in manifest] == [["flareharness/intake/a:1"]]
        assert "repositories" not in again.getnames()
    with path.open("rb") as file:
        reread = TarBlobs(file)
    assert read_image(reread).digest == image.digest
    check_layers(reread, read_image(reread), SMALL)


def test_rewriting_gives_the_same_bytes_whatever_the_archive_was(archive, folder):
    sources = [archive(docker_files(ONE, TWO)), folder(oci_files(ONE, TWO, compress=lambda data: data))]
    assert len({b"".join(archive_as_it_is(blobs, read_image(blobs), "a:1")) for blobs in sources}) == 1


def test_a_layer_that_occurs_twice_is_written_once(archive):
    blobs = archive(docker_files(ONE, TWO, ONE))
    data = b"".join(archive_as_it_is(blobs, read_image(blobs), "a:1"))
    with tarfile.open(fileobj=io.BytesIO(data)) as again:
        assert len(again.getnames()) == 4
        assert len(json.load(again.extractfile("manifest.json"))[0]["Layers"]) == 3


def test_a_link_to_a_layer_of_the_same_archive_is_followed(archive):
    files = docker_files(ONE, ONE)
    del files["1/layer.tar"]
    blobs = archive(files, member("1/layer.tar", tarfile.SYMTYPE, "../0/layer.tar"))
    assert check_layers(blobs, read_image(blobs), SMALL).unpacked_bytes == 2 * len(ONE)


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
        (manifest_json([{}] * 101), "names 101 images"),
        (manifest_json([{}]), "no config and layers"),
        (manifest_json([1]), "no config and layers"),
        (manifest_json([{"Config": "missing.json", "Layers": []}]), "lacks 'missing.json'"),
        (manifest_json([{"Config": "/etc/passwd", "Layers": []}]), "path"),
        (manifest_json([{"Config": "manifest.json", "Layers": []}]), "config names no layers"),
        (manifest_json([{"Config": f"{sha(config_of(ONE))}.json", "Layers": []}]), "0 layers, its config 1"),
        (manifest_json([{"Config": f"{sha(config_of(ONE))}.json", "Layers": ["../x"]}]), "leads upwards"),
        ({"index.json": b"[]"}, "no image manifest"),
        ({"index.json": b"{}"}, "no manifests"),
        ({"index.json": b'{"manifests": [1]}'}, "no manifests"),
        ({"index.json": b'{"manifests": [{"digest": "md5:1"}]}'}, "not by a sha256 digest"),
        ({"index.json": b'{"manifests": [{"digest": 5}]}'}, "not by a sha256 digest"),
        ({"index.json": b'{"manifests": []}'}, "no image manifest"),
        ({"manifest.json": b" " * (5 << 20)}, "5242880 bytes"),
    ],
)
def test_manifests_that_make_no_sense_are_refused(archive, files, why):
    with pytest.raises(RefusedArchiveError, match=why):
        read_image(archive(files))


AMD64 = {"os": "linux", "architecture": "amd64"}
ARM64 = {"os": "linux", "architecture": "arm64"}
UNKNOWN = {"os": "unknown", "architecture": "unknown"}
ATTESTATION = {"vnd.docker.reference.type": "attestation-manifest"}


def put(files, content):
    """Add a blob to an OCI layout, and return its descriptor."""
    files[f"blobs/sha256/{sha(content)}"] = content
    return {"digest": f"sha256:{sha(content)}", "size": len(content)}


def beside(files, *descriptors):
    """Put descriptors into an OCI layout's index, before and after those that it has."""
    index = json.loads(files["index.json"])
    index["manifests"] = [*descriptors, *index["manifests"]]
    return files | {"index.json": json.dumps(index).encode()}


def is_one(blobs):
    return read_image(blobs).digest == f"sha256:{sha(config_of(ONE))}"


def test_the_image_of_this_platform_is_chosen_from_an_index(archive):
    other = {"digest": f"sha256:{'0' * 64}", "platform": ARM64}
    files = oci_files(ONE, platform=AMD64, extra=[other])
    assert is_one(archive(files))
    with pytest.raises(RefusedArchiveError, match="for linux/amd64, not for linux/s390x"):
        read_image(archive(files), platform="linux/s390x")


@pytest.mark.parametrize("blob", ["there", "missing"])
@pytest.mark.parametrize(
    "more",
    [
        {"platform": UNKNOWN},
        {"annotations": ATTESTATION},
        {"annotations": ATTESTATION, "platform": UNKNOWN},
        {"annotations": ATTESTATION, "platform": AMD64},
    ],
)
def test_what_was_attested_of_an_image_is_no_second_image(archive, blob, more):
    files = oci_files(ONE, platform=AMD64)
    content = json.dumps({"config": {"digest": f"sha256:{sha(b'{}')}"}, "layers": []}).encode()
    descriptor = put(files if blob == "there" else {}, content) | more
    assert is_one(archive(beside(files, descriptor)))


def test_a_signature_beside_an_image_is_no_second_image(archive):
    files = oci_files(ONE)
    config = put(files, b"{}") | {"mediaType": "application/vnd.oci.empty.v1+json"}
    signature = put(files, json.dumps({"artifactType": "a/b", "config": config, "layers": []}).encode())
    assert is_one(archive(beside(files, signature)))


def test_one_image_under_several_names_is_one(archive):
    assert is_one(archive(oci_files(ONE, names=("latest", "v1", "v2"))))
    assert is_one(archive(docker_files(ONE, tags=("a:1", "b:2"))))
    files = docker_files(ONE)
    twice = json.loads(files["manifest.json"]) * 2
    assert is_one(archive(files | {"manifest.json": json.dumps(twice).encode()}))


@pytest.mark.parametrize("tags", [None, ()])
def test_an_image_without_a_name_is_taken(archive, tags):
    assert is_one(archive(docker_files(ONE, tags=tags)))


def test_an_index_within_an_index_is_followed_past_what_the_archive_lacks(archive):
    """Docker's containerd store saves the index of all platforms with the content of one."""
    files = oci_files(ONE, platform=AMD64)
    inner = json.loads(files["index.json"])["manifests"]
    absent = {"digest": f"sha256:{'0' * 64}", "platform": ARM64}
    index = put(files, json.dumps({"manifests": [absent, *inner]}).encode())
    assert is_one(archive(files | {"index.json": json.dumps({"manifests": [index]}).encode()}))


def test_an_archive_of_two_images_names_them(archive):
    one, two = docker_files(ONE, tags=("team:1",)), docker_files(TWO, tags=("team:2",))
    both = json.loads(one["manifest.json"]) + json.loads(two["manifest.json"].replace(b"0/", b"z/"))
    files = one | {name.replace("0/", "z/"): data for name, data in two.items()}
    with pytest.raises(RefusedArchiveError, match="2 images for linux/amd64, not one: team:1, team:2"):
        read_image(archive(files | {"manifest.json": json.dumps(both).encode()}))


@pytest.mark.parametrize("files", [docker_files, oci_files])
def test_an_image_for_another_processor_is_refused_by_its_name(archive, files):
    config = config_of(ONE, architecture="arm64")
    with pytest.raises(RefusedArchiveError, match="for linux/arm64, not for linux/amd64") as raised:
        read_image(archive(files(ONE, config=config)))
    assert "--platform linux/amd64" in raised.value.mend


def test_an_image_of_several_platforms_in_dockers_form_gives_ours(archive):
    ours, other = config_of(ONE, architecture="amd64"), config_of(TWO, architecture="arm64")
    one, two = docker_files(ONE, config=ours), docker_files(TWO, config=other)
    both = json.loads(two["manifest.json"].replace(b"0/", b"z/")) + json.loads(one["manifest.json"])
    files = one | {name.replace("0/", "z/"): data for name, data in two.items()}
    files["manifest.json"] = json.dumps(both).encode()
    assert read_image(archive(files)).digest == f"sha256:{sha(ours)}"


@pytest.mark.parametrize("architecture", ["x86_64", "AMD64", "x86-64"])
def test_a_processor_is_known_by_its_other_names(archive, architecture):
    config = config_of(ONE, architecture=architecture)
    assert read_image(archive(oci_files(ONE, config=config))).platform == "linux/amd64"


def test_a_list_of_dockers_that_names_what_is_not_there_does_not_hide_the_layout(archive):
    broken = json.dumps([{"Config": "missing.json", "RepoTags": None, "Layers": []}]).encode()
    assert is_one(archive(oci_files(ONE) | {"manifest.json": broken}))
    with pytest.raises(RefusedArchiveError, match=r"lacks 'missing\.json'"):
        read_image(archive({"manifest.json": broken, "index.json": b"{}"}))


def test_podmans_archive_with_its_links_for_old_readers_is_taken(archive):
    files = docker_files(ONE)
    manifest = json.loads(files["manifest.json"])
    manifest[0]["Layers"] = [f"{sha(ONE)}.tar"]
    files = {name: data for name, data in files.items() if name != "0/layer.tar"}
    files |= {f"{sha(ONE)}.tar": ONE, "manifest.json": json.dumps(manifest).encode(), "x/VERSION": b"1.0"}
    link = member("x/layer.tar", tarfile.SYMTYPE, f"../{sha(ONE)}.tar")
    assert is_one(archive(files, link))


def test_a_folder_of_skopeos_dir_form_is_taken(folder):
    files = oci_files(ONE)
    entry = json.loads(files["index.json"])["manifests"][0]["digest"]
    plain = {name.rpartition("/")[2]: data for name, data in files.items() if name.startswith("blobs/")}
    assert is_one(folder(plain | {"manifest.json": plain[entry[7:]], "version": b"1.1"}))


@pytest.mark.parametrize("compress", COMPRESSIONS)
def test_layers_are_read_in_every_compression(archive, compress):
    blobs = archive(oci_files(ONE, TWO, compress=COMPRESSIONS[compress]))
    assert check_layers(blobs, read_image(blobs), SMALL).source.digest == f"sha256:{sha(config_of(ONE, TWO))}"


@pytest.mark.parametrize("compress", ["gzip", "zstd"])
def test_a_layer_that_is_a_bomb_is_refused_in_every_compression(archive, compress):
    bomb = tar(member("zeros", content=b"\0" * (2 << 20)))
    blobs = archive(oci_files(bomb, compress=COMPRESSIONS[compress]))
    with pytest.raises(RefusedArchiveError, match="more than is allowed"):
        check_layers(blobs, read_image(blobs), SMALL)


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
