"""Instances of tasks are made once for all tests, and for all processes of pytest-xdist."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache

import pytest

from beampipe.analysisops.instances import InstanceStore, PreparedInstance
from beampipe.analysisops.tasks.load import shipped_task
from tests.analysisops.redteam.target import SEED


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> InstanceStore:
    """Instances that several tests share; they may only be read."""
    base = tmp_path_factory.getbasetemp()
    return InstanceStore((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared_instances")


@pytest.fixture(scope="session")
def instance(store: InstanceStore) -> Callable[[str], PreparedInstance]:
    """The instance of a shipped task."""
    return cache(lambda name: store.get(shipped_task(name), SEED))
