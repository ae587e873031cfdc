"""Pages in a real browser, Debian's chromium: nothing is loaded from elsewhere, no error, no scrolling sideways."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

from tests.end_to_end.conftest import Study
from tests.end_to_end.test_ui import Ui, query_of, ui  # noqa: F401 (the fixture)
from tests.processes import ROOT, lsml

pytestmark = pytest.mark.pages

PHONE, DESKTOP = 390, 1280
_LOCAL = ("file", "data", "blob", "chrome", "about")


class Browser:
    """One tab, of a width at a time."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self._driver = driver

    def open(self, address: str, *, width: int, until: str = "true") -> None:
        """Opens a page as wide as that, and waits until the expression of JavaScript holds."""
        size = {"width": width, "height": 1200, "deviceScaleFactor": 1, "mobile": width == PHONE}
        self._driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self._driver.get(address)
        self.wait(until)
        if folder := os.environ.get("LSML_SCREENSHOTS"):
            test = os.environ["PYTEST_CURRENT_TEST"].rpartition("::")[2].split()[0]
            self._driver.save_screenshot(f"{folder}/{test}.png")

    def wait(self, until: str) -> None:
        """Waits until the expression of JavaScript holds."""
        WebDriverWait(self._driver, 60).until(lambda driver: driver.execute_script(f"return Boolean({until})"))

    def value(self, expression: str) -> object:
        return self._driver.execute_script(f"return {expression}")

    def errors(self) -> list[str]:
        """What the page has complained of since this was last asked."""
        return [entry["message"] for entry in self._driver.get_log("browser") if entry["level"] == "SEVERE"]

    def hosts(self) -> set[str]:
        """Where requests went since this was last asked."""
        events = [json.loads(entry["message"])["message"] for entry in self._driver.get_log("performance")]
        sent = [urlsplit(event["params"]["request"]["url"]) for event in events if event["method"] == _REQUEST]
        return {address.hostname or "" for address in sent if address.scheme not in _LOCAL}

    def check(self, *, own: str = "") -> None:
        """No error, no request but to its own host, and nothing wider than the window."""
        assert self.errors() == []
        assert self.hosts() <= {own}
        assert self.value("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0


_REQUEST = "Network.requestWillBeSent"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a screen; Debian's packages chromium and chromium-driver have to be installed."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
    yield Browser(driver)
    driver.quit()


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_the_report_of_a_study(study: Study, browser: Browser, width: int) -> None:
    """Its curves and pictures are drawn: each has a size, of SVG or PNG."""
    done = lsml(study.folder, "report", "first", "--out", "page.html")
    assert done.returncode == 0, done.stderr
    browser.open((study.folder / "page.html").as_uri(), width=width)
    browser.check()
    pictures = "[...document.querySelectorAll('svg, img')]"
    assert browser.value(f"{pictures}.length") > 4  # type: ignore[operator]
    assert browser.value(f"{pictures}.filter(each => !each.getBoundingClientRect().width).length") == 0
    assert browser.value("[...document.images].filter(each => !each.naturalWidth).length") == 0


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_the_first_page_of_the_documentation(browser: Browser, tmp_path: Path, width: int) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    browser.open((tmp_path / "index.html").as_uri(), width=width)
    browser.check()
    assert browser.value("document.images[0].naturalWidth") > 100  # type: ignore[operator]
    assert "lsml" in str(browser.value("document.querySelector('h1').textContent"))


@pytest.fixture(scope="module")
def page_of_a_map(study: Study) -> Path:
    """The page beside the maps of a drawn scene."""
    drawn = ("data", "synth", "valley", "--scene", "--height", "256", "--width", "256")
    predicted = (
        "predict",
        "valley/scene.tif",
        "--model",
        "first@candidate",
        "--dem",
        "valley/dem.tif",
        "--out",
        "mapped",
    )
    for command in (drawn, predicted):
        done = lsml(study.folder, *command)
        assert done.returncode == 0, done.stderr
    return study.folder / "mapped" / "map.html"


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_the_page_of_a_map(page_of_a_map: Path, browser: Browser, width: int) -> None:
    """The scene is there with each landslide of the table outlined on it."""
    browser.open(page_of_a_map.as_uri(), width=width)
    browser.check()
    rows = browser.value("document.querySelectorAll('tbody tr').length")
    assert rows
    assert browser.value("document.querySelectorAll('svg path').length") >= rows  # type: ignore[operator]


def test_a_study_in_mlflow(ui: Ui, browser: Browser) -> None:  # noqa: F811
    """The page that `lsml ui` opens draws a curve of each trial, and asks nobody but this machine."""
    (address,) = [line.rpartition(" ")[2] for line in ui.lines if line.startswith("trials of study")]
    assert query_of(address)
    browser.open(address, width=DESKTOP, until="document.querySelectorAll('.js-plotly-plot').length > 0")
    assert browser.hosts() <= {"127.0.0.1"}
