from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.triton.client.servers import SERVERS, Server


@pytest.fixture(params=list(SERVERS))
def serve(request: pytest.FixtureRequest) -> Server:
    return SERVERS[request.param]


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused, and nobody else gets it
        yield taken.getsockname()[1]
