"""The page of `beampipe fleet watch`: a small server on loopback for the page, server states and alerts."""

from __future__ import annotations

import http.client
import json
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from socketserver import TCPServer
from typing import Any, Final, Literal, NamedTuple, get_args
from urllib.parse import urlsplit

from beampipe.errors import ServiceError
from beampipe.fleet.gateway.access_log import escaped_label
from beampipe.fleet.generated_files import render
from beampipe.fleet.registry import Record, State, read_records
from beampipe.fleet.specification import Fleet
from beampipe.triton.client.endpoint import LOOPBACK

SILENT: Final = "silent"
"""State of a server whose record is out of date: server or node is down, or the file system is slow."""

ShownState = State | Literal["silent"]
"""State of a server as shown: that of its record, or silent."""


def shown_state(record: Record, now: float | None = None) -> ShownState:
    """The state of a server: that of its record, or silent if the record is out of date.

    Args:
        record: its last record.
        now: the time [s since 1970], None for the present.
    """
    return record.state if record.lives(now) else SILENT


def fleet_metrics(records: Mapping[str, Record]) -> Iterator[str]:
    """The states of the servers, as lines in Prometheus's text format.

    Args:
        records: the registry's records, by name of the server.
    """
    yield "# HELP beampipe_fleet_server_state Whether a server is in a state, 0 or 1."
    yield "# TYPE beampipe_fleet_server_state gauge"
    for record in records.values():
        for state in (*get_args(State), SILENT):
            labels = f'server="{escaped_label(record.server)}",group="{escaped_label(record.group)}",state="{state}"'
            yield f"beampipe_fleet_server_state{{{labels}}} {int(shown_state(record) == state)}"


ALERTS: Final = "/api/v1/alerts"
"""Path at which Prometheus has the pending and the firing alerts of `rules.yml`, with their texts."""

_PROMETHEUS_TIMEOUT: Final = 2.0
"""Time [s] that Prometheus gets to answer."""

_NOTHING: Final = "default-src 'none'"
"""Content-Security-Policy of answers that are no page."""

_TEXT: Final = "text/plain; charset=utf-8"


class Answer(NamedTuple):
    """An answer to a request.

    Attributes:
        body: content.
        kind: its Content-Type.
        status: HTTP status.
        policy: its Content-Security-Policy.
    """

    body: bytes
    kind: str = "application/json"
    status: int = HTTPStatus.OK
    policy: str = _NOTHING


def render_page(name: str, interval: float) -> Answer:
    """The page of a fleet; it runs its own script only, and sends requests to its own server only.

    Args:
        name: name of the fleet.
        interval: time between two refreshes [s].
    """
    folder = files("beampipe.fleet.monitoring") / "web"
    style, script = ((folder / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    text = render("monitoring/web/page.html", title=name, interval=f"{interval:g}", css=style, js=script)
    digest = b64encode(sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:;"
        " connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
    return Answer(text.encode(), "text/html; charset=utf-8", policy=policy)


def _alerts(url: str | None) -> dict[str, Any]:
    """Address of Prometheus, its firing alerts, and why they are not known, if so."""
    if url is None:
        return {"url": None, "alerts": [], "said": "No Prometheus runs beside this fleet, so there are no alerts."}
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=_PROMETHEUS_TIMEOUT)) as connection:
        try:
            connection.request("GET", ALERTS)
            alerts = json.load(connection.getresponse())["data"]["alerts"]
            firing = [{**one["labels"], **one["annotations"]} for one in alerts if one["state"] == "firing"]
            firing = [one for one in firing if one.get("severity") != "none"]  # the heartbeat
        except (OSError, http.client.HTTPException, ValueError, KeyError):
            return {"url": url, "alerts": [], "said": f"Prometheus does not answer at {url}, so there are no alerts."}
    return {"url": url, "alerts": firing, "said": ""}


_CLIENT_TIMEOUT: Final = 10.0
"""Time limit [s] for reading a request, and between two requests on a connection."""

_OWN: Final = (None, "same-origin", "none")
"""Accepted values of the header ``Sec-Fetch-Site``: browsers on our page or on none; programs do not send it."""


class PageServer:
    """The server of the page of `beampipe fleet watch`, on loopback only.

    GET /                the page
    GET /fleet.json      state of the gateway, records of the servers, alerts of Prometheus
    GET /metrics         states of the servers and traffic of the gateway, for Prometheus

    Everything else is refused, and so are requests that a browser makes for another site's page.

    Args:
        fleet: the fleet that is watched.
        registry: folder of the registry.
        prometheus: function that gives the address of Prometheus, ``http://127.0.0.1:PORT``, None while there is none.
        port: port to listen on, 0 for a free one; None for the fleet's `page_port`.
        expected: gives the servers of the fleet as records, which stand for those that have none in the registry.
        states: gives the state of the gateway under ``gateway``, and by name of each server its state in the gateway.
        metrics: gives further lines of metrics.

    Raises:
        ServiceError: the port is taken.
    """

    def __init__(
        self,
        fleet: Fleet,
        registry: Path,
        prometheus: Callable[[], str | None],
        *,
        port: int | None = None,
        expected: Callable[[], Iterable[Record]] = tuple,
        states: Callable[[], Mapping[str, str]] = dict,
        metrics: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        wanted = fleet.monitoring.page_port if port is None else port
        self._fleet, self._registry, self._prometheus = fleet, registry, prometheus
        self._expected, self._states, self._metrics = expected, states, metrics
        self._page = render_page(fleet.name, fleet.monitoring.interval)
        try:
            self._server = _Server((LOOPBACK, wanted), partial(_Handler, self.answer))
        except OSError as error:
            raise ServiceError(
                f"the fleet's page: port {wanted} cannot be had ({error.strerror}), expected a free one; 0 takes any"
            ) from error
        # Poll interval for `stop`, 0.1 s; it does not delay requests.
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="fleet-watch", daemon=True)

    @property
    def port(self) -> int:
        """Its port on loopback."""
        return self._server.server_port

    @property
    def url(self) -> str:
        """Its address, ``http://127.0.0.1:PORT/``."""
        return f"http://{LOOPBACK}:{self.port}/"

    def answer(self, path: str) -> Answer:
        """The answer to a GET.

        Args:
            path: requested path, not decoded.
        """
        if path == "/":
            return self._page
        if path == "/fleet.json":
            return Answer(json.dumps(self._seen()).encode())
        if path == "/metrics":
            lines = (*fleet_metrics(self._records()), *self._metrics())
            body = "".join(f"{line}\n" for line in lines)
            return Answer(body.encode(), "text/plain; version=0.0.4; charset=utf-8")
        return Answer(b"nothing here\n", _TEXT, HTTPStatus.NOT_FOUND)

    def _records(self) -> dict[str, Record]:
        return {record.server: record for record in self._expected()} | read_records(self._registry)

    def _seen(self) -> dict[str, Any]:
        now, states = time.time(), self._states()
        servers = [
            {
                **asdict(record),
                "gateway": states.get(record.server),
                "state": shown_state(record, now),
                "age": round(max(0.0, now - record.beat), 1),
            }
            for record in self._records().values()
        ]
        return {
            "fleet": self._fleet.name,
            "gateway": states.get("gateway"),
            "servers": servers,
            "prometheus": _alerts(self._prometheus()),
        }

    def start(self) -> None:
        """Start serving, one thread per connection."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving; may be called twice."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> PageServer:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def server_bind(self) -> None:
        # The library's version looks up the name of this machine in DNS, which may be slow.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = LOOPBACK, int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors: the client has disconnected."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "beampipe"
    sys_version = ""
    timeout = _CLIENT_TIMEOUT

    def __init__(self, answer: Callable[[str], Answer], *arguments: Any) -> None:
        self._answer = answer
        super().__init__(*arguments)

    def do_GET(self) -> None:
        if not self._is_own():
            message = b"got a request for another host or from another page, expected one of this page\n"
            return self._send(Answer(message, _TEXT, HTTPStatus.FORBIDDEN))
        return self._send(self._answer(self.path.partition("?")[0]))

    def _is_own(self) -> bool:
        """Whether host and origin are ours: the DNS name of another site can resolve to loopback (DNS rebinding)."""
        assert isinstance(self.server, _Server)
        hosts = (f"{LOOPBACK}:{self.server.server_port}", f"localhost:{self.server.server_port}")
        return self.headers.get_all("Host") in [[host] for host in hosts] and self.headers["Sec-Fetch-Site"] in _OWN

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Content-Security-Policy", answer.policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """No log: the page sends requests every other second."""
