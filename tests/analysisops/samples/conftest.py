"""Instances that several tests look at are made once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.analysisops.samples.reading import Made, make


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    """The instance of a family with seed 1."""
    folder: Path = tmp_path_factory.mktemp("instances")
    return cache(lambda family: make(family, 1, folder / family))
