"""A journal survives a cut at any byte, tells any change, and has one writer."""

from __future__ import annotations

import json
import multiprocessing
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.challenge import load_challenge
from harness.errors import ConfigurationError, InfrastructureError
from harness.results.folder import RunWriter, chain_start, read_results, read_run, seal_faults
from harness.results.journal import (
    CASES_FILE,
    RUN_FILE,
    Journal,
    chain_faults,
    complete_lines,
    line_sha256,
)
from harness.results.key import signing_key
from harness.results.seal import SEAL_FILE
from harness.results.records import DatasetFacts, Evidence, ExecutionRecord, Outcome, RunRecord, ScoreRecord
from tests.unit.leaderboard.synthetic import strip_signatures

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def run_record(run: str = "0123456789ab", team: str = "team") -> RunRecord:
    challenge = load_challenge("phantom")
    return RunRecord(
        run=run,
        team=team,
        challenge=challenge,
        limits=challenge.limits,
        dataset=DatasetFacts(name="tiny", fingerprint="f" * 64, cases=("a", "b", "ü")),
        created_at=NOW,
    )


def execution(case: str, attempt: int = 1) -> ExecutionRecord:
    evidence = Evidence(summary="prediction of 9 bytes", exit_code=0, last_log_line="fertig: Müller")
    return ExecutionRecord(
        case=case, attempt=attempt, outcome=Outcome.SUCCEEDED, evidence=evidence, started_at=NOW
    )


def score(case: str, profile: str = "exact") -> ScoreRecord:
    return ScoreRecord(
        case=case,
        profile=profile,
        evaluator_version="1",
        prediction_sha256=None,
        reference_sha256="0" * 64,
        scores=(),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of three cases."""
    folder = tmp_path / "phantom" / "team" / "0123456789ab"
    with RunWriter(folder, run_record()) as writer:
        for case in ("a", "b", "ü"):
            writer.add_execution(execution(case))
            writer.add_score(score(case))
    return folder


def test_what_was_written_is_read(folder: Path) -> None:
    results = read_run(folder)
    assert results.record == run_record().model_copy(update={"key": signing_key().id})
    assert [line.case for line in results.executions] == ["a", "b", "ü"]
    assert set(results.final_scores("exact")) == {"a", "b", "ü"}
    assert results.final_scores("flare") == {}


def test_each_line_carries_the_hash_of_the_one_before(folder: Path) -> None:
    lines = complete_lines(folder / CASES_FILE)
    carried = [json.loads(line)["previous_sha256"] for line in lines]
    assert carried == [chain_start(folder), line_sha256(lines[0]), line_sha256(lines[1])]


def test_an_append_continues_the_chain_after_a_restart(folder: Path) -> None:
    with RunWriter(folder, run_record()) as writer:
        writer.add_execution(execution("b", attempt=2))
    assert list(chain_faults(folder / CASES_FILE, start=chain_start(folder))) == []
    assert read_run(folder).final_executions()["b"].attempt == 2


def test_a_cut_at_any_byte_loses_the_torn_line_only(folder: Path) -> None:
    path, start = folder / CASES_FILE, chain_start(folder)
    whole = path.read_bytes()
    newline = whole.index(b"\n")
    for cut in {*range(0, len(whole), 37), newline - 1, newline, newline + 1, len(whole) - 1}:
        path.write_bytes(whole[:cut])
        kept = whole[:cut].count(b"\n")
        assert len(read_run(folder).executions) == kept
        journal: Journal[ExecutionRecord] = Journal(path, start=start)
        journal.append(execution("again"))
        journal.close()
        assert [line.case for line in read_run(folder).executions] == [*["a", "b", "ü"][:kept], "again"]
        assert list(chain_faults(path, start=start)) == []


def test_lines_that_are_written_together_are_brought_to_the_disk_and_sealed_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal, fsync = (folder / SEAL_FILE).read_bytes(), os.fsync
    synced: list[int] = []

    def counted(descriptor: int) -> None:
        synced.append(descriptor)
        fsync(descriptor)

    with RunWriter(folder, run_record()) as writer:
        monkeypatch.setattr(os, "fsync", counted)
        with writer.together():
            for attempt in (2, 3, 4):
                writer.add_execution(execution("b", attempt=attempt))
            assert (folder / SEAL_FILE).read_bytes() == seal
            assert synced == []
        assert len(synced) == 2  # each journal
        sealed = (folder / SEAL_FILE).read_bytes()
        assert sealed != seal
        with writer.together():
            pass
        assert len(synced) == 2
        writer.add_execution(execution("b", attempt=5))
        assert (folder / SEAL_FILE).read_bytes() != sealed
        assert len(synced) == 3
    assert list(seal_faults(folder, signing_key())) == []
    assert list(chain_faults(folder / CASES_FILE, start=chain_start(folder))) == []


def test_a_line_that_a_power_cut_left_unsealed_is_taken_up(folder: Path) -> None:
    seal = (folder / SEAL_FILE).read_bytes()
    with RunWriter(folder, run_record()) as writer:
        writer.add_execution(execution("b", attempt=2))
    (folder / SEAL_FILE).write_bytes(seal)
    with RunWriter(folder, run_record()) as writer:
        writer.add_execution(execution("b", attempt=3))
    assert read_run(folder).final_executions()["b"].attempt == 3


@pytest.mark.parametrize("name", [CASES_FILE, RUN_FILE])
def test_any_changed_byte_breaks_the_chain(folder: Path, name: str) -> None:
    path = folder / name
    whole = path.read_bytes()
    newlines = {position for position, byte in enumerate(whole) if byte == 10}
    for position in set(range(0, len(whole), 7)) | newlines:
        changed = bytearray(whole)
        changed[position] ^= 1
        path.write_bytes(changed)
        faults = list(chain_faults(folder / CASES_FILE, start=chain_start(folder)))
        torn = not (folder / CASES_FILE).read_bytes().endswith(b"\n")
        assert faults or torn, f"byte {position} of {name}"
    path.write_bytes(whole)


def test_a_line_taken_out_breaks_the_chain(folder: Path) -> None:
    path = folder / CASES_FILE
    first, _, last = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + last)
    ((number, what),) = chain_faults(path, start=chain_start(folder))
    assert number == 2
    assert "missing" in what


def test_nothing_is_added_to_a_changed_journal(folder: Path) -> None:
    path = folder / CASES_FILE
    path.write_bytes(path.read_bytes().replace(b'"outcome":"succeeded"', b'"outcome":"crashed"', 1))
    with pytest.raises(InfrastructureError, match="was changed"):
        RunWriter(folder, run_record())


def test_a_full_disk_leaves_the_journal_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / CASES_FILE
    before = path.read_bytes()
    journal: Journal[ExecutionRecord] = Journal(path, start=chain_start(folder))

    class Full:
        """Takes ten bytes and then has no room."""

        def __init__(self, file: object) -> None:
            self.file = file

        def write(self, data: bytes) -> int:
            return int(self.file.write(data[:10]))  # type: ignore[attr-defined]

        def __getattr__(self, name: str) -> object:
            return getattr(self.file, name)

    real = journal._file
    monkeypatch.setattr(journal, "_file", Full(real))
    with pytest.raises(InfrastructureError, match="No space left"):
        journal.append(execution("late"))
    assert path.read_bytes() == before
    monkeypatch.setattr(journal, "_file", real)
    journal.append(execution("late"))
    journal.close()
    assert list(chain_faults(path, start=chain_start(folder))) == []


def _hold(folder: Path, held: object, done: object) -> None:
    with RunWriter(folder, run_record()):
        held.set()  # type: ignore[attr-defined]
        done.wait(30)  # type: ignore[attr-defined]


def test_a_run_that_was_begun_unsigned_stays_so(folder: Path) -> None:
    """Nobody vouches for what it held before, so nothing of it gets a seal."""
    strip_signatures(folder)
    with RunWriter(folder, run_record()) as writer:
        written = writer.add_execution(execution("b", attempt=2))
    assert (written.hmac, read_run(folder).record.key) == ("", "")
    assert not (folder / SEAL_FILE).exists()
    assert list(chain_faults(folder / CASES_FILE, start=chain_start(folder), key=signing_key())) == []


def test_nothing_is_added_to_a_run_of_another_key(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    theirs = signing_key().id
    monkeypatch.setenv("FLAREHARNESS_KEY", str(tmp_path / "another key"))
    with pytest.raises(InfrastructureError, match=f"key {theirs}.*FLAREHARNESS_KEY"):
        RunWriter(folder, run_record())
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_a_second_writer_is_told_who_writes(folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(folder, held, done))
    other.start()
    try:
        assert held.wait(30)
        with pytest.raises(InfrastructureError, match=rf"another harness works .*process {other.pid}"):
            RunWriter(folder, run_record())
    finally:
        done.set()
        other.join(30)
    RunWriter(folder, run_record()).close()


def test_a_folder_without_a_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no run in this folder"):
        read_run(tmp_path)


def test_a_damaged_record_is_named_with_its_line(folder: Path) -> None:
    path = folder / CASES_FILE
    path.write_bytes(path.read_bytes().replace(b'"attempt":1', b'"attempt":"x"', 1))
    with pytest.raises(InfrastructureError, match=r"cases\.jsonl:1.*harness verify"):
        read_run(folder)


def test_all_runs_of_a_challenge_are_read(folder: Path, tmp_path: Path) -> None:
    with RunWriter(tmp_path / "phantom" / "another" / "ba9876543210", run_record("ba9876543210", "another")):
        pass
    assert [run.record.team for run in read_results(tmp_path, "phantom")] == ["another", "team"]
    assert read_results(tmp_path, "flare22") == []


@pytest.mark.parametrize("left", [[], ["cases.jsonl"], ["cases.jsonl", "scores.jsonl"]])
def test_a_run_that_was_killed_before_its_first_seal_goes_on(tmp_path: Path, left: list[str]) -> None:
    folder = tmp_path / "phantom" / "team" / "0123456789ab"
    with RunWriter(folder, run_record()):
        pass
    for name in {"cases.jsonl", "scores.jsonl", "seal.json"} - set(left):
        (folder / name).unlink()
    with RunWriter(folder, run_record()) as writer:
        writer.add_execution(execution("a"))
    assert [case.case for case in read_run(folder).executions] == ["a"]


@pytest.mark.parametrize("in_the_way", ["seal.json", "scores.jsonl"])
def test_a_run_that_cannot_be_opened_leaves_no_file_open(tmp_path: Path, in_the_way: str) -> None:
    folder = tmp_path / "run"
    (folder / in_the_way).mkdir(parents=True)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises((InfrastructureError, OSError)) as raised:
        RunWriter(folder, run_record())
    assert str(folder) in str(raised.value)
    assert len(os.listdir("/proc/self/fd")) == before
