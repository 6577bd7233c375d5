"""Several raters a case: consensus, each rater, people against each other, and the tolerances that follow."""

from __future__ import annotations

import csv
import io
import itertools
import json
from pathlib import Path

import nibabel
import numpy as np
import oracles
import pytest

from evaluator import CaseScore, Label, LabelTable, RequestError, Scoring, score_case
from evaluator.__main__ import main
from evaluator.consensus import label_map, majority
from evaluator.pair import runs_of
from evaluator.raters import against_single_raters, disagreement, tolerances_mm
from evaluator.sources import as_source

SPACING = (0.9, 1.1, 2.5)
TABLE = {"core": 1, "rim": 2, "whole": [1, 2]}
METRICS = ("dsc", "nsd", "hd95", "masd", "iou", "lesion_f1", "volume_error")
REGIONS = ((1,), (2,), (1, 2))


def annotation(seed: int, *, width: int = 70) -> np.ndarray:
    """Two nested balls whose place and size differ from rater to rater; longer than a word along x."""
    random = np.random.default_rng(seed)
    centre = np.array((width / 2, 15, 8)) + random.uniform(-3, 3, 3)
    grid = np.indices((width, 30, 16)).transpose(1, 2, 3, 0)
    distance = np.sqrt((((grid - centre) * SPACING) ** 2).sum(axis=-1))
    volume = (distance < 12 + random.uniform(-2, 2)).astype(np.uint8) * 2
    volume[distance < 6 + random.uniform(-2, 2)] = 1
    return volume


def most(raters: list[np.ndarray], values: tuple[int, ...]) -> np.ndarray:
    return 2 * sum(np.isin(one, values).astype(int) for one in raters) > len(raters)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_the_score_is_that_of_the_majority_of_each_region_and_each_rater_has_one(count):
    raters, prediction = [annotation(seed) for seed in range(count)], annotation(99)
    score = score_case(raters, prediction, labels=TABLE, metrics=METRICS, spacing_mm=SPACING)
    for row, values in zip(score, REGIONS, strict=True):
        alone = score_case(
            most(raters, values).astype(np.uint8),
            np.isin(prediction, values).astype(np.uint8),
            labels={"one": 1},
            metrics=METRICS,
            spacing_mm=SPACING,
        )
        assert dict(row.scores) == dict(alone[1].scores)
        assert row.reference_ml == alone[1].reference_ml
    assert [one.rater for one in score.raters] == [f"rater {number + 1}" for number in range(count)]
    for volume, one in zip(raters, score.raters, strict=True):
        alone = score_case(volume, prediction, labels=TABLE, metrics=METRICS, spacing_mm=SPACING)
        assert [row.scores for row in one] == [row.scores for row in alone]


def test_majorities_of_runs_are_those_of_voxels_whatever_their_shape():
    random = np.random.default_rng(5)
    for count in (2, 3, 4):
        volumes = [(random.random((130, 3, 2)) < 0.6).astype(np.uint8) for _ in range(count)]
        wanted = np.ones(256, np.bool_)
        runs = [runs_of(np.asfortranarray(one), wanted, 1).of(1) for one in volumes]
        expected = runs_of(np.asfortranarray(most(volumes, (1,)).astype(np.uint8)), wanted, 1).of(1)
        assert np.array_equal(majority(runs), expected)


def test_raters_who_disagree_on_parts_agree_on_the_whole():
    one, other = np.full((6, 6, 6), 1, np.uint8), np.full((6, 6, 6), 2, np.uint8)
    score = score_case([one, other], one, labels=TABLE, spacing_mm=(1, 1, 1))
    assert [row.reference_ml > 0 for row in score] == [False, False, True]
    assert not label_map([one, other]).any()


def test_a_missing_prediction_keeps_a_row_against_each_rater():
    score = score_case({"a": annotation(1), "b": annotation(2)}, None, labels=TABLE, spacing_mm=SPACING)
    assert [one.rater for one in (score, *score.raters)] == ["consensus", "a", "b"]
    assert score.mean_dsc == 0
    assert score[1001].reference_ml > 0


@pytest.mark.parametrize("names", [{}, {"": 1}, {"consensus": 1}, {3: 1}])
def test_raters_without_a_name_of_their_own_are_refused(names):
    with pytest.raises(RequestError, match="by rater"):
        score_case(dict.fromkeys(names, annotation(1)), annotation(2), labels=TABLE, spacing_mm=SPACING)


def test_raters_on_different_grids_are_refused():
    with pytest.raises(RequestError, match="reference of b is not on the first one's grid"):
        score_case(
            {"a": annotation(1), "b": annotation(1, width=64)},
            annotation(2),
            labels=TABLE,
            spacing_mm=SPACING,
        )


def test_the_record_survives_a_trip_through_json():
    score = score_case([annotation(1), annotation(2)], annotation(3), labels=TABLE, spacing_mm=SPACING)
    again = CaseScore.from_dict(json.loads(json.dumps(score.to_dict())))
    assert again == score
    assert {row["rater"] for row in again.records()} == {"consensus", "rater 1", "rater 2"}


def test_people_are_scored_against_the_others_and_tolerances_are_those_of_kits21():
    table = LabelTable("t", (Label(1, "core", 1.0), Label(1001, "whole", 1.0, parts=(1, 2))))
    raters = {f"r{seed}": annotation(seed) for seed in range(3)}
    given = {name: as_source(one, spacing_mm=SPACING, what=name) for name, one in raters.items()}
    found = disagreement("c", given, Scoring(table), against="consensus")  # type: ignore[arg-type]
    assert found is not None
    for name, score in found.raters.items():
        others = [volume for other, volume in raters.items() if other != name]
        expected = oracles.dice(most(others, (1,)), raters[name] == 1)
        assert score[1].dsc == pytest.approx(expected, abs=1e-12)
    assert found.level()[1].dsc == pytest.approx(np.mean([one[1].dsc for one in found.raters.values()]))
    apart = []
    for one, other in itertools.combinations(raters.values(), 2):
        distances = oracles.distances(one == 1, other == 1, SPACING)
        both = (distances["distances_gt_to_pred"], distances["distances_pred_to_gt"])
        apart.append(sum(np.percentile(each, 95) for each in both) / 2)
    assert found.tolerances_mm[1] == pytest.approx(np.mean(apart), rel=1e-9)
    assert tolerances_mm([found], table)[1] == found.tolerances_mm[1]


def test_against_single_raters_people_and_a_method_meet_one_annotation_at_a_time():
    table = LabelTable("t", (Label(1, "core", 1.0), Label(1001, "whole", 1.0, parts=(1, 2))))
    raters = {f"r{seed}": annotation(seed) for seed in range(3)}
    given = {name: as_source(one, spacing_mm=SPACING, what=name) for name, one in raters.items()}
    found = disagreement("c", given, Scoring(table))  # type: ignore[arg-type]
    assert found is not None
    pairs = {
        name: [oracles.dice(raters[other] == 1, raters[name] == 1) for other in raters if other != name]
        for name in raters
    }
    for name, score in found.raters.items():
        assert score.rater == name
        assert score[1].dsc == pytest.approx(np.mean(pairs[name]), abs=1e-12)
    assert found.level()[1].dsc == pytest.approx(np.mean(list(pairs.values())), abs=1e-12)
    assert "each of the others" in found.level().notes[0]
    method = annotation(9)
    score = score_case(raters, method, Scoring(table), spacing_mm=SPACING)
    expected = np.mean([oracles.dice(one == 1, method == 1) for one in raters.values()])
    assert against_single_raters(score)[1].dsc == pytest.approx(expected, abs=1e-12)
    alone = score_case(raters["r0"], method, Scoring(table), spacing_mm=SPACING)
    assert against_single_raters(alone) is alone


def test_two_raters_are_their_own_consensus_so_both_ways_agree():
    table = LabelTable("t", (Label(1, "core", 1.0),))
    raters = [annotation(1), annotation(2)]
    given = {str(at): as_source(one, spacing_mm=SPACING, what="r") for at, one in enumerate(raters)}
    both = [
        disagreement("c", given, Scoring(table), against=against)  # type: ignore[arg-type]
        for against in ("consensus", "single")
    ]
    assert len({case.level()[1].dsc for case in both if case}) == 1


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    affine = np.diag([*SPACING, 1.0])
    for case, rater in itertools.product((0, 1), ("anna", "ben", "cy")):
        image = nibabel.Nifti1Image(annotation(10 * case + len(rater)), affine)
        for path in (f"bycase/case_{case}/{rater}.nii.gz", f"byrater/{rater}/case_{case}.nii.gz"):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(image, tmp_path / path)
    (tmp_path / "predictions").mkdir()
    for case in (0, 1):
        path = tmp_path / "predictions" / f"case_{case}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(annotation(10 * case + 7), affine), path)
    rows = "".join(
        f'[[labels]]\nvalues = {list(values)}\nname = "{name}"\ntolerance_mm = 1.0\n'
        for name, values in zip(TABLE, REGIONS, strict=True)
    )
    (tmp_path / "labels.toml").write_text(rows, encoding="utf-8")
    return tmp_path


def table_of(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> list[dict[str, str]]:
    assert main([str(argument) for argument in arguments]) == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def test_folders_by_case_and_by_rater_give_the_same_rows(folders, capsys):
    rest = (folders / "predictions", "--labels", folders / "labels.toml", "--format", "long")
    rows = table_of(capsys, folders / "bycase", *rest)
    assert rows == table_of(capsys, folders / "byrater", *rest)
    assert [row["rater"] for row in rows if row["case"] == "case_0" and row["organ"] == "core"] == [
        *("consensus", "consensus"),
        *("anna", "anna"),
        *("ben", "ben"),
        *("cy", "cy"),
    ]
    one = table_of(
        capsys, folders / "bycase" / "case_1", folders / "predictions" / "case_1.nii.gz", *rest[1:]
    )
    assert one == [row for row in rows if row["case"] == "case_1"]


def test_tolerances_may_come_from_the_raters(folders, capsys):
    labels = ("--labels", folders / "labels.toml")
    level = table_of(capsys, "raters", folders / "bycase", *labels, "--metrics", "nsd,hd95")
    assert [row["organ"] for row in level] == list(TABLE)
    stated = table_of(capsys, folders / "bycase", folders / "predictions", *labels)
    derived = table_of(capsys, folders / "bycase", folders / "predictions", *labels, "--tolerance", "raters")
    assert all(float(row["tolerance_mm"]) > 1 for row in level)
    assert all(float(two["nsd"]) > float(one["nsd"]) for one, two in zip(stated, derived, strict=True))


def test_rows_a_case_are_of_people_alone(folders, capsys):
    words = (
        "raters",
        folders / "bycase",
        "--labels",
        folders / "labels.toml",
        "--cases",
        "--predictions",
        "p",
    )
    assert main([str(word) for word in words]) == 2
    assert "people alone" in capsys.readouterr().err


def test_a_method_stands_beside_people_in_the_cases_with_several_raters(folders, capsys):
    for name in ("ben", "cy"):
        (folders / "bycase" / "case_1" / f"{name}.nii.gz").unlink()
    predictions = folders / "predictions"
    words = ("raters", folders / "bycase", "--labels", folders / "labels.toml", "--predictions", predictions)
    rows = table_of(capsys, *words, "--metrics", "dsc")
    assert [row["who"] for row in rows] == ["people"] * 3 + ["predictions"] * 3
    assert {row["cases"] for row in rows} == {"1"}
    each = table_of(
        *(capsys, folders / "bycase", predictions, "--labels", folders / "labels.toml"),
        *("--format", "long", "--metrics", "dsc"),
    )
    wanted = [
        float(row["value"])
        for row in each
        if (row["case"], row["organ"]) == ("case_0", "core") and row["rater"] != "consensus"
    ]
    assert float(rows[3]["dsc"]) == pytest.approx(np.mean(wanted))
    assert main([str(word) for word in (*words, "--against", "consensus")]) == 2
    assert "one vote less" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("anna/case_0.nii.gz", "of cases or of raters"),
        ("case_0/consensus.nii.gz", "a rater is called consensus"),
        ("case_0.nii.gz", "has a reference, and a folder of them"),
        ("case_0/anna.mha", "more than one reference"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(folders, capsys, change, complaint):
    target = folders / "bycase" / change
    target.parent.mkdir(exist_ok=True)
    target.write_bytes((folders / "bycase" / "case_0" / "anna.nii.gz").read_bytes())
    labels = ("--labels", folders / "labels.toml")
    assert main([str(word) for word in (folders / "bycase", folders / "predictions", *labels)]) == 2
    assert complaint in capsys.readouterr().err


def test_one_annotation_a_case_has_no_human_level(folders, capsys):
    for name in ("ben", "cy"):
        for case in (0, 1):
            (folders / "bycase" / f"case_{case}" / f"{name}.nii.gz").unlink()
    assert main(["raters", str(folders / "bycase"), "--labels", str(folders / "labels.toml")]) == 2
    assert "no case has two raters" in capsys.readouterr().err
