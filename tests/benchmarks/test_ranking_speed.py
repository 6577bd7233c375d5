"""Ranking at scale. Run `pytest tests/benchmarks/test_ranking_speed.py`; it reports
times, and CPU times of what is read from disk.

Targets on 2 cores: 50 teams x 200 cases x 28 metrics with 1,000 samples in 5 s; 1,000 teams x 1,000 cases
(14 million label scores) from the results on disk to a leaderboard within 90 s of CPU and 2 GB of memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from harness.challenge import Direction, Metric, RankingScheme
from harness.leaderboard.ranking import ValueTable, rank_teams
from harness.leaderboard.statistics import bootstrap, pairwise_tests
from tests.unit.leaderboard.synthetic import Plan, copy_run, make_run, write_run_at_once

METRICS = tuple(
    Metric(metric=name, labels=f"organ{index}", direction=Direction.HIGHER, failed=0)
    for index in range(14)
    for name in ("dsc", "nsd")
)


@pytest.mark.parametrize("order", ["rank-then-average", "average-then-rank", "test-then-rank"])
def test_fifty_teams_with_a_thousand_samples(benchmark, order):
    generator = np.random.default_rng(0)
    values = np.round(generator.beta(20, 2, (len(METRICS), 200, 50)) - np.linspace(0, 0.1, 50), 4)
    table = ValueTable(METRICS, values, np.ones((len(METRICS), 200), dtype=bool))
    scheme = RankingScheme(order=order, metrics=METRICS)

    def analyse():
        full = rank_teams(table, scheme)
        boot = bootstrap(table, scheme, full, samples=1000, seed=1, confidence=0.95)
        tests = [pairwise_tests(costs, np.argsort(full.ranks)) for costs in table.costs()]
        return boot, tests

    boot, tests = benchmark.pedantic(analyse, rounds=3, iterations=1, warmup_rounds=1)
    assert boot.ranks.shape == (1000, 50)
    assert len(tests) == 28


_FROM_DISK = """
import json, os, resource, sys
from pathlib import Path
if __name__ == "__main__":
    start = sum(os.times()[:4])
    from harness.challenge import load_challenge
    from harness.leaderboard import build, read_values, write_files
    challenge = load_challenge("phantom")
    runs = read_values(Path(sys.argv[1]), challenge, processes=1)  # whose CPU time can be told
    read = sum(os.times()[:4])
    board = build(runs, challenge=challenge)
    write_files(board, Path(sys.argv[1]) / "phantom")
    done = sum(os.times()[:4])
    parent = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scores = int(sum(run.scores['dsc'].size for run in runs))
    print(json.dumps({"read_cpu_s": read - start, "rank_cpu_s": done - read, "peak_kib": parent,
                      "scores": scores, "rows": len(board.divisions[0].rows)}))
"""


@pytest.mark.slow
def test_a_thousand_teams_from_disk(benchmark, tmp_path):
    """Needs 4.5 GB of disk and over two minutes of CPU; FLAREHARNESS_BENCHMARK_TEAMS makes it smaller."""
    teams, cases = int(os.environ.get("FLAREHARNESS_BENCHMARK_TEAMS", "1000")), 1000
    for index in range(8):
        write_run_at_once(
            make_run(Plan(f"base{index}", dsc=0.9 - 0.01 * index), cases=cases), tmp_path / "base"
        )
    bases = sorted((tmp_path / "base" / "phantom").glob("*/*"))
    for index in range(teams):
        copy_run(bases[index % 8], tmp_path / "results", f"team{index:04d}")

    def from_disk() -> dict[str, float]:
        script = [sys.executable, "-c", _FROM_DISK, str(tmp_path / "results")]
        return json.loads(subprocess.run(script, check=True, capture_output=True, text=True).stdout)

    measured = benchmark.pedantic(from_disk, rounds=1, iterations=1)
    benchmark.extra_info.update(measured)
    assert (measured["rows"], measured["scores"]) == (teams, teams * cases * 14)
