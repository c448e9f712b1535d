"""A real Triton with the tracking models, for the tests of the clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from beampipe.serving.models import ServingSettings, named_models
from beampipe.triton.engine import Engine
from beampipe.triton.server.server import TritonServer
from tests.serving.conftest import served


@pytest.fixture(scope="package")
def tracking_server(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """Serves `exatrkx`, `exatrkx_ragged` and `module_map`."""
    models = named_models(ServingSettings(("exatrkx", "exatrkx_ragged", "module_map"), threads=1))
    with served(engine, tmp_path_factory.mktemp("tracking"), models) as server:
        yield server
