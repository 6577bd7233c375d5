"""The report of 20 teams x 100 cases with its browser: target 20 s; of 100 x 200 without: 90 s and 1 GiB.

Run with `pytest tests/benchmarks/test_report_speed.py`; CPU time and memory are reported, sizes asserted.
"""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from harness import leaderboard
from harness.challenge import load_challenge
from harness.leaderboard import read_values
from harness.report import write_report
from harness.results.records import Outcome
from tests.unit.leaderboard.synthetic import Plan, build, make_run, write_evidence, write_run
from tests.unit.report.volumes import make_dataset, shifted

TEAMS, CASES = 20, 100
MOST_BYTES = 15_000_000
MOST_CASE_BYTES = 3_000_000


def cpu_s() -> float:
    """Return the processor time of this process and its ended children, whatever else the host does."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


@pytest.mark.slow
def test_twenty_teams_and_a_hundred_cases(benchmark, tmp_path):
    """Volumes are 256 x 256 x 80; every team leaves a prediction for the 20 cases that are hardest."""
    challenge = load_challenge("phantom")
    runs = []
    for index in range(TEAMS):
        failing = {index: Outcome.CRASHED, 40 + index: Outcome.TIME_LIMIT}
        plan = Plan(f"team-{index:02d}", dsc=0.95 - 0.005 * index, runtime_s=3.0 + index, outcomes=failing)
        run = make_run(plan, cases=CASES, folder=tmp_path / "results" / "phantom")
        write_evidence(run, write_run(run, tmp_path / "results"))
        runs.append(run)
    board = build(runs, challenge=challenge)
    names = list(board.divisions[0].cases)[:20]
    dataset = make_dataset(tmp_path / "data", names, shape=(256, 256, 80))
    for run in runs:
        for case in dataset.cases:
            shifted(case.label, run.folder / "cases" / case.id / f"{case.id}.nii.gz", 4)

    before = cpu_s()
    index = benchmark.pedantic(
        lambda: write_report(board, tmp_path / "report", dataset=dataset), rounds=1, iterations=1
    )
    benchmark.extra_info["cpu_s"] = cpu_s() - before
    sizes = {path.name: path.stat().st_size for path in [index, *index.parent.glob("submissions/*.html")]}
    cases = [path.stat().st_size for path in index.parent.glob("cases/*.html")]
    pictures = index.read_text().count('class="picture"')
    benchmark.extra_info.update(first_page_bytes=sizes["index.html"], all_bytes=sum(sizes.values()))
    benchmark.extra_info.update(pictures_on_first_page=pictures, largest_case_bytes=max(cases))
    assert pictures > 0
    assert len(cases) == 20
    assert max(cases) < MOST_CASE_BYTES
    assert sum(sizes.values()) < MOST_BYTES


@pytest.mark.slow
def test_a_hundred_teams_and_two_hundred_cases(benchmark, tmp_path):
    """Without volumes, from the journals on disk: reading, ranking and writing."""
    challenge = load_challenge("phantom")
    for index in range(100):
        failing = {index: Outcome.CRASHED, 40 + index: Outcome.TIME_LIMIT}
        plan = Plan(
            f"team-{index:03d}", dsc=0.95 - 0.002 * index, runtime_s=3.0 + index % 20, outcomes=failing
        )
        write_run(make_run(plan, cases=200), tmp_path / "results")

    def whole() -> Path:
        runs = read_values(tmp_path / "results", challenge)
        return write_report(leaderboard.build(runs, challenge=challenge), tmp_path / "report")

    before = cpu_s()
    index = benchmark.pedantic(whole, rounds=1, iterations=1)
    benchmark.extra_info["cpu_s"] = cpu_s() - before
    benchmark.extra_info["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert len(list(index.parent.glob("submissions/*.html"))) == 100
