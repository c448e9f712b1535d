"""The access log of a gateway: HAProxy sends a line of JSON for each request, this process writes it to a file.

Through a socket, HAProxy never waits for a disk; lines that arrive while this process is not running are lost.
"""

from __future__ import annotations

import logging
import socket
import threading
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

_SIZE: Final = 16 << 20
"""Size of a file [bytes] at which the next one begins."""
_EARLIER: Final = 4
"""Number of earlier files that are kept: ``access.jsonl.1`` is the last one."""
_LINE: Final = 1 << 14
"""Longest line [bytes]."""


class AccessLog:
    """Receives the lines and writes them, from its start to its end.

    Args:
        path: the socket.
        file: the file.
    """

    def __init__(self, path: Path, file: Path) -> None:
        self._path, self._file = path, file
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def set_running(self, wanted: bool) -> None:
        """Start or stop it, unless it is so already."""
        if wanted and self._socket is None:
            self._start()
        elif not wanted:
            self.stop()

    def stop(self) -> None:
        """Stop it; may be called twice."""
        if self._socket is None or self._thread is None:
            return
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        self._path.unlink(missing_ok=True)
        self._socket = self._thread = None

    def _start(self) -> None:
        self._path.unlink(missing_ok=True)  # of a process that was killed
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._path))
        self._thread = threading.Thread(target=self._write, args=(self._socket,), name="fleet-access-log", daemon=True)
        self._thread.start()

    def _write(self, lines: socket.socket) -> None:
        handler = RotatingFileHandler(self._file, maxBytes=_SIZE, backupCount=_EARLIER, encoding="utf-8")
        handler.handleError = lambda record: None  # type: ignore[method-assign]  # on a full disk, lines are lost
        while line := lines.recv(_LINE):
            text = line.decode("utf-8", errors="replace").rstrip()
            if text.startswith("{"):  # not what HAProxy says about itself
                handler.emit(logging.makeLogRecord({"msg": text}))
        handler.close()
