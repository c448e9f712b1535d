"""The beam line by the tracks that were found."""

from __future__ import annotations

import numpy as np
import pytest

from beampipe.tracking import load_pipeline, shipped_events
from beampipe.tracking.events import Hits
from beampipe.tracking.layout.beam import FEWEST_TRACKS, beam_line

from ..foreign.table import BARREL, helices, turned_by

N = 100


def particles(x: float, y: float, n: int = N) -> tuple[Hits, np.ndarray]:
    """Hits of particles from a beam line, and which particle made each."""
    return Hits(helices(x, y, n)), np.tile(np.arange(n), len(BARREL))


@pytest.mark.parametrize(("x", "y"), [(0, 0), (0.5, 0), (1, -1), (0, 2), (-3, 1), (10, 0), (0, -25)])
def test_particles_point_back(x: float, y: float) -> None:
    hits, particle = particles(x, y)
    assert beam_line(hits, particle) == pytest.approx((x, y), abs=0.02)


def test_false_and_displaced_tracks_are_left_out() -> None:
    hits, particle = particles(1, 2)
    rng = np.random.default_rng(0)
    wrong = np.isin(particle, np.arange(N // 5))
    position = hits.position.copy()
    position[wrong, 1] += rng.normal(0, 0.3, wrong.sum()).astype(np.float32)
    assert beam_line(Hits(position), particle) == pytest.approx((1, 2), abs=0.05)


def test_it_turns_with_the_event() -> None:
    hits, particle = particles(2, 0)
    turned = Hits(turned_by(hits.position, np.pi / 2))
    assert beam_line(turned, particle) == pytest.approx((0, 2), abs=0.02)


def test_few_tracks_tell_nothing() -> None:
    assert beam_line(*particles(1, 0, FEWEST_TRACKS)) is not None
    assert beam_line(*particles(1, 0, FEWEST_TRACKS - 1)) is None
    assert beam_line(Hits(np.empty((0, 3), np.float32)), np.empty(0, np.int64)) is None


def test_tracks_of_two_hits_tell_nothing() -> None:
    hits, particle = particles(1, 0)
    r = hits.position[:, 0]
    assert beam_line(hits.take(r < 80), particle[r < 80]) is None


def test_straight_tracks_are_no_fault() -> None:
    phi = np.repeat(np.linspace(-3, 3, N), 3)
    r = np.tile([32.0, 72.0, 116.0], N)
    hits = Hits(np.stack([r, phi, r], axis=1).astype(np.float32))
    assert beam_line(hits, np.repeat(np.arange(N), 3)) == pytest.approx((0, 0), abs=0.05)


@pytest.mark.parametrize("name", ["module_map", "exatrkx_walk"])
def test_shipped_events_come_from_the_axis(name: str) -> None:
    hits = next(shipped_events(60)).hits
    place = beam_line(hits, load_pipeline(name, threads=2).find(hits).track_id)
    assert place == pytest.approx((0, 0), abs=0.05)


def test_found_tracks_tell_of_a_shift() -> None:
    hits = Hits(helices(1.5, -0.5))
    found = load_pipeline(threads=1, check=False).find(hits).track_id
    assert found.max() > 2 * FEWEST_TRACKS
    assert beam_line(hits, found) == pytest.approx((1.5, -0.5), abs=0.3)
