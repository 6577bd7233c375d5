"""Take the pictures of README and docs from a report on disk, in a real browser: `make pictures` runs this.

Light and dark: the figures of accuracy, accuracy against time, and a case's page; each PNG under 300 KB.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from selenium import webdriver

_FOLDER = Path(__file__).with_name("images")
_WIDTH = 1300
_SCROLL = """document.documentElement.style.scrollBehavior = "auto";
    document.querySelector(arguments[0]).scrollIntoView();"""
_MOST_BYTES = 300_000
_COLOURS = (256, 128, 64, 32)


def main(report: Path) -> None:
    """Write docs/images/{report,cost,case}{,-dark}.png."""
    first_case = min((report / "cases").glob("*.html"))
    pages = {
        "report": (report / "index.html", "#d1-accuracy", 900),
        "cost": (report / "index.html", "#d1-accuracy-time", None),
        "case": (first_case, "#content", 760),
    }
    _FOLDER.mkdir(exist_ok=True)
    browser = _browser()
    try:
        for name, (page, part, height) in pages.items():
            for theme, suffix in (("light", ""), ("dark", "-dark")):
                shot = _shot(browser, page, part, theme, height)
                (_FOLDER / f"{name}{suffix}.png").write_bytes(_small(shot))
    finally:
        browser.quit()


def _browser() -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))


def _shot(browser: webdriver.Chrome, page: Path, part: str, theme: str, height: int | None) -> bytes:
    """Return what a window of a height shows from a part of the page on; without one, that part alone."""
    features = [{"name": "prefers-color-scheme", "value": theme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": _WIDTH, "height": height or _WIDTH, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.resolve().as_uri())
    browser.set_script_timeout(30)
    browser.execute_async_script(
        """const done = arguments[0], viewer = document.getElementById("viewer");
        const look = () => !viewer || viewer.dataset.ready ? setTimeout(done, 200) : setTimeout(look, 100);
        look();"""
    )
    browser.execute_script(_SCROLL, part)
    if height is None:
        return bytes(browser.find_element("css selector", part).screenshot_as_png)
    return bytes(browser.get_screenshot_as_png())


def _small(shot: bytes) -> bytes:
    """Return a PNG with as many colours as fit."""
    picture = Image.open(io.BytesIO(shot)).convert("RGB")
    for colours in _COLOURS:
        held = io.BytesIO()
        picture.quantize(colours).save(held, "PNG", optimize=True)
        if held.tell() <= _MOST_BYTES:
            break
    return held.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
