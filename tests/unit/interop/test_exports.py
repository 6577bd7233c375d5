"""Exports: the columns that others expect, and values that are those that were ranked."""

from __future__ import annotations

import csv
import io
import re

import numpy as np
import pytest

from harness.challenge import load_challenge
from harness.interop import write_challenger, write_flare, write_statistics, write_tidy
from harness.interop.bibtex import write_bibtex
from harness.interop.challenger import metric_csv
from harness.leaderboard.statistics import sample_counts
from harness.leaderboard.uncertainty import Samples
from harness.results.records import Outcome
from tests.unit.leaderboard.synthetic import Plan, build, make_run


def division(challenge, *plans: Plan, **more):
    runs = [make_run(plan, challenge=challenge, cases=6, **more) for plan in plans]
    return build(runs, challenge=challenge, bootstrap_samples=0).divisions[0]


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_flare22_tables_have_the_official_columns_and_a_row_for_every_case(tmp_path):
    flare = load_challenge("flare22")
    written = write_flare(division(flare, Plan("team", outcomes={2: Outcome.CRASHED})), tmp_path)
    assert [path.name for path in written] == ["team_DSC_NSD.csv", "team_Efficiency.csv"]
    scores, efficiency = (rows(path.read_text()) for path in written)
    assert list(scores[0])[:5] == ["Name", "Liver_DSC", "RK_DSC", "Spleen_DSC", "Pancreas_DSC"]
    assert len(scores[0]) == 1 + 2 * 13
    assert len(scores) == len(efficiency) == 6
    assert scores[0]["Name"] == "case_000.nii.gz"
    assert scores[2]["Liver_DSC"] == scores[2]["LK_NSD"] == "0.0"
    assert float(efficiency[2]["Time"]) == 3600
    assert float(efficiency[2]["AUC_GPU_Time"]) == pytest.approx(29_491_200)
    assert efficiency[0]["MaxCPU_Utilization"] == ""


def test_flare23_adds_the_tumour_and_the_organ_means(tmp_path):
    flare = load_challenge("flare23")
    written = write_flare(division(flare, Plan("team")), tmp_path)
    first = rows(written[0].read_text())[0]
    assert "Lesion_DSC" in first
    organs = [
        float(value)
        for name, value in first.items()
        if name.endswith("_DSC") and name[:5] not in ("Lesio", "Organ")
    ]
    assert float(first["Organ_DSC"]) == pytest.approx(np.mean(organs), abs=1e-4)


def test_labels_that_are_not_annotated_are_empty(tmp_path):
    flare = load_challenge("flare22")
    part = division(flare, Plan("team"), annotated={"case_001": (1,)})
    first, second = rows(write_flare(part, tmp_path)[0].read_text())[:2]
    assert first["Spleen_DSC"]
    assert second["Liver_DSC"]
    assert second["Spleen_DSC"] == ""


def test_a_teams_name_cannot_leave_the_folder(tmp_path):
    flare = load_challenge("flare22")
    plans = [Plan("../../evil"), Plan("..evil")]
    written = write_flare(division(flare, *plans), tmp_path / "out")
    assert len({path.name for path in written}) == 4
    assert {path.parent for path in written} == {tmp_path / "out"}


def test_scored_predictions_have_no_efficiency_table(tmp_path):
    flare = load_challenge("flare22")
    written = write_flare(division(flare, Plan("team", source="predictions")), tmp_path)
    assert [path.name for path in written] == ["team_DSC_NSD.csv"]


def test_challenger_gets_the_values_that_were_ranked(tmp_path):
    phantom = load_challenge("phantom")
    ranked = division(
        phantom, Plan("a"), Plan("b", dsc=0.7, outcomes={0: Outcome.CRASHED}), Plan("c", source="predictions")
    )
    written = write_challenger(ranked, phantom.ranking, tmp_path)
    assert [path.name for path in written][:2] == ["dsc-organs.csv", "nsd-organs.csv"]
    table = rows(metric_csv(ranked, 0))
    assert {row["algorithm"] for row in table} == {"a", "b"}
    assert len(table) == 12
    assert [
        float(row["value"]) for row in table if row["algorithm"] == "b" and row["case"] == "case_000"
    ] == [0.0]
    script = (tmp_path / "analyse.R").read_text()
    assert script.count("smallBetter = TRUE") == 2
    assert "rankThenAggregate" in script


def test_challenger_leaves_out_cases_that_do_not_count():
    phantom = load_challenge("phantom")
    ranked = division(phantom, Plan("a"), Plan("b"), annotated={"case_003": (1, 2)})
    tumour = [metric.key for metric in ranked.analysis.table.metrics].index("dsc:tumour")
    assert "case_003" not in metric_csv(ranked, tumour)
    assert "case_003" in metric_csv(ranked, 0)


def test_the_long_table_has_a_line_per_team_case_and_label_and_charges_nothing(tmp_path):
    phantom = load_challenge("phantom")
    ranked = division(
        phantom, Plan("a"), Plan("b", outcomes={0: Outcome.CRASHED}), annotated={"case_003": (1, 2)}
    )
    labels, cases = write_tidy(ranked, tmp_path)
    table = rows(labels.read_text())
    annotated = 2 + 14 * (len(ranked.cases) - 1)
    assert len(table) == 2 * annotated
    lost = [row for row in table if row["team"] == "b" and row["case"] == "case_000"]
    assert {(row["outcome"], row["dsc"], row["dsc_counts"]) for row in lost} == {("crashed", "", "1")}
    liver = next(row for row in table if row["team"] == "a" and row["name"] == "liver")
    assert (liver["group"], liver["reference_ml"]) == ("organs", "100.0")
    assert 0 < float(liver["dsc"]) < 1
    measured = {(row["team"], row["case"]): row for row in rows(cases.read_text())}
    assert measured["b", "case_000"]["outcome"] == "crashed"
    assert float(measured["a", "case_000"]["runtime_s"]) > 0
    assert measured["a", "case_000"]["peak_gpu_memory_bytes"] == "0.0"


def test_statistics_hold_every_pair(tmp_path):
    phantom = load_challenge("phantom")
    ranked = division(phantom, Plan("a", dsc=0.9), Plan("b", dsc=0.8), Plan("c", dsc=0.7))
    samples = Samples(sample_counts(len(ranked.cases), 100, seed=1), 0.95)
    means, differences, wins = write_statistics(ranked, tmp_path, samples=samples)
    pairs = [row for row in rows(differences.read_text()) if row["metric"] == "dsc:organs"]
    assert [(row["team"], row["other"]) for row in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    first = pairs[0]
    assert float(first["bca_low"]) <= float(first["mean"]) <= float(first["bca_high"])
    assert 0.05 < float(first["mean"]) < 0.15
    rates = {(row["team"], row["other"]): float(row["win_rate"]) for row in rows(wins.read_text())}
    assert rates["a", "c"] + rates["c", "a"] == 1
    assert {row["metric"] for row in rows(means.read_text())} >= {"dsc_organs", "dsc_liver"}


def test_challenger_breaks_ties_as_the_scheme_does(tmp_path):
    for name, method in (("phantom", "average"), ("flare22", "min")):
        challenge = load_challenge(name)
        write_challenger(division(challenge, Plan("a"), Plan("b")), challenge.ranking, tmp_path)
        assert f"ties.method = '{method}'" in (tmp_path / "analyse.R").read_text()


def test_challenger_gets_text_that_no_reader_takes_for_something_else(tmp_path):
    phantom = load_challenge("phantom")
    ranked = division(phantom, Plan("NA"), Plan("007"), Plan("1e3"))
    write_challenger(ranked, phantom.ranking, tmp_path)
    lines = (tmp_path / "dsc-organs.csv").read_text().splitlines()
    assert lines[0] == '"task","case","algorithm","value"'
    for team in ("NA", "007", "1e3"):
        assert sum(f',"{team}",' in line for line in lines) == 6
    assert not any(line.endswith('"') for line in lines[1:]), "numbers bear no quotes"
    script = (tmp_path / "analyse.R").read_text()
    assert "na.strings = character(0)" in script
    assert "colClasses = c('character', 'character', 'character', 'numeric')" in script


def test_bibtex_names_what_was_used_and_nothing_else(tmp_path):
    flare = load_challenge("flare22")
    plans = [Plan("a", title="Fast & 100% {sure}_net"), Plan("b", source="predictions")]
    board = build(
        [make_run(plan, challenge=flare, cases=6) for plan in plans], challenge=flare, bootstrap_samples=50
    )
    [path] = write_bibtex(board, board.divisions[0], tmp_path)
    text = path.read_text()
    keys = re.findall(r"^@(\w+)\{([^,]+),$", text, flags=re.MULTILINE)
    assert [key for _, key in keys] == [
        "ma2024",
        "dice1945",
        "nikolov2021",
        "efron1987",
        "flareharness",
        "team-a",
        "team-b",
    ]
    assert r"title = {Fast \& 100\% \{sure\}\_net}" in text
    assert "image sha256:" in text
    assert text.count("{") == text.count("}")


def test_bibtex_names_the_tests_where_teams_were_compared(tmp_path):
    phantom = load_challenge("phantom")
    board = build(
        [make_run(Plan(team), challenge=phantom, cases=6) for team in "ab"],
        challenge=phantom,
        bootstrap_samples=0,
    )
    text = write_bibtex(board, board.divisions[0], tmp_path)[0].read_text()
    assert "wilcoxon1945" in text
    assert "efron1987" not in text
