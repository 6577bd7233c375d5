"""Labels as data: tables of one's own from a TOML, or from the dataset.json that a training left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from volumes import box, save

from evaluator import Label, LabelTable, RequestError, label_table_from_file
from evaluator.__main__ import main
from evaluator.errors import MissingFileError

KNEE = """
name = "knee"
title = "what else a challenge's file holds is passed over"

[[labels]]
value = 3
name = "femur"
tolerance_mm = 1
group = "bone"
colour = "#e0c060"

[[labels]]
value = 1
name = "tibia"
tolerance_mm = 1.5
group = "bone"

[[labels]]
value = 7
name = "meniscus"
tolerance_mm = 0.5
"""


def write(folder: Path, text: str | dict | list, name: str = "labels.toml") -> Path:
    path = folder / name
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return path


def test_a_toml_states_values_names_tolerances_groups_and_colours(tmp_path: Path) -> None:
    table = label_table_from_file(write(tmp_path, KNEE))
    assert table == LabelTable(
        "knee",
        (
            Label(3, "femur", 1, "bone", "#e0c060"),
            Label(1, "tibia", 1.5, "bone"),
            Label(7, "meniscus", 0.5),
        ),
    )
    assert table.groups == {"bone": (3, 1)}
    assert table.notes == ()


def test_a_table_without_a_name_has_the_files(tmp_path: Path) -> None:
    assert label_table_from_file(write(tmp_path, KNEE.replace('name = "knee"', ""))).name == "labels"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "tolerance_mm = 1.5",
            "",
            r"labels\[2\] has no tolerance_mm .*tolerance_mm = a number",
        ),
        (
            "tolerance_mm = 1.5",
            "tolerence_mm = 1",
            r"labels\[2\]\.tolerence_mm is not .*mean tolerance_mm",
        ),
        ("tolerance_mm = 1.5", 'tolerance_mm = "1"', r"labels\[2\]\.tolerance_mm is '1', not a number"),
        ("tolerance_mm = 1.5", "tolerance_mm = -1", r"labels\[2\]: tolerance -1 mm is not a distance"),
        ("tolerance_mm = 1.5", "tolerance_mm = nan", r"labels\[2\]: tolerance nan mm"),
        ("tolerance_mm = 1.5", "tolerance_mm = true", r"labels\[2\]\.tolerance_mm is True, not a number"),
        ("value = 1", "value = 0", r"labels\[2\]: label value 0 is not between 1 and 255"),
        ("value = 1", "value = 300", r"labels\[2\]: label value 300"),
        ("value = 1", "value = 1.0", r"labels\[2\]\.value is 1\.0, not a whole number"),
        ("value = 1", "value = 3", "the label value 3 occurs twice"),
        ('"tibia"', '"femur"', "the label name 'femur' occurs twice"),
        ('"tibia"', '""', r"labels\[2\]: label 1 has no name"),
        ("#e0c060", "yellow", r"labels\[1\]: colour 'yellow' is not of the form #rrggbb"),
        ("[[labels]]", "[[label]]", r"no \[\[labels\]\] .*value, name, tolerance_mm"),
        (KNEE, "labels = []", r"labels is no list of \[\[labels\]\]"),
        (KNEE, "labels = [1]", r"labels\[1\] is 1, not a table"),
        ('name = "knee"', "name = 7", "name is 7, not a text"),
        ("value = 1", "value = ", "the file is no TOML: .*line"),
    ],
)
def test_a_wrong_toml_gets_one_line_with_file_key_and_what_is_allowed(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(RequestError, match=message) as raised:
        label_table_from_file(write(tmp_path, KNEE.replace(old, new)))
    assert "labels.toml" in str(raised.value) and "\n" not in str(raised.value)


def test_a_tolerance_can_be_given_for_labels_that_state_none(tmp_path: Path) -> None:
    table = label_table_from_file(write(tmp_path, KNEE.replace("tolerance_mm = 1.5", "")), tolerance_mm=4)
    assert [label.tolerance_mm for label in table] == [1, 4, 0.5]
    assert table.notes == ("no tolerance is stated for tibia: 4 mm is assumed",)


@pytest.mark.parametrize(
    "labels",
    [
        {"background": 0, "liver": 1, "tumor": 2},
        {"0": "background", "1": "liver", "2": "tumor"},
        ["background", "liver", "tumor"],
    ],
    ids=["nnU-Net", "MONAI", "list"],
)
def test_a_dataset_json_gives_names_and_values_and_says_the_assumed_tolerance(
    tmp_path: Path, labels: object
) -> None:
    path = write(tmp_path, {"name": "Liver", "labels": labels, "numTraining": 3}, "dataset.json")
    table = label_table_from_file(path)
    assert table == LabelTable("Liver", (Label(1, "liver", 2.0), Label(2, "tumor", 2.0)))
    assert table.notes == ("no tolerance is stated for liver, tumor: 2 mm is assumed",)
    assert label_table_from_file(path, tolerance_mm=5)[1].tolerance_mm == 5


def test_an_ignored_label_is_left_out_and_said(tmp_path: Path) -> None:
    path = write(tmp_path, {"labels": {"background": 0, "liver": 1, "ignore": 2}}, "dataset.json")
    table = label_table_from_file(path)
    assert table.values == (1,) and table.name == tmp_path.name
    assert "label 2, 'ignore', is not scored" in table.notes[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no JSON"),
        ([1], "has no labels"),
        ({}, "has no labels"),
        ({"labels": {}}, "has no labels"),
        ({"labels": {"background": 0}}, "nothing but background"),
        ({"labels": {"whole tumour": [1, "two"]}}, r"labels\.whole tumour is \[1, 'two'\]"),
        ({"labels": {"liver": 1.5}}, r"labels\.liver is 1\.5"),
        ({"labels": {"liver": "one"}}, r"labels\.liver is 'one'"),
        ({"labels": {"liver": 999}}, r"labels\.liver: label value 999"),
        ({"labels": {"liver": 1, "spleen": 1}}, "the label value 1 occurs twice"),
    ],
)
def test_a_wrong_dataset_json_gets_one_line(tmp_path: Path, content: dict, message: str) -> None:
    with pytest.raises(RequestError, match=message) as raised:
        label_table_from_file(write(tmp_path, content, "dataset.json"))
    assert "dataset.json" in str(raised.value)


def test_a_file_that_is_none_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="cannot read the labels"):
        label_table_from_file(tmp_path / "nowhere.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RequestError, match="no text in UTF-8"):
        label_table_from_file(tmp_path / "binary.toml")


def test_the_command_line_scores_labels_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for side, low in (("labels", 1), ("predictions", 2)):
        save(tmp_path / side / "a.nii.gz", box((9, 9, 9), (low, 1, 1), (low + 4, 5, 5), 7))
    folders = [str(tmp_path / "labels"), str(tmp_path / "predictions")]
    knee = str(write(tmp_path, KNEE))
    assert main([*folders, "--labels", knee, "--metrics", "dice,hd95", "--only", "7", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0].startswith("case,label,organ,dsc,hd95_mm,reference_ml")
    assert out.splitlines()[1].startswith("a,7,meniscus,0.75,1.0,") and ",knee," in out.splitlines()[1]
    assert err == ""
    dataset = str(write(tmp_path, {"labels": {"meniscus": 7}}, "dataset.json"))
    assert main([*folders, "--labels", dataset]) == 0
    assert "note: no tolerance is stated for meniscus: 2 mm is assumed" in capsys.readouterr().err
    assert main([*folders, "--labels", "1,2"]) == 2
    assert "Write --only 1,2" in capsys.readouterr().err
    assert main([*folders, "--challenge", "flare22", "--tolerance", "3"]) == 2
    assert "--tolerance goes with --labels" in capsys.readouterr().err
