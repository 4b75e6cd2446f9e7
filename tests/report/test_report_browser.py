"""The page in headless Chromium: no script error, everything in view, and the map under keyboard and pointer."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow  # a browser starts, and draws everything twice
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


def chromium(known: Any) -> str | None:
    """The browser that playwright brings, or the system's."""
    own = known.executable_path
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return own if Path(own).exists() else next((found for name in names if (found := shutil.which(name))), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        path = chromium(started.chromium)
        if path is None:
            pytest.skip("no Chromium: playwright install chromium, or the system's package")
        # Containers often run as root, where Chromium's sandbox refuses to start; the page is our own.
        opened = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(params=[1280, 390])
def view(request: pytest.FixtureRequest, browser: Any, page: Path) -> Iterator[Any]:
    tab = browser.new_page(viewport={"width": request.param, "height": 800})
    said: list[str] = []
    asked: list[str] = []
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("console", lambda message: said.append(message.text))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(page.as_uri())
    for part in tab.query_selector_all("details.part > summary"):
        part.click()
    yield tab
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
    tab.close()


def test_every_figure_is_seen_and_the_page_never_scrolls_sideways(view: Any) -> None:
    for figure in view.query_selector_all("figure"):
        drawing = figure.query_selector("[role=img], [role=application]")
        box = drawing.bounding_box()
        assert box["width"] > 150
        assert box["height"] > 80
    for summary in view.query_selector_all("summary:not(details.part > summary)"):
        summary.click()
    width, across = view.evaluate("[innerWidth, document.documentElement.scrollWidth]")
    assert across <= width
    # What is wider than the window is so inside a box that scrolls.
    outside = view.evaluate(
        """[...document.querySelectorAll("main *")].filter((node) => !node.closest(".scroll, svg, .hidden")
           && node.getBoundingClientRect().right > innerWidth + 1).map((node) => node.outerHTML.slice(0, 80))"""
    )
    assert outside == []


def test_letters_are_large_enough_to_read(view: Any) -> None:
    sizes = view.evaluate(
        """[...document.querySelectorAll("figure svg[role=img] text")].map((text) =>
             parseFloat(getComputedStyle(text).fontSize) * Math.hypot(text.getScreenCTM().a, text.getScreenCTM().b))"""
    )
    assert len(sizes) > 50
    assert min(sizes) >= 10  # pixels


def test_the_keyboard_reaches_the_map_and_moves_on_it(view: Any) -> None:
    for _ in range(120):
        view.keyboard.press("Tab")
        if view.evaluate("document.activeElement.id") == "map":
            break
    assert view.evaluate("document.activeElement.id") == "map"
    assert view.is_visible("#map-thumb")
    assert view.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    first = view.inner_text("#map-said")
    assert "image 1 of 180" in first
    ring = "[...['cx', 'cy']].map((name) => Number(document.getElementById('map-ring').getAttribute(name)))"
    before = view.evaluate(ring)
    for key, axis, sign in (("ArrowRight", 0, 1), ("ArrowLeft", 0, -1), ("ArrowDown", 1, 1), ("ArrowUp", 1, -1)):
        start = view.evaluate(ring)
        view.keyboard.press(key)
        moved = view.evaluate(ring)
        # At the edge there is nowhere to go.
        assert sign * (moved[axis] - start[axis]) >= 0
    view.keyboard.press("End")
    assert "image 180 of 180" in view.inner_text("#map-said")
    assert view.evaluate(ring) != before
    name = view.inner_text("#map-words")
    view.keyboard.press("PageDown")
    assert view.inner_text("#map-words") != name
    view.keyboard.press("Escape")
    assert not view.is_visible("#map-thumb")
    view.keyboard.press("Tab")
    assert view.evaluate("document.activeElement.id") != "map"  # no trap


def test_the_pointer_shows_the_right_thumbnail(view: Any) -> None:
    view.locator("#map").scroll_into_view_if_needed()
    data = view.evaluate("JSON.parse(document.getElementById('map-data').textContent)")
    box = view.locator("#map").bounding_box()
    x, y = data["views"][0]["xy"][37]
    scale = box["width"] / data["width"]
    view.mouse.move(box["x"] + x * scale, box["y"] + y * scale)
    assert view.is_visible("#map-thumb")
    assert view.inner_text("#map-words") == data["points"][37]["words"]
    place = view.evaluate("document.getElementById('map-picture').style.backgroundPosition")
    assert [float(part.removesuffix("px")) for part in place.split()] == [
        -100 * t for t in data["points"][37]["sprite"]
    ]
    inside = view.evaluate(
        """(() => { const a = document.getElementById("map-thumb").getBoundingClientRect(),
             b = document.getElementById("map").getBoundingClientRect();
             return a.left >= b.left - 1 && a.right <= b.right + 1 && a.top >= b.top - 1 && a.bottom <= b.bottom + 1; })()"""
    )
    assert inside
    view.mouse.move(box["x"] + 1, box["y"] - 30)
    assert not view.is_visible("#map-thumb")


def test_another_encoder_moves_the_points(view: Any) -> None:
    view.select_option("#map-encoder", "simclr, seed 0")
    view.select_option("#map-projection", "t-SNE")
    data = view.evaluate("JSON.parse(document.getElementById('map-data').textContent)")
    wanted = next(v for v in data["views"] if (v["encoder"], v["projection"]) == ("simclr, seed 0", "t-SNE"))
    marks = view.evaluate("[...document.querySelectorAll('#map use')].map((mark) => mark.getAttribute('transform'))")
    assert marks[5] == f"translate({wanted['xy'][5][0]:g},{wanted['xy'][5][1]:g})"


def test_a_link_to_a_folded_part_opens_it_and_paper_folds_nothing(browser: Any, page: Path) -> None:
    tab = browser.new_page()
    tab.goto(page.as_uri())
    assert tab.is_visible("#accuracy")
    assert not tab.is_visible("#paired-differences")
    tab.click("nav a[href='#comparison']")
    tab.wait_for_selector("#paired-differences", state="visible")
    assert not tab.is_visible("#learning-curves")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert tab.is_visible("#learning-curves")
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not tab.is_visible("#learning-curves")
    tab.close()
