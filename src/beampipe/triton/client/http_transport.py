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

from beampipe.errors import DeadlineError, ServiceUnavailableError
from beampipe.triton.client.codec import HEADER_LENGTH, HttpCall, HttpReply, Message
from beampipe.triton.client.endpoint import Endpoint, Security, door_of
from beampipe.triton.client.refusals import broken, late, refused_by_http
from beampipe.triton.client.transport import CONNECTING, PendingAnswer
from beampipe.triton.hosts import LOOPBACK

__all__ = ["HttpTransport"]

_ONE_WRITE: Final = 1 << 16
"""A shorter body [bytes] is joined and sent at once; a longer one goes out as it lies in memory."""

_READ: Final = 1 << 20

_MOMENT: Final = 0.05
"""What ends so much [s] before its deadline was not ended by it."""

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
            if security.certificate is not None:
                self._tls.load_cert_chain(security.certificate)
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
            ServiceError: the certificate of the server is not trusted, or is of another host.
        """
        deadline = monotonic() + timeout
        while True:
            connection, fresh = self._connection()
            try:
                return self._exchange(connection, call, deadline, pending)
            except TimeoutError as error:
                connection.close()
                early = monotonic() < deadline - _MOMENT
                raise broken(self._url, f"timed out: {error}") if early else late(self._url) from None
            except ssl.SSLCertVerificationError as error:
                connection.close()
                raise broken(self._url, str(error)) from None
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                # A connection that waited may have been closed meanwhile: that says nothing of the server.
                if fresh or self._closed:
                    raise broken(self._url, f"{type(error).__name__}: {error}") from None
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
        if connection.sock is None:
            self._connect(connection, deadline)
        _allow(connection, deadline)
        if pending is not None:
            pending.on_cancel(lambda: _cut(connection))
        size = sum(len(part) for part in call.body)
        payload = b"".join(call.body) if size <= _ONE_WRITE else call.body
        sent = {**call.headers, **self._headers}
        if call.body:
            sent["Content-Length"] = str(size)
        refused = None
        # Header and body leave together: two packets would wake the server twice.
        _cork(connection, True)
        try:
            connection.request(call.method, f"{self._endpoint.path}{call.path}", payload or None, sent)
        except (BrokenPipeError, ConnectionResetError) as error:
            refused = error  # a server that wants no more of a request has perhaps said why
        else:
            _cork(connection, False)
        _allow(connection, deadline)
        try:
            return self._reply(connection, deadline, whole=refused is None)
        except (OSError, http.client.HTTPException) as error:
            raise refused or error from None

    def _reply(self, connection: http.client.HTTPConnection, deadline: float, *, whole: bool) -> HttpReply:
        """The answer; the connection is used again if the request was sent as a whole."""
        with connection.getresponse() as response:
            parts = []
            while part := response.read1(_READ):
                parts.append(part)
                if connection.sock is not None:
                    _allow(connection, deadline)
            keep = whole and not response.will_close
            length = response.getheader(HEADER_LENGTH)
            data = parts[0] if len(parts) == 1 else b"".join(parts)
            if response.length:
                raise ServiceUnavailableError(f"got {len(data)} bytes, expected {response.length} more")
        if keep and not self._closed:
            self._idle.append(connection)
        else:
            connection.close()
        return HttpReply(response.status, data, int(length) if length and length.isdigit() else None)

    def _connect(self, connection: http.client.HTTPConnection, deadline: float) -> None:
        """Connect, to the address that the endpoint names if it names one; the certificate must be for the host."""
        endpoint = self._endpoint
        allowed = min(CONNECTING, deadline - monotonic())
        if allowed <= 0:
            raise DeadlineError
        made = socket.create_connection(self._enter(), allowed)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            connection.sock = made if self._tls is None else self._tls.wrap_socket(made, server_hostname=endpoint.host)
        except BaseException:
            made.close()
            raise

    def _enter(self) -> tuple[str, int]:
        """Address and port to connect to: behind the shield of a server of this user, with its secret.

        They are looked for at each new connection: a server that was restarted has others.
        """
        endpoint, door = self._endpoint, door_of(self._endpoint)
        self._headers = self._token if door is None else {**self._token, **dict(door.headers)}
        if door is not None and endpoint.local and endpoint.port == door.http:
            return LOOPBACK, door.inner_http
        return endpoint.address or endpoint.host, endpoint.port

    def _connection(self) -> tuple[http.client.HTTPConnection, bool]:
        """One that waits, the last used first, or a new one."""
        try:
            return self._idle.pop(), False
        except IndexError:
            pass
        connection = http.client.HTTPConnection(self._endpoint.host, self._endpoint.port)
        connection.auto_open = 0  # `_connect` does, to an address of our choice
        return connection, True

    def _forget_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop().close()


def _cork(connection: http.client.HTTPConnection, corked: bool) -> None:
    """Let the system keep what is sent, or send what it has kept."""
    assert connection.sock is not None
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, corked)


def _allow(connection: http.client.HTTPConnection, deadline: float) -> None:
    left = deadline - monotonic()
    if left <= 0:
        raise DeadlineError
    if connection.sock is not None:
        connection.sock.settimeout(left)


def _cut(connection: http.client.HTTPConnection) -> None:
    """End a request from another thread: its read returns at once."""
    if connection.sock is not None:
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)
