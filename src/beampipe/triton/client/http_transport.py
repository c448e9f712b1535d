"""HTTP/1.1 by Python's own client: connections to one server that stay open.

`tritonclient.http` is not thread-safe, runs each thread's requests in a loop of `gevent`, and takes longer.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import Any, Final, TypeVar

from beampipe.errors import DeadlineError, ServiceError, ServiceUnavailableError
from beampipe.triton.client.codec import HEADER_LENGTH, HttpCall, HttpReply, Message, refused_by_http
from beampipe.triton.client.endpoint import Endpoint, Security, door_of
from beampipe.triton.client.transport import PendingAnswer

__all__ = ["HttpTransport"]

_ONE_WRITE: Final = 1 << 16
"""A shorter body [bytes] is joined and sent at once; a longer one goes out as it lies in memory."""

_READ: Final = 1 << 20

_LOOPBACK: Final = "127.0.0.1"
"""Address on which a server is behind its shield."""

_Reply = TypeVar("_Reply")


class HttpTransport:
    """Connections to one server, as many as there are requests at once; they stay open.

    Args:
        endpoint: address of the server.
        security: token to show and certificates to trust.
    """

    def __init__(self, endpoint: Endpoint, security: Security) -> None:
        self._endpoint = endpoint
        self._url = str(endpoint)
        self._token = dict(security.headers)
        self._headers = self._token
        self._tls = None
        if endpoint.tls:
            self._tls = ssl.create_default_context(cafile=security.roots)
        self._idle: deque[http.client.HTTPConnection] = deque()
        self._closed = False

    def send(self, message: Message[_Reply], timeout: float, pending: PendingAnswer[Any] | None = None) -> _Reply:
        reply = self.exchange(message.to_http(timeout), timeout, pending)
        if reply.status != 200:
            raise refused_by_http(self._url, reply)
        return message.from_http(reply, self._url)

    def exchange(self, call: HttpCall, timeout: float, pending: PendingAnswer[Any] | None = None) -> HttpReply:
        """Send anything over HTTP; other than `send`, it gives an answer of any status back.

        Raises:
            ServiceUnavailableError: nobody answers.
            DeadlineError: no answer in time.
            ServiceError: the certificate of the server is not trusted.
        """
        deadline = monotonic() + timeout
        while True:
            connection, fresh = self._connection()
            try:
                return self._exchange(connection, call, deadline, pending)
            except TimeoutError:
                connection.close()
                message = f"{self._url}: got no answer within {timeout:g} s; allow more time"
                raise DeadlineError(message, url=self._url) from None
            except ssl.SSLCertVerificationError as error:
                connection.close()
                message = f"{self._url}: {error}; expected a certificate that tls=FILE trusts"
                raise ServiceError(message, url=self._url) from None
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                # A connection that waited may have been closed meanwhile: that says nothing of the server.
                if fresh or self._closed:
                    said = str(error) or type(error).__name__
                    message = f"{self._url}: {said}, expected a Triton there; is a server running there?"
                    raise ServiceUnavailableError(message, url=self._url) from None
                self._forget_idle()

    def close(self) -> None:
        self._closed = True
        self._forget_idle()

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        call: HttpCall,
        deadline: float,
        pending: PendingAnswer[Any] | None,
    ) -> HttpReply:
        _allow(connection, deadline)
        if connection.sock is None:
            connection.connect()
        if pending is not None:
            pending.on_cancel(lambda: _cut(connection))
        size = sum(len(part) for part in call.body)
        payload = b"".join(call.body) if size <= _ONE_WRITE else call.body
        sent = {**call.headers, **self._headers, "Content-Length": str(size)} if call.body else self._headers
        connection.request(call.method, f"{self._endpoint.path}{call.path}", payload or None, sent)
        _allow(connection, deadline)
        with connection.getresponse() as response:
            parts = []
            while part := response.read1(_READ):
                parts.append(part)
                if connection.sock is not None:
                    _allow(connection, deadline)
            keep = not response.will_close
            length = response.getheader(HEADER_LENGTH)
            data = parts[0] if len(parts) == 1 else b"".join(parts)
            if response.length:
                raise ServiceUnavailableError(f"got {len(data)} bytes, expected {response.length} more")
        if keep and not self._closed:
            self._idle.append(connection)
        else:
            connection.close()
        return HttpReply(response.status, data, int(length) if length and length.isdigit() else None)

    def _connection(self) -> tuple[http.client.HTTPConnection, bool]:
        """One that waits, the last used first, or a new one."""
        try:
            return self._idle.pop(), False
        except IndexError:
            pass
        host, port = self._endpoint.host, self._endpoint.port
        # Looked for at each new connection: a server that is started again has another secret.
        door = door_of(self._endpoint)
        self._headers = self._token if door is None else {**self._token, **dict(door.headers)}
        if door is not None and self._endpoint.local and port == door.http:
            host, port = _LOOPBACK, door.inner_http
        if self._tls is not None:
            return http.client.HTTPSConnection(host, port, context=self._tls), True
        return http.client.HTTPConnection(host, port), True

    def _forget_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop().close()


def _allow(connection: http.client.HTTPConnection, deadline: float) -> None:
    left = deadline - monotonic()
    if left <= 0:
        raise DeadlineError
    connection.timeout = left
    if connection.sock is not None:
        connection.sock.settimeout(left)


def _cut(connection: http.client.HTTPConnection) -> None:
    """End a request from another thread: its read returns at once."""
    if connection.sock is not None:
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)
