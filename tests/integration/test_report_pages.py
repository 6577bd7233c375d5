"""The report in a real browser: it loads alone, sorts, filters, compares, and gives away its figures."""

from __future__ import annotations

import re
import time

from report_pages import browser, click, column, index, open_page, selenium

__all__ = ["browser", "index"]


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
