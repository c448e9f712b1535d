"""What the tests of files for Kubernetes share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fleet.deploy.chart import VARIABLE, fetch_chart, find_chart


@pytest.fixture(scope="session")
def chart() -> Path:
    """SuperSONIC's chart, fetched once; without it what is rendered cannot be looked at."""
    result = find_chart() or fetch_chart()
    if result is None:
        pytest.skip(f"no chart of SuperSONIC, and GitHub is out of reach; set {VARIABLE} to a folder of it")
    return result
