"""What the tests of watching share: a fleet that is looked at often, and servers that give metrics."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from beampipe.fleet import Fleet
from beampipe.fleet.registry import Record
from beampipe.fleet.specification import MonitoringSettings, ServerGroup

__all__ = ["Exporter", "fleet_in", "record"]


def fleet_in(folder: Path) -> Fleet:
    """Two servers, without a model; looked at five times a second."""
    return Fleet(folder / "models", {"cpu": ServerGroup("cpu", count=2)}, monitoring=MonitoringSettings(interval=0.2))


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return fleet_in(tmp_path)


class Exporter:
    """A server on loopback that answers ``/metrics``.

    Args:
        lines: gives the lines of the answer, from the time [s] since the start.

    Attributes:
        paths: paths that were asked for.
    """

    def __init__(self, lines: Callable[[float], Iterator[str]]) -> None:
        begin, outer = time.monotonic(), self
        self.lines, self.paths = lines, list[str]()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.paths.append(self.path)
                body = "".join(f"{line}\n" for line in outer.lines(time.monotonic() - begin)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        class Server(HTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                """Say nothing: Prometheus ended while it looked."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        return self._server.server_port

    def __enter__(self) -> Exporter:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()


def record(server: str, metrics: int, **other: Any) -> Record:
    """What a server with that port for metrics says of itself."""
    values = {"pid": 1, "state": "ready", "models": ("module_map",), "beat": time.time(), **other}
    return Record(server, server.rpartition("-")[0], "127.0.0.1", 8000, 8001, metrics, **values)
