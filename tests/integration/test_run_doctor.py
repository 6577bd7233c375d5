"""The doctor's verdict on hosts that work, and on hosts that do not."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import packages
import pytest
from containers import Arena, remove_test_images
from docker.api import APIClient
from docker.errors import APIError

from harness.engine.docker import DockerEngine, connect
from harness.errors import PrerequisiteError
from harness.results.records import Outcome
from harness.run.doctor import checks
from harness.run.evaluate import evaluate

pytestmark = pytest.mark.engine

PERFECT = """
in=$(ls "$FLARE_INPUTS")
cp /workspace/good.nii.gz "$FLARE_OUTPUTS/${in%_0000.nii.gz}.nii.gz"
"""
WITHOUT_APPARMOR = (
    "AppArmor enabled on system but the docker-default profile could not be loaded: running apparmor_parser "
    'failed with output: error: exec: "apparmor_parser": executable file not found in $PATH'
)
PROVED = {
    "engine",
    "a plain container starts",
    "files are shared with the engine",
    "no network",
    "read-only root",
    "no privileges",
    "not root",
    "memory limit kills",
    "no swap beyond memory",
    "peak memory",
    "process limit",
    "CPU quota",
    "cores can be chosen",
    "output on a file system of its own",
    "time limit kills",
    "output is watched",
    "/tmp is limited",
    "memory in sockets counts",
    "memory in netlink is bounded",
    "no sockets but local ones, TCP and UDP",
    "no huge pages",
}


@pytest.fixture
def podman() -> Iterator[DockerEngine]:
    """Podman behind its Docker-compatible socket."""
    packages.want("podman")
    with tempfile.TemporaryDirectory(prefix="podman-") as folder:
        address = f"unix://{folder}/podman.sock"
        service = subprocess.Popen(
            ["podman", "system", "service", "--time=0", address],
            cwd=folder,  # its monitors note kills for memory as a file where they were started
            stderr=subprocess.DEVNULL,
        )
        try:
            for _ in range(100):
                try:
                    engine = connect(address)
                    break
                except PrerequisiteError:
                    time.sleep(0.1)
            else:
                pytest.skip("PODMAN DOES NOT ANSWER: `podman system service` did not open its socket")
            yield engine
            remove_test_images(engine)
            engine.close()
        finally:
            service.terminate()
            service.wait(30)


def assert_all_proved(engine: DockerEngine) -> None:
    found = {check.name: check for check in checks(engine)}
    assert found.keys() >= PROVED
    failed = [check for check in found.values() if check.passed is False]
    assert not failed


def test_every_limit_is_proved_on_docker(engine: DockerEngine) -> None:
    assert_all_proved(engine)


def test_every_limit_is_proved_on_podman(podman: DockerEngine) -> None:
    assert podman.facts.name == "podman"
    assert_all_proved(podman)


def test_podman_runs_a_submission_like_docker(podman: DockerEngine, arena: Arena) -> None:
    arena = replace(arena, engine=podman)
    results = arena.run(PERFECT)
    (execution,) = results.executions
    assert execution.outcome is Outcome.SUCCEEDED
    assert execution.usage.peak_memory_method in ("cgroup-v1-max-usage", "cgroup-v2-peak")
    assert results.record.host is not None
    assert results.record.host.engine.startswith("podman ")
    killed = arena.run("dd if=/dev/zero of=/dev/null bs=900M count=1; exit 0")
    assert killed.executions[0].outcome is Outcome.MEMORY_LIMIT
    slow = arena.run("trap '' TERM; while :; do sleep 1; done", time_s=2.0)
    assert slow.executions[0].outcome is Outcome.TIME_LIMIT
    loud = arena.run("yes | head -c 10M; echo the end" + PERFECT)
    assert loud.executions[0].outcome is Outcome.SUCCEEDED
    assert loud.executions[0].evidence.last_log_line == "the end"


def test_where_no_container_starts_that_is_said_once_and_nothing_else_is_tried(
    engine: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a kernel with AppArmor whose engine finds no apparmor_parser."""

    def refuse(self: object, identifier: str) -> None:
        raise APIError("500", explanation=WITHOUT_APPARMOR)

    monkeypatch.setattr(APIClient, "start", refuse)
    found = list(checks(engine))
    assert [check.name for check in found if check.passed is False] == ["a plain container starts"]
    assert found[-1].name == "a plain container starts"
    assert "AppArmor" in found[-1].detail
    assert found[-1].mend == "Install the package `apparmor` and restart the engine."


def test_no_engine_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError) as caught:
        connect(f"unix://{tmp_path}/nothing.sock")
    assert "no container engine answers" in caught.value.one_line()
    assert "no such socket" in caught.value.one_line()
    assert "DOCKER_HOST" in caught.value.mend


def test_an_unknown_image_is_one_clear_line(arena: Arena) -> None:
    from harness.errors import ConfigurationError

    with pytest.raises(ConfigurationError, match=r"no such image on this host .*nothing is pulled"):
        evaluate(replace(arena.request(PERFECT), image="nobody/nothing:1"), engine=arena.engine)
