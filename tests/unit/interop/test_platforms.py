"""Platforms: their calling conventions, with files of their shape; a case fails, never the run."""

from __future__ import annotations

import json
import math
import tarfile
from pathlib import Path

import pytest
import yaml

from evaluator.platforms import codabench, grand_challenge
from evaluator.platforms.durations import seconds_of
from evaluator.platforms.means import means_of
from evaluator.platforms.rules import rules_from_json, rules_to_json
from harness.challenge import load_challenge, shipped_names
from harness.data.dataset import open_dataset
from harness.interop.ground_truth import write_ground_truth
from harness.interop.platform_rules import platform_rules
from harness.interop.yaml_text import to_yaml
from tests.unit.interop.platform_files import (
    harness_means,
    job,
    labels,
    shifted,
    write_mha,
    write_nifti,
    write_predictions,
)

SLUG = "images/knee-labels"


def evaluate(places: dict[str, Path]) -> dict:
    code = grand_challenge.main(
        [
            str(places["rules"]),
            "--input",
            str(places["input"]),
            "--output",
            str(places["output"]),
            "--ground-truth",
            str(places["truth"]),
        ]
    )
    assert code == 0
    return json.loads((places["output"] / "metrics.json").read_text())


def test_grand_challenge_scores_mha_outputs_and_one_bad_job_costs_its_own_case_only(places, tmp_path, capsys):
    good = {"1": labels(), "3": shifted(labels(cartilage=False), 1)}
    for pk, array in good.items():
        write_mha(places["input"] / pk / "output" / SLUG / f"{pk}.mha", array)
    broken = places["input"] / "2" / "output" / SLUG / "output.mha"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"ObjectType = Image\nNDims = 3\n")
    (places["input"] / "4" / "output" / SLUG).mkdir(parents=True)
    write_predictions(
        places["input"],
        [
            job("3", "c_0000.nii.gz"),
            job("1", "a.mha"),
            job("2", "b.mha"),
            job("4", "d_0000.mha"),
            job("9", "stranger.mha"),
            job("10", "a.mha"),
        ],
    )
    metrics = evaluate(places)
    rows = {row["case"]: row for row in metrics["results"]}
    assert {case: row["outcome"] for case, row in rows.items()} == {
        "a": "succeeded",
        "b": "failed",
        "c": "succeeded",
        "d": "failed",
        "e": "failed",
    }
    assert rows["a"]["dsc_bones"] == rows["a"]["dsc_cartilage"] == 1
    assert rows["a"]["runtime_s"] == 62.5
    assert rows["c"]["dsc_cartilage"] is None, "the reference lacks it, so it does not count"
    assert rows["b"]["hd95_mm_soft"] == 100, "what the challenge charges"
    assert "MetaImage" in rows["b"]["notes"][0]
    assert "no label volume" in rows["d"]["notes"][0]
    assert "no job" in rows["e"]["notes"][0]
    assert [error.split()[1] for error in metrics["errors"]] == ["9", "10"]
    assert metrics["aggregates"]["cases"] == 5
    assert metrics["aggregates"]["failed_cases"] == 3
    assert metrics["aggregates"]["runtime_s"] == pytest.approx((62.5 * 2 + 90 * 3) / 5)
    assert "b: the prediction is unusable" in capsys.readouterr().err

    folder = tmp_path / "predictions"
    write_nifti(folder / "a.nii.gz", good["1"])
    write_nifti(folder / "c.nii.gz", good["3"])
    expected = harness_means(places, folder, tmp_path)
    assert expected.keys() >= {"dsc_bones", "hd95_mm_soft", "dsc_cartilage"}
    for key, value in expected.items():
        if math.isfinite(value):
            assert metrics["aggregates"][key] == pytest.approx(value, abs=1e-9), key


@pytest.mark.parametrize("word", ["socket", "interface"])
def test_grand_challenge_fails_a_job_that_did_not_succeed_or_wrote_two_volumes(places, word):
    for name in ("one.mha", "two.mha"):
        write_mha(places["input"] / "2" / "output" / SLUG / name, labels())
    write_mha(places["input"] / "3" / "output" / SLUG / "output.mha", labels())
    jobs = [
        job("1", "a.mha", status="Failed", word=word),
        job("2", "b.mha", word=word),
        job("3", "c.mha", word=word),
        "no object",
    ]
    write_predictions(places["input"], jobs)
    rows = {row["case"]: row for row in evaluate(places)["results"]}
    assert "Failed" in rows["a"]["notes"][0]
    assert "2 label volumes" in rows["b"]["notes"][0]
    assert rows["c"]["outcome"] == "succeeded"


def test_grand_challenge_takes_the_output_that_is_named_among_several(places, tmp_path):
    entry = job("1", "a.mha")
    entry["outputs"].append(
        {"socket": {"slug": "heat", "relative_path": "images/heat"}, "image": {"name": "x"}, "file": None}
    )
    write_mha(places["input"] / "1" / "output" / SLUG / "output.mha", labels())
    write_predictions(places["input"], [entry])
    ambiguous = {row["case"]: row for row in evaluate(places)["results"]}["a"]
    assert "2 image outputs" in ambiguous["notes"][0]
    challenge = load_challenge(str(places["toml"]))
    places["rules"].write_text(rules_to_json(platform_rules(challenge, output_slug="knee-labels")))
    assert {row["case"]: row for row in evaluate(places)["results"]}["a"]["outcome"] == "succeeded"


def test_an_infinite_mean_is_a_number_that_a_platform_can_sort(places):
    text = places["toml"].read_text().replace("failed = 100\n", "")
    places["toml"].write_text(text)
    places["rules"].write_text(rules_to_json(platform_rules(load_challenge(str(places["toml"])))))
    write_predictions(places["input"], [])
    assert evaluate(places)["aggregates"]["hd95_mm_soft"] == 999_999_999


@pytest.mark.parametrize(
    ("content", "said"), [(None, "cannot read"), ("{", "no JSON"), ("{}", "no list")], ids=str
)
def test_grand_challenge_without_a_list_of_predictions_is_one_line(places, content, said, capsys):
    if content is not None:
        (places["input"] / "predictions.json").write_text(content)
    arguments = ["--input", str(places["input"]), "--ground-truth", str(places["truth"])]
    assert grand_challenge.main([str(places["rules"]), *arguments]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_damaged_reference_costs_its_own_case(places):
    (places["truth"] / "a.nii.gz").write_bytes(b"nothing")
    write_mha(places["input"] / "1" / "output" / SLUG / "output.mha", labels())
    write_mha(places["input"] / "2" / "output" / SLUG / "output.mha", labels())
    write_predictions(places["input"], [job("1", "a.mha"), job("2", "b.mha")])
    metrics = evaluate(places)
    rows = {row["case"]: row for row in metrics["results"]}
    assert rows["a"]["outcome"] == "not counted"
    assert rows["b"]["outcome"] == "succeeded"
    assert metrics["aggregates"]["failed_cases"] == 3


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("PT22M17S", 1337),
        ("P1DT2H", 93600),
        ("PT0.5S", 0.5),
        ("P", None),
        ("", None),
        (None, None),
        ("12", None),
    ],
)
def test_durations_are_read(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("name", shipped_names())
def test_rules_of_every_shipped_challenge_survive_their_file(name, tmp_path):
    rules = platform_rules(load_challenge(name))
    path = tmp_path / "rules.json"
    path.write_text(rules_to_json(rules))
    assert rules_from_json(path) == rules
    keys = [column.key for column in rules.columns]
    assert len(keys) == len(set(keys))


def test_the_ground_truth_is_one_archive_with_the_same_bytes(places, tmp_path):
    paths = [tmp_path / "1" / "truth.tar.gz", tmp_path / "2" / "truth.tar.gz"]
    for path in paths:
        write_ground_truth(open_dataset(places["data"]), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with tarfile.open(paths[0]) as archive:
        assert archive.getnames() == [f"{case}.nii.gz" for case in "abcde"]


ODD = [
    "yes",
    "NO",
    "null",
    "1:20",
    "# no comment",
    "- a",
    "a: b",
    "",
    " ",
    "007",
    "1e3",
    "é\u2028x\x85y",
    'say "x"\n',
    "@a",
    "{a}",
]


def test_yaml_is_read_as_it_was_meant():
    values = {
        "texts": ODD,
        "nested": [
            {"a": 1, "b": [True, 0.5]},
            {"c": {f"key_{number}": text for number, text in enumerate(ODD)}},
        ],
        "none": [],
    }
    assert yaml.safe_load(to_yaml(values)) == values


@pytest.mark.parametrize("mode", ['"not counted"', "1", '"nan"'])
@pytest.mark.parametrize("alarm", [False, True], ids=["quiet", "false alarm"])
def test_a_label_that_the_reference_lacks_counts_as_on_the_leaderboard(places, tmp_path, mode, alarm):
    order = 'order = "rank-then-average"'
    places["toml"].write_text(places["toml"].read_text().replace(order, f"{order}\nboth_empty = {mode}"))
    rules = platform_rules(load_challenge(str(places["toml"])), open_dataset(places["data"]))
    folder = tmp_path / "predictions"
    write_nifti(folder / "a.nii.gz", labels())
    write_nifti(folder / "b.nii.gz", labels(cartilage=False))
    write_nifti(folder / "c.nii.gz", labels(cartilage=alarm))
    results, _ = codabench.score(rules, places["truth"], folder)
    means = means_of(results, rules)
    expected = harness_means(places, folder, tmp_path)
    assert expected.keys() <= means.keys()
    for key, value in expected.items():
        assert means[key] == pytest.approx(value, abs=1e-9), key
