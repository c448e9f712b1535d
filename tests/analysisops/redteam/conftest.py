from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from beampipe.analysisops.instances import InstanceStore
from beampipe.analysisops.tasks.load import shipped_task
from tests.analysisops.redteam.target import SEED, Target


@pytest.fixture(scope="session")
def target_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Target]:
    """The target of each shipped task, made once."""
    store = InstanceStore(tmp_path_factory.mktemp("instances"))

    @cache
    def make(name: str) -> Target:
        return Target(store.get(shipped_task(name), SEED), tmp_path_factory.mktemp(name))

    return make
