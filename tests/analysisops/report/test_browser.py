"""The page in a real browser, as a file: narrow and wide, light and dark, with an agent that tries to take it over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from beampipe.analysisops.report import write_report
from tests.analysisops.report.made_up import HOSTILE, make_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
AGENTS = ("scripted", "llm", "recall", "nop", "hostile", HOSTILE)


@dataclass
class Opened:
    """A page, and everything it said or asked for."""

    page: Page
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def open_first(self, agent: str, status: str = "") -> str:
        """Open the first assessment of an agent; gives its text."""
        self.page.select_option("[name=agent]", agent)
        self.page.select_option("[name=status]", status)
        one = self.page.locator(".one").first
        one.locator("summary").first.click()
        one.locator(".body h3").first.wait_for()
        return one.inner_text()

    def overflow(self) -> int:
        """By how much the page is wider than the window [pixels]."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("report")
    make_run(home / "run", AGENTS, families=("zmumu", "a_family_with_a_rather_long_name"), levels=(1, 3))
    return write_report(home / "run", home / "index.html")


@pytest.fixture
def opened(browser: Browser, path: Path) -> Iterator[Callable[..., Opened]]:
    pages = []

    def open_page(width: int = 1280, scheme: Literal["light", "dark"] = "light", key: str = "") -> Opened:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        pages.append(page)
        one = Opened(page)
        page.on("console", lambda message: one.messages.append(message.text))
        page.on("pageerror", lambda error: one.messages.append(str(error)))
        page.on("request", lambda request: one.requests.append(request.url))
        page.goto(path.as_uri() + (f"#{key}" if key else ""))
        page.locator(".one").first.wait_for()
        return one

    yield open_page
    for page in pages:
        page.close()


@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (400, "dark"), (1280, "light")])
def test_nothing_sticks_out_whatever_is_open(opened: Callable[..., Opened], width: int, scheme: str) -> None:
    one = opened(width, scheme)
    assert one.overflow() <= 0
    for agent, status in (("scripted", ""), ("llm", "error"), ("recall", "fail"), ("hostile", ""), (HOSTILE, "")):
        one.open_first(agent, status)
        assert one.overflow() <= 0, agent
    assert one.messages == []
    assert {url for url in one.requests if not url.startswith("data:")} == {one.page.url.partition("#")[0]}


def test_an_assessment_opens(opened: Callable[..., Opened]) -> None:
    one = opened()
    text = one.open_first("llm", "ok")
    assert "Gates and rules" in text
    assert "quoted " in text
    assert one.page.locator(".body .bar .fill").count() == 3
    assert "no answer within 600 s" in one.open_first("llm", "error")


def test_filters_and_order(opened: Callable[..., Opened]) -> None:
    one = opened()
    shown = one.page.locator("#shown")
    assert shown.inner_text() == "48 of 48"
    one.page.select_option("[name=level]", "3")
    assert shown.inner_text() == "24 of 48"
    one.page.select_option("[name=order]", "score")
    scores = [float(text) for text in one.page.locator(".one .chip").all_inner_texts()]
    assert scores == sorted(scores)
    assert len(scores) == 24
    one.page.select_option("[name=status]", "untraced")
    assert set(one.page.locator(".one .tag.bad").all_inner_texts()) == {"no reference"}
    one.page.locator("button.cell").nth(1).click()
    assert shown.inner_text() == "4 of 48"
    assert one.page.locator("[name=level]").input_value() == ""


def test_what_an_agent_wrote_is_text(opened: Callable[..., Opened]) -> None:
    one = opened()
    for agent in ("hostile", HOSTILE):
        text = one.open_first(agent)
        assert "window.hacked=2</script>" in text
    one.page.wait_for_timeout(100)
    assert one.page.evaluate("window.hacked") is None
    assert one.page.locator("img, b:has-text('bold'), iframe, object, embed").count() == 0
    assert one.messages == []


def test_a_script_that_got_in_would_not_run(opened: Callable[..., Opened]) -> None:
    """The page's policy is a second lock, behind the one that makes text of everything."""
    one = opened()
    one.page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.hacked = 3";
            document.body.append(script);
            const box = document.createElement("div");
            box.innerHTML = '<img src="x" onerror="window.hacked = 4">';
            document.body.append(box);
        }"""
    )
    one.page.wait_for_timeout(200)
    assert one.page.evaluate("window.hacked") is None
    assert any("Content Security Policy" in text for text in one.messages)
