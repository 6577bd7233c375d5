"""An image travels once and is loaded once per host, whatever its store; another one is refused."""

import pytest
from archives import config_of, docker_files, files_tar, member, sha, tar
from engines import fake_client

from harness.cluster.images import load_offered, offered_image, remove_offered, withdraw_offered
from harness.engine.docker import DockerEngine
from harness.engine.process import ProcessEngine
from harness.errors import ConfigurationError, InfrastructureError
from harness.submission.load import take_in

LAYER = tar(member("workspace/predict.sh", content=b"echo"))
CONFIG = config_of(LAYER, architecture="amd64")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FLAREHARNESS_CACHE", str(tmp_path / "cache"))


def engine_of(**options):
    return DockerEngine(fake_client(**options), "unix:///in/memory")


def taken(engine, tmp_path, layer=LAYER):
    archive = tmp_path / "team.tar"
    archive.write_bytes(files_tar(docker_files(layer, config=config_of(layer, architecture="amd64"))))
    return engine.image(take_in(str(archive), challenge="phantom", images=engine.images).digest)


@pytest.mark.parametrize("containerd", [False, True])
def test_it_is_saved_once_and_has_the_same_identity_where_it_is_loaded(tmp_path, monkeypatch, containerd):
    here = engine_of()
    image = taken(here, tmp_path)
    offered = offered_image(here, image, image.digest, tmp_path / "images", travels=True)
    saved = here.client.api.saved
    assert offered_image(here, image, image.digest, tmp_path / "images", travels=True) == offered
    assert here.client.api.saved == saved
    monkeypatch.setenv("FLAREHARNESS_CACHE", str(tmp_path / "another host's cache"))
    there, lines = engine_of(containerd=containerd), []
    for _ in range(2):
        load_offered(there, offered, identity=image.identity, progress=lines.append)
    assert lines == [f"loading {offered.reference}"]
    assert there.image(offered.reference).identity == image.identity == f"sha256:{sha(CONFIG)}"
    remove_offered(there, offered)
    with pytest.raises(ConfigurationError):
        there.image(offered.reference)


def test_another_image_under_the_name_of_the_archive_is_refused(tmp_path):
    here = engine_of()
    image = taken(here, tmp_path)
    offered = offered_image(here, image, image.digest, tmp_path / "images", travels=True)
    other = taken(here, tmp_path, tar(member("workspace/predict.sh", content=b"another")))
    wrong = offered_image(here, other, other.digest, tmp_path / "images", travels=True)
    mixed = offered.model_copy(update={"archive": wrong.archive})
    with pytest.raises(InfrastructureError, match="another image than was offered"):
        load_offered(engine_of(), mixed, identity="", progress=lambda line: None)
    offered.archive.unlink()
    with pytest.raises(InfrastructureError, match="no archive of it was offered"):
        load_offered(engine_of(), offered, identity="", progress=lambda line: None)


def test_workers_of_one_engine_need_no_archive_and_folders_travel_by_their_path(tmp_path):
    here = engine_of()
    image = taken(here, tmp_path)
    offered = offered_image(here, image, image.digest, tmp_path / "images", travels=False)
    assert offered.archive is None
    load_offered(here, offered, identity=image.identity, progress=lambda line: None)
    assert not (tmp_path / "images").exists()
    (tmp_path / "predict.sh").write_text("")
    engine = ProcessEngine()
    folder = engine.image(str(tmp_path))
    assert offered_image(engine, folder, str(tmp_path), tmp_path, travels=True).reference == str(tmp_path)


@pytest.mark.parametrize("travels", [False, True])
def test_the_name_of_an_offer_goes_but_the_last_name_of_an_image_never_does(tmp_path, travels):
    here = engine_of()
    image = taken(here, tmp_path)
    here.images.tag(image.digest, "flareharness/team:1")
    offered = offered_image(here, image, image.digest, tmp_path / "images", travels=travels)
    remove_offered(here, offered)  # a worker of this host leaves the run
    withdraw_offered(here, offered)
    assert here.images.inspect(offered.reference) is None
    assert here.image("flareharness/team:1").digest == image.digest
    again = offered_image(here, image, image.digest, tmp_path / "images", travels=travels)
    for tag in here.images.inspect(image.digest).tags:
        if tag != again.reference:
            here.images.remove(tag)
    remove_offered(here, again)
    withdraw_offered(here, again)
    assert here.image(again.reference).digest == image.digest


def test_a_name_that_podman_wrote_with_a_registry_is_the_same_name(tmp_path):
    here = engine_of()
    image = taken(here, tmp_path)
    offered = offered_image(here, image, image.digest, tmp_path / "images", travels=False)
    tags = here.client.api.tags
    for tag in [tag for tag, owner in tags.items() if owner == tags[offered.reference]]:
        if tag != offered.reference:
            del tags[tag]
    tags[f"localhost/{offered.reference}"] = tags[offered.reference]
    withdraw_offered(here, offered)
    assert here.image(offered.reference).digest == image.digest
