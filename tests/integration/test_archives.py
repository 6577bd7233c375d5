"""Archives are taken in by a real engine, and packed from it."""

import io
import json
import tarfile
import uuid

import imagecodecs
import pytest
from archives import config_of, docker_files, files_tar, member, tar
from built_images import make, make_small

from harness.engine.docker_images import DockerImages
from harness.errors import ConfigurationError
from harness.submission.load import take_in
from harness.submission.pack import pack
from harness.submission.recipes import BASE
from harness.submission.tarstream import RefusedArchiveError

pytestmark = pytest.mark.engine


def save(client, image, path):
    with path.open("wb") as file:
        for chunk in client.api.get_image(image.reference):
            file.write(chunk)
    return path


def test_a_saved_archive_comes_back_under_our_tag_with_the_same_identity(submission, client, tmp_path):
    image = make_small(submission, client)
    path = save(client, image, tmp_path / f"{submission.name}.tar")
    loaded = take_in(str(path), challenge="phantom", images=DockerImages(client))
    assert loaded.identity == image.identity == image.digest
    assert loaded.reference.startswith(f"flareharness/intake/{submission.name.replace('-', '_')}:")


def test_a_tag_is_taken_as_it_is_and_an_unknown_one_is_refused(submission, client):
    image, _ = make(submission, client)
    assert take_in(image.reference, challenge="phantom", images=DockerImages(client)).digest == image.digest
    for unknown in ("flareharness/none:never", "No Name At All"):
        with pytest.raises(ConfigurationError, match="no such image"):
            take_in(unknown, challenge="phantom", images=DockerImages(client))
    with pytest.raises(ConfigurationError, match="no such image archive"):
        take_in("/nowhere/team.tar.gz", challenge="phantom", images=DockerImages(client))


def test_a_folder_with_a_dockerfile_is_built(submission, client):
    taken = take_in(str(submission.folder), challenge="phantom", images=DockerImages(client))
    assert taken == make(submission, client)[0]


def test_a_packed_archive_has_flares_name_and_tag_and_equal_bytes_each_time(submission, client, tmp_path):
    image = make_small(submission, client)
    archives = [
        pack(DockerImages(client), image.digest, team="My-Team", folder=tmp_path / str(number))
        for number in range(2)
    ]
    assert [path.name for path in archives] == ["my_team.tar.gz"] * 2
    assert archives[0].read_bytes() == archives[1].read_bytes()
    assert sorted(path.name for path in archives[0].parent.iterdir()) == ["my_team.tar.gz"]
    with tarfile.open(archives[0]) as packed:
        assert json.load(packed.extractfile("manifest.json"))[0]["RepoTags"] == ["my_team:latest"]
    loaded = take_in(str(archives[0]), challenge="phantom", images=DockerImages(client))
    try:
        assert loaded.identity == image.digest
    finally:
        client.api.remove_image(loaded.reference)


def test_packing_an_image_that_is_not_there_is_one_clear_error(client, tmp_path):
    with pytest.raises(ConfigurationError, match="no such image"):
        pack(DockerImages(client), "flareharness/none:never", team="mine", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_archive_cannot_take_the_tag_of_another_image(submission, client, tmp_path):
    """A stranger's archive may name itself python:3.11 or our base; loading it must not replace those."""
    image = make_small(submission, client)
    client.api.tag(image.digest, f"{submission.name}-base", "latest")
    save(client, image, tmp_path / "honest.tar")
    base = client.images.get(BASE).id
    hostile = tmp_path / f"{submission.name}.tar"
    with tarfile.open(tmp_path / "honest.tar") as source, tarfile.open(hostile, "w") as target:
        for member in source:
            content = source.extractfile(member) if member.isreg() else None
            if member.name == "manifest.json":
                manifest = json.load(content)
                manifest[0]["RepoTags"] = [BASE]
                (tmp_path / "manifest.json").write_text(json.dumps(manifest))
                target.add(tmp_path / "manifest.json", "manifest.json")
            elif member.name != "repositories":
                target.addfile(member, content)
    taken = take_in(str(hostile), challenge="phantom", images=DockerImages(client))
    assert taken.identity == image.identity
    assert client.images.get(BASE).id == base


def test_a_hostile_archive_is_refused_before_the_engine_sees_it(client, tmp_path):
    hostile = tmp_path / "team.tar"
    with tarfile.open(hostile, "w") as archive:
        link = tarfile.TarInfo("x/layer.tar")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/shadow"
        archive.addfile(link)
    before = {image["Id"] for image in client.api.images()}
    with pytest.raises(RefusedArchiveError, match="leads outside"):
        take_in(str(hostile), challenge="phantom", images=DockerImages(client))
    assert {image["Id"] for image in client.api.images()} <= before


def layer_archive(tmp_path, layer, name="hostile.tar"):
    """Write an archive of an image of one layer, given byte for byte, and return its path."""
    config = config_of(layer, architecture="amd64", nonce=uuid.uuid4().hex)
    path = tmp_path / name
    path.write_bytes(files_tar(docker_files(layer, config=config)))
    return path


@pytest.fixture
def taken(client):
    """Take archives in, and give what the engine holds of them; the images are removed afterwards."""
    references = set()

    def take(path):
        image = take_in(str(path), challenge="phantom", images=DockerImages(client))
        references.add(image.reference)
        return image

    yield take
    for reference in references:
        client.api.remove_image(reference, force=True)


def files_in(client, image):
    """Return the paths and modes of an image's files as the engine unpacked them."""
    container = client.api.create_container(image.digest, command=["true"], network_disabled=True)["Id"]
    try:
        with tarfile.open(fileobj=io.BytesIO(b"".join(client.api.export(container)))) as archive:
            return {each.name: each for each in archive}
    finally:
        client.api.remove_container(container)


def test_the_engine_finds_what_the_intake_understood(client, taken, tmp_path):
    """Names given twice, set-user-id programs and devices: the engine's own reader has nothing to decide."""
    long_name = member("x" * 150, content=b"1")[0].tobuf(tarfile.GNU_FORMAT)[: 2 * 512]
    file = member("short", content=b"1")[0]
    file.pax_headers = {"path": "opt/understood"}
    twice = long_name + file.tobuf(tarfile.PAX_FORMAT) + b"1" + bytes(511)
    rest = tar(
        member("bin/su", content=b"x", mode=0o4755),
        member("dev/disk", tarfile.BLKTYPE, mode=0o666),
        member("etc/plain", content=b"x", mode=0o640, uid=7),
    )
    found = files_in(client, taken(layer_archive(tmp_path, twice + rest)))
    assert "opt/understood" in found and "x" * 150 not in found
    assert found["bin/su"].mode & 0o7777 == 0o755
    assert "dev/disk" not in found
    assert (found["etc/plain"].mode & 0o7777, found["etc/plain"].uid) == (0o640, 7)


def test_every_compression_of_an_archive_is_one_image_in_the_engine(client, taken, tmp_path):
    layer = tar(member("workspace/predict.sh", content=b"echo"))
    path = layer_archive(tmp_path, layer, "team.tar")
    packed = tmp_path / "team.tar.zst"
    packed.write_bytes(imagecodecs.zstd_encode(path.read_bytes()))
    assert taken(path) == taken(packed)
