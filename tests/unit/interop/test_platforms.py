"""Platforms: their calling conventions, with files of their shape; a case fails, never the run."""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys
import tarfile
import zipfile
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from evaluator.platforms import codabench, grand_challenge
from evaluator.platforms.durations import seconds_of
from evaluator.platforms.means import means_of
from evaluator.platforms.rules import rules_from_json, rules_to_json
from harness.challenge import load_challenge, shipped_names
from harness.cli.app import run
from harness.data.dataset import open_dataset
from harness.interop.codabench import BundleOptions, codabench_rules, write_bundle
from harness.interop.ground_truth import write_ground_truth
from harness.interop.platform_rules import platform_rules
from harness.interop.yaml_text import to_yaml
from tests.unit.interop.platform_files import (
    challenge_file,
    job,
    labels,
    shifted,
    write_dataset,
    write_mha,
    write_nifti,
    write_predictions,
)

SLUG = "images/knee-labels"


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """A challenge's rules, its ground truth as unpacked from a tarball, and the platform's folders."""
    data = write_dataset(
        tmp_path / "data",
        {"a": labels(), "b": labels(), "c": labels(cartilage=False), "d": labels(), "e": labels()},
    )
    toml = challenge_file(tmp_path)
    rules = tmp_path / "rules.json"
    rules.write_text(rules_to_json(platform_rules(load_challenge(str(toml)), open_dataset(data))))
    for name in ("input", "output"):
        (tmp_path / name).mkdir()
    return {
        "data": data,
        "toml": toml,
        "rules": rules,
        "truth": data / "labelsVal",
        "input": tmp_path / "input",
        "output": tmp_path / "output",
    }


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


def harness_means(places: dict[str, Path], predictions: Path, tmp_path: Path) -> dict[str, float]:
    """The means of the leaderboard that the harness makes of the same predictions."""
    common = ["--challenge", str(places["toml"]), "--results", str(tmp_path / "results")]
    assert run(["score", str(predictions), "--team", "team", "--data", str(places["data"]), *common]) == 0
    assert run(["leaderboard", *common]) == 0
    table = (tmp_path / "results" / "knee" / "leaderboard.csv").read_text()
    [row] = csv.DictReader(io.StringIO(table))
    keys = [column.key for column in platform_rules(load_challenge(str(places["toml"]))).columns]
    return {key: float(row[key]) for key in keys if row.get(key)}


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


def unpacked(bundle: Path, folder: Path) -> Path:
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)
    return folder


def bundle_of(places: dict[str, Path], folder: Path) -> Path:
    options = BundleOptions(docker_image="registry.example/evaluator:1", start=date(2030, 4, 1))
    path = folder / "knee.zip"
    write_bundle(load_challenge(str(places["toml"])), open_dataset(places["data"]), path, options)
    return path


def worker_run(bundle: Path, root: Path) -> subprocess.CompletedProcess[str]:
    """Call the bundle's scoring program as a worker does, without its container.

    The worker's own `replace_legacy_metadata_command` turns variables into these paths; here the paths of
    the container are turned into those of the test.
    """
    command = yaml.safe_load((bundle / "scoring_program" / "metadata.yaml").read_text())["command"]
    words = [word.replace("/app", str(root)) for word in command.split()]
    return subprocess.run(
        [sys.executable, *words[1:]], cwd=root / "program", capture_output=True, text=True, check=False
    )


def worker_folders(bundle: Path, root: Path) -> Path:
    """Lay out what a worker mounts below /app."""
    (root / "input").mkdir(parents=True)
    (root / "output").mkdir()
    (bundle / "scoring_program").rename(root / "program.moved")
    (root / "program").symlink_to(root / "program.moved")
    (bundle / "scoring_program").symlink_to(root / "program.moved")
    (bundle / "reference_data").rename(root / "input" / "ref")
    (root / "input" / "res").mkdir()
    return root


def test_a_codabench_bundle_holds_what_its_competition_names(places, tmp_path):
    folder = unpacked(bundle_of(places, tmp_path), tmp_path / "bundle")
    stated = yaml.safe_load((folder / "competition.yaml").read_text())
    assert stated["version"] == 2
    assert stated["title"] == "Knee: bones & cartilage"
    named = [stated["image"], stated["terms"], *(page["file"] for page in stated["pages"])]
    named += [stated["tasks"][0]["scoring_program"], stated["tasks"][0]["reference_data"]]
    assert all((folder / name).exists() for name in named)
    assert stated["phases"][0]["start"] == "2030-04-01 00:00:00"
    assert stated["phases"][0]["tasks"] == [0]
    columns = stated["leaderboards"][0]["columns"]
    shown = [column for column in columns if not column.get("hidden", False)]
    assert [column["key"] for column in shown] == ["dsc_bones", "hd95_mm_soft", "failed_cases"]
    assert [column["sorting"] for column in shown] == ["desc", "asc", "asc"]
    assert [column["index"] for column in columns] == list(range(len(columns)))
    assert sorted(path.name for path in (folder / "reference_data").iterdir()) == [
        f"{case}.nii.gz" for case in "abcde"
    ]
    assert (folder / "logo.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_challenge_and_data_make_the_same_bundle(places, tmp_path):
    first, second = (bundle_of(places, tmp_path / name).read_bytes() for name in ("one", "two"))
    assert first == second


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.words.append(data)


def test_codabench_scores_in_the_workers_convention(places, tmp_path):
    bundle = unpacked(bundle_of(places, tmp_path), tmp_path / "bundle")
    root = worker_folders(bundle, tmp_path / "app")
    submitted = root / "input" / "res" / "my submission"
    write_nifti(submitted / "a.nii.gz", labels())
    write_mha(submitted / "c.mha", shifted(labels(cartilage=False), 1))
    (submitted / "b.nii.gz").write_bytes(b"<script>alert(1)</script>")
    write_nifti(submitted / "zebra.nii.gz", labels())
    (root / "input" / "res" / "metadata").write_text("description: mine\n")
    finished = worker_run(bundle, root)
    assert finished.returncode == 0, finished.stderr
    scores = json.loads((root / "output" / "scores.json").read_text())
    columns = yaml.safe_load((bundle / "competition.yaml").read_text())["leaderboards"][0]["columns"]
    assert {column["key"] for column in columns} == scores.keys(), "a column for each score, a score for each"
    assert all(isinstance(value, int | float) for value in scores.values())
    assert scores["failed_cases"] == 3
    page = (root / "output" / "detailed_results.html").read_text()
    text = _Text()
    text.feed(page)
    assert "script" not in text.tags
    words = " ".join(text.words)
    assert "zebra.nii.gz" in words
    assert "Knee: bones & cartilage" in words

    folder = tmp_path / "predictions"
    write_nifti(folder / "a.nii.gz", labels())
    write_nifti(folder / "c.nii.gz", shifted(labels(cartilage=False), 1))
    for key, value in harness_means(places, folder, tmp_path).items():
        if math.isfinite(value):
            assert scores[key] == pytest.approx(value, abs=1e-9), key


def test_codabench_tells_a_participant_whose_names_match_no_case(places, tmp_path, capsys):
    bundle = unpacked(bundle_of(places, tmp_path), tmp_path / "bundle")
    root = worker_folders(bundle, tmp_path / "app")
    write_nifti(root / "input" / "res" / "a_pred.nii.gz", labels())
    rules = str(bundle / "scoring_program" / "rules.json")
    assert codabench.main([rules, str(root / "input"), str(root / "output")]) == 1
    said = capsys.readouterr().err
    assert "a_pred.nii.gz" in said
    assert "a.nii.gz" in said
    assert not (root / "output" / "scores.json").exists()


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


def test_keys_and_titles_are_no_longer_than_codabench_holds(places):
    toml = places["toml"]
    long = "a structure with a name that goes on and on"
    text = toml.read_text().replace('"femur"', f'"{long} left"').replace('"tibia"', f'"{long} right"')
    toml.write_text(text)
    columns = codabench_rules(load_challenge(str(toml)), open_dataset(places["data"])).columns
    assert all(len(column.key) <= 36 and len(column.title) <= 36 for column in columns)
    assert len({column.key for column in columns}) == len(columns)


def codabench_command(places: dict[str, Path], *more: str) -> int:
    words = ["platform", "codabench", "--challenge", str(places["toml"]), "--data", str(places["data"])]
    return run([*words, "--docker-image", "me/evaluator:1", "-o", str(places["output"]), *more])


def test_a_bundle_with_a_named_image_needs_no_engine(places, tmp_path):
    (tmp_path / "terms.md").write_text("# Our terms\n")
    assert codabench_command(places, "--start", "2030-04-01", "--terms", str(tmp_path / "terms.md")) == 0
    folder = unpacked(places["output"] / "knee_codabench.zip", tmp_path / "bundle")
    assert (folder / "pages" / "terms.md").read_text() == "# Our terms\n"
    assert yaml.safe_load((folder / "competition.yaml").read_text())["docker_image"] == "me/evaluator:1"


@pytest.mark.parametrize(
    ("words", "said"), [(("--start", "tomorrow"), "no day"), (("--terms", "nowhere.md"), "cannot be read")]
)
def test_a_bundle_that_cannot_be_made_is_one_line(places, capsys, words, said):
    assert codabench_command(places, *words) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line
