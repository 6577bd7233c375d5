"""A data set with several raters a case, from the check of its files to the leaderboard and its report."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from harness.cli.app import run
from harness.data.dataset import open_dataset
from harness.errors import ConfigurationError
from harness.results.folder import check_team

TOML = """\
name = "raters"
title = "Kidneys and tumours, by three raters"
[[labels]]
value = 1
name = "kidney"
tolerance_mm = 1.0
group = "parts"
[[labels]]
value = 2
name = "tumour"
tolerance_mm = 1.0
group = "parts"
[[labels]]
values = [1, 2]
name = "kidney with tumour"
tolerance_mm = 1.0
group = "whole"
[limits]
memory = "1 GiB"
time = "60 s"
[[ranking.metrics]]
metric = "dsc"
labels = "parts"
[[ranking.metrics]]
metric = "hd90"
labels = "whole"
"""
RATERS = ("anna", "ben", "cy")


def bars(moved: int) -> np.ndarray:
    """A bar of 20 x 8 x 6 voxels, half kidney and half tumour, moved along x."""
    volume = np.zeros((60, 16, 12), np.uint8)
    volume[10 + moved : 20 + moved, 4:12, 3:9] = 1
    volume[20 + moved : 30 + moved, 4:12, 3:9] = 2
    return volume


def save(path: Path, volume: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(volume, np.diag([1.0, 1.0, 2.0, 1.0])), path)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three raters one voxel apart, a fourth case that one of them annotated, and two teams' predictions."""
    folder = tmp_path_factory.mktemp("raters")
    for case in ("a", "b", "c"):
        save(folder / f"data/imagesVal/{case}_0000.nii.gz", bars(0).astype(np.int16))
        for moved, rater in enumerate(RATERS):
            save(folder / f"data/labelsVal/{case}/{rater}.nii.gz", bars(moved))
        save(folder / f"middle/{case}.nii.gz", bars(1))
        save(folder / f"far/{case}.nii.gz", bars(6))
    save(folder / "data/imagesVal/d_0000.nii.gz", bars(0).astype(np.int16))
    save(folder / "data/labelsVal/d.nii.gz", bars(0))
    save(folder / "middle/d.nii.gz", bars(0))
    save(folder / "far/d.nii.gz", bars(6))
    (folder / "rules.toml").write_text(TOML)
    return folder


@pytest.fixture(scope="module")
def results(place: Path) -> Path:
    options = ["--challenge", str(place / "rules.toml"), "--results", str(place / "results")]
    for team in ("middle", "far"):
        assert run(["score", str(place / team), "--data", str(place / "data"), *options]) == 0
    return place / "results"


def board(place: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    options = ["--challenge", str(place / "rules.toml"), "--results", str(place / "results")]
    capsys.readouterr()
    assert run(["leaderboard", *options, *more]) == 0
    return capsys.readouterr().out


def test_every_file_of_every_rater_is_checked_and_hashed(place: Path, tmp_path: Path, capsys) -> None:
    assert run(["data", "check", str(place / "data"), "--challenge", str(place / "rules.toml")]) == 0
    assert "3 case(s) have several raters: anna, ben, cy" in capsys.readouterr().err
    data = shutil.copytree(place / "data", tmp_path / "data")
    fingerprint, of_b = open_dataset(data).fingerprint(), open_dataset(data).cases[1].reference_sha256()
    for rater in RATERS:
        path = data / f"labelsVal/b/{rater}.nii.gz"
        kept = path.read_bytes()
        save(path, bars(9))
        changed = open_dataset(data)
        assert changed.fingerprint() != fingerprint
        assert changed.cases[1].reference_sha256() != of_b
        path.write_bytes(kept)
    path.rename(path.with_name("dora.nii.gz"))
    assert open_dataset(data).fingerprint() != fingerprint
    path.with_name("dora.nii.gz").write_bytes(b"torn")
    assert run(["data", "check", str(data)]) == 2
    assert "dora.nii.gz" in capsys.readouterr().err


def test_a_case_is_scored_against_the_consensus_and_each_rater(results: Path) -> None:
    (journal,) = results.glob("raters/middle/*/scores.jsonl")
    lines = {line["case"]: line for line in map(json.loads, journal.read_text().splitlines())}
    whole = lines["a"]["scores"][2]
    assert whole["scores"]["dsc"] == 1.0  # the middle one of three is what two of them say
    assert [each["rater"] for each in lines["a"]["raters"]] == list(RATERS)
    assert [each["scores"][2]["scores"]["dsc"] for each in lines["a"]["raters"]] == [0.95, 1.0, 0.95]
    assert lines["d"]["raters"] == []


def test_people_have_a_row_that_is_marked_and_neither_ranked_nor_best(place, results, capsys) -> None:
    (division,) = json.loads(board(place, capsys, "-f", "json"))["divisions"]
    rows = {row["team"]: row for row in division["rows"]}
    assert list(rows) == ["middle", "far", "human"]
    assert [row["rank"] for row in rows.values()] == [1, 2, None]
    assert rows["human"]["marks"] == ["human"]
    assert rows["human"]["failed"] == 0
    assert "human" not in division["win_rates"]
    table = board(place, capsys, "-f", "md")
    assert "H: people" in table
    latex = board(place, capsys, "-f", "latex")
    (line,) = [line for line in latex.splitlines() if "human" in line]
    assert "textbf" not in line


def test_people_and_methods_meet_the_same_references_over_the_same_cases(place, results, capsys) -> None:
    (division,) = json.loads(board(place, capsys, "-f", "json"))["divisions"]
    rows = {row["team"]: row for row in division["rows"]}
    # Anna, Ben and Cy lie 0, 1 and 2 voxels along a bar of 20; each pair meets twice.
    people = np.mean([0.95, 0.95, 0.9])
    # The middle method is Ben's: it is nearer to all three than they are to each other.
    methods = {"middle": np.mean([0.95, 1.0, 0.95]), "far": np.mean([14 / 20, 15 / 20, 16 / 20])}
    for team, expected in {"human": people, **methods}.items():
        assert rows[team]["raters_dsc"]["whole"] == pytest.approx(expected)
        assert rows[team]["estimates"]["raters_dsc_whole"]["n"] == 3  # the fourth case has one rater
    assert rows["human"]["dsc"]["whole"] is None
    assert "dsc_whole" not in rows["human"]["estimates"]
    assert rows["middle"]["estimates"]["dsc_whole"]["n"] == 4
    (first,) = csv.DictReader([*board(place, capsys, "-f", "csv").splitlines()[:2]])
    assert float(first["raters_dsc_whole"]) == pytest.approx(methods["middle"])


def test_a_method_that_fails_is_charged_against_raters_too(place, tmp_path, capsys) -> None:
    shutil.copytree(place / "middle", tmp_path / "torn")
    (tmp_path / "torn/a.nii.gz").unlink()
    options = ["--challenge", str(place / "rules.toml"), "--results", str(tmp_path / "results")]
    assert run(["score", str(tmp_path / "torn"), "--data", str(place / "data"), *options]) in (0, 1)
    capsys.readouterr()
    assert run(["leaderboard", *options, "-f", "json"]) == 0
    (division,) = json.loads(capsys.readouterr().out)["divisions"]
    rows = {row["team"]: row for row in division["rows"]}
    of_others = np.mean([0.95, 1.0, 0.95])
    assert rows["torn"]["raters_dsc"]["whole"] == pytest.approx((0 + 2 * of_others) / 3)
    assert rows["torn"]["estimates"]["raters_dsc_whole"]["n"] == 3


def test_methods_are_ranked_as_if_there_were_no_people(place, results, tmp_path, capsys) -> None:
    with_people = json.loads(board(place, capsys, "-f", "json"))["divisions"][0]
    alone = shutil.copytree(results, tmp_path / "results")
    shutil.rmtree(alone / "raters" / "human")
    options = ["--challenge", str(place / "rules.toml"), "--results", str(alone)]
    assert run(["leaderboard", *options, "-f", "json"]) == 0
    without = json.loads(capsys.readouterr().out)["divisions"][0]
    for row in with_people["rows"]:
        for key in [key for key in row if key.startswith("raters_")]:
            del row[key]
        for key in [key for key in row["estimates"] if key.startswith("raters_")]:
            del row["estimates"][key]
    assert [row for row in with_people["rows"] if row["team"] != "human"] == without["rows"]


def test_verify_scores_people_and_raters_again(place, results, tmp_path, capsys) -> None:
    options = ["--challenge", str(place / "rules.toml"), "--data", str(place / "data")]
    assert run(["verify", *options, "--results", str(results)]) == 0
    assert capsys.readouterr().out.count("made again, equal") == 3


def test_people_are_scored_once(place, results, capsys) -> None:
    (journal,) = results.glob("raters/human/*/scores.jsonl")
    before = journal.read_bytes()
    options = ["--challenge", str(place / "rules.toml"), "--data", str(place / "data")]
    assert run(["score", *options, "--results", str(results)]) == 0
    assert journal.read_bytes() == before


def test_exports_report_and_explanation_take_several_raters(place, results, tmp_path, capsys) -> None:
    options = ["--challenge", str(place / "rules.toml"), "--results", str(results)]
    assert run(["export", "flare", *options, "-o", str(tmp_path / "flare")]) == 0
    assert sorted(path.name for path in (tmp_path / "flare").iterdir()) == [
        "far_DSC_NSD.csv",
        "middle_DSC_NSD.csv",
    ]
    assert run(["export", "tidy", *options, "-o", str(tmp_path / "tidy")]) == 0
    rows = csv.DictReader((tmp_path / "tidy/labels.csv").read_text().splitlines())
    people = [row for row in rows if row["team"] == "human" and row["name"] == "kidney with tumour"]
    assert [(row["dsc"], row["raters_dsc"] != "") for row in people[:3]] == [("", True)] * 3
    data = ("--data", str(place / "data"))
    report = ["leaderboard", "report", *options, *data, "-o", str(tmp_path / "report")]
    assert run(report) == 0
    assert "human" in (tmp_path / "report/index.html").read_text()
    capsys.readouterr()
    assert run(["explain", "middle", "--case", "a", *options, *data]) == 0
    assert "the consensus of single labels of anna, ben, cy" in capsys.readouterr().out


def test_tolerances_that_follow_from_the_raters_are_printed(place, capsys) -> None:
    assert run(["data", "raters", str(place / "data"), "--challenge", str(place / "rules.toml")]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert lines[0][:3] == ["label", "stated_mm", "from_raters_mm"]
    assert [line[0] for line in lines[1:]] == ["kidney", "tumour", "kidney with tumour"]
    assert all(float(line[2]) >= 1 for line in lines[1:])


def test_repaired_copies_keep_every_rater(place, tmp_path) -> None:
    assert run(["data", "check", str(place / "data"), "--repair", str(tmp_path / "clean")]) == 0
    assert [name for name, _ in open_dataset(tmp_path / "clean").cases[0].raters] == list(RATERS)


def test_folders_by_rater_are_read_and_mistakes_in_them_named(place, tmp_path) -> None:
    data = tmp_path / "data"
    shutil.copytree(place / "data/imagesVal", data / "imagesVal")
    for case in ("a", "b", "c", "d"):
        for rater in RATERS:
            target = data / f"labelsVal/{rater}/{case}.nii.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(place / f"data/labelsVal/a/{rater}.nii.gz", target)
    assert open_dataset(data).cases[3].raters[2][1] == data / "labelsVal/cy/d.nii.gz"
    (data / "labelsVal/cy/d.nii.gz").rename(data / "labelsVal/cy/dd.nii.gz")
    with pytest.raises(ConfigurationError, match=r"have no image: dd"):
        open_dataset(data)


def test_no_team_can_take_the_row_of_people() -> None:
    with pytest.raises(ConfigurationError, match="cannot be called 'human'"):
        check_team("human")
