"""Short reprs, small tables, pages in frames and bars, with and without a notebook."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from beampipe.notebook import MOST_TEXT, Page, Shown, html_table, in_notebook, span
from beampipe.terminal import bars


class Thing(Shown):
    def facts(self) -> Mapping[str, object]:
        return {"size": 3, "name": "<b>&" + "x" * 1000}


class Cells(HTMLParser):
    """The texts of a table, and what it is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.attributes: dict[str, str | None] = {}
        self.feed(text)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= dict(attrs)


def test_a_thing_is_said_in_one_line_and_in_a_table() -> None:
    assert repr(Thing()).startswith("Thing(size: 3, name: <b>&xxx")
    assert len(repr(Thing())) < 100 + MOST_TEXT
    table = Cells(Thing()._repr_html_())
    assert "b" not in table.tags
    assert table.texts[:4] == ["Thing", "size", "3", "name"]
    assert table.texts[4].startswith("<b>&x")
    assert len(table.texts[4]) == MOST_TEXT


def test_a_long_table_says_what_it_leaves_out() -> None:
    table = Cells(html_table("numbers", ([n, n * n] for n in range(50)), ("n", "n < m"), caption="a & b", most=10))
    assert table.tags.count("tr") == 11
    assert table.texts[:3] == ["numbers", "n", "n < m"]
    assert table.texts[-2:] == ["... and 40 more", "a & b"]


def test_a_range_in_words() -> None:
    assert span(np.array([3, 1020.4, 0.25]), "mm") == "0.25 to 1020 mm"
    assert span(np.array([[1, -1]])) == "-1 to 1"


def test_a_page_stands_in_a_frame(tmp_path: Path) -> None:
    page = Page("a <title>", '<!doctype html><p class="x">5 &lt; 6</p><script>\'</script>', 300)
    page.write(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == page.html
    frame = Cells(page._repr_html_())
    assert frame.tags == ["iframe"]
    assert frame.attributes["srcdoc"] == page.html
    assert frame.attributes["title"] == page.title
    assert frame.attributes["sandbox"] == "allow-scripts"
    assert len(repr(page)) < 100


def fake_ipython(monkeypatch: pytest.MonkeyPatch, shell: object) -> list[str]:
    """What is shown by an IPython that is not there."""
    shown: list[str] = []

    def show(text: str, display_id: bool) -> SimpleNamespace:
        shown.append(text)
        return SimpleNamespace(update=shown.append)

    ipython, display = ModuleType("IPython"), ModuleType("IPython.display")
    vars(ipython)["get_ipython"] = lambda: shell
    vars(display)["HTML"] = str
    vars(display)["display"] = show
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shown


def test_bars_show_in_a_notebook_and_are_gone_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = fake_ipython(monkeypatch, SimpleNamespace(kernel=object()))
    assert in_notebook()
    with bars() as progress:
        with progress("files < 3", 3) as step:
            for _ in range(3):
                step()
        assert shown[0] == 'files &lt; 3 <progress value="0" max="3"></progress> 0/3'
        assert shown[-2:] == ['files &lt; 3 <progress value="3" max="3"></progress> 3/3', ""]
        shown.clear()
        with progress("hits", 100_000) as step:
            for _ in range(100_000):
                step()
        assert len(shown) == 102
        shown.clear()
        with progress("events", None) as step:
            step()
        assert shown == ["events: 0", "events: 1", ""]


@pytest.mark.parametrize("shell", [None, SimpleNamespace()])
def test_ipython_in_a_terminal_is_no_notebook(monkeypatch: pytest.MonkeyPatch, shell: object) -> None:
    shown = fake_ipython(monkeypatch, shell)
    assert not in_notebook()
    with bars() as progress, progress("files", 2) as step:
        step()
    assert not shown
