"""FLARE's schemes are theirs: the tables of the shipped FLARE challenges stay as they are, byte for byte.

The golden files were written before ties, empty labels and tolerances became choices of a challenge. To write
them anew, after a published rule has changed: `python -m tests.unit.leaderboard.test_flare_golden`.
"""

from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path

import pytest

from harness.challenge import Challenge, load_challenge
from harness.interop import write_challenger, write_flare
from harness.leaderboard.files import to_csv
from harness.results.records import Outcome
from tests.unit.leaderboard.synthetic import Plan, Results, build, make_run

GOLDEN = Path(__file__).parent / "golden"
FLARE = ("flare21", "flare22", "flare23", "flare24-task1", "flare24-task2")
GIB = 1024**3
CASES = 9
WITHOUT = (2, 5)
"""The cases whose references lack the last label."""


def runs(challenge: Challenge) -> list[Results]:
    """Seven teams with failures, ties, a missing label, false alarms and a guest."""
    plans = [
        Plan("good", dsc=0.93, runtime_s=12, gpu_memory_bytes=3 * GIB),
        Plan("fast", dsc=0.80, runtime_s=2, memory_bytes=GIB, gpu_memory_bytes=GIB),
        Plan("late", dsc=0.91, runtime_s=200, outcomes={4: Outcome.TIME_LIMIT}, gpu_memory_bytes=9 * GIB),
        Plan("broken", outcomes=dict.fromkeys(range(CASES), Outcome.CRASHED)),
        Plan("cut", dsc=0.85, missing=[7, 8], gpu_memory_bytes=2 * GIB),
        Plan("nothing", dsc=0.0, runtime_s=0.4, memory_bytes=GIB // 4, gpu_memory_bytes=0),
        Plan("elsewhere", dsc=0.9, source="predictions"),
    ]
    made = [make_run(plan, challenge=challenge, cases=CASES) for plan in plans]
    return [_without_last_label(run, alarms=run.record.team in ("fast", "late")) for run in made]


def _without_last_label(run: Results, *, alarms: bool) -> Results:
    """Return the run as if some references lacked the last label: it scores 1, 0 where it was predicted."""
    scores = []
    for record in run.scores:
        if int(record.case[-3:]) in WITHOUT:
            value, found_ml = (0.0, 2.5) if alarms else (1.0, 0.0)
            *others, last = record.scores
            changed = {
                "scores": dict.fromkeys(last.scores, value),
                "dsc": value,
                "nsd": value,
                "reference_ml": 0.0,
                "prediction_ml": found_ml,
            }
            record = record.model_copy(update={"scores": (*others, last.model_copy(update=changed))})
        scores.append(record)
    return Results(run.folder, run.record, run.executions, tuple(scores))


def table_of(name: str, *, columns: list[str] | None = None) -> str:
    """Return the challenge's table, of some columns or all."""
    challenge = load_challenge(name)
    board = build(runs(challenge), challenge=challenge, bootstrap_samples=100)
    rows = list(csv.DictReader(io.StringIO(to_csv(board))))
    output = io.StringIO()
    kept = columns or list(rows[0])
    writer = csv.DictWriter(output, fieldnames=kept, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return output.getvalue()


def exports_of(name: str, folder: Path) -> str:
    """Return the digests of everything that `harness export` writes of the challenge."""
    challenge = load_challenge(name)
    board = build(runs(challenge), challenge=challenge, bootstrap_samples=0)
    (division,) = board.divisions
    written = [*write_flare(division, folder), *write_challenger(division, board.scheme, folder)]
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(written)
    )


@pytest.mark.parametrize("name", FLARE)
def test_the_table_is_as_published(name):
    golden = (GOLDEN / f"{name}.csv").read_text()
    assert table_of(name, columns=golden.splitlines()[0].split(",")) == golden


@pytest.mark.parametrize("name", FLARE)
def test_the_exports_are_as_published(name, tmp_path):
    assert exports_of(name, tmp_path) == (GOLDEN / f"{name}.sha256").read_text()


if __name__ == "__main__":
    import tempfile

    for each in FLARE:
        (GOLDEN / f"{each}.csv").write_text(table_of(each))
        with tempfile.TemporaryDirectory() as place:
            (GOLDEN / f"{each}.sha256").write_text(exports_of(each, Path(place)))
