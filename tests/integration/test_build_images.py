"""Images are built by content in a real engine, taken in from archives, looked over and packed."""

import http.server
import io
import json
import tarfile
import threading
import time
import uuid
from dataclasses import replace

import imagecodecs
import pytest
from archives import config_of, docker_files, files_tar, member, tar

from harness.engine.docker_images import DockerImages
from harness.errors import ConfigurationError, SubmissionError
from harness.submission import build as build_module
from harness.submission import builder
from harness.submission.build import build, ensure
from harness.submission.find import open_submission
from harness.submission.image import CONTENT_LABEL, content_of
from harness.submission.lint import lint
from harness.submission.load import take_in
from harness.submission.pack import pack
from harness.submission.recipes import BASE, RUNTIME_CPU
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
    ensure(engine.images, BASE)
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


def test_the_runtime_s_name_comes_back_from_another_checkout_without_a_build(client):
    images = DockerImages(client)
    own = ensure(images, RUNTIME_CPU)
    images.tag(BASE, RUNTIME_CPU)
    lines = []
    assert ensure(images, RUNTIME_CPU, lines.append).digest == own.digest
    assert not [line for line in lines if line.startswith("building")]


def make(submission, client, challenge="phantom"):
    """Build, and return the image with the lines that it took."""
    lines = []
    return build(submission, challenge=challenge, images=DockerImages(client), progress=lines.append), lines


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


def dockerfile(submission, text):
    (submission.folder / "Dockerfile").write_text(text)


@pytest.fixture
def listener():
    """A server on this host that counts who asks it."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"secret")

        def log_message(self, *_arguments):
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/meta-data", asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "line", ["ADD {url} /s", 'ADD ["{url}", "/s"]', "AD\\\nD {url} /s", "ENV U={url}\nADD $U /s"]
)
@pytest.mark.parametrize("network", [False, True])
def test_the_engine_fetches_nothing_for_a_stranger(submission, client, listener, line, network):
    url, asked = listener
    if network:
        text = (submission.folder / "submission.toml").read_text()
        (submission.folder / "submission.toml").write_text(f"build_network = true\n{text}")
        submission = open_submission(submission.folder)
    dockerfile(submission, f"FROM {BASE}\n{line.format(url=url)}\nCOPY predict.sh ./\n")
    with pytest.raises(SubmissionError, match="ADDs what the engine would fetch"):
        make(submission, client)
    assert asked == []


def test_a_parents_trigger_fetches_nothing_either(submission, client, listener):
    url, asked = listener
    name = f"{submission.name}-parent:1"
    text = f"FROM {BASE}\nONBUILD ADD {url} /s\n"
    client.images.build(fileobj=io.BytesIO(text.encode()), tag=name, rm=True)
    dockerfile(submission, f"FROM {name}\nCOPY predict.sh ./\n")
    with pytest.raises(SubmissionError, match="ONBUILD of"):
        make(submission, client)
    assert asked == []


@pytest.mark.parametrize(
    "text",
    [
        "FROM {other}\n",
        f"FROM {BASE}\nCOPY --from={{other}} /workspace /x\n",
        "FROM docker.io/{other}\n",
        "ARG P={other}\nFROM $P\n",
        "FROM {id}\n",
        "FROM {short}\n",
        "FROM {alias}\n",
    ],
)
def test_no_submission_stands_on_another_teams_image(submission, client, text):
    other = make(submission, client)[0]
    alias = f"{submission.name}-alias"
    client.api.tag(other.digest, alias, "latest")
    names = {"other": other.reference, "id": other.digest, "short": other.digest[7:19], "alias": alias}
    dockerfile(submission, text.format(**names) + "COPY predict.sh ./\n")
    with pytest.raises(SubmissionError, match="no submission may build on"):
        make(submission, client)


def limited(monkeypatch, **changes):
    def limits(host, *, ours):
        usual = builder.build_limits(host, ours=ours)
        return usual if ours else replace(usual, **changes)

    monkeypatch.setattr(build_module, "build_limits", limits)


def test_run_lines_have_a_limit_of_memory_and_of_cpus(submission, client, monkeypatch):
    limited(monkeypatch, memory_bytes=64 << 20, cpus=0.5)
    dockerfile(
        submission,
        f"FROM {BASE}\nUSER 0\nENV NONCE={uuid.uuid4().hex}\n"  # no step of an earlier build will do
        "RUN cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true\n"
        "RUN cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null; true\n"
        "RUN python -c 'print(len(str(1) * (200 << 20)))'\n",
    )
    lines = []
    with pytest.raises(SubmissionError, match="does not build"):
        build(submission, challenge="phantom", images=DockerImages(client), progress=lines.append)
    assert any(line.strip() == str(64 << 20) for line in lines)
    assert any(line.strip() in ("50000", "50000 100000") for line in lines)


def test_a_build_that_never_ends_is_ended_with_its_container(submission, client, monkeypatch):
    limited(monkeypatch, time_s=3.0)
    mark = uuid.uuid4().hex
    dockerfile(submission, f"FROM {BASE}\nRUN echo {mark}; sleep 10000\n")
    with pytest.raises(SubmissionError, match="took longer than"):
        make(submission, client)
    for _ in range(100):
        running = [each for each in client.containers.list() if mark in str(each.attrs["Config"]["Cmd"])]
        if not running:
            break
        time.sleep(0.1)
    assert running == []
