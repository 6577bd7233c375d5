"""Any change to a run's folder is found, whoever made it, and what could not be checked is said."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from process_runs import labels, write

from harness.challenge import load_challenge
from harness.data.dataset import Dataset
from harness.errors import InfrastructureError
from harness.results.folder import RunResults, chain_start
from harness.results.journal import CASES_FILE, SCORES_FILE, line_sha256, sealed_line
from harness.results.key import Key, signing_key
from harness.results.records import ScoreRecord
from harness.results.register import register_seal
from harness.results.seal import JournalEnd, read_seal, write_seal
from harness.scoring.predictions import PredictionsRequest, score_predictions
from harness.scoring.verify import verify_run

Score = Callable[[], RunResults]


@pytest.fixture
def dataset(tmp_path: Path, dataset: Dataset) -> Dataset:
    """Two cases, with a perfect prediction of each beside them."""
    for case in dataset.cases:
        write(tmp_path / "predictions" / f"{case.id}.nii.gz", labels())
    return dataset


@pytest.fixture
def scored(tmp_path: Path, dataset: Dataset) -> Score:
    """Scores the predictions as a run; again, it takes the run up."""

    def score() -> RunResults:
        request = PredictionsRequest(
            team="team",
            folder=tmp_path / "predictions",
            challenge=load_challenge("phantom"),
            dataset=dataset,
            results=tmp_path / "results",
        )
        return score_predictions(request)

    return score


def test_any_changed_byte_of_a_run_is_found(scored: Score, dataset: Dataset) -> None:
    results = scored()
    files = [path for path in results.folder.rglob("*") if path.suffix in (".json", ".jsonl", ".gz")]
    assert len(files) == 6
    for path in files:
        whole = path.read_bytes()
        for position in range(0, len(whole), max(1, len(whole) // 25)):
            changed = bytearray(whole)
            changed[position] ^= 4
            path.write_bytes(changed)
            assert verify_run(results.folder).problems, f"{path.name} byte {position}"
        path.write_bytes(whole)
    assert verify_run(results.folder).problems == []


def sealed_anew(folder: Path, scores: Iterable[ScoreRecord], key: Key | None = None) -> None:
    """Write scores.jsonl with whole chains, as whoever knows the format can."""
    previous, lines = chain_start(folder), []
    for score in scores:
        lines.append(sealed_line(score, previous, key))
        previous = line_sha256(lines[-1])
    (folder / SCORES_FILE).write_bytes(b"".join(line + b"\n" for line in lines))
    seal = read_seal(folder)
    assert seal is not None
    if key is not None:
        end = JournalEnd(lines=len(lines), last_sha256=previous)
        seal = seal.model_copy(update={"scores": end}).signed_by(key)
        write_seal(folder, seal)
        register_seal(folder.parents[2], seal)


def raised(score: ScoreRecord) -> ScoreRecord:
    better = tuple(label.model_copy(update={"scores": {"dsc": 0.5, "nsd": 0.5}}) for label in score.scores)
    return score.model_copy(update={"scores": better})


def problems(folder: Path, **options: Any) -> list[str]:
    return [problem.what for problem in verify_run(folder, **options).problems]


def test_a_score_that_was_sealed_anew_is_found_without_scoring_again(scored: Score) -> None:
    results = scored()
    sealed_anew(results.folder, map(raised, results.scores))
    assert "a line of case a is not signed by the run's key" in problems(results.folder)


def test_a_score_signed_with_a_stolen_name_or_another_key_is_found(scored: Score) -> None:
    results = scored()
    forger = Key(b"x" * 32)
    sealed_anew(results.folder, map(raised, results.scores), forger)
    assert "a line of case a is not signed by the run's key" in problems(results.folder)
    own = signing_key().id
    lines = (results.folder / SCORES_FILE).read_bytes().replace(forger.id.encode(), own.encode())
    (results.folder / SCORES_FILE).write_bytes(lines)
    assert "it was not signed with the key that it names" in problems(results.folder)


def test_who_has_the_key_still_cannot_make_the_evaluator_agree(scored: Score, dataset: Dataset) -> None:
    results = scored()
    sealed_anew(results.folder, map(raised, results.scores), signing_key())
    assert problems(results.folder) == []
    assert problems(results.folder, dataset=dataset) == [
        f"case {case} scores otherwise when scored again" for case in "ab"
    ]


def test_lines_that_were_cut_off_are_missed_and_nothing_is_run_again(scored: Score) -> None:
    results = scored()
    for name in (CASES_FILE, SCORES_FILE):
        lines = (results.folder / name).read_bytes().splitlines(keepends=True)
        (results.folder / name).write_bytes(b"".join(lines[:-1]))
    assert problems(results.folder) == [
        "1 of 2 lines of cases.jsonl are missing",
        "1 of 2 lines of scores.jsonl are missing",
    ]
    with pytest.raises(InfrastructureError, match="the run was changed: 1 of 2 lines"):
        scored()
    (results.folder / "seal.json").unlink()
    with pytest.raises(InfrastructureError, match="the seal is missing"):
        scored()


def test_a_run_copied_to_another_team_or_name_is_found(scored: Score) -> None:
    results = scored()
    team = results.folder.parent
    for place in (team.parent / "rival" / results.folder.name, team / "0123456789ab"):
        shutil.copytree(results.folder, place)
        assert any("the folder is of" in what for what in problems(place))


def test_what_is_not_scored_again_is_said_with_the_reason(scored: Score, dataset: Dataset) -> None:
    results = scored()
    older = [score.model_copy(update={"evaluator_version": "9.9.9"}) for score in results.scores]
    sealed_anew(results.folder, older, signing_key())
    found = verify_run(results.folder, dataset=dataset)
    assert found.problems == []
    assert any("2 score(s) not made again, because evaluator 9.9.9" in remark for remark in found.remarks)
    assert dataset.cases[0].label is not None
    write(dataset.cases[0].label, labels()[::-1])
    remarks = verify_run(results.folder, dataset=dataset).remarks
    assert "not scored again, because it was made over other data" in remarks


def test_a_run_signed_elsewhere_is_intact_and_said_to_be_unchecked(
    scored: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = scored()
    monkeypatch.setenv("FLAREHARNESS_KEY", str(tmp_path / "other.key"))
    signing_key()
    found = verify_run(results.folder)
    assert found.problems == []
    assert any("which this host does not have: not checked" in remark for remark in found.remarks)
    assert (tmp_path / "other.key").stat().st_mode & 0o777 == 0o600
