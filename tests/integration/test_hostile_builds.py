"""What a Dockerfile may not do to whoever builds it: fetch, stand on others, take all there is."""

import http.server
import io
import threading
import time
import uuid
from dataclasses import replace

import pytest
from built_images import make

from harness.engine.docker_images import DockerImages
from harness.errors import SubmissionError
from harness.submission import build as build_module
from harness.submission import builder
from harness.submission.build import build
from harness.submission.find import open_submission
from harness.submission.recipes import BASE

pytestmark = pytest.mark.engine


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
