"""Vertices of our fitted tracks by the adaptive multi-vertex finder of ACTS."""

from __future__ import annotations

import numpy as np
import pytest

from beampipe.events import TrackParameters
from beampipe.tracking.acts import find_vertices
from beampipe.tracking.data import shipped_events
from beampipe.tracking.finder_names import named_finder
from beampipe.tracking.fitting.fitter import FittedFinder
from beampipe.tracking.loading import load_track_fitter

pytest.importorskip("acts")


def tracks_and_vertex(number: int) -> tuple[TrackParameters, np.ndarray]:
    """Fitted tracks of a shipped event without pile-up, and where it was."""
    event = shipped_events(0)[number]
    assert event.truth is not None
    vertices, n = np.unique(event.truth.particles.vertex, axis=0, return_counts=True)
    with named_finder("module_map_soft", threads=1) as finder:
        result = FittedFinder(finder, load_track_fitter("generic", threads=1)).find(event)
    assert result.parameters is not None
    return result.parameters, vertices[np.argmax(n)]


def test_one_vertex_where_the_collision_was() -> None:
    fit, vertex = tracks_and_vertex(1)
    found = find_vertices(fit.values[fit.fitted], fit.covariance[fit.fitted])
    assert len(found) == 1
    assert np.abs(found[0, :2] - vertex[:2]).max() < 0.05
    assert abs(found[0, 2] - vertex[2]) < 0.2


def test_two_collisions_and_none() -> None:
    fit, vertex = tracks_and_vertex(1)
    values, covariance = fit.values[fit.fitted], fit.covariance[fit.fitted]
    shifted = values.copy()
    shifted[:, 1] += 20.0
    found = find_vertices(np.concatenate([values, shifted]), np.concatenate([covariance, covariance]))
    assert sorted(found[:, 2]) == pytest.approx([vertex[2], vertex[2] + 20], abs=0.2)
    assert find_vertices(values[:0], covariance[:0]).shape == (0, 3)
