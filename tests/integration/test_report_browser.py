"""The report in a real browser: it loads alone, sorts, filters, obeys the theme, runs no foreign script."""

from __future__ import annotations

import shutil

import numpy as np
import packages
import pytest

from harness.challenge import load_challenge
from harness.leaderboard import build
from harness.report import write_report
from harness.results.records import HostFacts, Outcome
from tests.unit.leaderboard.synthetic import HOST, Plan, make_run, write_evidence

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


def report(folder, plans, *, view="organiser", cases=8):
    runs = [make_run(plan, cases=cases, folder=folder / "results") for plan in plans]
    for index, run in enumerate(runs):
        # A folder of its own number: a team's name is no path here.
        write_evidence(run, folder / "results" / str(index), log=f"{ATTACKS[index % len(ATTACKS)]}\n")
    runs = [
        type(run)(folder / "results" / str(i), run.record, run.executions, run.scores)
        for i, run in enumerate(runs)
    ]
    return write_report(
        runs, build(runs, challenge=PHANTOM, bootstrap_samples=50), folder / "report", view=view
    )


@pytest.fixture
def index(tmp_path):
    failing = {1: Outcome.CRASHED}
    plans = [
        Plan(f"team-{i}", dsc=0.95 - 0.03 * i, runtime_s=3 + (i * 7) % 11, outcomes=failing if i == 2 else {})
        for i in range(5)
    ]
    return report(tmp_path, [*plans, Plan("outside", source="predictions")])


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


def test_it_loads_without_an_error_or_a_request(browser, index):
    for page in (index, *sorted((index.parent / "submissions").glob("*.html"))):
        open_page(browser, page)
        assert browser.get_log("browser") == []
        asked = [
            entry["message"]
            for entry in browser.get_log("performance")
            if 'Network.requestWillBeSent"' in entry["message"]
        ]
        assert [
            message for message in asked if page.as_uri() not in message and '"data:' not in message
        ] == []


def test_sorting_works_and_keeps_missing_values_last(browser, index):
    open_page(browser, index)
    click(browser, "DSC organs")
    best_first = [float(value) for value in column(browser, "DSC organs")]
    assert best_first == sorted(best_first, reverse=True)
    click(browser, "DSC organs")
    assert [float(value) for value in column(browser, "DSC organs")] == sorted(best_first)
    click(browser, "memory")
    values = column(browser, "memory")
    assert values[-1] == ""
    assert [float(value) for value in values[:-1]] == sorted(map(float, values[:-1]))
    click(browser, "memory")
    assert column(browser, "memory")[-1] == ""
    sorted_heads = browser.execute_script(
        "return document.querySelectorAll('table.leaderboard th[aria-sort]').length"
    )
    assert sorted_heads == 1


def test_sorting_works_from_the_keyboard(browser, index):
    open_page(browser, index)
    browser.execute_script("document.querySelectorAll('table.leaderboard thead button')[1].focus()")
    selenium.ActionChains(browser).send_keys(selenium.Keys.ENTER).perform()
    names = [name.splitlines()[0] for name in column(browser, "method")]
    assert names == sorted(names)


def test_filtering_hides_the_other_rows(browser, index):
    open_page(browser, index)
    browser.find_element("css selector", "input[type=search]").send_keys("TEAM 3")
    assert [name.strip() for name in column(browser, "method")] == ["team-3"]
    assert browser.find_element("css selector", "[aria-live]").text == "1 of 6"


def test_the_theme_follows_the_system_and_the_button(browser, index):
    def background() -> str:
        return browser.execute_script("return getComputedStyle(document.body).backgroundColor")

    seen = {}
    for theme in ("light", "dark"):
        media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        open_page(browser, index)
        seen[theme] = background()
    assert seen["light"] != seen["dark"]
    browser.find_element("css selector", "button.theme").click()
    assert background() == seen["light"]


def test_it_prints_light_even_from_a_dark_system(browser, index):
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]},
    )
    open_page(browser, index)
    shade = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    assert min(int(part) for part in shade.strip("rgb()").split(",")) > 200


@pytest.mark.parametrize("width", [420, 900, 1400])
def test_the_page_itself_never_scrolls_sideways(browser, index, width):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    open_page(browser, index)
    overflow = browser.execute_script(
        "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert overflow <= 0


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


@pytest.mark.parametrize("teams", [2, 12, 60])
def test_names_do_not_run_out_of_their_figures(browser, tmp_path, teams):
    generator = np.random.default_rng(0)
    plans = [
        Plan(f"a-rather-long-method-name-{i}", dsc=float(generator.uniform(0.7, 0.95))) for i in range(teams)
    ]
    open_page(browser, report(tmp_path, plans))
    outside = browser.execute_script(
        """
        const lost = [];
        for (const svg of document.querySelectorAll("svg")) {
          const frame = svg.getBoundingClientRect();
          for (const text of svg.querySelectorAll("text")) {
            const box = text.getBoundingClientRect();
            const across = Math.max(frame.left - box.left, box.right - frame.right);
            const along = Math.max(frame.top - box.top, box.bottom - frame.bottom);
            if (across > 1 || along > 3) lost.push(`${svg.ariaLabel}: ${text.lastChild.data}`);
          }
        }
        return lost;
        """
    )
    assert outside == []
