"""An inbox of real archives: the good ones are judged, here and on a cluster; the broken ones stop nobody."""

from __future__ import annotations

import os
import sys

import pytest
from containers import Arena

from harness.cli.app import run
from harness.errors import EXIT_SUBMISSION_FAILED
from harness.results.folder import read_results
from harness.results.records import Outcome
from harness.teams.entries import NOTICE_FILE, Status, read_entries

pytestmark = pytest.mark.engine

GOOD = """
in=$(ls "$FLARE_INPUTS")
cp /workspace/good.nii.gz "$FLARE_OUTPUTS/${in%_0000.nii.gz}.nii.gz"
"""


@pytest.fixture
def inbox(arena: Arena):
    """Three archives: one that works, one whose program fails, one that is none."""
    folder = arena.folder / "inbox"
    folder.mkdir()
    for name, script in (("Good", GOOD), ("failing", "exit 3\n")):
        with (folder / f"{name}.tar").open("wb") as file:
            for chunk in arena.engine.images.save(arena.image(script)):
                file.write(chunk)
    (folder / "garbage.tar.gz").write_bytes(b"no archive at all" * 100)
    yield folder
    for listed in arena.engine.images.list():
        for tag in listed.tags:
            if tag.startswith(("flareharness/intake/good", "flareharness/intake/failing")):
                arena.engine.images.remove(tag, keep_parents=True)


@pytest.mark.parametrize("cluster", [(), ("--cluster", "local:1", "--lease", "10")], ids=["here", "cluster"])
def test_an_inbox_is_evaluated_and_the_table_says_who_was_not(
    arena: Arena, inbox, cluster, monkeypatch, capsys
) -> None:
    if cluster:
        pytest.importorskip("distributed", reason="DASK IS NOT INSTALLED")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    results = arena.folder / "results"
    places = ["--data", str(arena.folder / "data"), "--results", str(results)]
    assert run(["evaluate", "--inbox", str(inbox), *places, *cluster]) == EXIT_SUBMISSION_FAILED
    found = {each.record.team: each.executions[0].outcome for each in read_results(results, "phantom")}
    assert found == {"good": Outcome.SUCCEEDED, "failing": Outcome.CRASHED}
    lines = {line.team: line for line in read_entries(results / "phantom")}
    assert {team: line.status for team, line in lines.items()} == {
        "good": Status.EVALUATED,
        "failing": Status.FAILED,
        "garbage": Status.REJECTED,
    }
    assert "exit code 3" in lines["failing"].why
    for team in lines:
        text = (results / "phantom" / team / NOTICE_FILE).read_text()
        assert str(arena.folder) not in text
        assert "patient_0" not in text
    assert lines["garbage"].why.split(" (")[0] in capsys.readouterr().out
