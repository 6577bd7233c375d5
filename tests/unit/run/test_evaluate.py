"""The whole job without an engine: a submission folder as a process, and everything after it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from process_runs import GOOD, MIB, outcomes, run

from harness.challenge import Limits, Sockets, for_algorithms
from harness.data.dataset import open_dataset
from harness.engine.base import ContainerSpec, ImageInfo
from harness.engine.process import ProcessEngine
from harness.errors import ConfigurationError, PrerequisiteError
from harness.leaderboard.reading import read_run_values, wanted_of
from harness.results.folder import RunResults, read_run
from harness.results.observer import Observer
from harness.results.records import ExecutionRecord, Outcome, RunRecord, ScoreRecord
from harness.run.baseline import measure_baseline
from harness.run.opening import resolve
from harness.run.request import EvaluationRequest, run_id
from harness.run.stage import place_in_order
from harness.scoring.verify import verify_run


def test_a_perfect_submission_scores_one_on_every_case(request_for: Callable[..., EvaluationRequest]) -> None:
    results = run(request_for("sleep 0.3" + GOOD))
    assert outcomes(results) == {Outcome.SUCCEEDED}
    assert {label.scores["dsc"] for score in results.scores for label in score.scores} == {1.0}
    assert results.record.host is not None
    assert results.record.host.isolated is False
    assert results.executions[0].usage.peak_memory_method == "sampled-lower-bound"
    assert verify_run(results.folder, dataset=open_dataset(results_data(results))).problems == []


def results_data(results: RunResults) -> Path:
    return results.folder.parents[3] / "data"


SCRIPTS = [
    ("time", "sleep 30", {"time_s": 0.5}, Outcome.TIME_LIMIT),
    (
        "memory",
        "head -c 300M /dev/zero | tail -c 300M > /dev/null; sleep 30",
        {"memory_bytes": 64 * MIB},
        Outcome.MEMORY_LIMIT,
    ),
    (
        "output",
        'cd "$FLARE_OUTPUTS"; head -c 99M /dev/zero > x; sleep 30',
        {"output_bytes": 16 * MIB},
        Outcome.OUTPUT_LIMIT,
    ),
    ("crash", "exit 3", {}, Outcome.CRASHED),
    ("nothing", "exit 0", {}, Outcome.NO_OUTPUT),
    ("rubbish", GOOD.replace('"$PWD/good.nii.gz"', "predict.sh"), {}, Outcome.INVALID_OUTPUT),
]


@pytest.mark.parametrize(("what", "script", "limits", "outcome"), SCRIPTS, ids=[row[0] for row in SCRIPTS])
def test_a_failure_keeps_its_row_and_is_scored_as_the_challenge_says(
    request_for: Callable[..., EvaluationRequest],
    what: str,
    script: str,
    limits: dict[str, float],
    outcome: Outcome,
) -> None:
    results = run(request_for(script, **limits))
    assert outcomes(results) == {outcome}
    assert sorted(score.case for score in results.scores) == ["a", "b"]
    assert {len(label.scores) for score in results.scores for label in score.scores} == {0}
    assert all(score.prediction_sha256 is None for score in results.scores)


def test_a_warm_up_is_one_more_run_of_the_first_case_which_does_not_count(
    request_for: Callable[..., EvaluationRequest],
) -> None:
    request = replace(request_for(), warm_up=True)
    finished = run(request)
    first, second, *others = finished.executions
    assert (first.case, first.attempt, second.case, second.attempt) == (second.case, 1, first.case, 2)
    assert {execution.attempt for execution in others} == {1}
    wanted = wanted_of(request.challenge)
    values = read_run_values(finished.folder, wanted=wanted)
    assert values.cold_start == (first.stages.run_s, second.stages.run_s)
    row = finished.record.dataset.cases.index(first.case)
    assert values.resource("runtime_s")[row] == second.stages.run_s
    assert len(run(request).executions) == len(finished.executions)


def test_an_interrupted_warm_up_is_taken_up_and_its_time_does_not_count(
    request_for: Callable[..., EvaluationRequest],
) -> None:
    class StopsAfterTheFirst(Observer):
        def case_finished(self, execution: ExecutionRecord) -> None:
            raise KeyboardInterrupt

    class Told(Observer):
        left = -1

        def run_opened(self, record: RunRecord, folder: Path, *, total: int, left: int) -> None:
            self.left = left

    request, told = replace(request_for(), warm_up=True), Told()
    with pytest.raises(KeyboardInterrupt):
        run(request, StopsAfterTheFirst())
    finished = run(request, told)
    first, second, *others = finished.executions
    assert (first.case, first.attempt, second.case, second.attempt) == (second.case, 1, first.case, 2)
    assert len(others) == told.left == len(finished.record.dataset.cases) - 1
    values = read_run_values(finished.folder, wanted=wanted_of(request.challenge))
    row = finished.record.dataset.cases.index(first.case)
    assert values.resource("runtime_s")[row] == second.stages.run_s
    assert values.complete


def test_a_warm_up_beside_other_containers_is_refused(
    request_for: Callable[..., EvaluationRequest],
) -> None:
    with pytest.raises(ConfigurationError, match="a warm-up beside other containers"):
        run(replace(request_for(), warm_up=True, jobs=2))


def test_children_die_with_their_case(request_for: Callable[..., EvaluationRequest]) -> None:
    results = run(request_for("sh -c 'sleep 76543' & sleep 76543", time_s=0.5))
    assert outcomes(results) == {Outcome.TIME_LIMIT}
    time.sleep(0.05)
    commands = [
        path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if os.access(path, os.R_OK)
    ]
    assert not any(b"76543" in command for command in commands)


def test_the_observer_sees_the_run_in_order(request_for: Callable[..., EvaluationRequest]) -> None:
    seen: list[str] = []

    class Watching(Observer):
        def run_opened(self, record: RunRecord, folder: Path, *, total: int, left: int) -> None:
            seen.append(f"opened {left}/{total}")

        def case_started(self, case: str, attempt: int) -> None:
            seen.append(f"started {case}")

        def case_stage(self, case: str, stage: str) -> None:
            seen.append(f"{stage} {case}")

        def case_finished(self, execution: ExecutionRecord) -> None:
            seen.append(f"finished {execution.case}")

        def case_scored(self, score: ScoreRecord) -> None:
            seen.append(f"scored {score.case}")

    results = run(request_for(), Watching())
    cases = [execution.case for execution in results.executions]
    assert sorted(cases) == ["a", "b"]
    ran = [f"{what} {case}" for case in cases for what in ("started", "stage", "run", "harvest", "finished")]
    scored = [f"{what} {case}" for case in cases for what in ("score", "scored")]
    assert seen == ["opened 2/2", *ran, *scored]


def test_the_order_of_cases_is_the_runs_own_and_the_same_each_time() -> None:
    names = [f"case_{number:02d}" for number in range(20)]

    def order(secret: str, run: str) -> list[str]:
        return sorted(names, key=lambda case: place_in_order(secret, run, case))

    assert order("secret", "run") == order("secret", "run")
    assert len({tuple(names), *(tuple(order(*which)) for which in (("s", "r"), ("s", "q"), ("t", "r")))}) == 4


def test_what_is_kept_of_a_case_is_hashed_in_its_line(
    request_for: Callable[..., EvaluationRequest],
) -> None:
    results = run(request_for(GOOD + "\necho done"))
    assert verify_run(results.folder).problems == []
    for name in ("container.log", "timeline.csv"):
        kept = results.folder / "cases" / "a" / name
        content = kept.read_bytes()
        kept.write_bytes(content + b"one line more\n")
        assert [problem.where for problem in verify_run(results.folder).problems] == [str(kept)]
        kept.write_bytes(content)


def test_a_title_without_end_is_refused(request_for: Callable[..., EvaluationRequest]) -> None:
    with pytest.raises(ConfigurationError, match="the title has 1000000 letters"):
        run(replace(request_for(), title="x" * 1_000_000))


def test_several_jobs_run_every_case_once(request_for: Callable[..., EvaluationRequest]) -> None:
    results = run(replace(request_for(), jobs=2))
    assert sorted(execution.case for execution in results.executions) == ["a", "b"]
    assert results.record.jobs == 2


def test_the_run_is_named_by_what_decides_its_results(request_for: Callable[..., EvaluationRequest]) -> None:
    request = request_for()
    image = ProcessEngine().image(request.image)

    def name(changed: EvaluationRequest, fingerprint: str = "f") -> str:
        return run_id(changed, image=image, fingerprint=fingerprint, isolated=True)

    assert name(request) == name(replace(request, title="Another title", profile="flare"))
    others = [
        name(replace(request, limits=Limits(memory_bytes=1, time_s=1, shm_bytes=1))),
        name(replace(request, device="cuda")),
        name(replace(request, jobs=2)),
        name(request, "g"),
    ]
    assert len({name(request), *others}) == 5


@pytest.mark.parametrize("team", ["", "../up", "Team", "a/b", ".hidden"])
def test_a_team_must_be_able_to_name_a_folder(
    request_for: Callable[..., EvaluationRequest], team: str
) -> None:
    with pytest.raises(ConfigurationError, match="no team name"):
        run(replace(request_for(), team=team))


def test_a_gpu_submission_needs_a_gpu(
    request_for: Callable[..., EvaluationRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoDriver:
        NVMLError = RuntimeError

        def nvmlInit(self) -> None:
            raise RuntimeError("Driver Not Loaded")

    monkeypatch.setattr("harness.measure.gpu.load_nvml", NoDriver)
    request = request_for(gpu=True)
    with pytest.raises(PrerequisiteError, match="no usable NVIDIA GPU"):
        run(replace(request, device="cuda"))
    assert outcomes(run(request)) == {Outcome.SUCCEEDED}


class GrowingGpu:
    """A GPU on which the submission takes 1 GiB more at every sample."""

    uuid, name, driver, method = "GPU-1", "NVIDIA T4", "550", "nvml-process-sampled"
    used = 0

    def note_baseline(self) -> None:
        self.used = 0

    def used_bytes(self, owns: Callable[[int], bool]) -> int:
        self.used = min(self.used + 1024 * MIB, 3072 * MIB)
        return self.used

    def __enter__(self) -> GrowingGpu:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("limit", "outcome"), [(2048 * MIB, Outcome.GPU_MEMORY_LIMIT), (None, Outcome.SUCCEEDED)]
)
def test_device_memory_over_its_limit_kills_the_case(
    request_for: Callable[..., EvaluationRequest],
    monkeypatch: pytest.MonkeyPatch,
    limit: int | None,
    outcome: Outcome,
) -> None:
    monkeypatch.setattr("harness.run.opening.open_gpu", lambda request: GrowingGpu())
    # Killed at the third sample, however long those take on a busy host.
    script = "sleep 0.4" if limit is None else "sleep 60"
    results = run(replace(request_for(script + GOOD, gpu=True, gpu_memory_bytes=limit), device="cuda"))
    assert outcomes(results) == {outcome}
    usage, evidence = results.executions[0].usage, results.executions[0].evidence
    assert usage.gpu_method == "nvml-process-sampled"
    assert usage.peak_gpu_memory_bytes is not None
    assert usage.gpu_memory_auc_byte_s is not None
    assert results.record.host is not None
    assert results.record.host.gpus == ("NVIDIA T4",)
    if limit is not None:
        assert usage.peak_gpu_memory_bytes == evidence.value == 3072 * MIB
        assert evidence.limit == limit


def test_the_records_fit_their_published_schemas(request_for: Callable[..., EvaluationRequest]) -> None:
    import jsonschema

    from harness.results.records import json_schemas

    results = run(request_for())
    schemas = json_schemas()
    jsonschema.validate(json.loads((results.folder / "run.json").read_text()), schemas["run.schema.json"])
    for name in ("cases", "scores"):
        for line in (results.folder / f"{name}.jsonl").read_text().splitlines():
            jsonschema.validate(json.loads(line), schemas[f"{name}.schema.json"])
    assert read_run(results.folder) == results


def test_an_empty_container_that_hangs_is_no_baseline(
    request_for: Callable[..., EvaluationRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hanging(ProcessEngine):
        facts = replace(ProcessEngine.facts, isolated=True)

        def import_image(self, archive: bytes, tag: str) -> None:
            pass

        def create(self, spec: ContainerSpec) -> Any:
            return SimpleNamespace(
                id="c",
                started_at=lambda: 0.0,
                start=lambda: None,
                wait=lambda timeout_s: False,
                remove=lambda: removed.append("c"),
            )

        def image(self, reference: str) -> ImageInfo:
            return ImageInfo(reference, "sha256:0", 0)

    removed: list[str] = []
    monkeypatch.setattr("harness.run.baseline._PATIENCE_S", -1.0)
    opened = resolve(request_for(), ProcessEngine(), Observer())
    assert measure_baseline(opened.rules, Hanging()) is None
    assert removed == ["c"]


def test_an_algorithm_of_grand_challenge_needs_a_container(
    request_for: Callable[..., EvaluationRequest],
) -> None:
    request = request_for(GOOD)
    sockets = Sockets.model_validate({"input": "ct", "output": "organs"})
    with pytest.raises(ConfigurationError, match="in a container only"):
        run(replace(request, challenge=for_algorithms(request.challenge, sockets)))
    two = Sockets.model_validate({"input": ["ct", "pet"], "output": "organs"})
    with pytest.raises(ConfigurationError, match="2 input"):
        run(replace(request, challenge=for_algorithms(request.challenge, two)))
