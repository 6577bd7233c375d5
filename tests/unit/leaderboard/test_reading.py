"""Reading journals straight into arrays gives what the full records give."""

from __future__ import annotations

import numpy as np
import pytest

from harness.challenge import load_challenge
from harness.errors import InfrastructureError
from harness.leaderboard import build, read_values
from harness.leaderboard.files import to_json
from harness.leaderboard.reading import wanted_of
from harness.leaderboard.values import RESOURCES
from harness.results.folder import read_results
from harness.results.records import Outcome
from tests.unit.leaderboard.synthetic import Plan, make_run, values_of, write_run

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
    scores.write_bytes(scores.read_bytes()[:-30])
    assert read_values(results, PHANTOM)[0].scored.sum() == 3


def test_a_damaged_line_is_named(results):
    scores = results / "phantom" / "a" / "run-1" / "scores.jsonl"
    scores.write_bytes(scores.read_bytes().replace(b'"dsc":0.', b'"dsc":"x', 1))
    with pytest.raises(InfrastructureError, match=r"scores\.jsonl:1"):
        read_values(results, PHANTOM)


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
