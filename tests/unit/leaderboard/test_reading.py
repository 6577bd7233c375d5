"""Reading journals straight into arrays gives what the full records give."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.challenge import load_challenge
from harness.errors import ConfigurationError, InfrastructureError
from harness.leaderboard import build, read_values, refuse_unsigned
from harness.leaderboard.files import to_json
from harness.leaderboard.reading import wanted_of
from harness.leaderboard.values import RESOURCES
from harness.results.folder import folder_seal, read_results, read_run
from harness.results.journal import line_sha256
from harness.results.key import signing_key
from harness.results.records import Outcome
from harness.results.seal import JournalEnd, write_seal
from tests.unit.leaderboard.synthetic import Plan, Results, make_run, strip_signatures, values_of, write_run

PHANTOM = load_challenge("phantom")


@pytest.fixture
def results(tmp_path):
    for plan in (
        Plan("a", outcomes={1: Outcome.TIME_LIMIT}),
        Plan("b", missing=[2]),
        Plan("c", source="predictions"),
    ):
        write_run(make_run(plan, cases=5, annotated={"case_004": (1, 2)}), tmp_path)
    return tmp_path


@pytest.mark.parametrize("processes", [1, 2])
def test_arrays_are_those_of_the_records(results, processes):
    fast = read_values(results, PHANTOM, processes=processes)
    slow = [values_of(run, wanted_of(PHANTOM)) for run in read_results(results, "phantom")]
    assert [run.record for run in fast] == [run.record for run in slow]
    for left, right in zip(fast, slow, strict=True):
        for name in ("outcomes", "scored", "usable"):
            np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
        assert list(left.scores) == list(right.scores) == ["dsc", "nsd"]
        for name in left.scores:
            np.testing.assert_array_equal(left.scores[name], right.scores[name])
        for name in RESOURCES:
            np.testing.assert_array_equal(left.resource(name), right.resource(name))
        assert (left.folder, left.profile, left.lower_bound) == (
            right.folder,
            right.profile,
            right.lower_bound,
        )


def test_the_leaderboard_is_the_same_either_way(results):
    fast = build(read_values(results, PHANTOM), challenge=PHANTOM, bootstrap_samples=20)
    records = [values_of(run, wanted_of(PHANTOM)) for run in read_results(results, "phantom")]
    slow = build(records, challenge=PHANTOM, bootstrap_samples=20)
    assert to_json(fast) == to_json(slow)


def test_a_torn_last_line_is_left_out(results):
    scores = results / "phantom" / "a" / "run-1" / "scores.jsonl"
    whole = scores.read_bytes()
    scores.write_bytes(whole + whole.splitlines()[0][:-30])
    assert read_values(results, PHANTOM)[0].scored.sum() == 4


def test_a_damaged_line_is_named(results):
    scores = results / "phantom" / "a" / "run-1" / "scores.jsonl"
    scores.write_bytes(scores.read_bytes().replace(b'"dsc":0.', b'"dsc":"x', 1))
    with pytest.raises(InfrastructureError, match=r"scores\.jsonl:1"):
        read_values(results, PHANTOM)


def changed(line: bytes) -> bytes:
    """A line with a better time."""
    better = re.sub(rb'"run_s":[0-9.]+', b'"run_s":0.125', line)
    assert better != line
    return better


def edited(line: bytes) -> bytes:
    """A line with a better time, and its own hash made anew by somebody without the key."""
    content = re.sub(rb'"sha256":"[0-9a-f]{64}"}$', b'"sha256":""}', changed(line))
    return content[:-2] + line_sha256(content).encode() + b'"}'


def forged(last: bytes) -> bytes:
    """A line that follows the last one, with a better time."""
    previous = b'"previous_sha256":"' + line_sha256(last).encode()
    return edited(re.sub(rb'"previous_sha256":"[0-9a-f]{64}', previous, last))


def put_back(run: Path) -> None:
    """Give a run the journals and the seal that it had when its last case was not run yet."""
    ends = {}
    for name in ("cases", "scores"):
        replace_in(run / f"{name}.jsonl", lambda lines: lines[:-1])
        lines = (run / f"{name}.jsonl").read_bytes().splitlines()
        ends[name] = JournalEnd(lines=len(lines), last_sha256=line_sha256(lines[-1]))
    key = signing_key()
    write_seal(run, folder_seal(run, **ends, key=key.id).signed_by(key))


TAMPERINGS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a time is edited": (
        lambda run: replace_in(run / "cases.jsonl", lambda lines: [changed(lines[0]), *lines[1:]]),
        "does not match its own hash",
    ),
    "the last line is edited and hashed anew": (
        lambda run: replace_in(run / "cases.jsonl", lambda lines: [*lines[:-1], edited(lines[-1])]),
        "the first 5 lines of cases.jsonl are not the ones that were sealed",
    ),
    "a line is added beyond the seal": (
        lambda run: replace_in(run / "cases.jsonl", lambda lines: [*lines, forged(lines[-1])]),
        "not signed with the key that it names",
    ),
    "the last line is cut off": (
        lambda run: replace_in(run / "cases.jsonl", lambda lines: lines[:-1]),
        "1 of 5 lines of cases.jsonl are missing",
    ),
    "scores are gone": (lambda run: (run / "scores.jsonl").unlink(), "lines of scores.jsonl are missing"),
    "lines are swapped": (
        lambda run: replace_in(run / "scores.jsonl", lambda lines: [lines[1], lines[0], *lines[2:]]),
        "does not follow run.json",
    ),
    "the seal is gone": (lambda run: (run / "seal.json").unlink(), "the seal is missing"),
    "the title is edited": (
        lambda run: (run / "run.json").write_text((run / "run.json").read_text() + " "),
        "the seal is of another run.json",
    ),
    "it is put back as it was": (put_back, "1 of 5 lines of cases.jsonl are missing"),
    "it is copied to another team": (lambda run: run.parent.rename(run.parents[1] / "z"), "of another team"),
}


def replace_in(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path.write_bytes(b"".join(line + b"\n" for line in change(path.read_bytes().splitlines())))


@pytest.mark.parametrize("tampering", TAMPERINGS)
@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_that_was_changed_is_not_ranked(results, tampering, processes):
    change, said = TAMPERINGS[tampering]
    change(results / "phantom" / "a" / "run-1")
    with pytest.raises(InfrastructureError, match="a run was changed") as caught:
        read_values(results, PHANTOM, processes=processes)
    assert said in caught.value.what


def test_a_host_without_a_key_ranks_and_marks_what_others_signed(results, tmp_path, monkeypatch):
    monkeypatch.setenv("FLAREHARNESS_KEY", str(tmp_path / "no key"))
    runs = read_values(results, PHANTOM)
    refuse_unsigned(runs)
    board = build(runs, challenge=PHANTOM, bootstrap_samples=0)
    assert ["unsigned" in row.marks for row in board.divisions[0].rows] == [True] * 3


def sign_with_another(run: Path) -> None:
    """Sign with a key that whoever forges made up."""
    content = read_run(run)
    shutil.rmtree(run)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("FLAREHARNESS_KEY", str(run.parents[2] / "their key"))
        write_run(Results(run, content.record, content.executions, content.scores), run.parents[2])


@pytest.mark.parametrize("forge", [strip_signatures, sign_with_another])
@pytest.mark.parametrize("processes", [1, 2])
def test_a_host_with_a_key_refuses_what_it_did_not_sign(results, forge, processes):
    forge(results / "phantom" / "a" / "run-1")
    runs = read_values(results, PHANTOM, processes=processes)
    assert [run.signed for run in runs] == [False, True, True]
    with pytest.raises(ConfigurationError, match=r"1 run.*not signed.*a run-1.*--unsigned"):
        refuse_unsigned(runs)
    refuse_unsigned(runs[1:])


def test_of_two_profiles_the_wanted_one_is_read(tmp_path):
    run = make_run(Plan("a"), cases=3)
    again = tuple(
        score.model_copy(update={"profile": "flare", "scores": score.scores[:1]}) for score in run.scores
    )
    write_run(type(run)(run.folder, run.record, run.executions, run.scores + again), tmp_path)
    exact, flare = (read_values(tmp_path, PHANTOM, profile=profile)[0] for profile in ("exact", "flare"))
    assert (exact.profile, flare.profile) == ("exact", "flare")
    assert np.isnan(exact.scores["dsc"]).sum() == 0
    assert np.isnan(flare.scores["dsc"]).sum() == 3 * 13
