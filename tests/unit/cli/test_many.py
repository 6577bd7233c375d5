"""Many teams on one host, as processes: the first case of each first, and nobody stops another."""

from __future__ import annotations

import csv
from pathlib import Path

import psutil
import pytest

from harness.cli.app import run
from harness.errors import EXIT_OK, EXIT_SUBMISSION_FAILED, EXIT_USAGE
from harness.results.folder import read_results
from harness.run.evaluate import Run
from harness.teams.entries import NOTICE_FILE, Status, read_entries

GOOD = 'in=$(ls "$FLARE_INPUTS"); cp "$LABEL" "$FLARE_OUTPUTS/${in%_0000.nii.gz}.nii.gz"\n'
BROKEN = "exit 3\n"


@pytest.fixture
def contest(tmp_path, small_dataset, monkeypatch):
    """Write three cases and some submissions, and return a function that calls the command line."""
    data = small_dataset(tmp_path / "data")
    for name in ("b", "c"):
        for folder, ending in (("imagesVal", "_0000.nii.gz"), ("labelsVal", ".nii.gz")):
            source = data / folder / f"a{ending}"
            (data / folder / f"{name}{ending}").write_bytes(source.read_bytes())
    monkeypatch.setenv("LABEL", str(data / "labelsVal" / "a.nii.gz"))
    monkeypatch.setenv("FLAREHARNESS_KEY", str(tmp_path / "key"))
    monkeypatch.setenv("FLAREHARNESS_HOST_LOCK", str(tmp_path / "measuring.lock"))

    def call(*arguments: str) -> int:
        places = ["--data", str(data), "--results", str(tmp_path / "results")]
        return run(["evaluate", *arguments, "--engine", "process", "--submissions", str(tmp_path), *places])

    call.folder = tmp_path
    return call


def submission(folder: Path, name: str, script: str = GOOD) -> None:
    (folder / name).mkdir()
    (folder / name / "submission.toml").write_text(f'name = "{name}"\n')
    (folder / name / "predict.sh").write_text(script)


def outcomes(folder: Path) -> dict[str, list[str]]:
    return {
        found.record.team: [each.outcome.value for each in found.executions]
        for found in read_results(folder / "results", "phantom")
    }


def test_one_broken_team_stops_no_other_and_one_that_is_missing_is_in_the_table(contest, capsys):
    submission(contest.folder, "ann")
    submission(contest.folder, "ben", BROKEN)
    submission(contest.folder, "cid")
    assert contest("ann", "ben", "nobody", "cid") == EXIT_SUBMISSION_FAILED
    assert outcomes(contest.folder) == {
        "ann": ["succeeded"] * 3,
        "ben": ["crashed"] * 3,
        "cid": ["succeeded"] * 3,
    }
    lines = {line.team: line for line in read_entries(contest.folder / "results" / "phantom")}
    assert {team: line.status for team, line in lines.items()} == {
        "ann": Status.EVALUATED,
        "ben": Status.FAILED,
        "nobody": Status.REJECTED,
        "cid": Status.EVALUATED,
    }
    assert "no submission named 'nobody'" in lines["nobody"].why
    assert lines["nobody"].mend
    shown = capsys.readouterr()
    assert "nobody" in shown.out
    assert "no submission named" in shown.out


def test_the_first_case_of_each_team_comes_before_the_second_of_any(contest):
    for name in ("ann", "ben"):
        submission(contest.folder, name)
    assert contest("--all") == EXIT_OK
    begun = sorted(
        (each.started_at, found.record.team)
        for found in read_results(contest.folder / "results", "phantom")
        for each in found.executions
    )
    assert [team for _, team in begun] == ["ann", "ben", "ann", "ann", "ben", "ben"]


def test_the_same_call_runs_nothing_again(contest):
    submission(contest.folder, "ann")
    submission(contest.folder, "ben")
    contest("ann", "ben")
    before = {path: path.read_bytes() for path in contest.folder.glob("results/phantom/*/*/*.jsonl")}
    assert contest("ann", "ben") == EXIT_OK
    assert {path: path.read_bytes() for path in before} == before


def test_a_team_whose_time_is_used_up_leaves_the_rest_to_others(contest):
    submission(contest.folder, "ann", "sleep 0.2\n" + GOOD)
    submission(contest.folder, "ben")
    (contest.folder / "teams.toml").write_text(
        '[[teams]]\nname = "ann"\nquota = { time = "100 ms" }\n[[teams]]\nname = "ben"\n'
    )
    assert contest("--teams", str(contest.folder / "teams.toml")) == EXIT_OK
    assert outcomes(contest.folder) == {"ann": ["succeeded"], "ben": ["succeeded"] * 3}
    first, second = read_entries(contest.folder / "results" / "phantom")
    assert (first.status, first.verdicts, first.cases) == (Status.OUT_OF_QUOTA, 1, 3)
    assert second.status == Status.EVALUATED


def test_an_image_too_many_is_refused_and_the_one_that_was_judged_is_not_counted(contest):
    submission(contest.folder, "ann")
    (contest.folder / "teams.toml").write_text('[[teams]]\nname = "ann"\nquota = { runs = 1 }\n')
    ask = ("--teams", str(contest.folder / "teams.toml"))
    assert contest(*ask) == EXIT_OK
    assert contest(*ask) == EXIT_OK
    submission_folder = contest.folder / "ann"
    (submission_folder / "predict.sh").write_text(f"# better\n{GOOD}")
    assert contest(*ask) == EXIT_SUBMISSION_FAILED
    (line,) = read_entries(contest.folder / "results" / "phantom")
    assert line.status == Status.REJECTED
    assert "had 1 images judged, and 1 are allowed" in line.why


def test_a_team_reads_why_without_a_word_of_cases_or_of_the_organiser_s_folders(contest):
    submission(contest.folder, "ann", BROKEN)
    (contest.folder / "teams.toml").write_text(
        '[[teams]]\nname = "ann"\n[[teams]]\nname = "ben"\nimage = "box/ben.tar"\n'
    )
    contest("--teams", str(contest.folder / "teams.toml"))
    texts = [
        (contest.folder / "results" / "phantom" / team / NOTICE_FILE).read_text() for team in ("ann", "ben")
    ]
    assert "3 crashed" in texts[0]
    assert "not evaluated" in texts[1]
    assert "Why: " in texts[1]
    for text in texts:
        assert str(contest.folder) not in text
        assert "case a" not in text


def test_teams_are_named_in_one_way_and_watching_needs_an_inbox(contest, capsys):
    submission(contest.folder, "ann")
    assert contest("ann", "--all") == EXIT_USAGE
    assert contest("ann", "--watch") == EXIT_USAGE
    assert contest("--inbox", str(contest.folder / "nowhere")) == EXIT_USAGE
    said = capsys.readouterr().err
    assert "2 ways" in said
    assert "--inbox" in said
    assert "no such inbox" in said


def test_the_table_is_safe_to_open_and_reads_back_as_it_was(tmp_path):
    from harness.teams.entries import EntryRow, EntryTable

    entries = EntryTable(tmp_path)
    entries.put(EntryRow("ann", "=cmd|x", Status.REJECTED, why="=1+1"))
    with (tmp_path / "entries.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["why"] == "'=1+1"
    (read,) = read_entries(tmp_path)
    assert (read.source, read.why) == ("=cmd|x", "=1+1")
    first = read.seen
    entries.put(EntryRow("ann", "=cmd|x", Status.EVALUATED))
    assert [line.seen for line in read_entries(tmp_path)] == [first]


def test_what_was_changed_after_the_deadline_is_refused_and_the_rest_evaluated(contest, capsys):
    submission(contest.folder, "ann")
    submission(contest.folder, "ben")
    (contest.folder / "teams.toml").write_text(
        "[quota]\ndeadline = 2020-01-01T12:00:00Z\n"
        '[[teams]]\nname = "ann"\n'
        '[[teams]]\nname = "ben"\nquota = { deadline = 2999-01-01T12:00:00Z }\n'
    )
    assert contest("--teams", str(contest.folder / "teams.toml")) == EXIT_SUBMISSION_FAILED
    assert outcomes(contest.folder) == {"ben": ["succeeded"] * 3}
    late, early = read_entries(contest.folder / "results" / "phantom")
    assert (late.status, early.status) == (Status.REJECTED, Status.EVALUATED)
    assert "after the deadline" in late.why
    assert "2020-01-01 12:00" in late.mend
    assert "after the deadline" in capsys.readouterr().out


ONE_AFTER_THE_OTHER = """
cd "$COUNT"
if mkdir first 2>/dev/null; then :
elif mkdir second 2>/dev/null; then sleep 3.1
else echo $$ > third; exec sleep 60
fi
"""


def test_what_still_runs_when_the_time_is_used_up_is_killed_before_anything_is_scored(contest, monkeypatch):
    count = contest.folder / "count"
    count.mkdir()
    monkeypatch.setenv("COUNT", str(count))
    still_running = []
    score = Run.score

    def scoring(run: Run) -> None:
        still_running.append(psutil.pid_exists(int((count / "third").read_text())))
        score(run)

    monkeypatch.setattr(Run, "score", scoring)
    submission(contest.folder, "ann", ONE_AFTER_THE_OTHER + GOOD)
    (contest.folder / "teams.toml").write_text('[[teams]]\nname = "ann"\nquota = { time = "3 s" }\n')
    assert contest("--teams", str(contest.folder / "teams.toml"), "--jobs", "2") == EXIT_OK
    assert outcomes(contest.folder) == {"ann": ["succeeded"] * 2}
    (line,) = read_entries(contest.folder / "results" / "phantom")
    assert (line.status, line.verdicts) == (Status.OUT_OF_QUOTA, 2)
    assert still_running == [False]
