"""Connections to a server: HTTP/1.1 by Python's own client, and gRPC by the generated stubs of `tritonclient`.

`tritonclient`'s clients are not used. That of gRPC adds 80 us to each small event, and its blocking call cannot be
cancelled. That of HTTP is not thread-safe and runs each thread's requests in a loop of `gevent`.

`FakeTransport` answers in tests. One more transport has to answer a `ConfigRequest` and an `InferRequest`, and to raise
`ServiceError` for other messages: it then has no shared memory.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from time import monotonic
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

from beampipe.errors import CancelledError, ConfigError, DeadlineError, ServiceUnavailableError
from beampipe.triton.client import error_mapping
from beampipe.triton.client.codec import HEADER_LENGTH, SIZE_HEADER, HttpCall, HttpReply, InferRequest, Message
from beampipe.triton.client.endpoint import LOOPBACK, Endpoint, Security, connection_of

CONNECTING: Final = 5.0
"""Timeout of connecting [s]; a server that takes longer hangs, or is out of reach."""

_Result = TypeVar("_Result")

_Reply = TypeVar("_Reply")


@runtime_checkable
class Transport(Protocol):
    """Carries messages to one server and answers back; used by several threads at once."""

    def send(self, message: Message[_Reply], timeout: float, pending: PendingAnswer[Any] | None = None) -> _Reply:
        """Send a message and wait for the answer.

        Args:
            message: the request.
            timeout: longest wait [s].
            pending: future of the answer, by which the request may be cancelled; None if it cannot be.

        Raises:
            InputError: the server refuses the data.
            ServiceUnavailableError: the server is down, stopping or out of reach.
            DeadlineError: no answer in time.
            ServiceError: the server refuses for another reason, or gives what is no answer.
        """

    def close(self) -> None:
        """Drop the connections."""


class PendingAnswer(Future[_Result]):
    """The future of a server's answer.

    Unlike an executor's future it stays pending while the request is in flight, so that `cancel` works until the answer
    is there; the request is then cancelled too.
    """

    def __init__(self) -> None:
        super().__init__()
        self._guard = threading.RLock()  # a callback may cancel again
        self._abort: Callable[[], Any] | None = None

    def on_cancel(self, abort: Callable[[], Any], /) -> None:
        """Set the function that aborts the request in flight; called at once if the future is cancelled already."""
        with self._guard:
            self._abort = abort
            cancelled = self.cancelled()
        if cancelled:
            abort()

    def cancel(self) -> bool:
        """Abort the request; False if the answer was there already."""
        with self._guard:
            if self.done() or not super().cancel():
                return self.cancelled()
            self.set_running_or_notify_cancel()  # wakes those that wait for several futures
            abort = self._abort
        if abort is not None:
            abort()
        return True

    def check(self) -> None:
        """Raise `CancelledError` if the future is cancelled."""
        if self.cancelled():
            raise CancelledError("client: nobody waits for the answer any more")

    def settle(self, work: Callable[[], _Result]) -> None:
        """Set the result or the exception of `work`, unless the future is cancelled."""
        if self.cancelled():
            return
        with suppress(InvalidStateError):  # cancelled meanwhile
            try:
                self.set_result(work())
            except BaseException as error:
                self.set_exception(error)


TRACEPARENT: Final = "traceparent"
"""Header of the W3C with the span that a request belongs to."""

_FORM: Final = re.compile("00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

_GIVEN: Final[ContextVar[str | None]] = ContextVar("beampipe_traceparent", default=None)


@contextmanager
def traced(parent: str) -> Iterator[None]:
    """Requests that are made inside the block belong to this span.

    Without such a block they belong to the current span of OpenTelemetry, if the program has one.

    Args:
        parent: the span as in the header ``traceparent``, ``00-TRACE-SPAN-FLAGS`` in hexadecimal digits.

    Raises:
        ConfigError: it has another form.
    """
    if not _FORM.fullmatch(parent):
        raise ConfigError(
            f"traceparent: got {parent!r}, expected 00-TRACE-SPAN-FLAGS with 32, 16 and 2 hexadecimal digits in small"
            " letters, neither TRACE nor SPAN zero"
        )
    token = _GIVEN.set(parent)
    try:
        yield
    finally:
        _GIVEN.reset(token)


def current_parent() -> str | None:
    """The span that a request made now belongs to, in the form of the header; None for none."""
    parent = _GIVEN.get()
    if parent is not None:
        return parent
    trace = sys.modules.get("opentelemetry.trace")  # a program without it has no span
    if trace is None:
        return None
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


_ONE_WRITE: Final = 1 << 16
"""Bodies up to this length [bytes] are joined and sent at once; longer ones are sent part by part, without a copy."""

_READ: Final = 1 << 20

_MOMENT: Final = 0.05
"""A timeout this long [s] before the deadline has another cause."""


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
        self._tls = security.context() if endpoint.tls else None
        self._certificate = security.certificate
        self._idle: deque[http.client.HTTPConnection] = deque()
        self._closed = False

    def send(self, message: Message[_Reply], timeout: float, pending: PendingAnswer[Any] | None = None) -> _Reply:
        call = message.to_http(timeout)
        if message.rpc == InferRequest.rpc and (parent := current_parent()) is not None:
            call = call._replace(headers={**call.headers, TRACEPARENT: parent})
        reply = self.exchange(call, timeout, pending)
        if reply.status != 200:
            raise error_mapping.http_reply_error(self._url, reply)
        return message.from_http(reply, self._url)

    def exchange(self, call: HttpCall, timeout: float, pending: PendingAnswer[Any] | None = None) -> HttpReply:
        """Send anything over HTTP; unlike `send`, returns an answer of any status.

        Raises:
            ServiceUnavailableError: no server answers.
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
                if monotonic() < deadline - _MOMENT:
                    raise error_mapping.connection_error(self._url, f"timed out: {error}") from None
                raise error_mapping.deadline_error(self._url) from None
            except ssl.SSLCertVerificationError as error:
                connection.close()
                raise error_mapping.connection_error(self._url, str(error)) from None
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                # The server may have closed an idle connection meanwhile: that does not mean that it is down.
                if fresh or self._closed:
                    text = f"{type(error).__name__}: {error}"
                    raise error_mapping.connection_error(self._url, text, self._certificate) from None
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
            refused = error  # a server that stops reading a request may have answered why
        else:
            _cork(connection, False)
        _allow(connection, deadline)
        try:
            return self._reply(connection, deadline, whole=refused is None)
        except ssl.SSLError:  # an alert, which says why
            raise
        except (OSError, http.client.HTTPException) as error:
            raise refused or error from None

    def _reply(self, connection: http.client.HTTPConnection, deadline: float, *, whole: bool) -> HttpReply:
        """The answer; the connection is reused if the whole request was sent."""
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
        """Connect, to the endpoint's address if it has one; the certificate must be for the host."""
        endpoint = self._endpoint
        allowed = min(CONNECTING, deadline - monotonic())
        if allowed <= 0:
            raise DeadlineError
        sock = socket.create_connection(self._enter(), allowed)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            connection.sock = sock if self._tls is None else self._tls.wrap_socket(sock, server_hostname=endpoint.host)
        except BaseException:
            sock.close()
            raise

    def _enter(self) -> tuple[str, int]:
        """Address and port to connect to: behind the reverse proxy of this user's own server, with its secret.

        Looked up at each new connection, since a restarted server has others.
        """
        endpoint, info = self._endpoint, connection_of(self._endpoint)
        self._headers = self._token if info is None else {**self._token, **dict(info.headers)}
        if info is not None and endpoint.local and endpoint.port == info.http:
            return LOOPBACK, info.inner_http
        return endpoint.address or endpoint.host, endpoint.port

    def _connection(self) -> tuple[http.client.HTTPConnection, bool]:
        """An idle connection, the last used first, or a new one; and whether it is new."""
        try:
            return self._idle.pop(), False
        except IndexError:
            pass
        connection = http.client.HTTPConnection(self._endpoint.host, self._endpoint.port)
        connection.auto_open = 0  # `_connect` chooses the address
        return connection, True

    def _forget_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop().close()


def _cork(connection: http.client.HTTPConnection, corked: bool) -> None:
    """Hold data back in the kernel, or send what was held."""
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


_OPTIONS: Final[tuple[tuple[str, int | str], ...]] = (
    # Events have no natural limit; the server and its gateway state theirs.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Reconnect to a restarted server within half a second, not within gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    # Despite its name, the timeout of one attempt to connect.
    ("grpc.min_reconnect_backoff_ms", int(1000 * CONNECTING)),
    # Clients do not share connections: closing one leaves the others alone.
    ("grpc.use_local_subchannel_pool", 1),
    # Proxies of the environment are for the web.
    ("grpc.enable_http_proxy", 0),
)

_MAX_MESSAGE: Final = (1 << 31) - 1
"""Largest message of protobuf [bytes]."""

_ALERT: Final = 1.0
"""Time limit [s] of a handshake that is made to learn why another one was refused."""

_GRACE: Final = 0.1
"""Time [s] from a cancellation here to that on the server.

Triton before 2.59 can crash on a cancellation that coincides with its answer (issue 7368 of its server, fixed in 2.54,
2.57 and 2.59). Small events are answered within a millisecond; only longer ones are worth cancelling."""

_LAST: Final = 1.0
"""Longest time [s] until threads have left the calls of a closed channel."""


class GrpcTransport:
    """One gRPC channel to a server.

    Args:
        endpoint: address of the server.
        security: token to show and certificates to trust.

    Raises:
        MissingExtraError: `tritonclient` is not installed.
    """

    def __init__(self, endpoint: Endpoint, security: Security) -> None:
        import grpc
        from tritonclient.grpc import service_pb2, service_pb2_grpc

        self._grpc = grpc
        self._protobuf = service_pb2
        self._url = str(endpoint)
        self._endpoint = endpoint
        self._security = security
        self._metadata = security.headers
        self._secret: tuple[tuple[str, str], ...] | None = None
        target, options = endpoint.authority, _OPTIONS
        if endpoint.address:  # one of several addresses of the host; the certificate must be for its name all the same
            address, family = endpoint.address, "ipv4"
            if ":" in address:
                address, family = f"[{address}]", "ipv6"
            target = f"{family}:{address}:{endpoint.port}"
            options += (
                ("grpc.default_authority", endpoint.authority),
                ("grpc.ssl_target_name_override", endpoint.host),
            )
        if endpoint.tls:
            # Without a file gRPC would trust its own list, which lacks a site's authority.
            roots = security.roots or ssl.get_default_verify_paths().cafile
            own = None if security.certificate is None else security.certificate.read_bytes()
            trusted = None if roots is None else Path(roots).read_bytes()
            credentials = grpc.ssl_channel_credentials(trusted, own, own)
            self._channel = grpc.secure_channel(target, credentials, options)
        else:
            self._channel = grpc.insecure_channel(target, options)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._used = 0
        self._one_less = threading.Condition()

    def send(self, message: Message[_Reply], timeout: float, pending: PendingAnswer[Any] | None = None) -> _Reply:
        method, request = getattr(self._stub, message.rpc), message.to_grpc(self._protobuf, timeout)
        if request.ByteSize() > _MAX_MESSAGE:
            raise error_mapping.too_large_error(self._url)
        metadata = (*self._metadata, (SIZE_HEADER, str(numbers))) if (numbers := message.numbers) else self._metadata
        if message.rpc == InferRequest.rpc and (parent := current_parent()) is not None:
            metadata = (*metadata, (TRACEPARENT, parent))
            request.id = parent  # Triton 2.51 ignores up to a third of these headers
        if message.guarded or self._secret is None:  # a restarted server has another secret
            info = connection_of(self._endpoint)
            self._secret = () if info is None else info.headers
        metadata = (*metadata, *self._secret)
        try:
            if pending is None:
                answer = method(request, timeout=timeout, metadata=metadata)
            else:
                answer = self._answer(method.future(request, timeout=timeout, metadata=metadata), pending)
        except self._grpc.FutureCancelledError:
            raise error_mapping.reply_error(self._url, "CANCELLED", "cancelled here") from None
        except self._grpc.RpcError as error:
            code, details = error.code().name, error.details() or ""
            if self._endpoint.tls and error_mapping.is_broken(code, details):
                details = self._tls_alert() or details
            raise error_mapping.grpc_error(self._url, code, details, self._security.certificate) from None
        except ValueError as error:  # the channel is closed
            raise error_mapping.connection_error(self._url, str(error)) from None
        return message.from_grpc(answer)

    def _tls_alert(self) -> str:
        """Why the server refuses the handshake, which gRPC does not tell with TLS 1.3; empty if it does not."""
        endpoint = self._endpoint
        try:
            context = self._security.context()
            context.set_alpn_protocols(["h2"])
            with (
                socket.create_connection((endpoint.address or endpoint.host, endpoint.port), _ALERT) as plain,
                context.wrap_socket(plain, server_hostname=endpoint.host) as connection,
            ):
                connection.recv(1)  # a server that accepts the client begins with its settings
        except ssl.SSLError as error:
            return str(error)
        except OSError:
            pass
        return ""

    def _answer(self, call: Any, pending: PendingAnswer[Any]) -> Any:
        """Wait for the answer to a call that may be cancelled."""

        def cancel_later() -> None:
            timer = threading.Timer(_GRACE, cancel)
            timer.daemon = True
            self._use()
            timer.start()

        def cancel() -> None:
            try:
                call.cancel()
            finally:
                self._leave()

        self._use()
        call.add_done_callback(lambda call: self._leave())  # gRPC's own thread uses it until then
        self._use()
        try:
            pending.on_cancel(cancel_later)
            return call.result()
        finally:
            self._leave()

    def _use(self) -> None:
        """A thread begins to use a call."""
        with self._one_less:
            self._used += 1

    def _leave(self) -> None:
        """A thread uses a call no longer."""
        with self._one_less:
            self._used -= 1
            self._one_less.notify_all()

    def close(self) -> None:
        """Close the channel, which cancels all calls, and wait until no thread uses one.

        At the end of the program Python ends a daemon thread anywhere, even where it holds the lock of a call. The main
        thread then waits for that lock forever when it deletes the call.
        """
        self._wait_for_threads(_GRACE)
        self._channel.close()
        self._wait_for_threads(_LAST)

    def _wait_for_threads(self, limit: float) -> None:
        with self._one_less:
            self._one_less.wait_for(lambda: not self._used, limit)
