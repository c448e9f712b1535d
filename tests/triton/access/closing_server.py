"""A gRPC server that closes connections after some answers, and counts what reaches it."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from contextlib import suppress
from types import TracebackType
from typing import Final

_PREFACE: Final = 24  # bytes
_DATA, _HEADERS, _RST_STREAM, _SETTINGS = 0, 1, 3, 4  # types of frames
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4  # their flags


class ClosingServer:
    """A context manager; every answer is the empty message, or a status alone.

    Args:
        answers: number of answers on each connection, which is closed at the next request.

    Attributes:
        port: its port on this machine.
        requests: number of requests that came, by whether they are answered.
        cancelled: number of requests that were cancelled.
        refuses: whether an answer is the status 3 alone, false at first.
        answering: event without which no answer is sent.
    """

    def __init__(self, answers: int = 1) -> None:
        self.refuses = False
        self.requests: Counter[bool] = Counter()
        self.cancelled = 0
        self.answering = threading.Event()
        self.answering.set()
        self._answers = answers
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]

    def __enter__(self) -> ClosingServer:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection, connection.makefile("rb") as stream:
            stream.read(_PREFACE)
            connection.sendall(_frame(_SETTINGS, 0, 0, b""))
            answered = 0
            while header := stream.read(9):
                length, kind, flags = int.from_bytes(header[:3], "big"), header[3], header[4]
                stream.read(length)
                if kind == _SETTINGS and not flags & _ACK:
                    connection.sendall(_frame(_SETTINGS, _ACK, 0, b""))
                self.cancelled += kind == _RST_STREAM
                if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
                    self.requests[answered < self._answers] += 1
                    if answered == self._answers:
                        return
                    answered += 1
                    answer = _answer(int.from_bytes(header[5:], "big"), refuses=self.refuses)
                    threading.Thread(target=self._send, args=(connection, answer), daemon=True).start()

    def _send(self, connection: socket.socket, answer: bytes) -> None:
        self.answering.wait()
        with suppress(OSError):
            connection.sendall(answer)


def _answer(stream: int, *, refuses: bool) -> bytes:
    status = b"\x88"  # 200, of the static table
    begin = status + _field("content-type", "application/grpc")
    if refuses:
        return _frame(_HEADERS, _END_HEADERS | _END_STREAM, stream, begin + _field("grpc-status", "3"))
    return (
        _frame(_HEADERS, _END_HEADERS, stream, begin)
        + _frame(_DATA, 0, stream, bytes(5))
        + _frame(_HEADERS, _END_HEADERS | _END_STREAM, stream, _field("grpc-status", "0"))
    )


def _field(name: str, value: str) -> bytes:
    """A field of headers that is not indexed."""
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body
