"""Who takes part is data: a file, a folder, names; what is wrong with it is said with its place."""

import os
from datetime import UTC, datetime, timedelta

import pytest

from harness.errors import ConfigurationError
from harness.teams.roster import Inbox, Quota, entrants_of, read_roster

ROSTER = """
[quota]
runs = 3
time = "6 h"

[[teams]]
name = "small_unet"

[[teams]]
name = "team_a"
image = "box/a.tar.gz"
device = "cuda"
requires_root = true
quota = { runs = 5 }

[[teams]]
name = "team_b"
image = "registry.example/b:1"
"""


def test_a_roster_lists_teams_with_quotas_that_fall_back_to_everybody_s(tmp_path):
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "a.tar.gz").write_bytes(b"x")
    (tmp_path / "teams.toml").write_text(ROSTER)
    first, second, third = read_roster(tmp_path / "teams.toml")
    assert (first.name, first.image, first.quota) == ("small_unet", "", Quota(runs=3, time=6 * 3600))
    assert second.image == str(tmp_path / "box" / "a.tar.gz")
    assert second.quota == Quota(runs=5, time=6 * 3600)
    assert second.opt_outs.requires_root
    assert third.image == "registry.example/b:1"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[[teams]]\nname = 'a'\nimgae = 'x'", "teams.0.imgae"),
        ("[[teams]]\nname = 'a'\n[[teams]]\nname = 'a'", "2 times"),
        ("[[teams]]\nname = '../a'", "no team name"),
        ("[[teams]]\nname = 'a'\nquota = { time = '6 lightyears' }", "teams.0.quota.time"),
        ("teams = []", "teams"),
        ("[[teams]", "no TOML"),
    ],
)
def test_a_wrong_roster_is_told_of_by_place(tmp_path, text, word):
    (tmp_path / "teams.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=word):
        read_roster(tmp_path / "teams.toml")


def test_an_archive_that_still_grows_waits_until_it_is_whole(tmp_path):
    inbox = Inbox(tmp_path)
    archive = tmp_path / "a.tar"
    archive.write_bytes(b"1")
    assert inbox.arrivals() == []
    archive.write_bytes(b"12")
    assert inbox.arrivals() == []
    assert [each.name for each in inbox.arrivals()] == ["a"]
    assert inbox.arrivals() == []
    archive.write_bytes(b"123")  # the team hands in anew
    assert inbox.arrivals() == []
    assert [each.name for each in inbox.arrivals()] == ["a"]


def test_copies_under_way_and_hidden_files_are_no_submissions(tmp_path):
    for name in (".a.tar", "b.tar.part", "c.tar", "d.tar.gz.filepart"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "dangling.tar").symlink_to(tmp_path / "gone")
    assert [each.name for each in Inbox(tmp_path).arrivals(settled=False)] == ["c"]


def test_a_deadline_without_a_zone_is_utc(tmp_path):
    archive = tmp_path / "a.tar"
    archive.write_bytes(b"x")
    (entrant,) = entrants_of([str(archive)])
    os.utime(archive, (0, datetime(2026, 1, 1, tzinfo=UTC).timestamp()))
    assert not Quota(deadline=datetime(2026, 1, 1)).is_late(entrant.changed_at())
    os.utime(archive, (0, datetime(2026, 1, 1, tzinfo=UTC).timestamp() + 1))
    assert Quota(deadline=datetime(2026, 1, 1)).is_late(entrant.changed_at())
    later = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=1)
    assert not Quota(deadline=later).is_late(entrant.changed_at())
