"""Few events, generated once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from beampipe.simulation.ntuples import simulate_dijets

N_EVENTS = 60
"""Of the small sample, in all slices together."""


@pytest.fixture(scope="package", autouse=True)
def _rough_cross_sections() -> Iterator[None]:
    """Enough for tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("beampipe.simulation.ntuples.dijets.HARD_EVENTS", 2000)
        yield


@pytest.fixture(scope="package")
def small_sample(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A sample with the weights of the variations, one file per slice."""
    return simulate_dijets("nominal", tmp_path_factory.mktemp("nominal"), N_EVENTS, seed=5)
