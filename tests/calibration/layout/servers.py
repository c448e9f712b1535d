"""Servers of files on this machine: ranges of bytes over HTTP, and as much of S3 as reading takes."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@contextmanager
def serving(folder: Path, *, broken_after: int = -1) -> Iterator[str]:
    """The files below a folder at an address; answers after so many requests are broken off, if that is asked for."""
    answered = 0

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            nonlocal answered
            answered += 1
            if 0 <= broken_after < answered:
                self.close_connection = True
                return
            path = folder / self.path.lstrip("/").partition("?")[0]
            if not path.is_file():
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content = path.read_bytes()
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            part = content[int(asked[1]) : int(asked[2] or len(content)) + 1] if asked else content
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(part)))
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", '"1"')
            self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            if asked:
                first = int(asked[1])
                self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(content)}")
            self.end_headers()
            if body:
                self.wfile.write(part)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()
