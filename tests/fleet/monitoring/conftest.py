"""What the tests of watching share: a fleet that is looked at often."""

from __future__ import annotations

from pathlib import Path

import pytest

from beampipe.fleet import Fleet
from beampipe.fleet.specification import MonitoringSettings, ServerGroup

__all__ = ["fleet_in"]


def fleet_in(folder: Path) -> Fleet:
    """Two servers, without a model; looked at five times a second."""
    return Fleet(folder / "models", {"cpu": ServerGroup("cpu", count=2)}, monitoring=MonitoringSettings(interval=0.2))


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return fleet_in(tmp_path)
