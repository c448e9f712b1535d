"""A small HTTP/1.1 client for load tests: one thread, many keep-alive connections, requests prepared in advance.

It costs little beside a server on the same cores: whole requests are stored as bytes, one epoll watches all
connections, and nothing is parsed beyond the length of the answer. It speaks to two kinds of servers:

- raw: ``POST path``, body float32 [n_hits, 3], answer int64 [n_hits], nothing else in either;
- the binary KServe v2 protocol, as Triton has it.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Final

from beampipe.errors import ConfigError, ServiceError, ServiceUnavailableError
from beampipe.serving.load import Arrival, Workload
from beampipe.triton.client.codec import HEADER_LENGTH

_JSON_LENGTH: Final = HEADER_LENGTH.lower().encode()


class HttpSender:
    """Sends stored requests over keep-alive connections.

    Args:
        address: ``host:port`` of the server.
        requests: whole requests, one per event of the workload.
        workload: events that are sent, for the size of the answers.
        connections: most requests in flight.
        clock: gives the time [s], growing.
    """

    def __init__(
        self,
        address: str,
        requests: Sequence[bytes],
        workload: Workload,
        connections: int,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        host, _, port = address.rpartition(":")
        self._requests, self._clock = requests, clock
        size = (1 << 16) + 8 * max(len(hits) for hits in workload.hits)
        self._poll = select.epoll()
        self._connections = [_Connection((host, int(port)), size, self._poll) for _ in range(connections)]
        self._idle = list(self._connections)
        self._busy: dict[int, _Connection] = {}
        self._ready: list[Arrival] = []

    def send(self, ticket: int, event: int) -> None:
        if not self._idle:
            raise ConfigError(f"load: got a request with all {len(self._connections)} connections busy, use more")
        connection = self._idle.pop()
        try:
            connection.start(ticket, self._requests[event])
        except OSError as error:
            self._end(connection, f"{type(error).__name__}: {error}")
            return
        self._busy[connection.fileno] = connection

    def answers(self, timeout: float) -> Sequence[Arrival]:
        deadline = perf_counter() + timeout
        while True:
            out = self._complete()
            left = deadline - perf_counter()
            if out or left <= 0:
                return out
            # epoll waits in whole milliseconds, select in microseconds, and an epoll can be selected.
            select.select([self._poll], [], [], left)

    def _complete(self) -> list[Arrival]:
        """Serve the connections that are ready."""
        for fileno, what in self._poll.poll(0):
            connection = self._busy.get(fileno)
            if connection is None:
                continue
            try:
                if what & select.EPOLLOUT:
                    connection.push()
                complete = bool(what & ~select.EPOLLOUT) and connection.pull()
            except (OSError, ServiceError, ValueError) as error:  # ValueError: a length that is no number
                del self._busy[fileno]
                self._end(connection, f"{type(error).__name__}: {error}")
                continue
            if complete:
                del self._busy[fileno]
                self._idle.append(connection)
                self._ready.append(connection.answer(self._clock()))
        out, self._ready = self._ready, []
        return out

    def _end(self, connection: _Connection, error: str) -> None:
        connection.close()
        self._idle.append(connection)
        self._ready.append(Arrival(connection.ticket, self._clock(), None, error))

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        self._poll.close()


class _Connection:
    """One request at a time; opened when first needed and again after an error."""

    def __init__(self, address: tuple[str, int], size: int, poll: select.epoll) -> None:
        self._address, self._poll = address, poll
        self._buffer = bytearray(size)
        self._view = memoryview(self._buffer)
        self._socket: socket.socket | None = None
        self._left = memoryview(b"")
        self._filled = self._body = self._end = 0
        self._keep = True
        self.ticket = -1

    @property
    def fileno(self) -> int:
        assert self._socket is not None
        return self._socket.fileno()

    def start(self, ticket: int, request: bytes) -> None:
        self.ticket, self._left = ticket, memoryview(request)
        self._filled = self._body = self._end = 0
        if self._socket is None:
            self._socket = socket.create_connection(self._address)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setblocking(False)
            self._poll.register(self._socket, select.EPOLLIN)
        self.push()
        if self._left:
            self._poll.modify(self._socket, select.EPOLLIN | select.EPOLLOUT)

    def push(self) -> None:
        assert self._socket is not None
        if not self._left:
            return
        try:
            while self._left:
                self._left = self._left[self._socket.send(self._left) :]
        except BlockingIOError:
            return
        self._poll.modify(self._socket, select.EPOLLIN)

    def pull(self) -> bool:
        """Read what is there; True once the answer is complete."""
        assert self._socket is not None
        while True:
            try:
                n = self._socket.recv_into(self._view[self._filled :])
            except BlockingIOError:
                return False
            if n == 0:
                raise ServiceUnavailableError("the server closed the connection before the answer was complete")
            self._filled += n
            if not self._end:
                self._parse()
            if self._end and self._filled >= self._end:
                return True

    def _parse(self) -> None:
        """Find where the labels begin and end, once all headers are there."""
        stop = self._buffer.find(b"\r\n\r\n", 0, self._filled)
        if stop < 0:
            return
        lines = bytes(self._view[:stop]).lower().split(b"\r\n")
        headers = dict(line.split(b":", 1) for line in lines[1:])
        if b"content-length" not in headers:
            raise ServiceError("got an answer without Content-Length, expected one with it")
        self._keep = headers.get(b"connection", b"").strip() != b"close"
        self._body = stop + 4
        self._end = self._body + int(headers[b"content-length"])
        if self._end > len(self._buffer):
            raise ServiceError(f"got an answer of {self._end} bytes, expected at most {len(self._buffer)}")
        self._status = lines[0].split(b" ", 2)[1]
        length = int(headers[b"content-length"])
        # Triton answers without binary data (no hits, no labels) with JSON alone, and does not say its length.
        only_json = headers.get(b"content-type", b"").strip() == b"application/json"
        self._json = int(headers.get(_JSON_LENGTH, length if only_json else 0))

    def answer(self, now: float) -> Arrival:
        body = self._view[self._body : self._end]
        if not self._keep:
            self.close()
        if self._status != b"200":
            return Arrival(self.ticket, now, None, f"HTTP {self._status.decode()}: {bytes(body[:200])!r}")
        return Arrival(self.ticket, now, body[self._json :])

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
