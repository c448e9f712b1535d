from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from beampipe.analysisops.instances import PreparedInstance
from tests.analysisops.redteam.target import Target


@pytest.fixture(scope="session")
def target_of(
    instance: Callable[[str], PreparedInstance], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Target]:
    """The target of each shipped task, made once."""

    @cache
    def make(name: str) -> Target:
        return Target(instance(name), tmp_path_factory.mktemp(name))

    return make
