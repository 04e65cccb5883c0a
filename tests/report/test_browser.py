"""The page in a real browser: it starts without a word, and does what it says."""

import gc
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.report.conftest import GROUPS

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
# A browser of the system, as root in a container too, that asks nobody for anything.
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
)
INK = (
    "canvas => new Set(new Uint32Array(canvas.getContext('2d')"
    ".getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size"
)
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install 'qdgs[dev]'"
    )
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(OPTIONS), timeout=180_000)
        yield browser
        browser.close()
        gc.collect()  # what it leaves complains here, where that is ignored


class Opened:
    """The page in a browser, and whatever it complained of or asked for."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.context = browser.new_context(
            **{"viewport": {"width": 1200, "height": 900}, "reduced_motion": "reduce", **options}
        )
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self._hear(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._note(request.url))
        self.page.set_default_timeout(60_000)
        self.page.goto(path.resolve().as_uri())

    def _hear(self, text: str) -> None:
        if not text.startswith("Canvas2D: Multiple readback operations"):  # which these tests make
            self.complaints.append(text)

    def _note(self, url: str) -> None:
        if not url.startswith(("file:", "data:", "blob:")):
            self.complaints.append(url)

    def text(self, selector: str) -> str:
        return str(self.page.locator(selector).inner_text())

    def count(self, selector: str) -> int:
        return int(self.page.locator(selector).count())

    def place_on_map(self) -> tuple[float, float]:
        """The middle of a cell that holds an elite."""
        self.page.locator("#map").focus()
        box = self.page.locator("#map-cursor").bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def ink(self, selector: str) -> int:
        """Colours that a canvas shows."""
        return int(self.page.locator(selector).first.evaluate(INK))


@pytest.fixture
def opened(browser: Any, finished: Path) -> Iterator[Opened]:
    opened = Opened(browser, finished / "report.html")
    yield opened
    assert opened.complaints == []
    opened.context.close()


def test_the_page_draws_its_map_and_asks_for_nothing(opened: Opened) -> None:
    opened.page.wait_for_function(f"({INK})(document.querySelector('#map-canvas')) > 20")
    assert opened.ink("#map-canvas") > 20
    assert opened.text("#filtered").startswith("300 of 300 images pass")


def test_moving_over_a_cell_shows_its_elite(opened: Opened) -> None:
    assert "Point at a cell" in opened.text("#detail")
    x, y = opened.place_on_map()
    told = ""
    seen = set()
    for step in range(8):
        opened.page.mouse.move(x + 40 * step, y)
        told = opened.text("#detail")
        seen.add(told)
    assert len(seen) > 2
    assert "objective" in told
    assert "judge" in told
    opened.page.wait_for_function("document.querySelector('#detail canvas')")
    assert opened.page.locator("#detail canvas").get_attribute("aria-label")


def test_keys_alone_move_pin_and_walk_along_an_axis(opened: Opened) -> None:
    page = opened.page
    page.locator("#map").focus()
    first = opened.text("#map-status")
    page.keyboard.press("ArrowRight")
    second = opened.text("#map-status")
    assert first != second
    assert "objective" in second
    page.keyboard.press("p")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    assert opened.text("#pins h3") == "Pinned: 2"
    page.keyboard.press("x")
    assert "Along color: A red shape. → A blue shape." in opened.text("#path h3")
    assert opened.count("#path li") > 3
    assert opened.count("#path li[aria-current]") == 1
    page.keyboard.press("Escape")
    assert not page.locator("#path").is_visible()


def test_a_click_pins_or_walks_as_the_reader_chose(opened: Opened) -> None:
    page = opened.page
    page.mouse.click(*opened.place_on_map())
    assert opened.text("#pins h3") == "Pinned: 1"
    page.get_by_label("path up").check(force=True)
    page.mouse.click(*opened.place_on_map())
    assert "Along edges" in opened.text("#path h3")
    page.locator("#pins").get_by_text("Remove all").click()
    assert not page.locator("#pins").is_visible()


def test_any_two_measures_are_axes_and_choosing_the_same_swaps_them(opened: Opened) -> None:
    page = opened.page
    page.locator("#tools select[name=x]").select_option(label="edges")
    assert opened.text(".axis-x b") == "edges"
    assert opened.text(".axis-y b") == "color"
    assert page.locator("#tools select[name=y]").input_value() == "0"
    assert "edges across, color up" in page.locator("#map").get_attribute("aria-label")
    page.locator("#tools select[name=y]").select_option(label="nothing")
    assert opened.count("#slices input") == 1


def test_a_slider_goes_through_the_measure_that_is_no_axis(opened: Opened) -> None:
    page = opened.page
    page.locator("#tools select[name=y]").select_option(label="nothing")
    slider = page.locator("#slices input")
    assert opened.text("#slices output") == "all, the best shown"
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert opened.text("#slices output") == "cell 1 of 40"
    assert int(opened.text("#filtered").split()[0]) < 300


def test_filters_leave_what_passes_and_say_how_much(opened: Opened, finished: Path) -> None:
    page = opened.page
    page.locator("#filters select[name=agreement]").select_option(label="disagrees (60)")
    assert opened.text("#filtered").startswith("60 of 300 images pass")
    page.locator("#filters select[name=group]").select_option(value=str(GROUPS.index("red/square")))
    assert int(opened.text("#filtered").split()[0]) < 60
    page.locator("#map").focus()
    assert "red · square" in opened.text("#map-status")
    assert "disagrees" in opened.text("#map-status")


def test_a_filter_tells_how_many_pass_it_and_an_empty_map_says_so(opened: Opened) -> None:
    page = opened.page
    counts = {
        name: page.locator(f"#filters select[name={name}] option:not([value=''])").evaluate_all(
            "options => options.map(option => [+option.text.match(/\\((.*)\\)/)[1], option.disabled])"
        )
        for name in ("group", "agreement")
    }
    assert sum(count for count, _ in counts["group"]) == 300
    assert all(disabled == (count == 0) for found in counts.values() for count, disabled in found)
    page.locator("#map").focus()
    page.locator("#filters select[name=group]").select_option(value=str(GROUPS.index("red/square")))
    page.locator("#filters select[name=label]").select_option(value="0")  # triangles
    assert opened.text("#filtered").startswith("0 of 300 images pass")
    assert "No image passes" in opened.text("#detail")
    assert not page.locator("#map-cursor").is_visible()


def test_a_missing_group_leads_to_its_own_images(opened: Opened) -> None:
    opened.page.locator("#groups .lede a", has_text="red · square").click()
    assert int(opened.text("#filtered").split()[0]) < 300
    opened.page.locator("#map").focus()
    assert opened.text("#map-status").startswith("red · square")


def test_what_a_click_or_a_key_does_is_in_sight_and_covers_no_chosen_cell(opened: Opened) -> None:
    page = opened.page
    page.set_viewport_size({"width": 1280, "height": 700})
    page.locator("nav a[href='#explorer']").click()
    page.locator("#map").focus()
    for key in ("p", "x"):
        page.keyboard.press(key)
    for tray in ("#pins", "#path"):
        box = page.locator(tray).bounding_box()
        assert 0 <= box["y"] <= box["y"] + box["height"] <= 700
    for _ in range(30):
        page.keyboard.press("ArrowDown")
        cell, trays = (page.locator(name).bounding_box() for name in ("#map-cursor", ".trays"))
        assert 0 <= cell["y"] <= cell["y"] + cell["height"] <= trays["y"]


@pytest.mark.parametrize("show", ["objective", "groups", "judge"])
def test_the_map_shows_what_the_reader_chose_with_a_legend(opened: Opened, show: str) -> None:
    before = opened.page.locator("#map").screenshot()
    opened.page.get_by_label(show, exact=True).check(force=True)
    assert opened.page.locator("#map").screenshot() != before
    expected = {"objective": "as the guide sees it", "groups": "blue · square", "judge": "disagrees"}
    assert expected[show] in opened.text("#legend")


def test_disagreements_are_shown_with_their_images_and_by_pair(opened: Opened) -> None:
    page = opened.page
    assert opened.text("#gallery-title") == "All disagreements (6)"
    assert opened.count("#gallery li canvas") == 6
    assert "made as red · triangle" in opened.text("#gallery")
    page.locator("[data-crossed=images] button.same").first.click()
    assert opened.text("#gallery-title").startswith("Made as red · triangle, read as red · triangle")
    page.get_by_label(re.compile("^the archive")).check(force=True)
    assert opened.text("#gallery-title").startswith("All disagreements")
    assert page.locator("[data-crossed=elites]").is_visible()


def test_labels_are_given_blindly_kept_in_the_browser_and_saved(opened: Opened, tmp_path: Path) -> None:
    page = opened.page
    page.get_by_text("Start labelling").click()
    panel = opened.text("#labelling")
    assert "0 of 20 offered images labelled" in panel
    assert "judge" not in panel
    page.keyboard.press("1")
    page.get_by_role("button", name="cannot tell").click()
    page.keyboard.press("3")
    page.keyboard.press("Backspace")
    assert "2 of 20" in opened.text("#label-progress")
    page.reload()
    page.get_by_text("Go on labelling (2 done)").click()
    with page.expect_download() as download:
        page.get_by_text("Save labels").click()
    download.value.save_as(tmp_path / "labels.json")
    saved = json.loads((tmp_path / "labels.json").read_text())
    first, second = saved["labels"]
    assert first["values"] == dict(zip(["color", "edges"], GROUPS[0].split("/"), strict=True))
    assert second["values"] == {"color": None, "edges": None}
    assert len(saved["dataset"]) == 64


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_everything_within_its_width(browser: Any, finished: Path, scheme: str) -> None:
    size = {"width": 360, "height": 740}
    opened = Opened(browser, finished / "report.html", viewport=size, color_scheme=scheme, has_touch=True)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 360
    opened.page.touchscreen.tap(*opened.place_on_map())
    assert opened.text("#pins h3") == "Pinned: 1"
    paper = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(250, 250, 248)", "dark": "rgb(16, 18, 21)"}[scheme]
    assert opened.complaints == []
    opened.context.close()


def test_words_of_a_user_are_never_markup(browser: Any, hostile: Path) -> None:
    opened = Opened(browser, hostile / "report.html")
    opened.page.mouse.click(*opened.place_on_map())
    opened.page.get_by_text("Start labelling").click()
    opened.page.wait_for_timeout(200)
    assert opened.page.evaluate("window.injected") is None
    assert opened.count("b.injected, img[src=x]") == 0
    assert "<img src=x onerror=injected=1>" in opened.text("#labelling")
    assert "</script><b class=injected>" in opened.text("#making")
    assert "שלום 😀" in opened.text("#making")
    assert opened.complaints == []
    opened.context.close()
