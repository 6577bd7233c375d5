"""Images are built by content in a real engine, taken in from archives, looked over and packed."""

import json
import tarfile
import uuid

import pytest

from harness.errors import ConfigurationError, SubmissionError
from harness.submission.build import build, ensure
from harness.submission.find import open_submission
from harness.submission.image import CONTENT_LABEL, content_of
from harness.submission.lint import lint
from harness.submission.load import take_in
from harness.submission.pack import pack
from harness.submission.recipes import BASE
from harness.submission.tarstream import RefusedArchiveError

pytestmark = pytest.mark.engine

DOCKERFILE = f"""ARG PARENT={BASE}
FROM ${{PARENT}}
ARG TASK=none
ENV TASK=${{TASK}}
COPY predict.sh ./
"""


@pytest.fixture(scope="module")
def client(engine):
    """The engine's SDK client, with the base image present."""
    ensure(engine.client, BASE)
    return engine.client


def untagged(client):
    return {image["Id"] for image in client.api.images(filters={"dangling": True})}


@pytest.fixture
def submission(tmp_path, client):
    """A new submission on the base image; its images are removed afterwards."""
    name = f"trial-{uuid.uuid4().hex[:8]}"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "submission.toml").write_text(
        f'name = "{name}"\n[build_args]\nTASK = "organs"\n'
        '[challenge."flare24-task1".build_args]\nTASK = "tumour"\n'
    )
    (folder / "predict.sh").write_text("echo done\n")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    yield open_submission(folder)
    remove(client, name.replace("-", "_"), name)


def remove(client, *words):
    for image in client.api.images():
        for tag in image.get("RepoTags") or []:
            if any(word in tag for word in words):
                client.api.remove_image(tag, force=True)


def make(submission, client, challenge="phantom"):
    """Build, and return the image with the lines that it took."""
    lines = []
    return build(submission, challenge=challenge, client=client, progress=lines.append), lines


def make_small(submission, client):
    """Build an image of one file, for tests that run nothing."""
    submission.dockerfile.write_text("FROM scratch\nCOPY predict.sh /workspace/\n")
    return make(submission, client)[0]


def environment(client, image):
    return client.api.inspect_image(image.digest)["Config"]["Env"]


def test_a_second_build_has_nothing_to_do(submission, client):
    first, lines = make(submission, client)
    assert any("building" in line for line in lines)
    assert (first.user, first.platform) == ("65532:65532", f"linux/{client.version()['Arch']}")
    second, lines = make(submission, client)
    assert (second, lines) == (first, [])


def test_a_changed_file_makes_a_new_image_and_its_return_the_old_one(submission, client):
    first, _ = make(submission, client)
    (submission.folder / "predict.sh").write_text("echo changed\n")
    changed, _ = make(submission, client)
    assert changed.digest != first.digest
    (submission.folder / "predict.sh").write_text("echo done\n")
    assert make(submission, client) == (first, [])


def test_each_challenge_gets_its_build_arguments_and_equal_ones_share_an_image(submission, client):
    organs, _ = make(submission, client)
    tumour, _ = make(submission, client, "flare24-task1")
    assert "TASK=organs" in environment(client, organs)
    assert "TASK=tumour" in environment(client, tumour)
    assert make(submission, client, "flare22") == (organs, [])


def test_what_runs_is_what_was_copied_and_no_network_is_there_to_build(submission, client):
    with (submission.folder / "Dockerfile").open("a") as file:
        file.write('USER 0\nRUN test "$(ls /sys/class/net)" = lo\nUSER 65532:65532\n')
    image, _ = make(submission, client)
    output = client.containers.run(image.digest, ["sh", "predict.sh"], network_mode="none", remove=True)
    assert output == b"done\n"


def test_a_failed_build_says_which_line_and_shows_the_last_of_the_log(submission, client):
    with (submission.folder / "Dockerfile").open("a") as file:
        file.write("RUN echo about to fail && exit 3\n")
    with pytest.raises(SubmissionError) as raised:
        make(submission, client)
    line = raised.value.one_line()
    assert "exit 3" in line and "non-zero code: 3" in line
    assert "about to fail" in line
    assert "build_network = true" in line


def test_a_dockerfile_that_is_none_is_refused(submission, client):
    (submission.folder / "Dockerfile").write_text("MAKE me an image\n")
    with pytest.raises(SubmissionError, match="does not build"):
        make(submission, client)


def test_a_parent_that_nobody_has_is_named(submission, client):
    (submission.folder / "Dockerfile").write_text("FROM flareharness/no-such-image:never\n")
    with pytest.raises(SubmissionError, match="flareharness/no-such-image:never, which is not here"):
        make(submission, client)


def test_a_parent_that_is_a_variable_nobody_set_does_not_build(submission, client):
    (submission.folder / "Dockerfile").write_text("FROM ${PARENT}\n")
    with pytest.raises(SubmissionError, match="does not build"):
        make(submission, client)


def test_a_submission_without_a_dockerfile_is_refused(submission, client):
    submission.dockerfile.unlink()
    with pytest.raises(SubmissionError, match="no Dockerfile"):
        make(submission, client)


def test_the_base_is_there_without_privileges_and_starts_without_compiling(client):
    assert ensure(client, BASE).user == "65532:65532"
    script = (
        "import json, os, sys; print(sys.version_info[:2], json.__spec__.cached, os.getuid(), os.getcwd())"
    )
    output = client.containers.run(
        BASE, ["python", "-c", script], network_mode="none", read_only=True, remove=True
    ).decode()
    assert "(3, 11)" in output and "65532 /workspace" in output
    cached = output.split()[2]
    check = (
        f"import struct, pathlib; print(struct.unpack('<I', pathlib.Path('{cached}').read_bytes()[4:8])[0])"
    )
    flags = client.containers.run(BASE, ["python", "-c", check], network_mode="none", remove=True)
    assert flags == b"1\n"  # bytecode with a hash that Python does not check


def save(client, image, path):
    with path.open("wb") as file:
        for chunk in client.api.get_image(image.reference):
            file.write(chunk)
    return path


def test_a_saved_archive_comes_back_under_our_tag_with_the_same_digest(submission, client, tmp_path):
    image = make_small(submission, client)
    path = save(client, image, tmp_path / f"{submission.name}.tar")
    loaded = take_in(str(path), challenge="phantom", client=client)
    assert loaded.digest == image.digest
    assert loaded.reference.startswith(f"flareharness/intake/{submission.name.replace('-', '_')}:")


def test_a_tag_is_taken_as_it_is_and_an_unknown_one_is_refused(submission, client):
    image, _ = make(submission, client)
    assert take_in(image.reference, challenge="phantom", client=client).digest == image.digest
    for unknown in ("flareharness/none:never", "No Name At All"):
        with pytest.raises(ConfigurationError, match="no such image"):
            take_in(unknown, challenge="phantom", client=client)
    with pytest.raises(ConfigurationError, match="no such image archive"):
        take_in("/nowhere/team.tar.gz", challenge="phantom", client=client)


def test_a_folder_with_a_dockerfile_is_built(submission, client):
    taken = take_in(str(submission.folder), challenge="phantom", client=client)
    assert taken == make(submission, client)[0]


def test_a_packed_archive_has_flares_name_and_tag_and_equal_bytes_each_time(submission, client, tmp_path):
    image = make_small(submission, client)
    archives = [
        pack(client, image.digest, team="My-Team", folder=tmp_path / str(number)) for number in range(2)
    ]
    assert [path.name for path in archives] == ["my_team.tar.gz"] * 2
    assert archives[0].read_bytes() == archives[1].read_bytes()
    assert sorted(path.name for path in archives[0].parent.iterdir()) == ["my_team.tar.gz"]
    with tarfile.open(archives[0]) as packed:
        assert json.load(packed.extractfile("manifest.json"))[0]["RepoTags"] == ["my_team:latest"]
    loaded = take_in(str(archives[0]), challenge="phantom", client=client)
    try:
        assert loaded.digest == image.digest
    finally:
        client.api.remove_image(loaded.reference)


def test_packing_an_image_that_is_not_there_is_one_clear_error(client, tmp_path):
    with pytest.raises(ConfigurationError, match="no such image"):
        pack(client, "flareharness/none:never", team="mine", folder=tmp_path)
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
    assert take_in(str(hostile), challenge="phantom", client=client).digest == image.digest
    assert client.images.get(BASE).id == base


def test_a_hostile_archive_is_refused_before_the_engine_sees_it(client, tmp_path):
    hostile = tmp_path / "team.tar"
    with tarfile.open(hostile, "w") as archive:
        link = tarfile.TarInfo("x/layer.tar")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/shadow"
        archive.addfile(link)
    before = {image["Id"] for image in client.api.images()}
    with pytest.raises(RefusedArchiveError, match="leads outside"):
        take_in(str(hostile), challenge="phantom", client=client)
    assert {image["Id"] for image in client.api.images()} <= before


def found(client, image, **options):
    return {each.rule for each in lint(client, image.digest, **options)}


def test_lint_passes_a_good_image(submission, client):
    assert found(client, make(submission, client)[0]) == set()


def test_lint_looks_into_the_image_itself(submission, client):
    (submission.folder / "labelsTr").mkdir()
    (submission.folder / "labelsTr" / "case.nii.gz").write_bytes(b"1")
    (submission.folder / "Dockerfile").write_text(
        DOCKERFILE
        + "COPY labelsTr labelsTr/\nUSER 0\nRUN rm -r labelsTr && chmod 600 predict.sh\n"
        + 'ENV LD_PRELOAD=/x.so\nVOLUME /data\nENTRYPOINT ["/bin/sh"]\n'
    )
    image, _ = make(submission, client)
    assert found(client, image) == {"labels", "unreadable", "user", "loader", "volume", "entrypoint"}


def test_lint_follows_links_and_finds_what_is_missing(submission, client):
    with (submission.folder / "Dockerfile").open("a") as file:
        file.write("USER 0\nRUN mv predict.sh /opt/real.sh && ln -s ../opt/real.sh predict.sh\nUSER 65532\n")
    assert found(client, make(submission, client)[0]) == set()
    with (submission.folder / "Dockerfile").open("a") as file:
        file.write("USER 0\nRUN rm /opt/real.sh\nUSER 65532\n")
    assert found(client, make(submission, client)[0]) == {"missing"}


def test_content_labels_say_what_an_image_was_made_from(submission, client):
    image, _ = make(submission, client)
    label = client.api.inspect_image(image.digest)["Config"]["Labels"][CONTENT_LABEL]
    assert image.reference.endswith(f":{label[:16]}")
    assert content_of(client, BASE) != label


def test_stages_do_not_stay_behind(submission, client):
    submission.dockerfile.write_text(
        f"FROM {BASE} AS one\nRUN echo {submission.name} >made\nFROM {BASE}\nCOPY --from=one /workspace .\n"
    )
    before = untagged(client)
    make(submission, client)
    assert untagged(client) <= before
