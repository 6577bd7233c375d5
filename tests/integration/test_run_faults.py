"""A disk that is full and an engine that dies stop the run, and the next call goes on."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from containers import MIB, SLOW, Arena, many

from harness.engine.docker import DockerEngine, connect
from harness.errors import InfrastructureError, PrerequisiteError
from harness.results.observer import Observer
from harness.results.records import ExecutionRecord, Outcome
from harness.run.evaluate import evaluate
from harness.scoring.verify import verify_run

pytestmark = pytest.mark.engine


def test_a_disk_without_room_is_refused_before_the_first_case(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(arena.folder)._replace(free=10 * MIB)
    monkeypatch.setattr("harness.run.opening.shutil.disk_usage", lambda path: usage)
    with pytest.raises(PrerequisiteError, match=r"0\.0 GiB are free .*Free space"):
        arena.run(SLOW)


def test_a_disk_that_fills_up_stops_the_run_and_the_next_call_goes_on(arena: Arena) -> None:
    """The results lie on a file system of a few megabytes that is filled while the run goes on."""
    if os.geteuid() != 0:
        pytest.skip("NOT ROOT: a small file system cannot be mounted")
    many(arena, 3)
    small = arena.folder / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(small)], check=True)
    ballast = small / "ballast"
    try:
        request = replace(arena.request(SLOW), results=small / "results")

        class Filling(Observer):
            def case_finished(self, execution: ExecutionRecord) -> None:
                with ballast.open("wb", buffering=0) as file:
                    try:
                        while True:
                            file.write(bytes(4096))
                    except OSError:
                        return

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("harness.run.evaluate.check_disk", lambda opened: None)
            with pytest.raises(InfrastructureError, match="No space left"):
                evaluate(request, engine=arena.engine, observer=Filling())
            ballast.unlink()
            results = evaluate(request, engine=arena.engine)
        assert {execution.outcome for execution in results.final_executions().values()} == {Outcome.SUCCEEDED}
        first = results.executions[0].case
        assert sum(execution.case == first for execution in results.executions) == 1
        assert verify_run(results.folder, dataset=arena.dataset).problems == []
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=False)


class PrivateEngine:
    """A dockerd of the test's own, which it may stop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"unix://{folder / 'docker.sock'}"
        self._containerd = folder / "exec" / "containerd" / "containerd.pid"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> DockerEngine:
        """Start it and return once it answers."""
        # A host's own configuration of its engine must not meet the options below.
        (self.folder / "daemon.json").write_text("{}")
        options = {
            "config-file": self.folder / "daemon.json",
            "data-root": self.folder / "data",
            "exec-root": self.folder / "exec",
            "pidfile": self.folder / "pid",
            "host": self.address,
            "bridge": "none",
            "iptables": "false",
            "storage-driver": "vfs",
        }
        arguments = [f"--{name}={value}" for name, value in options.items()]
        # In a network of its own: an engine that is told to have no bridge removes the host's docker0.
        command = ["unshare", "--net", "dockerd", *arguments]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        for _ in range(300):
            if self._process.poll() is not None:
                break
            try:
                return connect(self.address)
            except PrerequisiteError:
                time.sleep(0.1)
        log_text = (self.folder / "log").read_text(errors="replace")
        pytest.skip(f"NO PRIVATE ENGINE: dockerd does not start: {log_text[-500:]}")

    def kill(self) -> None:
        """Let it die as in a crash, with the containerd that it started."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        if self._containerd.exists():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(self._containerd.read_text()), signal.SIGKILL)
            self._containerd.unlink()
        (self.folder / "pid").unlink(missing_ok=True)

    def stop(self) -> None:
        """Stop it and take away what it mounted."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(60)
        subprocess.run(["umount", "--lazy", str(self.folder / "data")], check=False, capture_output=True)


@pytest.fixture
def private_engine() -> Iterator[PrivateEngine]:
    """An engine that the test may stop; in a short path, because sockets need one."""
    if os.geteuid() != 0 or shutil.which("dockerd") is None or shutil.which("unshare") is None:
        pytest.skip("NO PRIVATE ENGINE: needs root, dockerd and unshare")
    with tempfile.TemporaryDirectory(prefix="engine-", ignore_cleanup_errors=True) as folder:
        engine = PrivateEngine(Path(folder))
        yield engine
        engine.stop()


def test_an_engine_that_stops_in_mid_run_stops_the_run_and_the_next_call_goes_on(
    arena: Arena, private_engine: PrivateEngine
) -> None:
    many(arena, 3)
    mine = replace(arena, engine=private_engine.start())

    class Stopping(Observer):
        cases = 0

        def case_stage(self, case: str, stage: str) -> None:
            self.cases += stage == "run"
            if self.cases == 2 and stage == "run":
                private_engine.kill()

    request = mine.request(SLOW)
    with pytest.raises(
        InfrastructureError, match=r"engine went away .*Start it and run the same command again"
    ):
        evaluate(request, engine=mine.engine, observer=Stopping())
    mine.engine = private_engine.start()
    results = evaluate(request, engine=mine.engine)
    final = results.final_executions()
    assert {execution.outcome for execution in final.values()} == {Outcome.SUCCEEDED}
    first = results.executions[0].case
    assert sum(execution.case == first for execution in results.executions) == 1
    assert sorted(score.case for score in results.scores) == ["patient_0", "patient_1", "patient_2"]
    assert verify_run(results.folder, dataset=arena.dataset).problems == []
