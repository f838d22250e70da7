"""The report in a headless Chromium: it asks nobody for anything, and fits a phone, a tablet, a screen and paper."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scaling_records import results, save, sums

from hpcdl.report.write import write_report

pytestmark = pytest.mark.needs("chromium")
WIDTHS = (360, 768, 1440)
PICTURES = 9
"""In the page, each for light and for dark; the steps are bars of HTML."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("page")
    study = results(
        engines=("mpi",), ranks=(1, 2, 4), sources=["real", "synthetic"], cores=8, uneven=0.01, accuracy=True
    )
    folders = [save(root / "a-study-with-a-long-name" / "of-its-own", study), save(root / "sums", sums())]
    write_report(folders, root / "out")
    return root / "out" / "report.html"


@pytest.fixture(scope="module")
def browser(page: Path) -> Iterator[object]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.binary_location = shutil.which("chromium") or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.get(page.as_uri())
        yield driver
    finally:
        driver.quit()


def test_the_page_is_whole_at_every_width_in_light_and_dark(browser: Any, page: Path) -> None:
    shots = Path(os.environ.get("HPCDL_TESTS_SHOTS", page.parent))
    for scheme in ("light", "dark"):
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        for width in WIDTHS:
            size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            found = browser.execute_async_script(_LOOK)
            assert found["wide"] <= width, (scheme, width, found)
            assert not found["outside"], (scheme, width)
            assert found["pictures"] == PICTURES and not found["broken"], (scheme, width)
            assert found["small"] >= 11, (scheme, width)
            assert found["contrast"] >= 4.5, (scheme, width)
            shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
            (shots / f"{scheme}-{width}.png").write_bytes(base64.b64decode(shot["data"]))
    paper = base64.b64decode(browser.print_page())
    assert paper.startswith(b"%PDF") and len(paper) > 50_000
    (shots / "paper.pdf").write_bytes(paper)
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [each["params"]["request"]["url"] for each in events if each["method"] == "Network.requestWillBeSent"]
    assert asked and all(url.startswith(("data:", page.as_uri())) for url in asked)


_LOOK = """
const done = arguments[arguments.length - 1];
const shown = [...document.images].filter(image => image.offsetWidth > 0);
const light = text => {
  const [r, g, b] = text.match(/\\d+/g).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const paper = light(getComputedStyle(document.body).backgroundColor);
const contrast = element => {
  const ink = light(getComputedStyle(element).color);
  return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
};
const words = [...document.querySelectorAll('p, li, td, th, dt, dd, figcaption, .words, .name')];
Promise.all(shown.map(image => image.decode().then(() => null, () => image.alt))).then(broken => done({
  wide: document.documentElement.scrollWidth,
  outside: [...document.querySelectorAll('main *')]
    .filter(each => !each.closest('.scroll') && each.getBoundingClientRect().right > innerWidth + 0.5)
    .map(each => each.outerHTML.slice(0, 80)),
  pictures: shown.length,
  broken: broken.filter(each => each),
  small: Math.min(...words.map(each => parseFloat(getComputedStyle(each).fontSize))),
  contrast: Math.min(...words.map(contrast)),
}));
"""
