"""The pages as a reader sees them: made once, without their notebooks' output, then looked at in a browser.

`make docs-check` looks at all pages, with the output of the notebooks, in more views.
"""

from __future__ import annotations

import html
import importlib
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sphinx.util.inventory import InventoryFile

from tests.test_documentation import AREAS, DOCS, PAGES, blocks

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHECK = runpy.run_path(str(DOCS / "check_site.py"))
LOOKED_AT = (
    "index",
    "install",
    "get_started",
    "gallery",
    "tracking",
    "calibration",
    "reference/tracking",
    "reference/tracking/tracks",
    "reference/commands_calibration",
)
VIEWS = ((1280, "light"), (400, "dark"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pages, with warnings as errors."""
    home = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-D", "nb_execution_mode=off"]
    done = subprocess.run(
        [*command, "-d", home / "trees", DOCS, home / "html"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return home / "html"


def test_no_link_is_dead(site: Path) -> None:
    assert len(list(site.rglob("*.html"))) > 40
    assert CHECK["dead_links"](site) == []


def test_every_public_name_can_be_linked_to(site: Path) -> None:
    with (site / "objects.inv").open("rb") as stream:
        inventory: Any = InventoryFile.load(stream, "", lambda base, page: page)
    there = {name for kind, names in inventory.items() if kind.startswith("py:") for name in names}
    public = {
        f"beampipe.{area}.{name}" for area in AREAS for name in importlib.import_module(f"beampipe.{area}").__all__
    }
    assert len(public) > 100
    assert public <= there


def test_names_of_others_can_be_linked_to(site: Path) -> None:
    """Without network too, by the inventories beside the pages."""
    assert 'href="https://numpy.org/doc/stable/reference/generated/numpy.ndarray.html' in (
        site / "reference" / "tracking.html"
    ).read_text(encoding="utf-8")


def test_formulas_are_drawn_by_the_browser(site: Path) -> None:
    """No script and no dollar sign is left to do it."""
    text = (site / "calibration.html").read_text(encoding="utf-8")
    assert text.count("<math") > 5
    assert "$$" not in text
    assert not re.findall(r"<script[^>]*mathjax", text, re.I)


def test_what_is_copied_from_a_listing_is_what_was_written(site: Path) -> None:
    """Its lines are marked, which adds nothing to its text."""
    listing = re.findall(r"<pre>(.*?)</pre>", (site / "get_started.html").read_text(encoding="utf-8"), re.S)[0]
    assert html.unescape(re.sub(r"<[^>]+>", "", listing)) == blocks("get_started")[0]


def test_the_list_for_language_models_has_every_page_once(site: Path) -> None:
    text = (site / "llms.txt").read_text(encoding="utf-8")
    links = re.findall(r"^- \[.+?\]\((.+?)\)", text, re.M)
    assert sorted(links) == sorted(f"{name}.html" for name in PAGES if name != "index")
    assert all((site / link).exists() for link in links)
    assert "- [Tracks](reference/tracking/tracks.html): `Tracks`, `Track`, `NO_TRACK`\n" in text


@pytest.mark.browser
@pytest.mark.parametrize(("words", "title"), [("cite", "Cite"), ("changelog", "Changes"), ("conda", "Install")])
def test_the_search_finds(browser: Browser, site: Path, words: str, title: str) -> None:
    page = browser.new_page()
    page.goto(f"{(site / 'search.html').as_uri()}?q={words}")
    page.locator("#search-results .search-summary", has_text="finished").wait_for()
    assert title in page.locator("#search-results ul.search > li > a").all_inner_texts()[:3]
    page.close()


@pytest.mark.browser
@pytest.mark.parametrize("name", LOOKED_AT)
def test_nothing_is_cut_off_empty_or_unreadable(browser: Browser, site: Path, name: str) -> None:
    page = browser.new_page()
    assert list(CHECK["faults"](page, site, f"{name}.html", VIEWS)) == []
    page.close()


@pytest.mark.browser
def test_the_look_finds_what_is_wrong(browser: Browser, tmp_path: Path) -> None:
    """So that a page without faults means something."""
    wrong = {
        "clipped": '<p style="width: 5em; overflow: hidden; white-space: nowrap">a line that does not fit in</p>',
        "scrolls": '<pre style="width: 5em; overflow-x: auto">a line that does not fit in</pre>',
        "sticks out": '<p style="width: 9000px">long</p>',
        "no picture": '<img src="nowhere.png" width="9" height="9">',
        "hard to read": '<p style="color: #aaa">pale</p>',
        "not drawn": "<math><merror></merror></math>",
        "empty": '<div class="bd-sidebar-primary">Section</div>',
    }
    for what, text in wrong.items():
        (tmp_path / "page.html").write_text(f"<body><main>{text}</main></body>", encoding="utf-8")
        page = browser.new_page()
        result = list(CHECK["faults"](page, tmp_path, "page.html", [(1280, "light")]))
        assert any(what in fault for fault in result), what
        page.close()
    (tmp_path / "page.html").write_text(
        '<a href="nowhere.html">x</a><a href="#no">y</a><b id="yes"/>', encoding="utf-8"
    )
    assert len(CHECK["dead_links"](tmp_path)) == 2
