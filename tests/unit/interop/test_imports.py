"""Others' tables: read as they are, beside one's own rows and marked, and never ranked with them."""

from __future__ import annotations

import csv
import io
import json
import math

import nibabel as nib
import numpy as np
import pytest

from evaluator.__main__ import main as evaluator_main
from evaluator.label_files import label_table_from_file
from evaluator.nnunet import read_summary
from harness.challenge import load_challenge
from harness.cli.app import run
from harness.interop.flare import EFFICIENCY_COLUMNS
from harness.leaderboard.reading import read_values
from tests.unit.interop.platform_files import (
    CHALLENGE,
    labels,
    shifted,
    write_dataset,
    write_nifti,
)


@pytest.fixture
def places(tmp_path):
    """A FLARE challenge of two labels, its data, and a new team's results."""
    toml = tmp_path / "knee.toml"
    toml.write_text(CHALLENGE.replace('name = "femur"', 'name = "femur"\ncolumn = "Femur"'))
    write_dataset(tmp_path / "data", {"a": labels(), "b": labels(), "c": labels()})
    write_nifti(tmp_path / "mine" / "a.nii.gz", labels())
    write_nifti(tmp_path / "mine" / "b.nii.gz", shifted(labels(), 1))
    common = ["--challenge", str(toml), "--results", str(tmp_path / "results")]
    data = ["--data", str(tmp_path / "data")]
    assert run(["score", str(tmp_path / "mine"), "--team", "mine", *data, *common]) == 0
    return tmp_path, common, data


EFFICIENCY = """\
Name,Time,MaxGPU_Mem,AUC_GPU_Time,MaxCPU_Utilization,AUC_CPU_Time,MaxRAM,AUC_RAM_Time
a.nii.gz,12.5,3000,20000,61.5,420,6100,70000
b.nii.gz,20,3000,25000,60,500,6200,90000
"""


def rows_of(folder):
    text = (folder / "results" / "knee" / "leaderboard.csv").read_text()
    return {row["team"]: row for row in csv.DictReader(io.StringIO(text))}


def test_an_efficiency_table_of_an_earlier_year_stands_beside_new_rows_and_is_marked(places, capsys):
    folder, common, data = places
    table = folder / "old_Efficiency.csv"
    table.write_text("\ufeff" + EFFICIENCY.replace("\n", "\r\n"))
    assert run(["import", "flare", "--team", "winner2022", "--efficiency", str(table), *data, *common]) == 0
    assert run(["leaderboard", *common]) == 0
    said = capsys.readouterr().out
    assert "imported from others' tables" in said
    assert "Out of competition" in said
    rows = rows_of(folder)
    assert rows["winner2022"]["rank"] == ""
    assert rows["mine"]["rank"] == "1"
    assert float(rows["winner2022"]["runtime_median_s"]) == pytest.approx(12.5)
    assert float(rows["winner2022"]["runtime_p95_s"]) == pytest.approx(20)
    assert rows["winner2022"]["dsc_bones"] == "", "the table says nothing of it"
    [imported] = [
        values
        for values in read_values(folder / "results", load_challenge(common[1]))
        if values.record.source == "imported"
    ]
    assert imported.resource("peak_memory_bytes")[:2] == pytest.approx([6100 * 2**20, 6200 * 2**20])
    assert imported.resource("memory_auc_byte_s")[1] == 90000 * 2**20
    assert math.isnan(imported.resource("runtime_s")[2])


def test_an_imported_row_is_in_every_table_and_in_the_report(places, capsys):
    folder, common, data = places
    table = folder / "old_Efficiency.csv"
    table.write_text(EFFICIENCY)
    assert run(["import", "flare", "--team", "old", "--efficiency", str(table), *data, *common]) == 0
    for form in ("latex", "md", "csv", "json"):
        capsys.readouterr()
        assert run(["leaderboard", "-f", form, *common]) == 0
        assert "old" in capsys.readouterr().out
    assert run(["leaderboard", *common, "report", *data]) == 0
    pages = [path.read_text() for path in (folder / "results" / "knee" / "report").rglob("*.html")]
    assert any("imported from others" in page for page in pages)


def test_what_was_imported_goes_out_column_for_column(places):
    folder, common, data = places
    table = folder / "old_Efficiency.csv"
    table.write_text(EFFICIENCY)
    assert run(["import", "flare", "--team", "old", "--efficiency", str(table), *data, *common]) == 0
    assert run(["export", "flare", "-o", str(folder / "out"), *common]) == 0
    again = list(csv.DictReader(io.StringIO((folder / "out" / "old_Efficiency.csv").read_text())))
    assert tuple(again[0]) == EFFICIENCY_COLUMNS
    for old, new in zip(csv.DictReader(io.StringIO(EFFICIENCY)), again, strict=False):
        for column in EFFICIENCY_COLUMNS[1:]:
            if column != "MaxCPU_Utilization":
                assert float(new[column]) == pytest.approx(float(old[column])), column


def test_a_score_table_comes_back_as_it_went_out(places):
    folder, common, data = places
    assert run(["export", "flare", "-o", str(folder / "out"), *common]) == 0
    scores = folder / "out" / "mine_DSC_NSD.csv"
    assert run(["import", "flare", "--team", "again", "--scores", str(scores), *data, *common]) == 0
    assert run(["leaderboard", *common]) == 0
    rows = rows_of(folder)
    assert float(rows["again"]["dsc_bones"]) == pytest.approx(float(rows["mine"]["dsc_bones"]), abs=1e-4)
    assert run(["verify", *data, "--results", str(folder / "results")]) == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("Case,Time\na,1\n", "columns are Case, Time"),
        ("Name,Time\na.nii.gz,fast\n", "not a number"),
        ("Name,Time\nz.nii.gz,1\n", "no case of the tables"),
        ("", "columns are none"),
    ],
)
def test_a_table_that_is_none_is_one_line(places, content, said, capsys):
    folder, common, data = places
    table = folder / "table.csv"
    table.write_text(content)
    assert run(["import", "flare", "--team", "old", "--efficiency", str(table), *data, *common]) == 2
    assert said in capsys.readouterr().err


DATASET = {"name": "knee", "labels": {"background": 0, "femur": 3, "bones": [3, 7], "cartilage": 9}}


@pytest.fixture
def summary(tmp_path):
    """nnU-Net's summary.json of two cases, as the evaluator writes it."""
    (tmp_path / "dataset.json").write_text(json.dumps(DATASET))
    for case, shift in (("a", 0), ("b", 1)):
        write_nifti(tmp_path / "labelsTs" / f"{case}.nii.gz", labels(cartilage=False))
        write_nifti(tmp_path / "pred" / f"{case}.nii.gz", shifted(labels(cartilage=False), shift))
    output = tmp_path / "summary.json"
    arguments = [
        str(tmp_path / "labelsTs"),
        str(tmp_path / "pred"),
        "--labels",
        str(tmp_path / "dataset.json"),
    ]
    assert evaluator_main([*arguments, "--format", "nnunet", "--output", str(output)]) == 0
    return output


def expected(reference: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    """The definitions, voxel by voxel."""
    found, false, missed = (
        int(mask.sum()) for mask in (reference & prediction, ~reference & prediction, reference & ~prediction)
    )
    return {
        "TP": found,
        "FP": false,
        "FN": missed,
        "TN": int((~reference & ~prediction).sum()),
        "n_ref": int(reference.sum()),
        "n_pred": int(prediction.sum()),
        "Dice": 2 * found / (2 * found + false + missed),
        "IoU": found / (found + false + missed),
    }


def test_a_summary_holds_what_nnunet_counts(summary, tmp_path):
    content = json.loads(summary.read_text())
    assert content.keys() == {"foreground_mean", "mean", "metric_per_case"}
    assert content["mean"].keys() == {"3", "(3, 7)", "9"}
    for row in content["metric_per_case"]:
        reference, prediction = (
            np.asarray(nib.load(row[side]).dataobj) for side in ("reference_file", "prediction_file")
        )
        for key, values in (("3", [3]), ("(3, 7)", [3, 7])):
            wanted = expected(np.isin(reference, values), np.isin(prediction, values))
            assert row["metrics"][key] == pytest.approx(wanted)
        assert math.isnan(row["metrics"]["9"]["Dice"]), "in neither volume"
    first, second = (row["metrics"]["3"]["Dice"] for row in content["metric_per_case"])
    assert content["mean"]["3"]["Dice"] == pytest.approx((first + second) / 2)


def test_a_summary_is_read_back_and_becomes_a_row(summary, tmp_path):
    table = label_table_from_file(tmp_path / "dataset.json")
    scores = read_summary(summary, table)
    assert [score.case for score in scores] == ["a", "b"]
    assert scores[0].labels[0].dsc == 1
    assert [label.label for label in scores[0].labels] == [label.value for label in table]
    toml = tmp_path / "knee.toml"
    toml.write_text(CHALLENGE)
    write_dataset(tmp_path / "data", {"a": labels(cartilage=False), "b": labels(cartilage=False)})
    common = [
        "--challenge",
        str(toml),
        "--results",
        str(tmp_path / "results"),
        "--data",
        str(tmp_path / "data"),
    ]
    assert run(["import", "nnunet", "--team", "nnunet", "--scores", str(summary), *common]) == 0
    assert run(["leaderboard", *common[:4]]) == 0
    row = rows_of(tmp_path)["nnunet"]
    mean = json.loads(summary.read_text())["mean"]["3"]["Dice"]
    assert float(row["dsc_femur"]) == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"metric_per_case": [{"metrics": {"99": {}}}]}'])
def test_what_is_no_summary_is_one_line(tmp_path, content, capsys):
    (tmp_path / "summary.json").write_text(content)
    toml = tmp_path / "knee.toml"
    toml.write_text(CHALLENGE)
    write_dataset(tmp_path / "data", {"a": labels()})
    arguments = ["--scores", str(tmp_path / "summary.json"), "--challenge", str(toml)]
    assert run(["import", "nnunet", "--team", "x", *arguments, "--data", str(tmp_path / "data")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
