"""The case browser in a real browser: slices, labels and links."""

from __future__ import annotations

import re

from report_pages import browsed, browser, open_page, selenium

__all__ = ["browsed", "browser"]


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
