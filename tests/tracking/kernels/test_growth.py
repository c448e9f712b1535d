"""The order of layers in which tracks grow, and that beyond the seed layers no edge stands alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy import ndarray

from beampipe.tracking.kernels import growth, module_map, reference_map
from beampipe.tracking.windows import MAX_OUT, Windows

pytest.importorskip("beampipe.tracking.kernels._native", exc_type=ImportError)

MOST_DIFFERENT = 0.005
"""Fraction of edges that rounding may move across the border of a window."""


def joined(n_layers: int, *pairs: tuple[int, int]) -> Windows:
    """Windows of which only the pairs of layers matter."""
    table = np.array(sorted(pairs), np.int32).reshape(-1, 2)
    return Windows(
        layers=np.zeros((n_layers, 4), np.float32),
        pairs=table,
        pair_windows=np.zeros((len(table), 3), np.float32),
        out_begin=np.searchsorted(table[:, 0], np.arange(n_layers + 1)).astype(np.int32),
        triplet_windows=np.zeros((len(table), MAX_OUT, 4), np.float32),
    )


def chain(n_layers: int) -> list[tuple[int, int]]:
    return [(layer, layer + 1) for layer in range(n_layers - 1)]


@pytest.mark.parametrize(
    ("windows", "stages"),
    [
        (joined(6, *chain(6)), [0, 0, 0, 1, 2, 3]),
        (joined(6, *chain(6), (0, 4)), [0, 0, 0, 1, 0, 0]),  # 4 is one pair away, 5 two
        (joined(7, *chain(7), (3, 5)), [0, 0, 0, 1, 2, 3, 4]),  # the last layer inside counts
        (joined(6, *chain(6), (5, 3)), [0] * 6),  # a ring: 3, 4, 5
        (joined(7, *chain(5), (4, 3), (4, 5), (5, 6)), [0] * 7),  # 5 and 6 lie behind a ring
        (joined(3, (0, 1), (1, 2), (2, 0)), [0] * 3),  # nothing is innermost
        (joined(8, *chain(4), (7, 3)), [0] * 8),  # tracks may begin on 7, too; 4, 5 and 6 are joined to nothing
        (joined(2), [0, 0]),
        (joined(0), []),
    ],
)
def test_stages(windows: Windows, stages: list[int]) -> None:
    np.testing.assert_array_equal(growth.stages(windows), np.array(stages, np.int64))


RADII = (32.0, 72.0, 116.0, 172.0, 260.0, 360.0, 500.0)


def barrels(seed: int) -> Windows:
    """Seven layers, each joined to its next one, all triples known: the last four are no seed layers."""
    shape = joined(len(RADII), *chain(len(RADII)))
    rng = np.random.default_rng(seed)
    n_pairs = len(shape.pairs)
    triplet_windows = rng.uniform(0.5, 2, (n_pairs, MAX_OUT, 4)) * np.array([1e-3, 0.1, 1e-2, 1e3])
    return replace(
        shape,
        layers=np.array([(r - 2, r + 2, -900, 900) for r in RADII], np.float32),
        pair_windows=np.tile(np.array([1e-3, -200, 200], np.float32), (n_pairs, 1)),
        triplet_windows=triplet_windows.astype(np.float32),
    )


def hits(seed: int, n_tracks: int = 40, n_noise: int = 400) -> ndarray:
    """(n, 3) float32 hits of straight tracks, a third of them without their first four hits, and noise around them."""
    rng = np.random.default_rng(seed)
    phi, cot, z0 = rng.uniform(-0.3, 0.3, n_tracks), rng.uniform(-1, 1, n_tracks), rng.uniform(-50, 50, n_tracks)
    tracks = [
        (r, phi[track], z0[track] + r * cot[track])
        for track in range(n_tracks)
        for r in RADII[4 if track % 3 == 0 else 0 :]
    ]
    noise = np.stack(
        [rng.choice(RADII, n_noise), rng.uniform(-0.3, 0.3, n_noise), rng.uniform(-400, 400, n_noise)], axis=1
    )
    return rng.permutation(np.concatenate([tracks, noise])).astype(np.float32)


def as_set(edge_index: ndarray) -> set[tuple[int, int]]:
    return set(map(tuple, edge_index.T.tolist()))


@pytest.mark.parametrize("seed", range(3))
def test_beyond_the_seeds_edges_continue_edges(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    position, windows = hits(seed), barrels(seed)
    stage = growth.stages(windows)
    assert stage.tolist() == [0, 0, 0, 1, 2, 3, 4]
    edges = reference_map.module_map_edges(position, windows)
    _, out = reference_map.triplets(position, edges, windows)[0]
    stage_of_inner = stage[reference_map.assign_layers(position, windows)[edges[0]]]
    late = np.flatnonzero(stage_of_inner > growth.SEED)
    assert len(late) > 50
    assert np.isin(late, out).all()  # an edge that agrees ends where it starts
    monkeypatch.setattr(growth, "SEED_DEPTH", len(RADII))
    everything = reference_map.module_map_edges(position, windows)
    lost = np.array(sorted(as_set(everything) - as_set(edges))).T
    assert lost.shape[1] > 20  # tracks without their first hits
    assert as_set(edges) < as_set(everything)
    assert (stage[reference_map.assign_layers(position, windows)[lost[1]]] > growth.SEED).all()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("threads", [1, 3])
def test_the_kernel_grows_as_the_reference(isa: str, seed: int, threads: int) -> None:
    position, windows = hits(seed), barrels(seed)
    want = reference_map.module_map_edges(position, windows)
    got = module_map.module_map_edges(position, windows, threads)
    assert len(as_set(got) ^ as_set(want)) <= MOST_DIFFERENT * len(want.T)
