"""Instances that several tests look at are made once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from beampipe.analysisops.instances import PreparedInstance
from tests.analysisops.samples.reading import Made


@pytest.fixture(scope="session")
def made(instance: Callable[[str], PreparedInstance]) -> Callable[[str], Made]:
    """The instance of a family."""
    return lambda family: Made(instance(family).hidden, instance(family).data)
