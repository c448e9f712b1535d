"""What the tests of workflow share: workers that find the toys, a Slurm of two nodes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workflow.slurm import running_slurm

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True, scope="session")
def _workers_find_the_toys() -> None:
    """A spawned worker gets this process's path, and unpickles functions of `tests.workflow.toys`."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that belongs to a running Slurm; `SLURM_CONF` points to it."""
    with running_slurm(tmp_path_factory.mktemp("slurm")) as folder:
        yield folder
