"""Check the pages in a browser, at two widths, light and dark.

    python docs/check_site.py docs/_build/html

Prints content that is cut off, overflows, is empty, unreadable or missing, and ends with code 1 if there is any.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urldefrag

VIEWS: Final = ((1280, "light"), (400, "dark"), (1280, "dark"), (400, "light"))
"""Width of the window [px] and scheme of its colours."""

LOOK: Final = (Path(__file__).parent / "_parts" / "look.js").read_text(encoding="utf-8")


def faults(page: Any, site: Path, name: str, views: Iterable[tuple[int, str]] = VIEWS) -> Iterator[str]:
    """Problems of one page of the site, shown in a page of Playwright."""
    asked: list[str] = []
    output: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: output.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: output.append(str(error)))
    for width, scheme in views:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.goto((site / name).as_uri())
        result = page.evaluate(LOOK, width > 1000)
        yield from (f"{name} at {width} px, {scheme}: {fault}" for fault in result)
    outside = sorted({url for url in asked if not url.startswith(("file:", "data:", "blob:"))})
    yield from (f"{name}: asks for {url}" for url in outside)
    yield from (f"{name}: {text}" for text in sorted(set(output)))


class _Links(HTMLParser):
    """Links of a page, and the anchors in it."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record links and anchors."""
        result = dict(attrs)
        self.places |= {result.get("id") or "", (tag == "a" and result.get("name")) or ""}
        self.links += [result[key] or "" for key in ("href", "src") if result.get(key)]


def dead_links(site: Path) -> list[str]:
    """Links within the site without a file or an anchor; source pages are Sphinx's own."""
    pages = {}
    for path in (path for path in site.rglob("*.html") if not path.is_relative_to(site / "_static")):
        pages[path] = _Links()
        pages[path].feed(path.read_text(encoding="utf-8"))
    dead = []
    for path, page in pages.items():
        if path.is_relative_to(site / "_modules"):
            continue
        for link in set(page.links):
            if "://" in link or link.startswith(("data:", "mailto:", "javascript:")):
                continue
            address, place = urldefrag(link)
            target = (path.parent / unquote(address.partition("?")[0])).resolve() if address else path
            if not target.exists() or (place and target in pages and unquote(place) not in pages[target].places):
                dead.append(f"{path.relative_to(site)}: {link} leads nowhere")
    return sorted(dead)


def main(site: Path) -> int:
    """Look at every page; gives the exit code."""
    from playwright.sync_api import sync_playwright

    result = dead_links(site)
    names = sorted(str(path.relative_to(site)) for path in site.rglob("*.html"))
    names = [name for name in names if not name.startswith(("_modules/", "_static/"))]
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for name in names:
            page = browser.new_page()
            result += faults(page, site, name)
            page.close()
        browser.close()
    print("\n".join([*result, f"{len(names)} pages in {len(VIEWS)} views: {len(result)} faults"]))
    return int(bool(result))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
