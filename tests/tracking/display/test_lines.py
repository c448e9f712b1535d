from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from beampipe.errors import ShapeError
from beampipe.events import Event, FitStatus, Hits, TrackParameters, Tracks, Truth
from beampipe.tracking.display import estimate_pt
from beampipe.tracking.display.drawn import track_lines, truth_lines
from tests.tracking.display.toy import toy_event


def arc(radius: float, n: int, turn: float, offset: float = 0.0) -> np.ndarray:
    """r, phi, z of n points on a circle through the origin, shifted along x by `offset`."""
    angle = np.linspace(0.05, turn, n)
    x, y = offset + radius * (1 - np.cos(angle)), radius * np.sin(angle)
    return np.stack([np.hypot(x, y), np.arctan2(y, x), 100 * angle], axis=1).astype(np.float32)


@pytest.mark.parametrize("pt", [0.3, 1.0, 10.0])
def test_pt_of_a_circle_is_speed_of_light_times_field_times_radius(pt: float) -> None:
    # The textbook form: pT [GeV] = 0.3 B [T] R [m].
    radius = 1000 * pt / (0.299792458 * 2.0)
    position = np.concatenate([arc(radius, 9, 500 / radius), arc(radius, 5, 500 / radius, offset=30)])
    track_id = np.repeat([0, 1], [9, 5])
    np.testing.assert_allclose(estimate_pt(Hits(position), track_id, 2.0), [pt, pt], rtol=1e-3)


def test_pt_of_too_few_hits_is_nan_and_of_a_straight_line_is_beyond_measure() -> None:
    line = np.array([[r, 0.0, 0.0] for r in (100, 200, 300, 400)], np.float32)
    pair = np.array([[100, 1, 0], [200, 1, 0]], np.float32)
    pt = estimate_pt(Hits(np.concatenate([line, pair])), np.array([0, 0, 0, 0, 1, 1]), 2.0)
    assert pt[0] > 1e4
    assert np.isnan(pt[1])


def test_pt_of_toy_tracks_agrees_with_truth() -> None:
    event, tracks, is_fake = toy_event(300, seed=3)
    assert event.truth is not None
    pt = estimate_pt(event.hits, tracks.track_id, 2.0)
    on_good = (tracks.track_id >= 0) & ~is_fake[tracks.track_id]
    true_pt = event.truth.particles.pt[event.truth.particle_id[on_good] - 1]
    assert on_good.sum() > 500
    np.testing.assert_allclose(pt[tracks.track_id[on_good]], true_pt, rtol=5e-3)


def test_fitted_momenta_come_before_those_of_circles() -> None:
    event, tracks, _ = toy_event(300, seed=1)
    n = tracks.n_tracks
    values = np.tile([0.0, 0.0, 0.0, np.pi / 2, -0.25], (n, 1))
    status = np.where(np.arange(n) % 2 == 0, FitStatus.FITTED, FitStatus.NO_START).astype(np.int8)
    parameters = TrackParameters(values, np.zeros((n, 5, 5)), np.zeros(n), np.full(n, 9), status, np.full((n, 3), -1))
    lines = track_lines(event, replace(tracks, parameters=parameters))
    np.testing.assert_allclose(lines.pt[::2], 4.0, rtol=1e-6)
    np.testing.assert_array_equal(lines.pt[1::2], track_lines(event, tracks).pt[1::2])


def test_truth_lines_count_merged_hits_and_drop_short_particles() -> None:
    event, _, _ = toy_event(50, seed=4)
    assert event.truth is not None
    particles = event.truth.particles
    hits = Hits(arc(800, 5, 0.5))
    truth = Truth(np.array([1, 1, 2, 2, 0]), particles, np.array([3]), np.array([1]))
    lines = truth_lines(hits, truth)
    # Particle 1 has hits 0 and 1 and a share of 3; particle 2 has two hits only.
    assert [row.tolist() for row in lines.split()] == [[0, 1, 3]]
    np.testing.assert_array_equal(lines.pt, particles.pt[:1])


def test_tracks_of_another_event_are_refused() -> None:
    event = Event(7, Hits(arc(800, 5, 0.5)))
    with pytest.raises(ShapeError, match=r"event 7: got tracks for 3 hits, expected 5"):
        track_lines(event, Tracks(np.zeros(3, np.int64)))
    with pytest.raises(ShapeError, match=r"track_is_fake: got shape \(2,\), expected \(1,\)"):
        track_lines(event, Tracks(np.zeros(5, np.int64)), np.zeros(2, np.bool_))
