"""The page in a real browser, of made-up servers and alerts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from beampipe.fleet import Fleet
from beampipe.fleet.monitoring.page import PageServer
from beampipe.fleet.registry import Record, remove_record, write_record
from beampipe.fleet.specification import MonitoringSettings, ServerGroup
from tests.fleet.monitoring.conftest import Exporter, record

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
STATES = {"gateway": "running", "cpu-0": "UP", "cpu-1": "DRAIN"}
"""What the process of a fleet gives to the page."""


@dataclass
class Watched:
    """A page, and everything it said or asked for."""

    page: Page
    beat: Callable[[], None]
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def row(self, server: str) -> list[str]:
        return self.page.locator(f'tr[data-server="{server}"] > *').all_inner_texts()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds, while the servers say that they live; the page asks once a second."""
        for _ in range(200):
            self.beat()
            if condition():
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(self.page.inner_text("body"))


@dataclass
class Made:
    """A made-up fleet, and its page's server."""

    folder: Path
    records: dict[str, Record] = field(default_factory=lambda: {name: record(name, 1) for name in ("cpu-0", "cpu-1")})
    """What each server says of itself."""
    url: str | None = None
    """Address of a stand-in for Prometheus."""
    alerts: str = "[]"
    """What that says of alerts."""

    def __post_init__(self) -> None:
        fleet = Fleet(
            self.folder / "models",
            {"cpu": ServerGroup("cpu", count=2)},
            name="tracking",
            monitoring=MonitoringSettings(interval=0.3),
        )
        self.registry = self.folder / "registry"
        self.server = PageServer(fleet, self.registry, lambda: self.url, states=lambda: STATES)

    def beat(self) -> None:
        for output in self.records.values():
            write_record(self.registry, output)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    fleet = Made(tmp_path_factory.mktemp("fleet"))

    def answer(seconds: float) -> Iterator[str]:
        yield f'{{"data": {{"alerts": {fleet.alerts}}}}}'

    with fleet.server, Exporter(answer) as prometheus:
        fleet.url = f"http://127.0.0.1:{prometheus.port}"
        yield fleet


@pytest.fixture
def watched(browser: Browser, made: Made) -> Iterator[Watched]:
    made.beat()
    page = browser.new_page(viewport={"width": 1200, "height": 900}, color_scheme="dark")
    watched = Watched(page, made.beat)
    page.on("console", lambda message: watched.messages.append(message.text))
    page.on("pageerror", lambda error: watched.messages.append(str(error)))
    page.on("request", lambda request: watched.requests.append(request.url))
    page.goto(made.server.url)
    page.wait_for_selector("body[data-refreshes]")
    yield watched
    assert all(url.startswith((made.server.url, "data:")) for url in watched.requests)
    page.close()


def test_servers_and_gateway_are_those_of_the_fleet(watched: Watched) -> None:
    assert watched.page.locator("#missing").is_hidden()
    assert watched.row("cpu-0")[:5] == ["cpu-0", "ready", "UP", "127.0.0.1:8000", "module_map"]
    assert watched.row("cpu-1")[2] == "DRAIN"
    assert watched.row("gateway")[:3] == ["gateway", "running", "–"]
    width = watched.page.evaluate("document.documentElement.scrollWidth")
    assert width <= 1200
    assert watched.messages == []


def test_the_registry_tells_of_a_server_that_hangs_goes_and_comes(watched: Watched, made: Made) -> None:
    before = made.records["cpu-1"]
    made.records["cpu-1"] = replace(before, state="hangs", text="<b>no answer</b>")
    watched.wait_for(lambda: watched.row("cpu-1")[1] == "hangs")
    assert watched.row("cpu-1")[-1] == "<b>no answer</b>"  # words, not HTML
    del made.records["cpu-1"]
    remove_record(made.registry, "cpu-1")
    watched.wait_for(lambda: watched.row("cpu-1") == [])
    made.records["cpu-1"] = before
    watched.wait_for(lambda: watched.row("cpu-1")[1:2] == ["ready"])


def test_firing_alerts_are_shown(watched: Watched, made: Made) -> None:
    assert watched.page.locator("#alerts").is_hidden()
    texts = {"summary": "Server cpu-2 has not answered.", "action": "See <i>its</i> log."}
    made.alerts = json.dumps([{"state": "firing", "labels": {"alertname": "ServerDown"}, "annotations": texts}])
    shown = ["ServerDown Server cpu-2 has not answered. See <i>its</i> log."]
    watched.wait_for(lambda: watched.page.locator("#alerts li").all_inner_texts() == shown)
    made.alerts = "[]"
    watched.wait_for(lambda: watched.page.locator("#alerts").is_hidden())


def test_where_prometheus_ends_the_page_says_so(watched: Watched, made: Made) -> None:
    before, made.url = made.url, None
    watched.page.locator("#missing").wait_for(state="visible")
    assert "No Prometheus runs" in watched.page.locator("#missing").inner_text()
    watched.wait_for(lambda: watched.row("cpu-0")[1:2] == ["ready"])
    made.url = before
    watched.wait_for(lambda: watched.page.locator("#missing").is_hidden())
