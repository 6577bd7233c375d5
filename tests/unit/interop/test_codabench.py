"""A Codabench bundle: what it holds, and how a worker runs it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import zipfile
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from evaluator.platforms import codabench
from harness.challenge import load_challenge
from harness.cli.app import run
from harness.data.dataset import open_dataset
from harness.interop.codabench import BundleOptions, codabench_rules, write_bundle
from tests.unit.interop.platform_files import (
    harness_means,
    labels,
    shifted,
    write_mha,
    write_nifti,
)


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
