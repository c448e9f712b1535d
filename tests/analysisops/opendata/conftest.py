"""A server of files on loopback that can be told to cut, to lie and to change its mind."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


def root_file(n: int = 5000, fill: bytes = b"0123456789abcdef") -> bytes:
    """So many bytes that begin as a ROOT file does, and tell their own number."""
    head = b"root" + struct.pack(">iii", 62400, 100, n)
    return (head + fill * (n // len(fill) + 1))[:n]


@dataclass
class Page:
    """What the server gives under one name.

    Attributes:
        content: the whole file.
        cuts: after so many bytes of its answer each request is cut, one after the other; then none is.
        statuses: instead of the file, one after the other.
        headers: more of them, or others.
        claimed: what Content-Length says; None for the truth.
        chunked: tell no length.
        after: is called with the page after each request.
    """

    content: bytes
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    claimed: int | None = None
    chunked: bool = False
    after: Callable[[Page], object] | None = None


class _Http(ThreadingHTTPServer):
    """Says nothing about clients that go away."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass


class FileServer:
    """Pages by name, and what was asked for."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.asked: list[str] = []
        self._http = _Http(("127.0.0.1", 0), partial(_Handler, self))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._http.server_port}/files/{name}"

    def put(self, name: str, page: Page) -> str:
        """Serve a page; returns its address."""
        self.pages[name] = page
        return self.url(name)

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    """Gives the pages of a server."""

    protocol_version = "HTTP/1.1"

    def __init__(self, served: FileServer, *arguments: Any) -> None:
        self._served = served
        super().__init__(*arguments)

    def do_GET(self) -> None:
        name = self.path.partition("?")[0].rpartition("/")[2]
        self._served.asked.append(name)
        page = self._served.pages.get(name)
        if page is None:
            self._short(404)
        elif page.statuses:
            self._short(page.statuses.pop(0), page.headers)
        else:
            self._give(page)
        if page is not None and page.after:
            page.after(page)

    def _short(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        self._head(status, {**(headers or {}), "Content-Length": "0"})

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()

    def _give(self, page: Page) -> None:
        headers = dict(page.headers)
        if page.chunked:
            headers["Connection"] = "close"
        else:
            headers["Content-Length"] = str(len(page.content) if page.claimed is None else page.claimed)
        cut = page.cuts.pop(0) if page.cuts else None
        self.close_connection = page.chunked or cut is not None or page.claimed is not None
        self._head(200, headers)
        self.wfile.write(page.content[:cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setattr("beampipe.analysisops.opendata._PAUSE", 0.0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    served = FileServer()
    yield served
    served.close()
