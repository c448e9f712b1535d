"""HTTP/1.1 with the binary tensors of the KServe v2 protocol, by Python's own client.

`tritonclient.http` is not thread-safe, runs each thread's requests in a loop of `gevent`, and takes longer.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic
from typing import Any, Final
from urllib.parse import quote

import numpy as np

from beampipe.errors import DeadlineError, ServiceError, ServiceUnavailableError
from beampipe.triton.client.endpoint import Endpoint, Security
from beampipe.triton.client.failures import from_http
from beampipe.triton.client.wire import Call, Output, Request
from beampipe.triton.model.contract import TensorSpec

__all__ = ["HttpTransport"]

_HEADER_LENGTH: Final = "Inference-Header-Content-Length"

_ONE_WRITE: Final = 1 << 16
"""A shorter body [bytes] is joined and sent at once; a longer one goes out as it lies in memory."""

_READ: Final = 1 << 20


class HttpTransport:
    """Connections to one server, as many as there are requests at once; they stay open.

    Args:
        endpoint: where.
        security: token and certificates.
    """

    def __init__(self, endpoint: Endpoint, security: Security) -> None:
        self._endpoint = endpoint
        self._where = str(endpoint)
        self._headers = dict(security.headers)
        self._tls = None
        if endpoint.tls:
            self._tls = ssl.create_default_context(cafile=security.roots)
        self._idle: deque[http.client.HTTPConnection] = deque()
        self._closed = False

    def config(self, model: str, timeout: float) -> Mapping[str, Any]:
        body, _ = self._send("GET", f"models/{quote(model, safe='')}/config", [], {}, timeout)
        config = self._json(body)
        if not isinstance(config, dict):
            raise ServiceError(f"{self._where}: got {str(config)[:40]!r}, expected a model's configuration")
        return config

    def infer(self, request: Request, timeout: float, call: Call | None) -> dict[str, Output]:
        head = json.dumps(_head(request, timeout), separators=(",", ":")).encode()
        body: list[bytes | memoryview] = [head]
        for tensor in request.inputs:
            if request.placed is None or tensor.spec.name not in request.placed.at:
                body.append(memoryview(tensor.array.reshape(-1).view(np.uint8).data))
        target = f"models/{quote(request.model, safe='')}/infer"
        headers = {_HEADER_LENGTH: str(len(head)), "Content-Type": "application/octet-stream"}
        data, length = self._send("POST", target, body, headers, timeout, call)
        return self._outputs(data, length)

    def register(self, region: str, key: str, size: int, timeout: float) -> None:
        body = json.dumps({"key": key, "offset": 0, "byte_size": size}).encode()
        self._send("POST", f"systemsharedmemory/region/{region}/register", [body], {}, timeout)

    def registered(self, timeout: float) -> list[str]:
        data, _ = self._send("GET", "systemsharedmemory/status", [], {}, timeout)
        return [region["name"] for region in self._json(data)]

    def unregister(self, region: str, timeout: float) -> None:
        self._send("POST", f"systemsharedmemory/region/{region}/unregister", [b""], {}, timeout)

    def close(self) -> None:
        self._closed = True
        while self._idle:
            with suppress(IndexError):
                self._idle.pop().close()

    def _outputs(self, data: bytes, length: int | None) -> dict[str, Output]:
        length = len(data) if length is None else length
        rest = memoryview(data)[length:]
        outputs = {}
        try:
            for tensor in self._json(data[:length])["outputs"]:
                size = tensor.get("parameters", {}).get("binary_data_size")
                outputs[tensor["name"]] = Output(
                    tensor["datatype"], tuple(tensor["shape"]), None if size is None else rest[:size]
                )
                rest = rest[size or 0 :]
        except (KeyError, TypeError, AttributeError) as error:
            raise ServiceError(f"{self._where}: got an answer without {error}, expected KServe v2") from None
        return outputs

    def _json(self, data: bytes) -> Any:
        try:
            return json.loads(data)
        except ValueError:
            raise ServiceError(f"{self._where}: got {data[:40]!r}..., expected JSON; is it a Triton?") from None

    def _send(
        self,
        method: str,
        target: str,
        body: list[bytes | memoryview],
        headers: dict[str, str],
        timeout: float,
        call: Call | None = None,
    ) -> tuple[bytes, int | None]:
        """Body of the answer, and the length of the JSON in front of its tensors."""
        deadline = monotonic() + timeout
        while True:
            connection, fresh = self._connection()
            try:
                status, data, length = self._exchange(connection, method, target, body, headers, deadline, call)
                break
            except TimeoutError:
                connection.close()
                raise DeadlineError(f"{self._where}: got no answer within {timeout:g} s; allow more time") from None
            except ssl.SSLCertVerificationError as error:
                connection.close()
                raise ServiceError(f"{self._where}: {error}; expected a certificate that tls=FILE trusts") from None
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                # A connection that waited may have been closed meanwhile: that says nothing of the server.
                if fresh or self._closed:
                    said = str(error) or type(error).__name__
                    raise ServiceUnavailableError(f"{self._where}: {said}; is a server running there?") from None
                self._forget_idle()
        if status != 200:
            raise from_http(self._where, status, _message(data))
        return data, length

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        body: list[bytes | memoryview],
        headers: dict[str, str],
        deadline: float,
        call: Call | None,
    ) -> tuple[int, bytes, int | None]:
        _allow(connection, deadline)
        if connection.sock is None:
            connection.connect()
        if call is not None:
            call.on_cancel(lambda: _cut(connection))
        size = sum(len(part) for part in body)
        payload = b"".join(body) if size <= _ONE_WRITE else body
        sent = {**headers, **self._headers, "Content-Length": str(size)} if body else self._headers
        connection.request(method, f"{self._endpoint.path}/v2/{target}", payload or None, sent)
        _allow(connection, deadline)
        with connection.getresponse() as response:
            parts = []
            while part := response.read1(_READ):
                parts.append(part)
                if connection.sock is not None:
                    _allow(connection, deadline)
            keep = not response.will_close
            length = response.getheader(_HEADER_LENGTH)
            data = parts[0] if len(parts) == 1 else b"".join(parts)
            if response.length:
                raise http.client.IncompleteRead(data, response.length)
        if keep and not self._closed:
            self._idle.append(connection)
        else:
            connection.close()
        return response.status, data, int(length) if length and length.isdigit() else None

    def _connection(self) -> tuple[http.client.HTTPConnection, bool]:
        """One that waits, the last used first, or a new one."""
        try:
            return self._idle.pop(), False
        except IndexError:
            pass
        host, port = self._endpoint.host, self._endpoint.port
        if self._tls is not None:
            return http.client.HTTPSConnection(host, port, context=self._tls), True
        return http.client.HTTPConnection(host, port), True

    def _forget_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop().close()


def _head(request: Request, timeout: float) -> dict[str, Any]:
    inputs = [
        {
            "name": tensor.spec.name,
            "shape": tensor.array.shape,
            "datatype": tensor.spec.triton_type,
            "parameters": _place(tensor.spec, request) or {"binary_data_size": tensor.array.nbytes},
        }
        for tensor in request.inputs
    ]
    outputs = [
        {"name": spec.name, "parameters": _place(spec, request) or {"binary_data": True}} for spec in request.outputs
    ]
    # Triton does not notice that an HTTP client has gone; a model may look at how long it was allowed [us].
    return {"inputs": inputs, "outputs": outputs, "parameters": {"timeout": int(timeout * 1e6)}}


def _place(spec: TensorSpec, request: Request) -> dict[str, Any] | None:
    if request.placed is None or spec.name not in request.placed.at:
        return None
    offset, length = request.placed.at[spec.name]
    return {
        "shared_memory_region": request.placed.region,
        "shared_memory_offset": offset,
        "shared_memory_byte_size": length,
    }


def _message(data: bytes) -> str:
    """What went wrong, from the JSON of Triton or the page of a gateway."""
    try:
        return str(json.loads(data)["error"])
    except (ValueError, KeyError, TypeError):
        return data[:200].decode(errors="replace").strip()


def _allow(connection: http.client.HTTPConnection, deadline: float) -> None:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    connection.timeout = left
    if connection.sock is not None:
        connection.sock.settimeout(left)


def _cut(connection: http.client.HTTPConnection) -> None:
    """End a request from another thread: its read returns at once."""
    if connection.sock is not None:
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)
