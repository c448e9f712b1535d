"""What servers and connections say, as errors: pinned class and words, equal over HTTP and gRPC."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest

from beampipe.errors import (
    BeampipeError,
    DeadlineError,
    InputError,
    RegionLostError,
    RegionRefusedError,
    ServiceError,
    ServiceUnavailableError,
    TooLargeError,
    UnknownModelError,
)
from beampipe.triton.client import ModelClient
from beampipe.triton.client.codec import HttpReply
from beampipe.triton.client.error_mapping import connection_error, http_reply_error, reply_error
from beampipe.triton.server.server import TritonServer
from tests.triton.client.servers import MODEL, SERVERS, Fake, ask, make_certificate

STARTING = "; the model is starting, stopping or has lost its process"

# Messages as Triton 2.51 sends them: status of gRPC and of HTTP, what is said, kind of error, what the user reads.
REFUSALS = [
    ("INVALID_ARGUMENT", 400, "hits: got NaN at row 3", InputError, "hits: got NaN at row 3"),
    ("INVALID_ARGUMENT", 431, "proxy: got longer headers", InputError, "proxy: got longer headers"),
    ("RESOURCE_EXHAUSTED", 413, "message larger than max", TooLargeError, "URL: got a larger request than is taken"),
    (
        "UNAVAILABLE",
        503,
        "Exceeds maximum queue size",
        ServiceUnavailableError,
        "URL: Exceeds maximum queue size; the server may answer later",
    ),
    (
        "INTERNAL",
        500,
        "Stub process 'exatrkx_0_0' is not healthy.",
        ServiceUnavailableError,
        f"URL: Stub process 'exatrkx_0_0' is not healthy.{STARTING}",
    ),
    (
        "NOT_FOUND",
        404,
        "Request for unknown model: 'exatrkx' has no available versions",
        ServiceUnavailableError,
        f"URL: Request for unknown model: 'exatrkx' has no available versions{STARTING}",
    ),
    (
        "NOT_FOUND",
        404,
        "Request for unknown model: 'nope' is not found",
        UnknownModelError,
        "URL: Request for unknown model: 'nope' is not found; expected one that is loaded there",
    ),
    (
        "INVALID_ARGUMENT",
        404,
        "Unable to find shared memory region: 'beampipe_client_7_0_abc'",
        RegionLostError,
        "URL: the server does not know the shared memory of this client (any more)",
    ),
    (
        "UNAVAILABLE",
        403,
        "This protocol is restricted, expecting header 'triton-grpc-protocol-key'",
        ServiceError,
        "URL: restricted, expected the secret that the server wrote when it started",
    ),
    ("UNAUTHENTICATED", 401, "unauthenticated", ServiceError, "URL: unauthenticated; got no token that it accepts"),
    ("DEADLINE_EXCEEDED", 504, "Deadline Exceeded", DeadlineError, "URL: got no answer in time; allow more, or send"),
    ("INTERNAL", 500, "internal error of the model", ServiceError, "URL: internal error of the model (INTERNAL)"),
    ("UNKNOWN", 302, "moved", ServiceError, "URL: moved (UNKNOWN)"),
]

NOBODY = "URL: the connection was refused, expected a Triton there; is a server running there?"
CUT = "URL: the connection broke, expected an answer; has the server died, or is that the port of another protocol?"
OTHER_PROTOCOL = "URL: another protocol is spoken there, expected the one of the URL; check its scheme and port"
OTHER_HOST = "URL: got the certificate of another host, expected one for a; check the URL"
UNTRUSTED = "URL: got a certificate that is not trusted, expected one that tls=FILE or this system trusts"
NO_ADDRESS = "URL: got no address for a, expected a host; check the URL"

# What Python, OpenSSL and gRPC say of connections.
CONNECTIONS = [
    ("ConnectionRefusedError: [Errno 111] Connection refused", ServiceUnavailableError, NOBODY),
    (
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to connect to remote host:"
        " connect: Connection refused (111)",
        ServiceUnavailableError,
        NOBODY,
    ),
    ("ConnectionResetError: [Errno 104] Connection reset by peer", ServiceUnavailableError, CUT),
    ("RemoteDisconnected: Remote end closed connection without response", ServiceUnavailableError, CUT),
    ("Socket closed", ServiceUnavailableError, CUT),
    ("recvmsg:Connection reset by peer", ServiceUnavailableError, CUT),
    ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate", ServiceError, UNTRUSTED),
    (
        "failed to connect to all addresses; last error: UNKNOWN: Ssl handshake failed: SSL_ERROR_SSL: error:1000007d:"
        "SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED: self signed certificate",
        ServiceError,
        UNTRUSTED,
    ),
    (
        "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: Hostname mismatch, certificate is not valid for",
        ServiceError,
        OTHER_HOST,
    ),
    ("Peer name a is not in peer certificate", ServiceError, OTHER_HOST),
    (
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Custom verification check failed"
        " with error: UNAUTHENTICATED: Hostname Verification Check failed.",
        ServiceError,
        OTHER_HOST,
    ),
    ("gaierror: [Errno -2] Name or service not known", ServiceUnavailableError, NO_ADDRESS),
    (
        "errors resolving a:1: [field:hostname lookup error:address lookup failed for a:1: Domain name not found]",
        ServiceUnavailableError,
        NO_ADDRESS,
    ),
    ("BadStatusLine: \0\0\x18\x04", ServiceError, OTHER_PROTOCOL),
    (
        "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Tls handshake failed"
        " (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:100000f7:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER",
        ServiceError,
        OTHER_PROTOCOL,
    ),
    ("EHOSTUNREACH", ServiceUnavailableError, "URL: EHOSTUNREACH, expected a Triton there; is a server running there?"),
]


@pytest.mark.parametrize(("code", "status", "message", "kind", "words"), REFUSALS)
def test_a_refusal_says_whose_fault_it_is(
    code: str, status: int, message: str, kind: type[Exception], words: str
) -> None:
    of_triton, of_gateway = json.dumps({"error": message}).encode(), message.encode()
    for url, error in (
        ("grpc://a:1", reply_error("grpc://a:1", code, message)),
        ("http://a:1", http_reply_error("http://a:1", HttpReply(status, of_triton))),
        ("http://a:1", http_reply_error("http://a:1", HttpReply(status, of_gateway))),
    ):
        assert type(error) is kind
        assert str(error).startswith(words.replace("URL", url, 1))
        if isinstance(error, ServiceError):
            assert error.url == url


@pytest.mark.parametrize(("said", "kind", "words"), CONNECTIONS)
def test_a_connection_that_is_none_says_why(said: str, kind: type[Exception], words: str) -> None:
    error = connection_error("grpc://a:1", said)
    assert type(error) is kind
    assert str(error) == words.replace("URL", "grpc://a:1", 1)
    assert error.url == "grpc://a:1"


def test_what_is_inside_a_server_stays_there() -> None:
    traceback = "TypeError: no\n\nAt:\n  /srv/models/m/1/model.py(12): execute\n"
    assert str(reply_error("grpc://a:1", "INTERNAL", traceback)) == "grpc://a:1: TypeError: no (INTERNAL)"
    region = "failed to register shared memory region 'beampipe_client_7_0_abc': File '/beampipe_client_7_0_abc' exists"
    assert "beampipe_client" not in str(reply_error("grpc://a:1", "INTERNAL", region))
    page = b"<html><body>503 Service Unavailable on node17</body></html>"
    assert str(http_reply_error("http://a:1", HttpReply(503, page))) == (
        "http://a:1: HTTP status 503; the server may answer later"
    )


SCHEMES = ("grpc", "http")

Situation = Callable[[str, Path], AbstractContextManager[ModelClient]]
"""Scheme and an empty folder -> a client whose next request fails."""


def encrypted(host: str, *, trusted: bool) -> Situation:
    @contextmanager
    def situation(scheme: str, folder: Path) -> Iterator[ModelClient]:
        if shutil.which("openssl") is None:
            pytest.skip("no openssl")
        for name in ("one", "other"):
            (folder / name).mkdir()
        shown, other = make_certificate(folder / "one", host), make_certificate(folder / "other", host)
        roots = (shown if trusted else other)[0]
        with SERVERS[scheme](Fake(), shown) as url, ModelClient(url, MODEL, tls=roots) as client:
            yield client

    return situation


@contextmanager
def nobody(scheme: str, folder: Path) -> Iterator[ModelClient]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with ModelClient(f"{scheme}://127.0.0.1:{taken.getsockname()[1]}", MODEL, timeout=0.3) as client:
            yield client


@contextmanager
def hanging(scheme: str, folder: Path) -> Iterator[ModelClient]:
    release = threading.Event()

    def answer(features: np.ndarray) -> np.ndarray:
        release.wait(20)
        return features[:, 0].astype(np.int64)

    with SERVERS[scheme](Fake(answer)) as url, ModelClient(url, MODEL, timeout=0.3) as client:
        yield client
        release.set()


@contextmanager
def restricted(scheme: str, folder: Path) -> Iterator[ModelClient]:
    with SERVERS[scheme](Fake(restricted=True)) as url, ModelClient(url, MODEL, protocol="shm") as client:
        yield client


@contextmanager
def small(scheme: str, folder: Path) -> Iterator[ModelClient]:
    with SERVERS[scheme](Fake(most_bytes=40)) as url, ModelClient(url, MODEL, protocol="auto") as client:
        yield client


@pytest.mark.parametrize(
    ("situation", "kind", "words"),
    [
        (encrypted("localhost", trusted=False), ServiceError, "certificate that is not trusted"),
        (encrypted("other.example", trusted=True), ServiceError, "expected one for localhost"),
        (nobody, ServiceUnavailableError, "is a server running there"),
        (hanging, DeadlineError, "got no answer in time"),
        (restricted, RegionRefusedError, "restricted"),
        (small, TooLargeError, "got a larger request"),
    ],
    ids=["untrusted", "host", "nobody", "hanging", "restricted", "large"],
)
def test_both_protocols_say_the_same(
    situation: Situation, kind: type[BeampipeError], words: str, tmp_path: Path
) -> None:
    output = []
    for scheme in SCHEMES:
        (folder := tmp_path / scheme).mkdir()
        with situation(scheme, folder) as client, pytest.raises(BeampipeError) as caught:
            ask(client)
        assert type(caught.value) is kind
        assert words in str(caught.value)
        output.append(without_address(str(caught.value)))
    assert output[0] == output[1]


def without_address(text: str) -> str:
    """A message without the URL that it may begin with."""
    head, separator, rest = text.partition(": ")
    return rest if "://" in head else head + separator + rest


@pytest.mark.parametrize(
    ("model", "timeout", "kind"), [("nope", 20.0, UnknownModelError), ("one", 0.3, DeadlineError)], ids=str
)
def test_a_triton_says_the_same_over_both(
    doubler_server: TritonServer, model: str, timeout: float, kind: type[ServiceError]
) -> None:
    output = []
    for url in (f"grpc://{doubler_server.grpc_url}", f"http://{doubler_server.http_url}"):
        with ModelClient(url, model, timeout=timeout) as client, pytest.raises(kind) as caught:
            client.infer({"X": np.ones(1, np.float32)})  # sleeps for a second
        assert (caught.value.url, caught.value.model) == (url, model)
        output.append(without_address(str(caught.value)))
    assert output[0] == output[1]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_request_that_is_too_large_is_not_sent_again(scheme: str) -> None:
    fake = Fake(most_bytes=1_000_000)
    with SERVERS[scheme](fake) as url, ModelClient(url, MODEL, protocol=scheme) as client:  # type: ignore[arg-type]
        with pytest.raises(TooLargeError, match="send less at once"):
            ask(client, 400_000)
        assert len(ask(client, 1000)) == 1000
    assert fake.asked == 1
