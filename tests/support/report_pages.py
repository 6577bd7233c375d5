"""Reports of made-up runs, open in a real browser."""

from __future__ import annotations

import shutil

import packages
import pytest

from harness.challenge import load_challenge
from harness.report import write_report
from harness.results.folder import RunWriter
from harness.results.records import Outcome
from tests.unit.leaderboard.synthetic import Plan, build, make_run, write_evidence
from tests.unit.report.volumes import make_dataset, shifted

selenium = pytest.importorskip("selenium.webdriver", reason="NO BROWSER TEST: pip install selenium")

PHANTOM = load_challenge("phantom")
ATTACKS = (
    "<script>window.pwned=1</script>",
    '"><img src=x onerror="window.pwned=1">',
    "</title></style></script><script>window.pwned=1</script>",
    "';window.pwned=1;//",
    "{{ 7 * 7 }}{% raw %}",
    "<svg/onload=window.pwned=1>",
    "javascript:window.pwned=1",
    "</text></svg><script>window.pwned=1</script>",
)


@pytest.fixture(scope="module")
def browser():
    packages.want("browser")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    options = selenium.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    session = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
    yield session
    session.quit()


def report(folder, plans, *, view="organiser", cases=8, dataset=None):
    runs = [make_run(plan, cases=cases, folder=folder / "results") for plan in plans]
    for index, run in enumerate(runs):
        # A folder of its own number: a team's name is no path here.
        place = folder / "results" / "phantom" / f"team-{index}" / "run"
        with RunWriter(place, run.record) as writer:
            for execution in run.executions:
                writer.add_execution(execution)
            for score in run.scores:
                writer.add_score(score)
        write_evidence(run, place, log=f"{ATTACKS[index % len(ATTACKS)]}\n")
        runs[index] = type(run)(place, run.record, run.executions, run.scores)
        for case in dataset.cases if dataset is not None else ():
            shifted(case.label, place / "cases" / case.id / f"{case.id}.nii.gz", 2 + index)
    board = build(runs, challenge=PHANTOM, bootstrap_samples=50)
    return write_report(board, folder / "report", view=view, dataset=dataset)


@pytest.fixture
def index(tmp_path):
    failing = {1: Outcome.CRASHED}
    plans = [
        Plan(f"team-{i}", dsc=0.95 - 0.03 * i, runtime_s=3 + (i * 7) % 11, outcomes=failing if i == 2 else {})
        for i in range(5)
    ]
    return report(tmp_path, [*plans, Plan("outside", source="predictions")])


@pytest.fixture
def browsed(tmp_path):
    """A report with a case browser."""
    dataset = make_dataset(tmp_path / "data", ["case_000", "case_001"], shape=(60, 48, 24))
    return report(
        tmp_path, [Plan(f"team-{i}", dsc=0.9 - 0.1 * i) for i in range(3)], cases=2, dataset=dataset
    )


def open_page(browser, path):
    for name in ("browser", "performance"):
        browser.get_log(name)
    browser.get(path.as_uri())


def column(browser, heading: str) -> list[str]:
    return browser.execute_script(
        """
        const table = document.querySelector("table.leaderboard");
        const heads = [...table.tHead.rows[0].cells];
        const at = heads.findIndex((cell) => cell.innerText.trim().startsWith(arguments[0]));
        const rows = [...table.tBodies[0].rows].filter((row) => !row.hidden);
        return rows.map((row) => row.cells[at].dataset.v ?? row.cells[at].innerText);
        """,
        heading,
    )


def click(browser, heading: str) -> None:
    browser.execute_script(
        """[...document.querySelectorAll("table.leaderboard thead button")]
        .find((button) => button.innerText.trim().startsWith(arguments[0])).click()""",
        heading,
    )
