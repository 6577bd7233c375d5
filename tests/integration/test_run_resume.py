"""Whatever stops the harness, the next call finishes the run: nothing lost, nothing twice, nothing left."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from containers import SLOW, Arena, label_of, many

from harness.errors import ConfigurationError, InfrastructureError
from harness.results.folder import RunResults
from harness.results.journal import CASES_FILE, complete_lines
from harness.results.lock import FolderLock
from harness.results.observer import Observer
from harness.results.records import ExecutionRecord, Outcome
from harness.run.context import RUN_LABEL
from harness.run.evaluate import evaluate
from harness.scoring.verify import verify_run

pytestmark = pytest.mark.engine

DRIVER = """
import sys
sys.path[:0] = [{repository!r}, {support!r}]
from pathlib import Path
from containers import Arena, label_of
from harness.challenge import load_challenge
from harness.data.dataset import open_dataset
from harness.engine.docker import connect
import harness.run.evaluate as job
import harness.run.opening as opening
opening.measure_baseline = lambda rules, engine: None
folder = Path({folder!r})
good = (folder / "good.nii.gz").read_bytes()
arena = Arena(connect(), folder, open_dataset(folder / "many"), load_challenge("phantom"), good)
try:
    job.evaluate(arena.request({script!r}), engine=arena.engine)
except KeyboardInterrupt:
    sys.exit(130)
"""


def start(arena: Arena, script: str = SLOW) -> subprocess.Popen[bytes]:
    """Start the harness in a process of its own."""
    tests = Path(__file__).resolve().parents[1]
    source = DRIVER.format(
        repository=str(tests.parent), support=str(tests / "support"), folder=str(arena.folder), script=script
    )
    with (arena.folder / "stderr").open("wb") as errors:
        return subprocess.Popen([sys.executable, "-c", source], stderr=errors, preexec_fn=heed_signals)


def heed_signals() -> None:
    """Undo what a shell's background job or nohup may have set: ignored signals are inherited."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def finished_cases(arena: Arena) -> int:
    """Count the cases on disk."""
    return sum(len(complete_lines(path)) for path in arena.folder.glob(f"results/*/*/*/{CASES_FILE}"))


def wait_for_cases(arena: Arena, count: int, process: subprocess.Popen[bytes]) -> None:
    """Return once so many cases are on disk."""
    while finished_cases(arena) < count:
        if process.poll() is not None:
            raise AssertionError((arena.folder / "stderr").read_text())
        time.sleep(0.01)


def containers_left(arena: Arena) -> int:
    """Count the arena's containers, running or not."""
    label = f"{RUN_LABEL}={label_of(arena.folder)}"
    return len(arena.engine.client.api.containers(all=True, filters={"label": label}))


def running_commands(arena: Arena) -> list[str]:
    """What runs in the arena's containers."""
    label = f"{RUN_LABEL}={label_of(arena.folder)}"
    return [found["Command"] for found in arena.engine.client.api.containers(filters={"label": label})]


def wait_for_a_case(arena: Arena, process: subprocess.Popen[bytes]) -> None:
    """Return once a case's container runs."""
    while not any("predict.sh" in command for command in running_commands(arena)):
        assert process.poll() is None, (arena.folder / "stderr").read_text()
        time.sleep(0.02)


def essence(results: RunResults) -> list[object]:
    """What two runs of the same submission must agree on."""
    return [
        sorted((e.case, e.outcome, e.prediction.sha256 if e.prediction else "") for e in results.executions),
        sorted((s.case, s.profile, s.scores) for s in results.scores),
    ]


def assert_whole(arena: Arena, results: RunResults) -> None:
    """Every case has one verdict and one score, and every byte is as written."""
    expected = [case.id for case in arena.dataset.cases]
    assert sorted(execution.case for execution in results.executions) == expected
    assert sorted(score.case for score in results.scores) == expected
    assert {execution.outcome for execution in results.executions} == {Outcome.SUCCEEDED}
    assert verify_run(results.folder, dataset=arena.dataset).problems == []
    assert containers_left(arena) == 0


def wait_until_at_work(arena: Arena, process: subprocess.Popen[bytes]) -> None:
    """Return once the process holds the results folder, or has ended."""
    lock = arena.folder / "results" / ".lock"
    while process.poll() is None and not (lock.exists() and lock.read_text() == str(process.pid)):
        time.sleep(0.002)


def test_kill_9_at_random_points_changes_nothing(arena: Arena) -> None:
    """FLAREHARNESS_KILLS=50 makes a stress test of it."""
    many(arena)
    source = random.Random(time.time_ns())
    undisturbed = evaluate(
        replace(arena.request(SLOW), results=arena.folder / "elsewhere"), engine=arena.engine
    )
    kills = int(os.environ.get("FLAREHARNESS_KILLS", "2"))
    landed = 0
    while landed < kills:
        process = start(arena)
        wait_until_at_work(arena, process)
        time.sleep(source.uniform(0.0, 1.0))
        landed += process.poll() is None
        process.kill()
        process.wait()
        if finished_cases(arena) == len(arena.dataset.cases):
            results = arena.run(SLOW)
            assert_whole(arena, results)
            assert essence(results) == essence(undisturbed)
            shutil.rmtree(arena.folder / "results")
    results = arena.run(SLOW)
    assert_whole(arena, results)
    assert essence(results) == essence(undisturbed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_leaves_nothing_running_and_the_next_call_resumes(arena: Arena, number: int) -> None:
    many(arena)
    process = start(arena)
    wait_for_cases(arena, 1, process)
    time.sleep(0.2)
    process.send_signal(number)
    time.sleep(0.01)
    process.send_signal(number)  # an impatient second one
    assert process.wait(20) in (130, -number)
    assert containers_left(arena) == 0
    assert not (arena.folder / "results" / ".work").exists()
    done = finished_cases(arena)
    started: list[str] = []

    class Counting(Observer):
        def case_started(self, case: str, attempt: int) -> None:
            started.append(case)

    results = evaluate(arena.request(SLOW), engine=arena.engine, observer=Counting())
    assert len(started) == 4 - done
    assert_whole(arena, results)


def test_orphans_of_a_killed_harness_are_reaped(arena: Arena) -> None:
    many(arena)
    process = start(arena, "sleep 100000")
    wait_for_a_case(arena, process)
    process.kill()
    process.wait()
    assert containers_left(arena) == 1
    notes: list[str] = []

    class Listening(Observer):
        def note(self, text: str) -> None:
            notes.append(text)

    evaluate(arena.request(SLOW), engine=arena.engine, observer=Listening())
    assert notes == ["removed 1 container(s) that an earlier run left behind"]
    assert containers_left(arena) == 0


def test_a_container_ends_with_a_harness_that_was_killed(arena: Arena) -> None:
    """Nobody would hold it to its limits until somebody calls again."""
    process = start(many(arena), "sleep 100000")
    wait_for_a_case(arena, process)
    process.kill()
    process.wait()
    for _ in range(300):
        if not running_commands(arena):
            break
        time.sleep(0.1)
    assert running_commands(arena) == []
    assert containers_left(arena) == 1, "it is ended; the next call removes it"
    arena.run(SLOW)
    assert containers_left(arena) == 0


def test_of_two_harnesses_on_one_results_folder_one_says_so(arena: Arena) -> None:
    with (
        FolderLock(arena.folder / "results"),
        pytest.raises(InfrastructureError, match="another harness works"),
    ):
        arena.run(SLOW)
    assert arena.run(SLOW).executions[0].outcome is Outcome.SUCCEEDED


def test_a_finished_run_runs_nothing_again(arena: Arena) -> None:
    first = arena.run(SLOW)
    second = arena.run(SLOW)
    assert second == first


def test_a_changed_limit_is_another_run(arena: Arena) -> None:
    assert arena.run(SLOW).folder != arena.run(SLOW, time_s=21.0).folder


def test_a_case_that_is_unplugged_in_mid_run_is_done_later(arena: Arena) -> None:
    many(arena, 3)
    finished: list[str] = []
    unplugged: list[tuple[str, Path, Path]] = []

    class Unplugging(Observer):
        def case_finished(self, execution: ExecutionRecord) -> None:
            finished.append(execution.case)
            if not unplugged:
                # Cases run in an order of their own: one that has not begun is the last but for the next.
                waiting = [case for case in arena.dataset.cases if case.id not in (*started, *finished)]
                image = waiting[-1].image
                assert image is not None
                unplugged.append((waiting[-1].id, image, image.with_name("aside")))
                image.rename(image.with_name("aside"))

        def case_started(self, case: str, attempt: int) -> None:
            started.append(case)

    started: list[str] = []
    results = evaluate(arena.request(SLOW), engine=arena.engine, observer=Unplugging())
    ((lost, image, aside),) = unplugged
    final = results.final_executions()
    assert final[lost].outcome is Outcome.INFRASTRUCTURE
    assert lost in final[lost].evidence.summary
    others = [execution.outcome for case, execution in final.items() if case != lost]
    assert others == [Outcome.SUCCEEDED] * 2
    assert lost not in results.final_scores("exact")
    aside.rename(image)
    again = arena.run(SLOW)
    assert again.folder == results.folder
    assert {execution.outcome for execution in again.final_executions().values()} == {Outcome.SUCCEEDED}
    assert sum(execution.case == finished[0] for execution in again.executions) == 1
    assert len(again.final_scores("exact")) == 3


def test_a_run_is_not_mixed_with_another_hosts(arena: Arena) -> None:
    results = arena.run(SLOW)
    path = results.folder / "run.json"
    record = json.loads(path.read_text())
    record["host"]["cpu_model"] = "Another CPU"
    path.write_text(json.dumps(record))
    with pytest.raises(ConfigurationError, match="begun on another kind of host"):
        arena.run(SLOW)
