"""A metric that is a row of the evaluator's table is on every page, in every file and in every export."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from evaluator.metrics import METRICS, Metric, MetricFacts
from harness.challenge import Challenge, load_challenge
from harness.interop import write_challenger
from harness.leaderboard import build, read_values, write_files
from harness.report import write_report
from harness.results.records import Outcome
from tests.unit.leaderboard.synthetic import Plan, make_run, write_evidence, write_run

PER_LABEL = MetricFacts(key="roughness", title="Roughness", unit="um", direction="lower", failed=99.0)
PER_CASE = MetricFacts(
    key="lesions_missed", title="Lesions missed", direction="lower", scope="case", failed=50.0, decimals=0
)


@pytest.fixture
def challenge(monkeypatch: pytest.MonkeyPatch) -> Challenge:
    for facts in (PER_LABEL, PER_CASE):
        monkeypatch.setitem(METRICS, facts.key, Metric(facts=facts, needs=(), compute=lambda: 0.0))
    metrics = [
        {"metric": "roughness", "labels": "organs"},
        {"metric": "lesions_missed"},
        {"metric": "runtime_s"},
    ]
    content = load_challenge("phantom").model_dump(mode="json") | {"ranking": {"metrics": metrics}}
    return Challenge.model_validate(content)


def test_a_new_metric_is_everywhere_that_a_challenge_names_it(challenge: Challenge, tmp_path: Path) -> None:
    for plan in (Plan("good", dsc=0.9), Plan("bad", dsc=0.7, outcomes={1: Outcome.CRASHED})):
        run = make_run(plan, challenge=challenge)
        write_evidence(run, write_run(run, tmp_path / "results"))
    values = read_values(tmp_path / "results", challenge, processes=1)
    board = build(values, challenge=challenge, bootstrap_samples=20)
    (division,) = board.divisions
    good, bad = ({row.team: row for row in division.rows}[team] for team in ("good", "bad"))
    assert bad.cells["lesions_missed"] == pytest.approx((11 * 7 + 50) / 12)
    assert good.cells["roughness_um_liver"] < bad.cells["roughness_um_liver"] < 99

    write_files(board, tmp_path / "files")
    with (tmp_path / "files/leaderboard.csv").open() as file:
        stored = {row["team"]: row for row in csv.DictReader(file)}
    assert float(stored["good"]["lesions_missed"]) == pytest.approx(9)
    (first, _) = json.loads((tmp_path / "files/leaderboard.json").read_text())["divisions"][0]["rows"]
    assert first["roughness"]["organs"] == good.cells["roughness_um_organs"] or first["team"] == "bad"
    table = (tmp_path / "files/leaderboard.md").read_text()
    assert "| Roughness organs um n=12 |" in table
    assert "| Lesions missed n=12 |" in table

    index = write_report(board, tmp_path / "report").read_text()
    for words in ("Roughness organs, um", "Roughness)?", "Lesions missed"):
        assert words in index
    written = write_challenger(division, board.scheme, tmp_path / "challenger")
    assert [path.name for path in written][:2] == ["roughness-organs.csv", "lesions_missed.csv"]
