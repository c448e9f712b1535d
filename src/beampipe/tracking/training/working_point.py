"""Freeze the cut on the edge score: tracks found and faked on validation events, as components above the cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Int64
from beampipe.tracking.kernels import connected_components
from beampipe.tracking.training.graphs import TrainingGraph
from beampipe.tracking.training.samples import Labelled

__all__ = ["SCORE_CUTS", "WorkingPoint", "choose", "scan", "score_tracks"]

SCORE_CUTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97)
"""Cuts that are tried."""


@dataclass(frozen=True)
class WorkingPoint:
    """Single- and double-majority efficiency and single-majority fake rate at one cut."""

    cut: float
    efficiency: float
    efficiency_double: float
    fake_rate: float


def scan(
    events: Sequence[Labelled],
    graphs: Sequence[TrainingGraph],
    scores: Sequence[Float32[ndarray, " _"]],
    cuts: Sequence[float] = SCORE_CUTS,
    min_hits: int = 7,
) -> list[WorkingPoint]:
    """Components of the edges above each cut, scored."""
    points = []
    for cut in cuts:
        total = np.zeros(5)
        for event, graph, score in zip(events, graphs, scores, strict=True):
            track = connected_components(len(event), graph.edge_index[:, score >= cut], min_hits)
            total += score_tracks(event, track, min_hits)
        wanted, found, found_double, tracks, matched = total
        points.append(
            WorkingPoint(
                float(cut),
                float(found / max(wanted, 1)),
                float(found_double / max(wanted, 1)),
                float(1 - matched / max(tracks, 1)),
            )
        )
    return points


def choose(points: Sequence[WorkingPoint]) -> WorkingPoint:
    """The point with the highest efficiency minus fake rate, both by the stricter definitions."""
    return max(points, key=lambda point: point.efficiency + point.efficiency_double - 2 * point.fake_rate)


def score_tracks(
    event: Labelled, track_id: Int64[ndarray, " n"], min_hits: int = 7, min_layers: int = 7
) -> tuple[int, int, int, int, int]:
    """Wanted particles, those found by single and by double majority, tracks, tracks that match a particle."""
    n_particles = int(event.particle.max(initial=-1)) + 1
    owned = event.particle >= 0
    pairs = np.unique(np.stack([event.particle[owned], event.layer[owned]]), axis=1)
    n_layers = np.bincount(pairs[0], minlength=n_particles)
    wanted = np.zeros(n_particles, bool)
    wanted[event.particle[owned & event.wanted]] = True
    wanted &= n_layers >= min_layers
    n_hits = np.bincount(event.particle[owned], minlength=n_particles)

    on_track = track_id >= 0
    length = np.bincount(track_id[on_track])
    both = on_track & owned
    cell, count = np.unique(track_id[both] * n_particles + event.particle[both], return_counts=True)
    track, particle = np.divmod(cell, max(n_particles, 1))
    majority = (2 * count > length[track]) & (length[track] >= min_hits)
    double = majority & (2 * count > n_hits[particle])
    found, found_double = np.zeros(n_particles, bool), np.zeros(n_particles, bool)
    found[particle[majority]] = True
    found_double[particle[double]] = True
    n_tracks = int((length >= min_hits).sum())
    return (
        int(wanted.sum()),
        int((wanted & found).sum()),
        int((wanted & found_double).sum()),
        n_tracks,
        int(majority.sum()),
    )
