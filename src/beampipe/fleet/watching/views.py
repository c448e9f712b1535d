"""What the server of the page answers, path by path."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from beampipe.fleet.registry import read_records
from beampipe.fleet.specification import Fleet
from beampipe.fleet.watching.event_folder import POLICY, list_displays, read_display
from beampipe.fleet.watching.states import certificate_end, fleet_metrics, shown_state
from beampipe.fleet.watching.watched_page import watch_page

__all__ = ["Answer", "Views"]

_FORWARDED: Final = ("/api/v1/query", "/api/v1/query_range")
"""What is asked of Prometheus; everything else of it stays closed."""
_LONGEST: Final = 8 << 10
"""Longest query [bytes]."""
_PATIENCE: Final = 10.0
"""Time [s] that Prometheus gets to answer."""
_NOTHING: Final = "default-src 'none'"
"""Content-Security-Policy of what is no page."""
_JSON: Final = "application/json"
_HTML: Final = "text/html; charset=utf-8"
_TEXT: Final = "text/plain; charset=utf-8"
_METRICS: Final = "text/plain; version=0.0.4; charset=utf-8"


class Answer(NamedTuple):
    """An answer to a request.

    Attributes:
        body: what is sent.
        kind: its Content-Type.
        status: status of HTTP.
        policy: its Content-Security-Policy.
    """

    body: bytes
    kind: str = _JSON
    status: int = HTTPStatus.OK
    policy: str = _NOTHING


class Views:
    """What is there to see; `WatchServer` tells what each path is.

    Args:
        fleet: the fleet that is watched.
        registry: folder of the registry.
        prometheus: function that gives the address of Prometheus, None while there is none.
        events: folder of the displays of events; None for none.
    """

    def __init__(
        self,
        fleet: Fleet,
        registry: Path,
        prometheus: Callable[[], str | None],
        events: Path | None,
    ) -> None:
        self._fleet = fleet
        self._registry = registry
        self._prometheus = prometheus
        self._events = events
        self._page = watch_page(fleet.name, fleet.monitoring.interval)

    def answer(self, path: str, query: str) -> Answer:
        """The answer to a GET.

        Args:
            path: path that was asked for, as it came.
            query: what stood behind its question mark.
        """
        if path == "/":
            return Answer(self._page.text.encode(), _HTML, policy=self._page.policy)
        if path == "/fleet.json":
            return _as_json(self._seen())
        if path == "/metrics":
            metrics = fleet_metrics(read_records(self._registry), certificate_end(self._fleet.gateway))
            return Answer(metrics.encode(), _METRICS)
        if path in _FORWARDED:
            return self._forwarded(path, query)
        if path == "/events/":
            return _as_json([display._asdict() for display in list_displays(self._events)])
        if path.startswith("/events/"):
            body = read_display(self._events, path.removeprefix("/events/"))
            if body is not None:
                return Answer(body, _HTML, policy=POLICY)
        return Answer(b"nothing here\n", _TEXT, HTTPStatus.NOT_FOUND)

    def _seen(self) -> dict[str, Any]:
        now = time.time()
        servers = [
            {**asdict(record), "state": shown_state(record, now), "age": round(max(0.0, now - record.beat), 1)}
            for record in read_records(self._registry).values()
        ]
        url = self._prometheus()
        ready = url is not None and _asked(url, "/-/ready").status == HTTPStatus.OK
        return {
            "fleet": self._fleet.name,
            "servers": servers,
            "prometheus": {"url": url, "ready": ready, "said": "" if ready else _missing(url)},
            "events": [display._asdict() for display in list_displays(self._events)],
        }

    def _forwarded(self, path: str, query: str) -> Answer:
        if len(query) > _LONGEST:
            return _refusal(HTTPStatus.REQUEST_URI_TOO_LONG, f"got a query of {len(query)} bytes, at most {_LONGEST}")
        url = self._prometheus()
        if url is None:
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, _missing(url))
        return _asked(url, f"{path}?{query}")


def _asked(url: str, path: str) -> Answer:
    """What Prometheus answers."""
    address = urlsplit(url)
    with closing(http.client.HTTPConnection(address.netloc, timeout=_PATIENCE)) as connection:
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            return Answer(reply.read(), status=reply.status)
        except (OSError, http.client.HTTPException):
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, _missing(url))


def _missing(url: str | None) -> str:
    if url is None:
        return "No Prometheus runs beside this fleet, so there is nothing over time to show."
    return f"Prometheus does not answer at {url}, so there is nothing over time to show."


def _refusal(status: int, said: str) -> Answer:
    """A refusal in the form of Prometheus's own."""
    return _as_json({"status": "error", "errorType": "unavailable", "error": said}, status)


def _as_json(value: object, status: int = HTTPStatus.OK) -> Answer:
    return Answer(json.dumps(value).encode(), status=status)
