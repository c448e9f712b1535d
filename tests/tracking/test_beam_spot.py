"""The beam line: read, seen from, told from the tracks, and followed by the pipelines."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy import ndarray

from beampipe.errors import ConfigError, LayoutWarning
from beampipe.events import BeamSpot
from beampipe.tracking import Event, Hits, build_pipeline, load_pipeline, shipped_events
from beampipe.tracking.catalogue import pipeline_spec
from beampipe.tracking.kernels import _native

MOVED = BeamSpot(1.2, -0.9)
RADII = np.array([32.0, 72.0, 116.0, 172.0, 260.0, 360.0, 500.0, 660.0, 820.0])


@cache
def event() -> Event:
    """A shipped event with mu = 60."""
    return shipped_events(60)[0]


def elsewhere(hits: Hits, line: BeamSpot) -> Hits:
    """The hits of the same collisions, had they happened on another beam line."""
    return replace(hits, position=BeamSpot(-line.x, -line.y, -line.dxdz, -line.dydz).relative_to(hits.position))


def circle(radius: float, angle: float, x: float, y: float) -> ndarray:
    """r, phi, z of hits on a circle that leaves (x, y) at that angle."""
    turn = np.arange(40.0, 900.0, 90.0) / radius
    px = x + radius * (np.sin(angle + turn) - np.sin(angle))
    py = y - radius * (np.cos(angle + turn) - np.cos(angle))
    return np.stack([np.hypot(px, py), np.arctan2(py, px), 0 * px], axis=1)


def test_the_point_that_most_tracks_pass_is_found_among_others() -> None:
    rng = np.random.default_rng(4)
    tracks = [circle(rng.choice([-1, 1]) * rng.uniform(1500, 9000), rng.uniform(-3, 3), 0.7, 1.1) for _ in range(80)]
    tracks += [circle(3000.0, rng.uniform(-3, 3), *rng.normal(0, 8, 2)) for _ in range(20)]
    position, track_id = np.concatenate(tracks).astype(np.float32), np.repeat(np.arange(100), 10)
    x, y, error, spread, n_tracks, share = _native.beam_spot(position, track_id)
    assert np.hypot(x - 0.7, y - 1.1) < 0.02
    assert error < 0.02
    assert spread < 1
    assert 60 <= n_tracks <= 85
    assert share == pytest.approx(n_tracks / 100)


def test_few_tracks_and_tracks_of_one_direction_give_no_point() -> None:
    few = np.concatenate([circle(3000.0, k, 5.0, 0.0) for k in range(6)]).astype(np.float32)
    assert _native.beam_spot(few, np.repeat(np.arange(6), 10))[2] > 1e9
    parallel = np.concatenate([circle(1e9, 0.0, 0.0, 3.0)] * 30).astype(np.float32)
    assert _native.beam_spot(parallel, np.repeat(np.arange(30), 10))[2] > 1e9


def test_seen_from_a_line_by_both_alike() -> None:
    line = BeamSpot(0.5, -1.0, 1e-3, -2e-3)
    position = event().hits.position
    seen = line.relative_to(position)
    np.testing.assert_array_equal(_native.seen_from((0.5, -1.0, 1e-3, -2e-3), position), seen)
    r, phi, z = seen.astype(np.float64).T
    x, y = r * np.cos(phi) + 0.5 + 1e-3 * z, r * np.sin(phi) - 1.0 - 2e-3 * z
    np.testing.assert_allclose(np.hypot(x, y), position[:, 0], atol=1e-3)


@pytest.mark.parametrize("name", ["module_map", "exatrkx_walk"])
@pytest.mark.parametrize("known", [False, True])
def test_a_beam_line_off_the_axis_costs_no_tracks(name: str, known: bool) -> None:
    pipeline = load_pipeline(name, threads=1, beam_spot=MOVED if known else BeamSpot())
    expected, moved = load_pipeline(name, threads=1).find(event().hits), elsewhere(event().hits, MOVED)
    with nullcontext() if known else pytest.warns(LayoutWarning, match="were found again, seen from there"):
        result = pipeline.find(moved)
    assert expected.beam_spot == BeamSpot()
    assert result.beam_spot == MOVED if known else np.hypot(result.beam_spot.x - 1.2, result.beam_spot.y + 0.9) < 0.25
    assert result.n_tracks > 0.98 * expected.n_tracks
    assert (result.track_id >= 0).sum() > 0.98 * (expected.track_id >= 0).sum()
    # Stage by stage, and together with another event, the same.
    by_stages = build_pipeline(pipeline_spec(name), 1, beam_spot=pipeline.beam_spot, check=False).staged()
    together = load_pipeline(name, threads=1, beam_spot=pipeline.beam_spot, check=False)
    for tracks in (by_stages.find(moved), together.find_many([moved, moved])[1]):
        np.testing.assert_array_equal(tracks.track_id, result.track_id)
        assert tracks.beam_spot == result.beam_spot


def test_a_look_inside_sees_the_hits_from_the_line() -> None:
    pipeline, moved = load_pipeline("module_map", threads=1, beam_spot=MOVED), elsewhere(event().hits, MOVED)
    seen: list[dict[str, Any]] = []
    result = pipeline.staged().find(moved, hook=lambda step, arrays: seen.append(dict(arrays or {})))
    np.testing.assert_array_equal(seen[-1]["track_id"], result.track_id)
    np.testing.assert_array_equal(seen[0]["position"], MOVED.relative_to(moved.position))


def test_text_of_a_beam_line() -> None:
    assert BeamSpot.parse("0.5,-0.2") == BeamSpot(0.5, -0.2)
    assert BeamSpot.parse("0,0,1e-4, -2e-4") == BeamSpot(0.0, 0.0, 1e-4, -2e-4)


@pytest.mark.parametrize("text", ["", "1", "1,2,3", "x,y", "30,0", "nan,0", "0,0,1,0"])
def test_what_is_no_beam_line_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="beam spot: got"):
        BeamSpot.parse(text)
