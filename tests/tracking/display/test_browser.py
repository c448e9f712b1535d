"""The page in a real browser: the system's Chromium, drawing in software."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib.image import imread

from beampipe.tracking import evaluate, load_pipeline, shipped_events
from beampipe.tracking.display import show_event, write_html
from tests.tracking.display.toy import toy_event

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser


@dataclass
class Watched:
    """A page, and everything it said or asked for."""

    page: Page
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def hear(self, text: str) -> None:
        # A software driver on a busy machine remarks that reading the picture, as these tests do, makes it wait.
        if "OpenGL, Performance" not in text:
            self.messages.append(text)

    def pixels(self) -> np.ndarray:
        """The picture beside the panel, (h, w, 3) in 0 .. 1, once it stands."""
        # Two frames: the first runs a redraw that is waiting, the second begins when it is done.
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        image: np.ndarray = imread(BytesIO(self.page.screenshot()))[:, 290:, :3]
        return image

    def count(self, layer: str) -> int:
        return int(self.page.locator(f'[data-layer="{layer}"] output').inner_text().replace(",", ""))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    event, tracks, is_fake = toy_event(600, 300, seed=1)
    made = tmp_path_factory.mktemp("page") / "event.html"
    write_html(made, event, tracks, track_is_fake=is_fake, min_pt=0.6, detector="generic")
    return made


@pytest.fixture
def watched(browser: Browser, path: Path) -> Iterator[Watched]:
    page = browser.new_page(viewport={"width": 1000, "height": 560}, color_scheme="dark")
    watched = Watched(page)
    page.on("console", lambda message: watched.hear(message.text))
    page.on("pageerror", lambda error: watched.messages.append(str(error)))
    page.on("request", lambda request: watched.requests.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_function("window.beampipeReady")
    yield watched
    assert watched.messages == []
    assert watched.requests == [path.as_uri()]
    page.close()


def changed(before: np.ndarray, after: np.ndarray) -> int:
    """Number of pixels that differ."""
    return int((np.abs(before - after).max(axis=2) > 0.05).sum())


def red(pixels: np.ndarray) -> int:
    return int(((pixels[:, :, 0] > 0.6) & (pixels[:, :, 1] < 0.4)).sum())


def test_page_draws_and_says_when(watched: Watched) -> None:
    pixels = watched.pixels()
    background = pixels[2, 2]
    assert (np.abs(pixels - background).max(axis=2) > 0.1).mean() > 0.02
    assert watched.page.title() == "Event 1"
    assert 0 < watched.page.evaluate("window.beampipeReady.firstPictureMs") < 60_000


def test_switches_and_keys_change_the_picture(watched: Watched) -> None:
    first = watched.pixels()
    for layer, key in (("detector", "d"), ("hits", "h"), ("tracks", "t"), ("fakes", "f"), ("truth", "r")):
        watched.page.click(f'[data-layer="{layer}"]')
        assert changed(first, watched.pixels()) > 50, layer
        watched.page.keyboard.press(key)
        assert changed(first, watched.pixels()) == 0, layer


def test_fakes_are_red_and_only_they(watched: Watched) -> None:
    assert watched.count("fakes") > 0
    assert red(watched.pixels()) > 20
    watched.page.keyboard.press("f")
    assert red(watched.pixels()) == 0


def test_views_differ_and_zero_goes_back(watched: Watched) -> None:
    home = watched.pixels()
    for view in ("xy", "rz"):
        watched.page.click(f'[data-view="{view}"]')
        assert changed(home, watched.pixels()) > 1000
    watched.page.keyboard.press("1")
    assert changed(home, watched.pixels()) == 0
    watched.page.mouse.move(600, 300)
    watched.page.mouse.down()
    watched.page.mouse.move(700, 340)
    watched.page.mouse.up()
    turned = watched.pixels()
    assert changed(home, turned) > 1000
    watched.page.mouse.wheel(0, -300)
    assert changed(turned, watched.pixels()) > 1000
    watched.page.mouse.move(995, 5)
    watched.page.keyboard.press("0")
    assert changed(home, watched.pixels()) == 0


@pytest.mark.parametrize("mu", [0, 60])
def test_the_counts_are_those_of_the_table(browser: Browser, tmp_path: Path, mu: int) -> None:
    """Tracks and fakes of `evaluate` on the same event; short tracks are drawn, but count in neither."""
    event, finder = shipped_events(mu)[0], load_pipeline("exatrkx")
    tracks = finder.find(event.hits)
    (result,) = evaluate(finder, [event], warm_up=0).finders
    assert mu == 0 or len(tracks) > result.events[0].n_candidates
    show_event(event, tracks, tmp_path / "event.html", min_pt=0.0)
    page = browser.new_page(viewport={"width": 1000, "height": 560})
    page.goto((tmp_path / "event.html").as_uri())
    page.wait_for_function("window.beampipeReady")
    counts = {
        layer: int(page.locator(f'[data-layer="{layer}"] output').inner_text().replace(",", ""))
        for layer in ("hits", "tracks", "fakes", "detector")
    }
    table, fakes = result.events[0], result.double.fakes
    assert counts["hits"] == table.n_hits
    assert counts["fakes"] == fakes.passed
    assert counts["tracks"] + counts["fakes"] == fakes.total == table.n_candidates
    assert counts["detector"] == 48
    assert (
        page.locator("#summary").inner_text() == f"{table.n_hits:,} hits, {table.n_candidates:,} tracks with 7 or more"
    )
    page.close()


def test_slider_filters_tracks(watched: Watched) -> None:
    first, n_first = watched.pixels(), watched.count("tracks")
    watched.page.locator("#cut").fill("60")
    n_hard = watched.count("tracks")
    assert 0 < n_hard < n_first
    assert changed(first, watched.pixels()) > 100
    watched.page.locator("#cut").fill("0")
    assert watched.count("tracks") > n_first
    watched.page.keyboard.press("]")
    assert watched.page.locator("#cut").input_value() == "3"


def test_pointing_at_a_track_names_it(watched: Watched) -> None:
    watched.page.keyboard.press("2")
    for x in range(560, 760, 3):
        watched.page.mouse.move(x, 230)
        if watched.page.locator("#tip").is_visible():
            break
    tip = watched.page.locator("#tip").inner_text()
    assert "rack" in tip
    assert "GeV" in tip
    watched.page.mouse.move(100, 100)
    assert watched.page.locator("#tip").is_hidden()


@pytest.mark.parametrize("hidden", [False, True])
def test_a_notebook_shows_the_page_in_a_frame(browser: Browser, hidden: bool) -> None:
    """Also where the output is folded at first, and the frame gets its size later."""
    event, tracks, _ = toy_event(60, seed=3)
    page = browser.new_page(viewport={"width": 1000, "height": 600})
    output: list[str] = []
    page.on("pageerror", lambda error: output.append(str(error)))
    display = "none" if hidden else "block"
    page.set_content(f'<div id="output" style="display:{display}">{event.display(tracks)._repr_html_()}</div>')
    frame = page.frame_locator("iframe")
    frame.locator("#scale").wait_for(state="attached")
    page.evaluate("document.getElementById('output').style.display = 'block'")
    scale = frame.locator("#scale")
    scale.wait_for()
    for _ in range(100):  # a busy machine takes its time until the picture stands
        picture = imread(BytesIO(page.locator("iframe").screenshot()))[:, 290:, :3]
        coloured = int((picture.max(axis=2) - picture.min(axis=2) > 0.2).sum())
        if coloured > 500:
            break
        page.wait_for_timeout(100)
    assert coloured > 500
    assert "NaN" not in scale.inner_text()
    assert output == []
    page.close()
