"""The report in a real browser: it loads alone, sorts, filters, obeys the theme, runs no foreign script."""

from __future__ import annotations

import base64
import re
import shutil
import time

import numpy as np
import packages
import pytest

from harness.challenge import load_challenge
from harness.report import write_report
from harness.results.folder import RunWriter
from harness.results.records import HostFacts, Outcome
from tests.unit.leaderboard.synthetic import HOST, Plan, build, make_run, write_evidence
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


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 800, 1300])
def test_the_page_itself_never_scrolls_sideways_and_no_text_is_tiny(browser, browsed, width, theme):
    media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    pages = [browsed, *browsed.parent.glob("*/*.html")]
    lost, smallest = [], 99.0
    for page in pages:
        open_page(browser, page)
        over = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        if browser.execute_script(over) > 0:
            lost.append(page.name)
        smallest = min(smallest, browser.execute_script(SMALLEST))
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    assert lost == []
    assert smallest >= 8


SMALLEST = """
let least = 99;
for (const text of document.querySelectorAll("svg text")) {
  const svg = text.ownerSVGElement, box = svg.getBoundingClientRect();
  if (!box.width) continue;
  const size = parseFloat(getComputedStyle(text).fontSize);
  least = Math.min(least, size * box.width / svg.viewBox.baseVal.width);
}
return least;
"""


def test_what_is_wider_than_a_phone_says_so(browser, index):
    metrics = {"width": 390, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    open_page(browser, index)
    silent = browser.execute_script(
        """return [...document.querySelectorAll(".scroll")].filter((box) =>
        box.scrollWidth > box.clientWidth + 2 && !box.hint?.matches(".shown")).length"""
    )
    shown = browser.execute_script("return document.querySelectorAll('.hint.shown').length")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert silent == 0
    assert shown > 0


@pytest.mark.parametrize("width", [390, 800, 1300])
def test_no_word_of_a_label_breaks_in_the_heat_map(browser, index, width):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    open_page(browser, index)
    broken = browser.execute_script(
        """
        const lost = [], range = document.createRange();
        for (const button of document.querySelectorAll("table.heat thead th button")) {
          const text = button.firstChild;
          for (const word of text.data.matchAll(/\\S+/g)) {
            range.setStart(text, word.index);
            range.setEnd(text, word.index + word[0].length);
            if (range.getClientRects().length > 1) lost.push(word[0]);
          }
        }
        return [lost, document.querySelectorAll("table.heat thead th button").length];
        """
    )
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert broken[0] == []
    assert broken[1] > 14


def test_the_leaderboard_fits_a_desktop(browser, index):
    metrics = {"width": 1300, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    open_page(browser, index)
    over = browser.execute_script(
        """const box = document.querySelector("table.leaderboard").closest(".scroll");
        return box.scrollWidth - box.clientWidth"""
    )
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert over <= 0


def test_a_phone_sees_figures_whole_and_the_first_score(browser, index):
    metrics = {"width": 390, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    open_page(browser, index)
    cut = browser.execute_script(
        """return ["tau", "accuracy-time", "accuracy-memory", "runtime", "weights", "difference"].filter(
          (name) => [...document.querySelectorAll(`#d1-${name} .scroll`)].some(
            (box) => box.clientWidth && box.scrollWidth > box.clientWidth + 2))"""
    )
    right = browser.execute_script(
        "return document.querySelector('table.leaderboard tbody tr').cells[3].getBoundingClientRect().left"
    )
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert cut == []
    assert right < 390


def test_it_prints_on_a4_with_all_details_and_few_pages(browser, index):
    open_page(browser, index)
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True, "printBackground": True})
    content = base64.b64decode(printed["data"])
    sizes = set(re.findall(rb"/MediaBox \[([^\]]*)\]", content))
    assert {tuple(round(float(n)) for n in size.split()) for size in sizes} == {(0, 0, 595, 842)}
    assert 3 <= len(re.findall(rb"/Type\s*/Page[^s]", content)) <= 16


def test_the_switch_shows_one_metric_at_a_time(browser, index):
    open_page(browser, index)
    shown = "return [...document.querySelectorAll('#d1-organs [data-tab]')].map((part) => !part.hidden)"
    assert browser.execute_script(shown) == [True, False]
    browser.execute_script("document.querySelectorAll('#d1-organs .switch input')[1].click()")
    assert browser.execute_script(shown) == [False, True]


def test_other_weights_give_the_order_of_the_metric_that_is_left(browser, index):
    open_page(browser, index)
    moved = browser.execute_script(
        """
        const figure = document.querySelector("#d1-weights");
        const names = () => [...figure.querySelectorAll("text.name")].map((text) => text.textContent);
        const before = names();
        const boxes = [...figure.querySelectorAll("input")];
        boxes.forEach((box, at) => { box.value = at === boxes.length - 2 ? box.max : 0; });
        boxes[0].dispatchEvent(new Event("input", { bubbles: true }));
        const after = names();
        figure.querySelector("button:not(.save button)").click();
        return [before, after, names()];
        """
    )
    before, after, again = moved
    assert before[0] == "team-0"
    assert before == again
    assert sorted(after) == sorted(before)
    assert after[0] == "team-0"  # 3 s
    assert after != before


def test_two_methods_are_compared_case_by_case(browser, index):
    open_page(browser, index)
    said = "return document.querySelector('#d1-difference [aria-live]').textContent"
    assert re.fullmatch(
        r"better in \d, worse in \d of 8 cases; mean difference \+.*", browser.execute_script(said)
    )
    browser.execute_script(
        """const figure = document.querySelector("#d1-difference");
        figure.querySelectorAll("select")[1].value = "0";
        figure.dispatchEvent(new Event("input"));"""
    )
    assert browser.execute_script(said).startswith("better in 0, worse in 0")


def test_figures_and_tables_can_be_kept(browser, index, tmp_path):
    folder = tmp_path / "kept"
    folder.mkdir()
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    open_page(browser, index)
    for figure, kind in (("d1-schemes", 0), ("d1-schemes", 1), ("d1-organs", 0)):
        browser.execute_script(f"document.querySelectorAll('#{figure} .save button')[{kind}].click()")
    wanted = {"d1-schemes.svg", "d1-schemes.png", "d1-organs.csv"}
    deadline = time.monotonic() + 20
    while not wanted <= {path.name for path in folder.iterdir()} and time.monotonic() < deadline:
        time.sleep(0.1)
    assert wanted <= {path.name for path in folder.iterdir()}
    drawn = (folder / "d1-schemes.svg").read_text()
    assert drawn.startswith("<svg")
    assert "stroke:rgb" in drawn.replace(" ", "")
    assert (folder / "d1-schemes.png").read_bytes().startswith(b"\x89PNG")
    lines = (folder / "d1-organs.csv").read_text().splitlines()
    assert len(lines) == 1 + 6
    assert lines[0].startswith("method,liver,right kidney")
    assert browser.get_log("browser") == []


def test_a_case_is_browsed_slice_by_slice_worst_first(browser, browsed):
    page = next(browsed.parent.glob("cases/*.html"))
    open_page(browser, page)
    state(browser)
    worst = browser.execute_script(
        "return [...document.querySelectorAll('.plane small')].map((t) => t.innerText)"
    )
    assert all(re.fullmatch(r"\d+ of \d+, [1-9][\d,]* voxels wrong", words) for words in worst)
    before = state(browser)
    press(browser, selenium.Keys.ARROW_UP)
    moved = state(browser)
    assert moved["slices"][0] == before["slices"][0] + 1
    assert moved["ink"] != before["ink"]
    press(browser, "w")
    assert state(browser) == before
    press(browser, "e", "r", "p")
    assert colours_of(browser) == 0  # a grey picture
    press(browser, "r")
    assert colours_of(browser) > 50
    press(browser, "]")
    browser.execute_script("return new Promise((done) => setTimeout(done, 200))")
    assert browser.execute_script("return document.getElementById('method').value") == "1"
    assert [entry for entry in browser.get_log("browser") if entry["level"] != "WARNING"] == []


def test_a_link_to_a_method_opens_it(browser, browsed):
    page = next(browsed.parent.glob("cases/*.html"))
    browser.get("about:blank")
    browser.get(f"{page.as_uri()}#m=2")
    state(browser)
    assert (
        browser.execute_script("return document.getElementById('method').selectedOptions[0].text") == "team-2"
    )


def test_a_label_is_hidden_by_its_box_and_sought_by_its_name(browser, browsed):
    open_page(browser, next(browsed.parent.glob("cases/*.html")))
    state(browser)
    wrong = """const said = document.querySelector('.plane small').innerText;
        return Number(said.match(/([\\d,]+) voxels/)[1].replace(',', ''))"""
    everything = browser.execute_script(wrong)
    browser.execute_script("document.querySelectorAll('#scores input').forEach((box) => box.click())")
    assert everything > 0
    assert browser.execute_script(wrong) == 0
    browser.execute_script("document.querySelectorAll('#scores th button')[1].click()")
    press(browser, "0")
    assert browser.execute_script(wrong) > 0


def state(browser) -> dict:
    """Wait until the page has unpacked its volumes; return its slices and a digest of the first canvas."""
    return browser.execute_async_script(
        """
        const done = arguments[0];
        const look = () => {
          if (!document.getElementById("viewer").dataset.ready) return setTimeout(look, 50);
          done({ slices: [...document.querySelectorAll(".plane input")].map((box) => Number(box.value)),
                 ink: document.querySelector(".plane canvas").toDataURL() });
        };
        look();
        """
    )


def press(browser, *keys: str) -> None:
    browser.execute_script("document.activeElement.blur()")
    for key in keys:
        selenium.ActionChains(browser).send_keys(key).perform()


def colours_of(browser) -> int:
    """Return how many pixels of the axial picture are not grey."""
    return browser.execute_script(
        """
        const canvas = document.querySelector(".plane canvas");
        const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        let count = 0;
        for (let i = 0; i < pixels.length; i += 4)
          if (Math.abs(pixels[i] - pixels[i + 1]) > 40 || Math.abs(pixels[i] - pixels[i + 2]) > 40) count++;
        return count;
        """
    )


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
