"""nnU-Net's dataset.json as a challenge's labels, regions included, from the check to the report."""

from __future__ import annotations

import csv
import io
import json

import pytest

from harness.challenge import load_challenge
from harness.cli.app import run
from tests.unit.interop.platform_files import CHALLENGE, labels, shifted, write_dataset, write_nifti

DATASET = {"labels": {"background": 0, "femur": 3, "bones": [3, 7], "cartilage": 9}}
RULES = (
    CHALLENGE[: CHALLENGE.index("[[labels]]")]
    + 'labels = "dataset.json"\n'
    + """
[label_groups]
all of it = [3, 9, 1001]

""".replace("all of it", '"all of it"')
    + CHALLENGE[CHALLENGE.index("[limits]") :]
    .replace('labels = "bones"', 'labels = "all of it"')
    .replace('labels = "soft"', 'labels = "all of it"')
)


@pytest.fixture
def places(tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps(DATASET))
    (tmp_path / "knee.toml").write_text(RULES)
    data = write_dataset(tmp_path / "data", {"a": labels(), "b": labels(), "c": labels()})
    (data / "dataset.json").write_text(json.dumps({"name": "knee", "annotated": {"c": [3]}}))
    for case in "abc":
        write_nifti(tmp_path / "predictions" / f"{case}.nii.gz", shifted(labels(), 1))
    return tmp_path


def test_labels_and_regions_are_those_of_the_file(places):
    table = load_challenge(str(places / "knee.toml")).labels
    assert [(label.name, label.voxel_values) for label in table] == [
        ("femur", (3,)),
        ("bones", (3, 7)),
        ("cartilage", (9,)),
    ]


def test_a_region_is_scored_ranked_reported_and_exported(places):
    common = ["--challenge", str(places / "knee.toml"), "--results", str(places / "results")]
    data = ["--data", str(places / "data")]
    assert run(["score", str(places / "predictions"), "--team", "team", *data, *common]) == 0
    assert run(["leaderboard", *common]) == 0
    table = (places / "results" / "knee" / "leaderboard.csv").read_text()
    [row] = csv.DictReader(io.StringIO(table))
    femur, bones = (float(row[f"dsc_{name}"]) for name in ("femur", "bones"))
    assert femur == pytest.approx(0.8, abs=1e-6)
    assert bones == pytest.approx(0.8, abs=1e-6)
    assert row["dsc_bones_n"] == "2", "case c annotates the femur only"
    assert row["dsc_femur_n"] == "3"
    assert run(["leaderboard", *common, "report", *data]) == 0
    for form in ("flare", "challenger", "tidy", "bibtex"):
        assert run(["export", form, "-o", str(places / form), *common]) == 0
    assert run(["verify", *data, "--results", str(places / "results")]) == 0


def test_a_file_that_is_missing_is_named(places, capsys):
    (places / "dataset.json").unlink()
    assert run(["leaderboard", "--challenge", str(places / "knee.toml")]) == 2
    assert "dataset.json" in capsys.readouterr().err


def test_a_value_above_a_byte_is_no_label(places, capsys):
    (places / "knee.toml").write_text(CHALLENGE.replace("value = 9", "value = 300"))
    assert run(["leaderboard", "--challenge", str(places / "knee.toml")]) == 2
    assert "255" in capsys.readouterr().err
