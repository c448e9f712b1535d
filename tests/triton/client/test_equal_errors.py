"""The same situation gives the same error over HTTP and gRPC: class and words, but for the URL."""

from __future__ import annotations

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
    RegionRefusedError,
    ServiceError,
    ServiceUnavailableError,
    TooLargeError,
    UnknownModelError,
)
from beampipe.triton.client import ModelClient
from beampipe.triton.server.server import TritonServer
from tests.triton.client.servers import MODEL, SERVERS, Fake, ask, make_certificate

SCHEMES = ("grpc", "http")

Situation = Callable[[str, Path], AbstractContextManager[ModelClient]]
"""Scheme and an empty folder -> a client whose next request fails."""


def encrypted(host: str, *, trusted: bool) -> Situation:
    @contextmanager
    def situation(scheme: str, folder: Path) -> Iterator[ModelClient]:
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


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")


@pytest.mark.parametrize(
    ("situation", "kind", "words"),
    [
        pytest.param(
            encrypted("localhost", trusted=False), ServiceError, "certificate that is not trusted", marks=needs_openssl
        ),
        pytest.param(
            encrypted("other.example", trusted=True), ServiceError, "expected one for localhost", marks=needs_openssl
        ),
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
