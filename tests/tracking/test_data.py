from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from beampipe.errors import ConfigError, UnknownNameError
from beampipe.events import NOISE
from beampipe.tracking.data import shipped_events, shipped_path, write_example
from beampipe.tracking.formats import open_events


@pytest.mark.parametrize(
    ("mu", "n_events", "n_hits"), [(0, 20, (0, 20_000)), (60, 2, (20e3, 80e3)), (200, 1, (80e3, 200e3))]
)
def test_shipped_events_are_degraded_and_complete(mu: int, n_events: int, n_hits: tuple[float, float]) -> None:
    events = list(shipped_events(mu))
    assert len(events) == n_events
    for event in events:
        assert n_hits[0] <= len(event.hits) <= n_hits[1]
        assert event.hits.geometry_id is not None
        assert event.hits.local is not None
        assert event.hits.variance is not None
        assert event.truth is not None
        assert np.isin(event.truth.particle_id, [NOISE, *event.truth.particles.particle_id]).all()
    noise = np.concatenate([event.truth.particle_id == NOISE for event in events if event.truth is not None])
    assert 0.03 < noise.mean() < 0.06  # 5 % of the hits that are left


def test_an_unknown_sample_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="expected one of 0, 200, 60"):
        shipped_events(140)


def test_an_example_is_a_file_of_the_shipped_events(tmp_path: Path) -> None:
    write_example(tmp_path / "new" / "events.parquet", 60)
    assert (tmp_path / "new" / "events.parquet").read_bytes() == shipped_path(60).read_bytes()
    with pytest.raises(ConfigError, match=r"got the ending '.csv', expected .parquet"):
        write_example(tmp_path / "events.csv")
    with pytest.raises(UnknownNameError, match="shipped sample"):
        write_example(tmp_path / "events.parquet", 140)
    assert not (tmp_path / "events.parquet").exists()


def test_events_for_training_are_clean_and_many(tmp_path: Path) -> None:
    path = tmp_path / "mine.parquet"
    write_example(path, for_training=True)
    assert path.stat().st_size < 6e6
    events = list(open_events(path))
    assert len(events) == 30
    for event in events:
        assert event.truth is not None
        assert (event.truth.particle_id != NOISE).all()
        assert event.hits.geometry_id is not None
