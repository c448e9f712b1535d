"""Completion of tracks: native against the slow truth, and what it is for."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy import ndarray

from beampipe.events import NO_TRACK
from beampipe.tracking import kernels
from beampipe.tracking.kernels import number_by_first_hit
from tests.tracking.kernels import reference

from .toy_map import helix_hits, toy_hits, toy_windows

OFFSETS = np.array([0, 300, 300, 301, 900])


def walked(position: ndarray, seed: int, lost: float = 0.3) -> ndarray:
    """Tracks of best paths, a share of their hits freed."""
    windows = toy_windows(known=1.0)
    edge_index = kernels.module_map_edges(position, windows)
    pairs, chi2 = kernels.triplets(position, edge_index, windows)
    layer = kernels.assign_layers(position, windows)
    weight = np.ones(edge_index.shape[1], np.float32)
    track_id = kernels.walk(kernels.TripletGraph(edge_index, pairs, chi2), weight, layer, 0.5, 3)
    freed = np.random.default_rng(seed).random(len(track_id)) < lost
    return number_by_first_hit(np.where(freed, NO_TRACK, track_id))


@pytest.mark.parametrize(("seed", "threads"), [(0, 1), (1, 2)])
def test_native_is_the_slow_truth(isa: str, seed: int, threads: int) -> None:
    position = np.concatenate([helix_hits(200, seed), toy_hits(200, seed)])
    windows, track_id = toy_windows(seed), walked(position, seed)
    everything = kernels.complete(position, track_id, windows, 0.0, -9.0)
    assert (everything >= 0).sum() > (track_id >= 0).sum() + 20
    want = reference.complete(position, track_id, windows, 1.0, 3.5)
    assert 3 < want.max() + 1 < everything.max() - 3  # some tracks stay and some go
    np.testing.assert_array_equal(kernels.complete(position, track_id, windows, 1.0, 3.5, threads), want)
    long = reference.complete(position, track_id, windows, 1.0, 3.5, min_hits=5)
    assert 0 < long.max() < want.max()
    assert np.bincount(long[long >= 0]).min() == 5
    np.testing.assert_array_equal(kernels.complete(position, track_id, windows, 1.0, 3.5, threads, min_hits=5), long)


def test_no_track_takes_hits_of_another_event(isa: str) -> None:
    position = np.concatenate([helix_hits(150, 5), toy_hits(300, 5)])[:900]
    windows = toy_windows(5)
    parts: list[ndarray] = []
    for first, last in pairwise(OFFSETS):
        labels = walked(position[first:last], 5)
        parts.append(np.where(labels >= 0, labels + sum(int(part.max(initial=-1)) + 1 for part in parts), NO_TRACK))
    track_id = number_by_first_hit(np.concatenate(parts))
    want = reference.complete(position, track_id, windows, 1.0, 0.0, OFFSETS)
    assert (want >= 0).sum() > (track_id >= 0).sum()
    result = kernels.complete(position, track_id, windows, 1.0, 0.0, 2, OFFSETS)
    np.testing.assert_array_equal(result, want)
    alone = [
        kernels.complete(position[first:last], number_by_first_hit(track_id[first:last]), windows, 1.0, 0.0)
        for first, last in pairwise(OFFSETS)
    ]
    together = [number_by_first_hit(result[first:last]) for first, last in pairwise(OFFSETS)]
    np.testing.assert_array_equal(np.concatenate(together), np.concatenate(alone))


def test_a_free_hit_on_the_way_joins_and_one_beside_it_does_not() -> None:
    r = np.array([32, 72, 116, 172, 172], np.float32)
    phi = np.array([0.1, 0.1, 0.1, 0.1, 0.3], np.float32)
    position = np.stack([r, phi, r], axis=1)
    track_id = np.array([0, 0, 0, NO_TRACK, NO_TRACK])
    completed = kernels.complete(position, track_id, toy_windows(known=1.0), 1.0, 0.0)
    assert completed.tolist() == [0, 0, 0, 0, NO_TRACK]


def test_a_layer_more_may_be_skipped() -> None:
    r = np.array([32, 72, 172, 32, 72], np.float32)  # no window joins the layers at 32, 72 and the disc at 700
    position = np.stack([r, np.full(5, 0.1, np.float32), r * np.float32(5)], axis=1)
    position[2] = 140, 0.1, 700
    windows = toy_windows(known=1.0)
    assert (1, 5) not in set(map(tuple, windows.pairs.tolist()))
    completed = kernels.complete(position[:3], np.array([0, 0, NO_TRACK]), windows, 1.0, -9.0)
    assert completed.tolist() == [0, 0, 0]


@pytest.mark.parametrize(("min_score", "stays"), [(-9.0, True), (4.0, False)])
def test_a_track_with_no_hit_on_any_layer_is_judged_like_any_other(isa: str, min_score: float, stays: bool) -> None:
    """Components may join hits that lie on no layer of the windows; their score is that of no layer, -1."""
    windows = toy_windows(known=1.0)
    position = np.concatenate([np.array([[5000, 0, z] for z in (0, 1, 2)], np.float32), helix_hits(20, 1)])
    assert (kernels.assign_layers(position, windows)[:3] < 0).all()
    track_id = np.concatenate([np.zeros(3, np.int64), walked(position[3:], 1)])
    track_id[3:][track_id[3:] >= 0] += 1
    want = reference.complete(position, track_id, windows, 1.0, min_score)
    assert bool((want[:3] == 0).all()) == stays
    np.testing.assert_array_equal(kernels.complete(position, track_id, windows, 1.0, min_score), want)
