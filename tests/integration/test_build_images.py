"""Images are built by content in a real engine, and looked over."""

import pytest
from built_images import DOCKERFILE, environment, make, untagged

from harness.engine.docker_images import DockerImages
from harness.errors import SubmissionError
from harness.submission.build import ensure
from harness.submission.image import CONTENT_LABEL, content_of
from harness.submission.lint import lint
from harness.submission.recipes import BASE, RUNTIME_CPU

pytestmark = pytest.mark.engine


def test_the_runtime_s_name_comes_back_from_another_checkout_without_a_build(client):
    images = DockerImages(client)
    own = ensure(images, RUNTIME_CPU)
    images.tag(BASE, RUNTIME_CPU)
    lines = []
    assert ensure(images, RUNTIME_CPU, lines.append).digest == own.digest
    assert not [line for line in lines if line.startswith("building")]


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
    (submission.folder / "Dockerfile").write_text("FROM no-such-image:never\n")
    with pytest.raises(SubmissionError, match="never, which is not here"):
        make(submission, client)


def test_a_parent_that_is_a_variable_nobody_set_does_not_build(submission, client):
    (submission.folder / "Dockerfile").write_text("FROM ${PARENT}\n")
    with pytest.raises(SubmissionError, match="does not build: its parent"):
        make(submission, client)


def test_a_submission_without_a_dockerfile_is_refused(submission, client):
    submission.dockerfile.unlink()
    with pytest.raises(SubmissionError, match="no Dockerfile"):
        make(submission, client)


def test_the_base_is_there_without_privileges_and_starts_without_compiling(client):
    assert ensure(DockerImages(client), BASE).user == "65532:65532"
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


def found(client, image, **options):
    return {each.rule for each in lint(DockerImages(client), image.digest, **options)}


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
    assert found(client, make(submission, client)[0]) == {"entry"}
    with (submission.folder / "Dockerfile").open("a") as file:
        file.write("USER 0\nRUN rm /opt/real.sh\nUSER 65532\n")
    assert found(client, make(submission, client)[0]) == {"missing"}


def test_content_labels_say_what_an_image_was_made_from(submission, client):
    image, _ = make(submission, client)
    label = client.api.inspect_image(image.digest)["Config"]["Labels"][CONTENT_LABEL]
    assert image.reference.endswith(f":{label[:16]}")
    assert content_of(DockerImages(client), BASE) != label


def test_stages_do_not_stay_behind(submission, client):
    submission.dockerfile.write_text(
        f"FROM {BASE} AS one\nRUN echo {submission.name} >made\nFROM {BASE}\nCOPY --from=one /workspace .\n"
    )
    before = untagged(client)
    make(submission, client)
    assert untagged(client) <= before
