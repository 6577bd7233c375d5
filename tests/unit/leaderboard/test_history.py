"""Repeated submissions: a ladder shows a new score only if it is a gain, and a team's history is kept."""

from __future__ import annotations

import numpy as np
import pytest

from harness.challenge import Challenge, load_challenge
from harness.leaderboard.counting import counting
from harness.leaderboard.history import climb, describe, in_time
from harness.leaderboard.reading import wanted_of
from harness.leaderboard.statistics import sample_counts
from harness.leaderboard.uncertainty import Samples
from tests.unit.leaderboard.synthetic import Plan, Results, build, make_run, values_of

PHANTOM = load_challenge("phantom")


def noisy(day: int, seed: int) -> Results:
    """The same method again, with noise: every score a little up or down."""
    run = make_run(Plan("team", dsc=0.8, day=day, run=f"run-{day}"))
    generator = np.random.default_rng(seed)
    scores = []
    for record in run.scores:
        labels = []
        for label in record.scores:
            shift = generator.normal(0, 0.02)
            labels.append(
                label.model_copy(
                    update={
                        "scores": {
                            key: float(np.clip(value + shift, 0, 1)) for key, value in label.scores.items()
                        }
                    }
                )
            )
        scores.append(record.model_copy(update={"scores": tuple(labels)}))
    return Results(run.folder, run.record, run.executions, tuple(scores))


def ladder(runs: list[Results]):
    values = in_time([values_of(run, wanted_of(PHANTOM)) for run in runs])
    rules = counting(values, PHANTOM, PHANTOM.ranking)
    cases = len(values[0].cases)
    return climb(values, rules, Samples(sample_counts(cases, 200, seed=1), 0.95))


def test_a_real_gain_is_shown():
    better = make_run(Plan("team", dsc=0.9, day=1, run="run-1"))
    first, second = ladder([make_run(Plan("team", dsc=0.8)), better])
    assert first.shown and second.shown
    assert second.gain.mean > second.step
    assert second.gain.bca[0] > 0


def test_a_worse_run_changes_nothing():
    _, second = ladder([make_run(Plan("team", dsc=0.9)), make_run(Plan("team", dsc=0.8, day=1, run="run-1"))])
    assert not second.shown
    assert second.gain.mean < 0


def test_noise_submitted_again_and_again_hardly_climbs():
    """Of thirty copies that differ by noise alone, the best one's luck is not what is shown."""
    attempts = ladder([noisy(day, day) for day in range(30)])
    best_of_all = max(attempt.accuracy.mean for attempt in attempts)
    shown = [attempt for attempt in attempts if attempt.shown]
    assert len(shown) <= 5
    assert shown[-1].accuracy.mean <= best_of_all


def test_the_leaderboard_of_a_challenge_with_a_ladder_keeps_the_run_that_gained():
    content = PHANTOM.model_dump(mode="json")
    laddered = Challenge.model_validate(content | {"ranking": content["ranking"] | {"repeated": "ladder"}})
    runs = [make_run(Plan("team", dsc=0.9, run="good")), make_run(Plan("team", dsc=0.7, day=1, run="worse"))]
    by_ladder = build(runs, challenge=laddered).divisions[0].rows[0]
    newest = build(runs, challenge=PHANTOM).divisions[0].rows[0]
    assert (by_ladder.run, newest.run) == ("good", "worse")


def test_an_incomplete_run_is_no_step():
    _, second = ladder(
        [make_run(Plan("team", dsc=0.5)), make_run(Plan("team", dsc=0.9, day=1, run="run-1", missing=[0]))]
    )
    assert not second.shown


def test_a_history_reads_as_lines():
    attempts = ladder(
        [
            make_run(Plan("team", dsc=0.9)),
            make_run(Plan("team", dsc=0.7, day=1, run="run-1")),
            make_run(Plan("team", dsc=0.95, day=2, run="run-1", missing=[0])),
        ]
    )
    lines = describe(attempts, ladder=True)
    assert [line.split("\t")[1] for line in lines] == ["run-1"] * 3
    assert "first run" in lines[0]
    assert [line.split("\t")[-1] for line in lines] == [
        "shown",
        "not shown: no gain beyond noise",
        "not shown: incomplete",
    ]


def test_without_a_ladder_the_history_claims_nothing_of_what_is_shown():
    attempts = ladder([make_run(Plan("team", dsc=0.9)), make_run(Plan("team", dsc=0.7, day=1, run="run-1"))])
    words = [line.split("\t")[-1] for line in describe(attempts, ladder=False)]
    assert words == ["on a ladder: shown", "on a ladder: not shown: no gain beyond noise"]


@pytest.mark.parametrize("runs", [1, 2])
def test_the_first_run_is_always_shown(runs):
    assert ladder([make_run(Plan("team", day=day)) for day in range(runs)])[0].shown
