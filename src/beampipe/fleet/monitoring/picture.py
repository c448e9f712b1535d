"""A screenshot of the page of a fleet, taken with the system's Chromium and `playwright`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

__all__ = ["FLAGS", "draw_page", "find_browser"]

FLAGS: Final = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
"""Arguments for Chromium without a graphics card, and as root."""
_DRAWING: Final = 3000
"""Time [ms] that the display of an event gets to draw."""


def find_browser() -> str | None:
    """The program of the system's Chromium, None if there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def draw_page(url: str, picture: Path, *, dark: bool = False) -> Path | None:
    """Open the page, wait until it has drawn three times, and take its picture, 1200 pixels wide.

    Args:
        url: address of the page.
        picture: PNG file to write.
        dark: whether the dark scheme is shown.

    Returns:
        The picture; None if there is no browser, or nothing to drive it.
    """
    program = find_browser()
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        return None
    if program is None:
        return None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        page = browser.new_page(viewport={"width": 1200, "height": 900}, color_scheme="dark" if dark else "light")
        page.goto(url)
        page.wait_for_selector('body[data-refreshes="3"]')
        if (display := page.locator("#shown")).is_visible():
            display.scroll_into_view_if_needed()  # what nobody sees is not drawn
            page.wait_for_timeout(_DRAWING)
        page.screenshot(path=picture, full_page=True)
        browser.close()
    return picture
