"""Take the picture of a running fleet's page, ``docs/_static/fleet_watch.png``, with the system's Chromium.

beampipe fleet watch ... &
python docs/draw_fleet_watch.py http://127.0.0.1:PORT/
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

PICTURE: Final = Path(__file__).parent / "_static" / "fleet_watch.png"
FLAGS: Final = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
"""Chromium without a graphics card, and as root."""
_DRAWING: Final = 3000
"""Time [ms] that the display of an event gets to draw."""


def draw(url: str, picture: Path = PICTURE, *, dark: bool = False) -> None:
    """Open the page, wait until it has drawn three times, and take its picture, 1200 pixels wide.

    Args:
        url: address of the page.
        picture: PNG file to write.
        dark: whether the dark scheme is shown.
    """
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        page = browser.new_page(viewport={"width": 1200, "height": 900}, color_scheme="dark" if dark else "light")
        page.goto(url)
        page.wait_for_selector('body[data-refreshes="3"]')
        if (display := page.locator("#shown")).is_visible():
            display.scroll_into_view_if_needed()  # what nobody sees is not drawn
            page.wait_for_timeout(_DRAWING)
        page.screenshot(path=picture, full_page=True)
        browser.close()


if __name__ == "__main__":
    draw(*sys.argv[1:2], *map(Path, sys.argv[2:3]))
