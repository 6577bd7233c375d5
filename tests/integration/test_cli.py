"""The command line from a folder to a row: built, judged in containers, resumed, scored, verified."""

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from containers import SHAPE, affine, reference_labels, write_volume

from harness.cli.app import run

pytestmark = pytest.mark.engine

# Plain Python, because the base image has no libraries: voxels above 50 HU are liver.
PREDICT = """
import gzip, os, pathlib, struct, sys
for path in pathlib.Path("/workspace/inputs").glob("*_0000.nii.gz"):
    content = gzip.decompress(path.read_bytes())
    header = bytearray(content[:352])
    voxels = memoryview(content[352:]).cast("h")
    struct.pack_into("<hh", header, 70, 2, 8)
    labels = bytes(1 if value > 50 else 0 for value in voxels)
    name = path.name.replace("_0000.nii.gz", ".nii.gz")
    pathlib.Path("/workspace/outputs", name).write_bytes(gzip.compress(bytes(header) + labels))
"""
DOCKERFILE = """
FROM flareharness/base:bookworm
WORKDIR /workspace
COPY predict.sh predict.py ./
"""


@pytest.fixture(scope="module")
def workplace(engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two cases and one submission, evaluated once."""
    folder = tmp_path_factory.mktemp("cli")
    labels = reference_labels()
    for name in ("a", "b"):
        image = np.where(labels == 1, 100, -100).astype(np.int16)
        write_volume(folder / "data" / "imagesVal" / f"{name}_0000.nii.gz", image)
        write_volume(folder / "data" / "labelsVal" / f"{name}.nii.gz", labels)
    make_submission(folder / "submissions" / "threshold", predict=PREDICT)
    assert harness(folder, "evaluate", "threshold", "--submissions", "submissions") == 0
    return folder


def make_submission(folder: Path, *, predict: str) -> None:
    folder.mkdir(parents=True)
    (folder / "submission.toml").write_text(f'name = "{folder.name}"\ntitle = "A threshold"\n')
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "predict.sh").write_text("python3 predict.py\n")
    (folder / "predict.py").write_text(predict)


def harness(folder: Path, *arguments: str, data: bool = True) -> int:
    """Run one command in a folder and return its exit code."""
    where = ["--data", str(folder / "data")] if data else []
    paths = {"submissions": folder / "submissions"}
    plain = [str(paths.get(argument, argument)) for argument in arguments]
    results = ["--results", str(folder / "results")] if arguments[0] not in ("check", "build") else []
    return run([*plain, *where, *results])


def journal_lines(folder: Path, name: str = "cases.jsonl") -> list[dict]:
    (path,) = folder.glob(f"results/phantom/threshold/*/{name}")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_case_was_run_and_scored_once(workplace: Path) -> None:
    # In the keyed order, which another key makes another.
    assert sorted((line["case"], line["outcome"]) for line in journal_lines(workplace)) == [
        ("a", "succeeded"),
        ("b", "succeeded"),
    ]
    liver = [line["scores"][0]["scores"]["dsc"] for line in journal_lines(workplace, "scores.jsonl")]
    assert liver == [1.0, 1.0]


def test_a_second_call_builds_and_runs_nothing(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = journal_lines(workplace)
    assert harness(workplace, "evaluate", "threshold", "--submissions", "submissions") == 0
    assert journal_lines(workplace) == before
    said = capsys.readouterr().err
    assert "building" not in said
    assert "0 case(s) to run" in said


def test_the_row_names_its_time_and_memory_from_the_container(workplace: Path, capsys) -> None:
    assert harness(workplace, "leaderboard", "--format", "json", data=False) == 0
    (row,) = json.loads(capsys.readouterr().out)["divisions"][0]["rows"]
    assert (row["team"], row["failed"], row["cases"]) == ("threshold", 0, 2)
    assert row["runtime_median_s"] > 0
    assert row["peak_memory_bytes"] > 1024**2


def test_the_report_is_one_page_that_names_the_team(workplace: Path, capsys) -> None:
    assert harness(workplace, "leaderboard", "report", data=False) == 0
    page = Path(capsys.readouterr().out.strip())
    assert "threshold" in page.read_text()
    assert 'src="http' not in page.read_text()


def test_predictions_made_elsewhere_get_a_row_without_a_time(workplace: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(workplace, tmp_path / "copy")
    write_volume(tmp_path / "outside" / "a.nii.gz", reference_labels())
    folder = tmp_path / "copy"
    assert harness(folder, "score", str(tmp_path / "outside"), "--team", "outside") == 0
    capsys.readouterr()
    assert harness(folder, "leaderboard", "--format", "json", data=False) == 0
    rows = {row["team"]: row for row in json.loads(capsys.readouterr().out)["divisions"][0]["rows"]}
    assert rows["outside"]["failed"] == 1
    assert rows["outside"]["runtime_median_s"] is None
    assert rows["threshold"]["failed"] == 0


def test_scores_are_made_again_under_other_rules_without_an_engine(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(workplace, tmp_path / "copy")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    assert harness(tmp_path / "copy", "score", "--profile", "flare") == 0
    profiles = [line["profile"] for line in journal_lines(tmp_path / "copy", "scores.jsonl")]
    assert profiles == ["exact", "exact", "flare", "flare"]


def test_results_verify_until_a_byte_changes(workplace: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(workplace, tmp_path / "copy")
    assert harness(tmp_path / "copy", "verify") == 0
    (scores,) = (tmp_path / "copy").glob("results/phantom/threshold/*/scores.jsonl")
    scores.write_text(scores.read_text().replace('"nsd":1.0', '"nsd":0.9', 1))
    capsys.readouterr()
    assert harness(tmp_path / "copy", "verify") == 4
    assert "damaged" in capsys.readouterr().out


def test_check_passes_what_will_succeed(workplace: Path, capsys) -> None:
    assert harness(workplace, "check", "threshold", "--submissions", "submissions") == 0
    out = capsys.readouterr().out
    assert "outcome: succeeded" in out
    assert "liver: DSC 100.0 %" in out


def test_check_shows_a_participant_what_to_fix(workplace: Path, tmp_path: Path, capsys) -> None:
    make_submission(tmp_path / "submissions" / "broken", predict="raise SystemExit('no weights found')\n")
    shutil.copytree(workplace / "data", tmp_path / "data")
    assert harness(tmp_path, "check", "broken", "--submissions", "submissions") == 1
    captured = capsys.readouterr()
    assert "outcome: crashed" in captured.out
    assert "no weights found" in captured.err


def test_a_submission_that_fails_every_case_has_exit_code_1_and_a_row(
    workplace: Path, tmp_path: Path, capsys
) -> None:
    make_submission(tmp_path / "submissions" / "broken", predict="raise SystemExit(3)\n")
    shutil.copytree(workplace / "data", tmp_path / "data")
    assert harness(tmp_path, "evaluate", "broken", "--submissions", "submissions") == 1
    capsys.readouterr()
    assert harness(tmp_path, "leaderboard", "--format", "json", data=False) == 0
    (row,) = json.loads(capsys.readouterr().out)["divisions"][0]["rows"]
    assert (row["failed"], row["cases"], row["outcomes"]) == (2, 2, {"crashed": 2})


def test_no_engine_is_one_line_and_exit_code_3(workplace: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    assert harness(workplace, "evaluate", "threshold", "--submissions", "submissions") == 3
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("harness:")]
    assert len(said) == 1
    assert "no container engine answers" in said[0]


def test_an_unreadable_ct_is_named_before_anything_runs(workplace: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(workplace, tmp_path / "copy")
    (tmp_path / "copy" / "data" / "imagesVal" / "a_0000.nii.gz").write_bytes(b"no volume")
    assert harness(tmp_path / "copy", "evaluate", "threshold", "--submissions", "submissions") == 2
    assert "a_0000.nii.gz" in capsys.readouterr().err


def test_a_missing_predict_sh_is_named(workplace: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(workplace, tmp_path / "copy")
    (tmp_path / "copy" / "submissions" / "threshold" / "predict.sh").unlink()
    assert harness(tmp_path / "copy", "evaluate", "threshold", "--submissions", "submissions") == 1
    assert "no predict.sh" in capsys.readouterr().err


def test_the_grid_of_the_tests_is_kept_by_the_submission(workplace: Path) -> None:
    (prediction, *_) = sorted(workplace.glob("results/phantom/threshold/*/cases/a/prediction.nii.gz"))
    volume = nibabel.load(prediction)
    assert volume.shape == SHAPE
    np.testing.assert_allclose(volume.affine, affine(), atol=1e-5)
