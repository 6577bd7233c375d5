"""Jobs are plain data, and whoever runs them is free in how."""

from __future__ import annotations

import pickle
from collections.abc import Callable

from process_runs import outcomes

from harness.engine.process import ProcessEngine
from harness.results.folder import read_run
from harness.results.observer import Observer
from harness.results.records import ExecutionRecord, Outcome
from harness.run.context import Bench, Job
from harness.run.evaluate import open_run
from harness.run.execute import execute_case
from harness.run.request import EvaluationRequest


class Elsewhere:
    """An executor that gets its jobs as bytes, as another machine would, and makes its own bench."""

    slots = 2

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._waiting: list[bytes] = []
        self.left = False

    def submit(self, job: Job) -> None:
        self._waiting.append(pickle.dumps(job))

    def next_result(self) -> ExecutionRecord:
        return execute_case(pickle.loads(self._waiting.pop()), bench=self._bench)

    def __enter__(self) -> Elsewhere:
        return self

    def __exit__(self, *_: object) -> None:
        self.left = True


def test_jobs_are_plain_data_that_run_wherever_an_executor_likes(
    request_for: Callable[..., EvaluationRequest],
) -> None:
    with open_run(request_for(), ProcessEngine(), Observer()) as run_:
        executor = Elsewhere(run_.bench)
        for execution in run_.cases(executor):
            run_.store(execution)
        run_.score()
        folder = run_.writer.folder
    assert executor.left
    results = read_run(folder)
    assert outcomes(results) == {Outcome.SUCCEEDED}
    assert sorted(execution.case for execution in results.executions) == ["a", "b"]
    assert len(results.scores) == 2
