"""A small server on loopback that hands out the page, and asks Prometheus and the registry on its behalf."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from types import TracebackType
from typing import Any, Final

from beampipe.errors import ServiceError
from beampipe.fleet.specification import Fleet
from beampipe.fleet.watching.views import Answer, Views
from beampipe.triton.hosts import LOOPBACK

__all__ = ["WatchServer"]

_PATIENCE: Final = 10.0
"""Time [s] that a client gets to ask, and between two requests."""
_OWN: Final = (None, "same-origin", "none")
"""Whose page a request may come from, as browsers say: our own or none. Programs say nothing."""


class WatchServer:
    """The page of `beampipe fleet watch`, on loopback, for this machine alone.

    GET /                the page
    GET /fleet.json      what the registry says of each server, whether Prometheus answers, displays of events
    GET /api/v1/query    and /api/v1/query_range: asked of Prometheus
    GET /events/         names of the displays of events
    GET /events/NAME     a display of an event
    GET /metrics         states of the servers, for Prometheus

    Everything else is refused, as is whatever another page asks for in its reader's browser.

    Args:
        fleet: the fleet that is watched.
        registry: folder of the registry.
        prometheus: function that gives the address of Prometheus, ``http://127.0.0.1:PORT``, None while there is none.
        events: folder into which others drop displays of events as HTML; None for none.
        port: port to listen on, 0 for a free one; None for the fleet's `page_port`.

    Raises:
        ServiceError: the port is taken.
    """

    def __init__(
        self,
        fleet: Fleet,
        registry: Path,
        prometheus: Callable[[], str | None],
        *,
        events: Path | None = None,
        port: int | None = None,
    ) -> None:
        wanted = fleet.monitoring.page_port if port is None else port
        views = Views(fleet, registry, prometheus, events)
        try:
            self._server = _Server((LOOPBACK, wanted), partial(_Handler, views))
        except OSError as error:
            raise ServiceError(
                f"the fleet's page: port {wanted} cannot be had ({error.strerror}), expected a free one; 0 takes any"
            ) from error
        # A short wait for its end; requests are not slowed by it.
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="fleet-watch", daemon=True)

    @property
    def port(self) -> int:
        """Its port on loopback."""
        return self._server.server_port

    @property
    def url(self) -> str:
        """Its address, ``http://127.0.0.1:PORT/``."""
        return f"http://{LOOPBACK}:{self.port}/"

    def start(self) -> None:
        """Answer from now on, in threads."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more; may be called twice."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> WatchServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def server_bind(self) -> None:
        # The library's own asks a name server for the name of this machine, which may take its time.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = LOOPBACK, int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: it is a client that has gone."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "beampipe"
    sys_version = ""
    timeout = _PATIENCE

    def __init__(self, views: Views, *arguments: Any) -> None:
        self._views = views
        super().__init__(*arguments)

    def do_GET(self) -> None:
        if not self._is_own():
            said = b"got a request for another host or from another page, expected one of this page\n"
            return self._send(Answer(said, "text/plain; charset=utf-8", HTTPStatus.FORBIDDEN))
        path, _, query = self.path.partition("?")
        return self._send(self._views.answer(path, query))

    def _is_own(self) -> bool:
        """Whether the request is for this server by its own name: a page elsewhere can have its name lead here."""
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
        """Say nothing: the page asks every other second."""
