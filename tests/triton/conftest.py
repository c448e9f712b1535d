"""What the tests of Triton servers share: tiny models, a running server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from beampipe.triton.engine import Engine
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer
from tests.triton.doublers import write_model


@pytest.fixture(scope="session")
def doublers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of two small models: `one` with one instance, `two` with two."""
    folder = tmp_path_factory.mktemp("doublers")
    write_model(folder, "one")
    write_model(folder, "two", count=2)
    return folder


# Ends with these tests: its supervisor is a thread, and under beartype a thread draws from `random`, which Hypothesis
# does not allow while it makes an example.
@pytest.fixture(scope="package")
def doubler_server(engine: Engine, doublers: Path) -> Iterator[TritonServer]:
    """A running server with `doublers`, for tests that leave it as it is."""
    with TritonServer(ServerSettings(doublers, triton=engine.folder)) as server:
        yield server
        server.kill()
