"""Several events found together: the same tracks as one by one, whatever the mix."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from beampipe.errors import TooLargeError
from beampipe.events import Hits, Tracks
from beampipe.tracking import build_pipeline, load_pipeline
from beampipe.tracking.catalogue import PIPELINES
from beampipe.tracking.data import shipped_events
from beampipe.tracking.pipeline import Pipeline


@cache
def loaded(name: str, threads: int = 1) -> Pipeline:
    # Unchecked: soft networks find so few tracks in dense slices that they would warn of it.
    return load_pipeline(name, threads=threads, check=False)


@cache
def pieces() -> tuple[Hits, ...]:
    """Whole events without pile-up (some empty), slices in phi of others, one hit alone."""
    results = [event.hits for event in shipped_events(0)]
    for mu, widths in ((60, (0.1, 0.4)), (200, (0.05, 0.1, 0.25))):
        (hits, *_) = (event.hits for event in shipped_events(mu))
        phi = hits.position[:, 1]
        for row, width in enumerate(widths):
            results.append(hits.take(np.abs(phi - (row - 1)) < width))
    return (*results, results[0].take(np.arange(1)))


@cache
def alone(name: str, row: int) -> Tracks:
    return loaded(name).find(pieces()[row])


def mix(seed: int) -> list[int]:
    """Rows of pieces, in any order, some more than once."""
    rng = np.random.default_rng(seed)
    return [int(row) for row in rng.choice(len(pieces()), int(rng.integers(2, 30)))]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", PIPELINES)
def test_events_together_are_found_as_alone(name: str, seed: int) -> None:
    rows = mix(seed)
    result = loaded(name, 2).find_many([pieces()[row] for row in rows])
    assert sum(tracks.n_tracks for tracks in result) > 20
    for row, tracks in zip(rows, result, strict=True):
        assert tracks.track_id.tobytes() == alone(name, row).track_id.tobytes()
        assert tracks.track_id.dtype == np.int64
        assert tracks.counts == alone(name, row).counts


def test_a_large_event_among_small_ones() -> None:
    large = shipped_events(60)[0].hits
    assert len(large) > 20_000  # such a block shares the threads, the small ones are shared among them
    small = [hits for hits in pieces() if 0 < len(hits) < 2000][:3]
    for name in ("exatrkx", "module_map"):
        events = [small[0], large, *small[1:]]
        for hits, tracks in zip(events, loaded(name, 2).find_many(events), strict=True):
            np.testing.assert_array_equal(tracks.track_id, loaded(name).find(hits).track_id)


def test_an_event_too_large_is_named() -> None:
    finder = loaded("module_map")
    million = Hits(np.zeros((2_000_000, 3), np.float32))
    with pytest.raises(TooLargeError, match="got 2000000 hits in event 1 of 2, which would need"):
        finder.find_many([pieces()[0], million])


def test_events_too_large_together_are_refused() -> None:
    events = [pieces()[0]] * 3
    spec = replace(PIPELINES["module_map"], bytes_per_hit=8e9 / 2.5 / len(events[0]), bytes_per_hit2=0.0)
    finder = build_pipeline(spec, 1, check=False)
    assert finder.find_many(events[:2])[0].n_tracks > 0
    with pytest.raises(TooLargeError, match=r"got 3 events, which would need .* together.*find fewer"):
        finder.find_many(events)
