"""Workers with a real engine: the same records as one machine, nothing left of a dead one."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest
from containers import Arena, make_dataset

from harness.cluster.client import Client
from harness.cluster.division import check_division
from harness.cluster.host_runner import EngineHostRunner
from harness.cluster.identity import this_process
from harness.cluster.images import load_offered, offered_image, remove_offered
from harness.cluster.processes import WorkerCommand
from harness.cluster.records import Division
from harness.errors import ConfigurationError, InfrastructureError
from harness.results.folder import read_run
from harness.results.observer import Observer
from harness.results.records import HostFacts, Outcome
from harness.run.evaluate import evaluate
from harness.scoring.verify import verify_run

pytestmark = pytest.mark.engine

GOOD = """
in=$(ls "$FLARE_INPUTS")
cp /workspace/good.nii.gz "$FLARE_OUTPUTS/${in%_0000.nii.gz}.nii.gz"
"""
SLOW = f"sleep 1\n{GOOD}"


class Commands:
    """A front end that starts `harness worker` on this host, as a person would."""

    slots = 1

    def __init__(self, arena: Arena, *, spreads: bool = False, lease_s: float = 5.0) -> None:
        command = WorkerCommand(arena.folder / "results", lease_s)
        self._argv = [*command.argv(), "--scratch", str(arena.folder)]
        self._errors = arena.folder / "worker.log"
        self.spreads = spreads
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        with self._errors.open("ab") as errors:
            self.processes.append(subprocess.Popen(self._argv, stderr=errors))

    def working(self) -> int:
        return sum(process.poll() is None for process in self.processes)

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.terminate()
            process.wait()


def client_of(arena: Arena, front: Commands, lease_s: float = 5.0) -> Client:
    return Client(
        arena.folder / "results", engine=arena.engine, front=front, observer=Observer(), lease_s=lease_s
    )


def containers_of(arena: Arena, image: str) -> list[str]:
    found = arena.engine.client.api.containers(all=True, filters={"ancestor": image})
    return [each["Command"] for each in found]


def test_a_worker_makes_the_same_records_as_one_machine(arena: Arena) -> None:
    arena.dataset = make_dataset(arena.folder / "many", cases=3)
    request = arena.request(GOOD)
    alone = evaluate(replace(request, results=arena.folder / "elsewhere"), engine=arena.engine)
    spread = read_run(*client_of(arena, Commands(arena, spreads=True)).evaluate([request]))
    assert spread.folder.name == alone.folder.name
    for each in (alone, spread):
        assert {line.outcome for line in each.executions} == {Outcome.SUCCEEDED}
        assert verify_run(each.folder, dataset=arena.dataset).problems == []
    for kind in ("executions", "scores"):
        lines = [sorted(getattr(each, kind), key=lambda line: line.case) for each in (alone, spread)]
        assert [line.case for line in lines[0]] == [line.case for line in lines[1]]
    assert [line.prediction.sha256 for line in spread.executions] == [
        line.prediction.sha256 for line in alone.executions
    ]
    assert {line.host for line in spread.executions} == {this_process().host}
    assert spread.record.host == alone.record.host
    assert (spread.folder / "hosts.json").read_text().count("relative_speed") == 1
    assert '"relative_speed":1.0' in (spread.folder / "hosts.json").read_text()
    assert containers_of(arena, request.image) == []
    assert not list(arena.folder.glob("flareharness-*"))
    assert not (arena.folder / "results" / ".queue" / "images").exists()


def test_a_worker_that_is_killed_leaves_its_container_to_the_next_one(arena: Arena) -> None:
    arena.dataset = make_dataset(arena.folder / "many", cases=3)
    request = arena.request(SLOW)
    front = Commands(arena)
    found: list[object] = []
    client = client_of(arena, front)
    thread = threading.Thread(target=lambda: found.extend(map(read_run, client.evaluate([request]))))
    thread.start()
    while not any("predict.sh" in command for command in containers_of(arena, request.image)):
        assert thread.is_alive(), (arena.folder / "worker.log").read_text()
        time.sleep(0.05)
    front.processes[0].kill()
    front.processes[0].wait()
    front.start()
    thread.join()
    (results,) = found
    assert Counter(line.case for line in results.executions) == {f"patient_{n}": 1 for n in range(3)}
    assert {line.outcome for line in results.executions} == {Outcome.SUCCEEDED}
    assert verify_run(results.folder, dataset=arena.dataset).problems == []
    assert containers_of(arena, request.image) == []
    assert not list(arena.folder.glob("flareharness-*"))


def test_an_image_is_saved_once_and_loaded_where_it_is_not(arena: Arena) -> None:
    request = arena.request(GOOD)
    image = arena.engine.image(request.image)
    folder = arena.folder / "archives"
    offered = offered_image(arena.engine, image, request.image, folder, travels=True)
    (archive,) = folder.iterdir()
    before = archive.stat().st_mtime_ns
    assert offered_image(arena.engine, image, request.image, folder, travels=True) == offered
    assert archive.stat().st_mtime_ns == before
    lines: list[str] = []
    load_offered(arena.engine, offered, identity=image.identity, progress=lines.append)
    assert lines == []  # it is there
    remove_offered(arena.engine, offered)
    load_offered(arena.engine, offered, identity=image.identity, progress=lines.append)
    assert lines == [f"loading {offered.reference}"]
    assert arena.engine.image(offered.reference).identity == image.identity
    remove_offered(arena.engine, offered)
    other = arena.engine.image(arena.image(SLOW))
    wrong = offered_image(arena.engine, other, other.digest, folder, travels=True)
    remove_offered(arena.engine, wrong)
    with pytest.raises(InfrastructureError, match="another image than was offered"):
        load_offered(
            arena.engine,
            offered.model_copy(update={"archive": wrong.archive}),
            identity="",
            progress=lines.append,
        )
    remove_offered(arena.engine, wrong)
    archive.unlink()
    with pytest.raises(InfrastructureError, match="no archive of it"):
        load_offered(arena.engine, offered, identity="", progress=lines.append)


def test_a_dead_worker_s_containers_are_known_by_its_name(arena: Arena, tmp_path) -> None:
    holder = this_process()
    host_runner = EngineHostRunner(arena.folder / "results", holder, scratch=tmp_path)
    host_runner.reap(holder)  # with no run open there is no engine to ask, and nothing to do
    host_runner.close()


def test_an_unlike_host_is_refused_with_what_differs() -> None:
    facts = HostFacts(
        cpu_model="A", cores=8, memory_bytes=1, kernel="k", engine="Docker 27.0", cgroup_version=2
    )
    ours = Division(host=facts)
    check_division(ours, Division(host=facts.model_copy(update={"memory_bytes": 2, "kernel": "other"})))
    check_division(ours, Division(host=facts.model_copy(update={"engine": "Docker 27.1"})))
    unlike: list[tuple[dict[str, object], str]] = [
        ({"cpu_model": "B"}, "processor: A here, B there"),
        ({"engine": "Podman 5"}, "engine: docker here, podman there"),
        ({"cgroup_version": 1}, "cgroup version: 2 here, 1 there"),
        ({"cores": 4}, "cores: 8 here, 4 there"),
        ({"gpus": ("L4",)}, "gpus: none here, L4 there"),
    ]
    for change, words in unlike:
        with pytest.raises(ConfigurationError, match=words):
            check_division(ours, Division(host=facts.model_copy(update=change)))


@pytest.fixture(autouse=True)
def this_python(monkeypatch):
    """The worker's Python finds the harness of this checkout."""
    monkeypatch.setenv("PYTHONPATH", ":".join(filter(None, sys.path)))
