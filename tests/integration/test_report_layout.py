"""The report on every screen and on paper: it fits, nothing is tiny, and the theme is obeyed."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest
from report_pages import browsed, browser, index, open_page, report

from tests.unit.leaderboard.synthetic import Plan

__all__ = ["browsed", "browser", "index"]


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
