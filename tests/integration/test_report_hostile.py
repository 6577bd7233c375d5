"""Nothing that a team controls runs as script in the report."""

from __future__ import annotations

import pytest
from report_pages import ATTACKS, browser, column, open_page, report

from harness.results.records import HostFacts, Outcome
from tests.unit.leaderboard.synthetic import HOST, Plan

__all__ = ["browser"]


@pytest.mark.parametrize("view", ["organiser", "participant"])
def test_nothing_that_a_team_controls_runs_as_script(browser, tmp_path, view):
    def hostile(attack: str) -> Plan:
        host = HostFacts(**{**HOST.model_dump(), "cpu_model": attack, "kernel": attack})
        return Plan(
            attack,
            title=attack,
            last_log_line=attack,
            run=attack,
            host=host,
            outcomes={1: Outcome.CRASHED, 2: Outcome.NO_OUTPUT},
        )

    index = report(tmp_path, [hostile(attack) for attack in ATTACKS], view=view)
    for page in (index, *sorted((index.parent / "submissions").glob("*.html"))):
        open_page(browser, page)
        browser.execute_script("document.querySelectorAll('button, summary').forEach((item) => item.click())")
        assert browser.execute_script("return window.pwned") is None
        assert browser.execute_script("return document.scripts.length") == 1
        assert (
            browser.execute_script("return document.querySelectorAll('img, iframe, object, embed').length")
            == 0
        )
        assert browser.execute_script("return document.querySelectorAll('[onerror], [onload]').length") == 0
        assert browser.get_log("browser") == []
    open_page(browser, index)
    assert {name.splitlines()[0] for name in column(browser, "method")} == {
        " ".join(name.split()) for name in ATTACKS
    }
