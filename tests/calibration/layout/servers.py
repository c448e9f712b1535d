"""Servers of files on this machine: ranges of bytes over HTTP, as much of S3 as reading takes, and XRootD itself."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
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
            request = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            part = content[int(request[1]) : int(request[2] or len(content)) + 1] if request else content
            self.send_response(206 if request else 200)
            self.send_header("Content-Length", str(len(part)))
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", '"1"')
            self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            if request:
                first = int(request[1])
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


@contextmanager
def xrootd(files: Sequence[Path]) -> Iterator[str]:
    """Copies of some files at an address of the protocol root, served by XRootD's own server."""
    program = shutil.which("xrootd")
    assert program is not None
    with tempfile.TemporaryDirectory(prefix="xrootd-") as name, socket.socket() as free:
        folder = Path(name)
        for part in ("files", "admin"):
            (folder / part).mkdir()
        for path in files:
            shutil.copyfile(path, folder / "files" / path.name)
        as_user = []
        if os.geteuid() == 0:  # the server refuses to run as root
            as_user = ["-R", "xrootd"]
            folder.chmod(0o755)
            shutil.chown(folder / "admin", "xrootd")
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        lines = ["all.export / r/o", f"oss.localroot {folder}/files", "xrd.allow host localhost"]
        lines += [f"all.{each} {folder}/admin" for each in ("adminpath", "pidpath")]
        (folder / "xrootd.cfg").write_text("\n".join([*lines, f"xrd.port {port}", ""]))
        log = folder / "admin" / "log"
        server = subprocess.Popen([program, *as_user, "-c", folder / "xrootd.cfg", "-l", log], cwd=folder / "admin")
        try:
            _wait_for(server, port, log)
            yield f"root://127.0.0.1:{port}/"
        finally:
            server.terminate()
            server.wait()


def _wait_for(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Until the server answers."""
    until = time.monotonic() + 300
    while time.monotonic() < until:
        if server.poll() is not None:
            raise RuntimeError(
                f"xrootd ended with {server.returncode}: {log.read_text() if log.exists() else 'no log'}"
            )
        with socket.socket() as request:
            if request.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"xrootd did not answer: {log.read_text()}")
