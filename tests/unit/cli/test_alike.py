"""Two archives whose names differ in spelling only are two teams, until a person says otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.cli.entry import Entry, refuse_alike
from harness.errors import ConfigurationError
from harness.results.folder import write_run_record
from harness.results.records import ImageFacts, OptOuts
from harness.submission.load import INTAKE_IMAGES, name_in, team_of
from tests.unit.leaderboard.synthetic import Plan, make_run

ENTRY = Entry(team="teama", title="", image="sha256:0", device="cpu", opt_outs=OptOuts())


@pytest.fixture
def challenge(tmp_path: Path) -> Path:
    """Results in which TeamA.tar.gz has a run."""
    record = make_run(Plan("teama"), cases=1).record
    image = ImageFacts(reference=f"{INTAKE_IMAGES}/teama:0", digest="sha256:0", size_bytes=1)
    write_run_record(
        tmp_path / "teama" / "run-1", record.model_copy(update={"title": "TeamA", "image": image})
    )
    return tmp_path


@pytest.mark.parametrize("name", ["TeamA.tar.gz", "teama.tar", "somewhere/teamA:latest", "TEAMA"])
def test_names_are_folded_and_their_spelling_is_known(name: str) -> None:
    assert team_of(name) == "teama"
    assert name_in(name).lower() == "teama"


def test_another_spelling_is_refused(challenge: Path) -> None:
    with pytest.raises(ConfigurationError, match="'teama' has results already, of 'TeamA'"):
        refuse_alike(challenge, ENTRY)


def test_the_same_spelling_goes_on(challenge: Path) -> None:
    refuse_alike(challenge, replace(ENTRY, title="TeamA"))


def test_a_team_without_results_is_nobody_elses(challenge: Path) -> None:
    refuse_alike(challenge, replace(ENTRY, team="teamb"))
