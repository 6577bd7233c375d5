"""One archive is one image in every store, and the engine's own id stands beside what it is."""

import json

import pytest
import requests
from archives import config_of, docker_files, files_tar, member, oci_files, sha, tar
from engines import FakeApi, fake_client

from harness.engine.docker import DockerEngine
from harness.engine.identity import Identity, identify, recall, remember
from harness.engine.images import EngineRefused
from harness.errors import InfrastructureError, PrerequisiteError, SubmissionError
from harness.submission.load import take_in
from harness.submission.remove import is_ours, remove_images

LAYER = tar(member("workspace/predict.sh", content=b"echo"), member("bin/su", content=b"x", mode=0o4755))
CONFIG = config_of(LAYER, architecture="amd64", config={"User": "65532"})


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FLAREHARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "team.tar"
    path.write_bytes(files_tar(docker_files(LAYER, config=CONFIG)))
    return path


def made_engine(**options):
    return DockerEngine(fake_client(**options), "unix:///in/memory")


def engines():
    return [made_engine(), made_engine(containerd=True)]


def taken(path, engine, **options):
    return take_in(str(path), challenge="phantom", images=engine.images, **options)


def test_one_archive_in_two_stores_has_one_identity_and_two_ids(archive):
    classic, containerd = (taken(archive, engine) for engine in engines())
    assert classic.identity == containerd.identity == f"sha256:{sha(CONFIG)}"
    assert classic.digest != containerd.digest


def test_what_an_evaluation_asks_for_knows_the_identity(archive):
    for engine in engines():
        image = taken(archive, engine)
        facts = engine.image(image.digest)
        assert (facts.digest, facts.identity) == (image.digest, f"sha256:{sha(CONFIG)}")


def test_an_image_that_nobody_took_in_has_the_digest_of_its_config_in_both_stores(tmp_path):
    for engine in engines():
        archive = files_tar(docker_files(LAYER, config=CONFIG, tags=("mine:1",)))
        engine.images.load(iter([archive]))
        assert engine.image("mine:1").identity == f"sha256:{sha(CONFIG)}"
        engine.image("mine:1")
        assert engine.client.api.saved == engine.client.api.containerd, "read from the engine once, if at all"


def test_docker_and_oci_form_of_an_image_are_one(archive, tmp_path):
    other = tmp_path / "other.tar"
    other.write_bytes(files_tar(oci_files(LAYER, config=CONFIG)))
    (engine, _) = engines()
    first, second = taken(archive, engine), taken(other, engine)
    assert (first.identity, first.digest) == (second.identity, second.digest)


def test_an_archive_that_is_there_is_not_loaded_again(archive):
    for engine in engines():
        first, lines = taken(archive, engine), []
        assert taken(archive, engine, progress=lines.append) == first
        assert lines == []


def test_an_image_under_our_tag_that_we_did_not_load_is_no_excuse(archive):
    """A stranger's image may carry the tag that ours would have."""
    (engine, _) = engines()
    reference = taken(archive, engine).reference
    hostile = config_of(LAYER, architecture="amd64", config={"User": "0", "Env": ["LD_PRELOAD=/x"]})
    engine.images.load(iter([files_tar(docker_files(LAYER, config=hostile, tags=(reference,)))]))
    lines = []
    again = taken(archive, engine, progress=lines.append)
    assert lines != [] and again.user == "65532"


def test_a_label_or_tag_in_an_archive_says_nothing_of_its_identity(tmp_path):
    config = config_of(
        LAYER, architecture="amd64", config={"Labels": {"io.flareharness.identity": "sha256:0"}}
    )
    path = tmp_path / "team.tar"
    path.write_bytes(files_tar(docker_files(LAYER, config=config)))
    assert taken(path, engines()[0]).identity == f"sha256:{sha(config)}"


def test_an_image_of_another_rule_is_taken_in_again(archive):
    (engine, _) = engines()
    image = taken(archive, engine)
    known = recall(image.digest)
    remember(image.digest, Identity(known.config_digest, known.diff_ids, rules=known.rules - 1))
    lines = []
    taken(archive, engine, progress=lines.append)
    assert lines != []


def test_a_cache_that_cannot_be_written_is_said_in_one_line(archive, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("FLAREHARNESS_CACHE", str(tmp_path / "file" / "cache"))
    (classic, containerd) = engines()
    with pytest.raises(PrerequisiteError, match="the cache folder cannot be written"):
        taken(archive, classic)
    containerd.images.load(iter([files_tar(docker_files(LAYER, config=CONFIG, tags=("mine:1",)))]))
    assert containerd.image("mine:1").identity == f"sha256:{sha(CONFIG)}", "read again each time"


def test_a_record_that_is_damaged_is_none(cache, archive):
    (engine, _) = engines()
    image = taken(archive, engine)
    for path in (cache / "images").iterdir():
        path.write_text("{")
    assert recall(image.digest) is None


def test_an_image_for_another_processor_is_refused_before_the_engine_sees_it(archive):
    engine = made_engine(architecture="arm64")
    with pytest.raises(SubmissionError, match="for linux/amd64, not for linux/arm64"):
        taken(archive, engine)
    assert engine.client.api.images_by_id == {}


def test_an_engine_that_refuses_is_the_submissions_failure_and_a_full_disk_is_not(archive, monkeypatch):
    (engine, _) = engines()
    for text, error in (
        ("invalid tar header", SubmissionError),
        ("no space left on device", InfrastructureError),
    ):
        monkeypatch.setattr(FakeApi, "load_image", lambda self, chunks, text=text: iter([{"error": text}]))
        with pytest.raises(error):
            taken(archive, engine)


def test_an_engine_that_goes_away_is_one_error(monkeypatch):
    def gone(self, reference):
        raise requests.exceptions.ConnectionError("reset")

    monkeypatch.setattr(FakeApi, "inspect_image", gone)
    with pytest.raises(InfrastructureError, match="went away while looking up an image"):
        engines()[0].images.inspect("a:1")


def test_an_engine_that_saves_no_config_is_an_error(monkeypatch):
    (_, engine) = engines()
    engine.images.load(iter([files_tar(docker_files(LAYER, config=CONFIG, tags=("mine:1",)))]))
    monkeypatch.setattr(
        FakeApi, "get_image", lambda self, reference: iter([files_tar({"manifest.json": b"[]"})])
    )
    with pytest.raises(InfrastructureError, match="without its config"):
        identify(engine.images, engine.images.inspect("mine:1"))


def test_all_tags_of_ours_are_removed_and_no_other(archive):
    (engine, _) = engines()
    reference = taken(archive, engine).reference
    engine.client.api.tags["other:1"] = engine.client.api.tags[reference]
    assert remove_images(engine.images) == ([reference], [])
    assert list(engine.client.api.tags) == ["other:1"]
    with pytest.raises(EngineRefused, match="no such image"):
        engine.images.remove(reference)


@pytest.mark.parametrize(
    ("tag", "ours"),
    [
        ("flareharness/intake/a:1", True),
        ("localhost/flareharness/intake/a:1", True),
        ("docker.io/flareharness/submission/a:1", True),
        ("registry.example/flareharness/intake/a:1", False),
        ("flareharness:1", False),
    ],
)
def test_our_tags_are_known_however_an_engine_writes_them(tag, ours):
    assert is_ours(tag) is ours


def test_what_an_engine_says_of_an_image_is_read_whatever_it_leaves_out():
    bare = json.dumps({"rootfs": {"diff_ids": [f"sha256:{sha(LAYER)}"]}}).encode()
    (engine, _) = engines()
    engine.images.load(iter([files_tar(docker_files(LAYER, config=bare, tags=("a:1",)))]))
    found = engine.images.inspect("a:1")
    assert (found.user, found.environment, found.entrypoint, found.labels) == ("", (), (), {})
