"""`python -m evaluator`: tables out, one line per error, exit codes."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from volumes import blobs, box, save

from evaluator import LABEL_TABLES, METRICS, CaseScore, Scoring, flare, folder, score_case
from evaluator.__main__ import main
from evaluator.table import tidy_columns


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    references, predictions = tmp_path / "labels", tmp_path / "predictions"
    for number in range(3):
        save(references / f"case_{number}.nii.gz", blobs((9, 8, 7), seed=number))
        if number != 1:
            save(predictions / f"case_{number}.nii.gz", blobs((9, 8, 7), seed=number + 10))
    return references, predictions


def run(folders: tuple[Path, Path], *options: str, challenge: str = "flare23") -> int:
    return main([str(folders[0]), str(folders[1]), "--challenge", challenge, *options])


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_tidy_table_has_a_row_per_case_and_label(folders: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "new folder" / "scores.csv"
    assert run(folders, "--output", str(output)) == 0
    rows = read(output)
    assert len(rows) == 3 * 14
    assert tuple(rows[0]) == tidy_columns()
    expected = score_case(
        folders[0] / "case_0.nii.gz", folders[1] / "case_0.nii.gz", labels=LABEL_TABLES["flare23"]
    )
    for row, label in zip(rows, expected.labels, strict=False):
        assert (row["case"], int(row["label"]), row["organ"]) == ("case_0", label.label, label.organ)
        assert (float(row["dsc"]), float(row["nsd"])) == (label.dsc, label.nsd)
    missing = [row for row in rows if row["case"] == "case_1"]
    assert all(row["dsc"] == row["nsd"] == "0.0" and row["note"] == "no prediction" for row in missing)
    assert not list(output.parent.glob(".*"))


def test_standard_output_carries_nothing_but_the_table(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folders) == 0
    out, err = capsys.readouterr()
    assert len(list(csv.DictReader(out.splitlines()))) == 3 * 14
    assert "case_1: no prediction" in err
    assert "3 cases, 1 without a prediction, mean DSC" in err


@pytest.mark.parametrize(
    ("challenge", "columns"),
    [
        ("flare21", ["Name", "DSC_1", "NSD-1mm_1", "DSC_2", "NSD-1mm_2"]),
        ("flare22", ["Name", "Liver_DSC", "RK_DSC", "Spleen_DSC", "Pancreas_DSC"]),
        ("flare24-task1", ["Name", "Lesion_DSC", "Lesion_NSD"]),
    ],
)
def test_the_flare_table_has_the_official_columns(
    folders: tuple[Path, Path], tmp_path: Path, challenge: str, columns: list[str]
) -> None:
    output = tmp_path / "scores.csv"
    options = ("--format", "flare", "--profile", "flare", "--output", str(output))
    assert run(folders, *options, challenge=challenge) == 0
    rows = read(output)
    assert list(rows[0])[: len(columns)] == columns
    assert [row["Name"] for row in rows] == [f"case_{number}.nii.gz" for number in range(3)]
    first = score_case(
        folders[0] / "case_0.nii.gz",
        folders[1] / "case_0.nii.gz",
        labels=LABEL_TABLES[challenge],
        profile="flare",
    )
    values = list(map(float, list(rows[0].values())[1:]))
    assert sorted(values) == sorted(value for label in first.labels for value in (label.dsc, label.nsd))


def test_flare23_adds_the_means_over_organs(folders: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "scores.csv"
    assert run(folders, "--format", "flare", "--profile", "flare", "--output", str(output)) == 0
    row = read(output)[0]
    columns = flare.columns(LABEL_TABLES["flare23"])
    assert list(row) == columns and columns[14] == "Lesion_DSC" and columns[-2:] == ["Organ_DSC", "Organ_NSD"]
    organs = [float(row[column]) for column in columns[1:14]]
    assert float(row["Organ_DSC"]) == pytest.approx(sum(organs) / 13, abs=5.1e-5)


def test_json_holds_whole_records(folders: tuple[Path, Path], tmp_path: Path) -> None:
    output = tmp_path / "scores.json"
    assert run(folders, "--output", str(output), "--metrics", "dice,NSD,hd95,assd,masd") == 0
    records = json.loads(output.read_text(), parse_constant=pytest.fail)
    assert [metric["key"] for metric in records["metrics"]] == list(METRICS)[:5]
    assert records["labels"][0] == {"value": 1, "name": "liver", "tolerance_mm": 5}
    scores = [CaseScore.from_dict(record) for record in records["cases"]]
    assert scores[0] == score_case(
        folders[0] / "case_0.nii.gz",
        folders[1] / "case_0.nii.gz",
        Scoring(LABEL_TABLES["flare23"], metrics=tuple(METRICS)[:5]),
    )
    assert any(math.isfinite(label.scores["hd95"]) for label in scores[0].labels)


def test_labels_and_annotated_labels_can_be_given(folders: tuple[Path, Path], tmp_path: Path) -> None:
    output, annotated = tmp_path / "scores.csv", tmp_path / "annotated.json"
    annotated.write_text('{"case_0": [1, 2]}')
    assert run(folders, "--only", "2,3", "--annotated", str(annotated), "--output", str(output)) == 0
    assert [(row["case"], row["label"]) for row in read(output)] == [
        ("case_0", "2"),
        ("case_1", "2"),
        ("case_1", "3"),
        ("case_2", "2"),
        ("case_2", "3"),
    ]


def test_an_unusable_prediction_is_told_kept_and_shown_in_the_exit_code(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folders[1] / "case_2.nii.gz").write_bytes(b"rubbish")
    assert run(folders, "--output", str(tmp_path / "scores.csv")) == 1
    assert (
        "case_2: the prediction is unusable and scores as a failure: no NIfTI header"
        in capsys.readouterr().err
    )
    assert len(read(tmp_path / "scores.csv")) == 3 * 14


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--only", "1,99"), "has no label 99"),
        (("--only", "one"), "no list of labels"),
        (("--metrics", "dsc,hd955"), "Did you mean hd95?"),
        (("--annotated", "/nowhere.json"), "cannot read the list of annotated labels"),
        (("--output", "/dev/null/scores.csv"), "cannot write the output"),
    ],
)
def test_wrong_requests_get_one_line(
    folders: tuple[Path, Path], options: tuple, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folders, *options) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_an_interrupted_run_leaves_the_old_output(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> Iterator[CaseScore]:
        yield from ()
        raise KeyboardInterrupt

    monkeypatch.setattr(folder, "score_matches", interrupted)
    output = tmp_path / "scores.csv"
    output.write_text("old")
    assert run(folders, "--output", str(output)) == 130
    assert output.read_text() == "old"
    assert not list(tmp_path.glob(".*part"))


def test_an_output_that_is_no_plain_file_is_written_to_and_stays_what_it_is(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    target, link = tmp_path / "target.csv", tmp_path / "link.csv"
    link.symlink_to(target)
    for _ in range(2):
        assert run(folders, "--output", str(link)) == 0
        assert link.is_symlink() and len(read(target)) == 3 * 14
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True)
    assert run(folders, "--output", str(pipe)) == 0
    out, _ = reader.communicate(timeout=60)
    assert len(list(csv.DictReader(out.splitlines()))) == 3 * 14 and pipe.is_fifo()


@pytest.mark.parametrize("fault", ["rubbish", "too large"])
def test_an_unusable_reference_costs_no_other_case_its_row(
    folders: tuple[Path, Path], tmp_path: Path, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if fault == "rubbish":
        (folders[0] / "case_0.nii.gz").write_bytes(b"rubbish")
    else:
        save(folders[0] / "case_0.nii.gz", box((200, 200, 400), (1, 1, 1), (3, 3, 3)))
    output = tmp_path / "scores.csv"
    assert run(folders, "--output", str(output), "--max-memory", "12") == 2
    rows = read(output)
    assert len(rows) == 3 * 14
    assert {(row["dsc"], row["nsd"], row["note"]) for row in rows[:14]} == {("", "", "no reference")}
    assert float(rows[-1]["dsc"]) >= 0
    error = capsys.readouterr().err
    assert "case_0: the reference is unusable" in error
    assert "3 cases, 1 without a prediction, 1 with an unusable reference" in error


def test_it_runs_as_a_module(folders: tuple[Path, Path]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "evaluator", *map(str, folders), "--challenge", "flare22", "--quiet"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("case,label,organ,dsc,nsd,")
    assert "case_1: no prediction" in done.stderr


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.ESTALE])
def test_what_the_system_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number), "/share/labels")

    monkeypatch.setattr("evaluator.__main__._run", refuse)
    assert main(["labels", "predictions", "--challenge", "flare22"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ") and "/share/labels" in line
