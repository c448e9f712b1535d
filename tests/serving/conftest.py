"""What the tests of serving share: servers of given models, and the tiny models of Triton's tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from beampipe.triton.engine import Engine
from beampipe.triton.model.contract import EnsembleSettings, ModelSettings
from beampipe.triton.model.repository import export_repository
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer
from tests.triton.conftest import doublers

__all__ = ["doublers", "served"]


@contextmanager
def served(
    engine: Engine, folder: Path, models: Iterable[ModelSettings | EnsembleSettings], **settings: Any
) -> Iterator[TritonServer]:
    """A server of models that are exported to ``models`` in a folder, killed at the end."""
    names = tuple(export_repository(folder / "models", models))
    with TritonServer(ServerSettings(folder / "models", models=names, triton=engine.folder, **settings)) as running:
        yield running
        running.kill()
