"""A challenge that is nowhere in the code, five labels, partly annotated: one TOML file is all it takes."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from harness.cli.app import run

TOML = """\
name = "hand"
title = "Bones and tendons of the hand"

[[labels]]
value = 3
name = "scaphoid"
tolerance_mm = 1.0
group = "bones"
colour = "#c08040"

[[labels]]
value = 7
name = "lunate"
tolerance_mm = 1.0
group = "bones"

[[labels]]
value = 20
name = "flexor tendon"
tolerance_mm = 0.5
group = "tendons"

[[labels]]
value = 21
name = "extensor tendon"
tolerance_mm = 0.5
group = "tendons"

[[labels]]
value = 200
name = "cyst"
tolerance_mm = 2.0

[limits]
memory = "4 GiB"
time = "5 min"

[scoring]
metrics = ["dsc", "nsd", "masd"]

[ranking]
order = "rank-then-average"

[[ranking.metrics]]
metric = "dsc"
labels = "bones"

[[ranking.metrics]]
metric = "hd95"
labels = "tendons"

[[ranking.metrics]]
metric = "runtime_s"
"""
VALUES = (3, 7, 20, 21, 200)
SPACING = (1.0, 1.0, 2.0)


def reference() -> np.ndarray:
    """Return five bars of 4 x 4 x 8 voxels beside each other."""
    volume = np.zeros((40, 12, 12), np.uint8)
    for place, value in enumerate(VALUES):
        volume[2 + 7 * place : 6 + 7 * place, 4:8, 2:10] = value
    return volume


def save(path: Path, volume: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(volume, np.diag([*SPACING, 1.0])), path)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of three cases, one of which annotates the bones only, and two teams' predictions."""
    folder = tmp_path_factory.mktemp("hand")
    whole = reference()
    for case in ("a", "b", "c"):
        label = np.where(np.isin(whole, (3, 7)), whole, 0) if case == "b" else whole
        save(folder / f"data/imagesVal/{case}_0000.nii.gz", whole.astype(np.int16) * 5)
        save(folder / f"data/labelsVal/{case}.nii.gz", label)
        save(folder / f"near/{case}.nii.gz", np.roll(whole, 1, axis=1))
    (folder / "data/dataset.json").write_text(json.dumps({"name": "hands", "annotated": {"b": [3, 7]}}))
    moved = np.roll(whole, 2, axis=1)
    save(folder / "far/a.nii.gz", np.where(moved == 20, 0, moved))
    save(folder / "far/b.nii.gz", moved)
    (folder / "hand.toml").write_bytes(b"\xef\xbb\xbf" + TOML.replace("\n", "\r\n").encode())
    return folder


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")


@pytest.fixture(scope="module")
def results(place: Path) -> Path:
    """Both folders of predictions, scored."""
    options = ["--challenge", str(place / "hand.toml"), "--results", str(place / "results")]
    for team in ("near", "far"):
        assert run(["score", str(place / team), "--data", str(place / "data"), *options]) in (0, 1)
    return place / "results"


def leaderboard(place: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    options = ["--challenge", str(place / "hand.toml"), "--results", str(place / "results")]
    capsys.readouterr()
    assert run(["leaderboard", *options, *more]) == 0
    return capsys.readouterr().out


def test_the_data_are_checked(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "check", str(place / "data"), "--challenge", str(place / "hand.toml")]) == 0
    assert "3,7,20,21,200" in capsys.readouterr().out


def test_scores_are_stored_by_metric_and_only_where_they_were_computed(results: Path) -> None:
    (scores,) = results.glob("hand/far/*/scores.jsonl")
    lines = {line["case"]: line for line in map(json.loads, scores.read_text().splitlines())}
    by_label = {label["label"]: label for label in lines["a"]["scores"]}
    assert list(by_label) == list(VALUES)
    assert list(by_label[3]["scores"]) == ["dsc", "nsd", "hd95", "masd"]
    assert by_label[3]["scores"]["dsc"] == 0.5
    assert by_label[3]["scores"]["hd95"] == 2.0
    assert (by_label[20]["scores"]["dsc"], by_label[20]["scores"]["hd95"]) == (0.0, "inf")
    unannotated = [label["scores"] for label in lines["b"]["scores"] if label["label"] in (20, 21, 200)]
    assert unannotated == [{}, {}, {}]
    assert (lines["c"]["usable"], lines["c"]["scores"][0]["scores"]) == (False, {})


def test_the_leaderboard_counts_what_was_annotated_and_charges_what_failed(
    place: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {row["team"]: row for row in csv.DictReader(io.StringIO(leaderboard(place, capsys, "-f", "csv")))}
    near, far = rows["near"], rows["far"]
    assert (near["rank"], far["rank"]) == ("1", "2")
    assert (near["failed"], far["failed"]) == ("0", "1")
    assert float(near["dsc_bones"]) == 0.75
    assert float(far["dsc_bones"]) == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert float(far["dsc_tendons"]) == pytest.approx(((0 + 0.5) / 2 + 0) / 2)
    assert (near["hd95_mm_tendons"], far["hd95_mm_tendons"]) == ("1.0", "inf")
    assert float(near["masd_mm_cyst"]) > 0
    stored = json.loads(leaderboard(place, capsys, "-f", "json"))["divisions"][0]
    assert stored["ranked_on"] == ["dsc:bones", "hd95:tendons"]
    assert {row["team"]: row["hd95"]["tendons"] for row in stored["rows"]} == {"near": 1.0, "far": "inf"}


@pytest.mark.parametrize("layout", ["table", "md"])
def test_tables_show_every_metric_with_its_unit(
    place: Path,
    results: Path,
    capsys: pytest.CaptureFixture[str],
    layout: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    shown = leaderboard(place, capsys, "-f", layout)
    for heading in ("DSC bones %", "NSD tendons %", "HD95 tendons mm", "MASD bones mm"):
        assert heading in shown
    assert "∞" in shown


@pytest.mark.parametrize("view", ["organiser", "participant"])
def test_the_report_draws_every_metric(
    place: Path, results: Path, capsys: pytest.CaptureFixture[str], view: str, tmp_path: Path
) -> None:
    options = ["--challenge", str(place / "hand.toml"), "--results", str(results), "--view", view]
    assert run(["leaderboard", "report", *options, "--data", str(place / "data"), "-o", str(tmp_path)]) == 0
    index = (tmp_path / "index.html").read_text()
    for words in ("HD95 tendons, mm", "and for whom (", "MASD", "extensor tendon", "∞", "solid #c08040"):
        assert words in index
    pages = [page.read_text() for page in tmp_path.glob("submissions/*.html")]
    assert len(pages) == 2
    assert all("best HD95 mm" in page for page in pages)
    assert ("data:image/webp;base64," in index) == (view == "organiser")


def test_every_export_has_the_challenges_own_columns(
    place: Path, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--challenge", str(place / "hand.toml"), "--results", str(results)]
    assert run(["export", "flare", *options, "-o", str(tmp_path / "flare")]) == 0
    (flare,) = (tmp_path / "flare").glob("far_DSC_NSD.csv")
    rows = list(csv.DictReader(flare.read_text().splitlines()))
    assert [row["scaphoid_DSC"] for row in rows] == ["0.5", "0.5", "0.0"]
    assert [row["cyst_NSD"] == "" for row in rows] == [False, True, False]
    assert run(["export", "challenger", *options, "-o", str(tmp_path / "challenger")]) == 0
    written = {path.name for path in (tmp_path / "challenger").iterdir()}
    assert written == {"dsc-bones.csv", "hd95-tendons.csv", "analyse.R"}
    table = list(csv.DictReader((tmp_path / "challenger/hd95-tendons.csv").read_text().splitlines()))
    assert {row["value"] for row in table if row["algorithm"] == "far"} == {"Inf"}
    assert "smallBetter = TRUE" in (tmp_path / "challenger/analyse.R").read_text()


def test_the_run_is_verified_and_scored_again_to_the_same(
    place: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["verify", "--results", str(results), "--data", str(place / "data")]) == 0
    options = ["--challenge", str(place / "hand.toml"), "--results", str(results)]
    before = {path: path.read_bytes() for path in results.glob("hand/*/*/scores.jsonl")}
    assert run(["score", "--data", str(place / "data"), *options]) == 0
    assert {path: path.read_bytes() for path in before} == before


def test_a_metric_that_is_named_later_is_computed_from_the_stored_predictions(
    place: Path, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(results, tmp_path / "results")
    (tmp_path / "hand.toml").write_text(TOML.replace('metric = "hd95"', 'metric = "assd"'))
    assert "no score holds it: `harness score` computes it" in leaderboard(tmp_path, capsys)
    options = ["--challenge", str(tmp_path / "hand.toml"), "--results", str(tmp_path / "results")]
    assert run(["score", "--data", str(place / "data"), *options]) == 0
    assert "ASSD tendons mm" in leaderboard(tmp_path, capsys, "-f", "md")
    stored = json.loads(leaderboard(tmp_path, capsys, "-f", "json"))["divisions"][0]
    assert stored["ranked_on"] == ["dsc:bones", "assd:tendons"]
    assert run(["verify", "--results", str(tmp_path / "results"), "--data", str(place / "data")]) == 0
