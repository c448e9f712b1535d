"""The order of layers in which tracks grow, where they begin, and that beyond the seed layers no edge stands alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy import ndarray

from beampipe.tracking import kernels
from beampipe.tracking import windows as growth
from beampipe.tracking.models import load_model
from beampipe.tracking.windows import MAX_OUT, Windows, load_windows
from tests.tracking.kernels import reference

MOST_DIFFERENT = 0.005
"""Fraction of edges that rounding may move across the border of a window."""


def joined(n_layers: int, *pairs: tuple[int, int]) -> Windows:
    """Barrels one around the other, and pairs of them; no other window matters."""
    table = np.array(sorted(pairs), np.int32).reshape(-1, 2)
    return Windows(
        layers=np.array([(r, r + 2, -100, 100) for r in range(10, 10 + 10 * n_layers, 10)], np.float32).reshape(-1, 4),
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
        (joined(6, *chain(6)), [0, 1, 2, 3, 4, 5]),
        (joined(6, *chain(6), (0, 4)), [0, 1, 2, 3, 4, 5]),  # a pair past lost hits changes nothing
        (joined(5, (0, 1), (0, 4), (1, 4), (2, 3)), [0, 1, 0, 1, 2]),  # the last layer inside counts
        (joined(6, *chain(6), (5, 3)), [0, 1, 2, 6, 6, 6]),  # a ring: 3, 4, 5
        (joined(7, *chain(5), (4, 3), (4, 5), (5, 6)), [0, 1, 2, 7, 7, 7, 7]),  # 5 and 6 lie behind a ring
        (joined(3, (0, 1), (1, 2), (2, 0)), [3] * 3),  # nothing is innermost
        (joined(2), [0, 0]),
        (joined(0), []),
    ],
)
def test_stages(windows: Windows, stages: list[int]) -> None:
    np.testing.assert_array_equal(growth.growth_stages(windows), np.array(stages, np.int64))


BARREL = ((30, 32, -500, 500), (70, 72, -500, 500))
"""Two layers around the beam line; from the origin, a disc at z = 600 mm is behind both from r = 86 mm on, behind one
from 38 mm on."""


@pytest.mark.parametrize(
    ("box", "before", "most_before"),
    [
        ((120, 122, -500, 500), 2, 2),
        ((120, 122, 300, 500), 2, 2),  # as seen from the origin, not from its own z
        ((120, 122, 2000, 2500), 0, 0),  # beyond the ends of both
        ((200, 400, 598, 602), 2, 2),
        ((60, 80, 598, 602), 1, 1),
        ((60, 200, 598, 602), 1, 2),  # its inner edge is behind one
        ((20, 200, 598, 602), 0, 2),
        ((10, 12, -500, 500), 0, 0),  # inside of both
    ],
)
@pytest.mark.parametrize("side", [1, -1])
def test_layers_before(box: tuple[float, ...], before: int, most_before: int, side: int) -> None:
    z_min, z_max = sorted((side * box[2], side * box[3]))
    crossed = growth.crossings(np.array([*BARREL, (*box[:2], z_min, z_max)], np.float32))
    assert (crossed.before[2], crossed.most_before[2]) == (before, most_before)


def test_tracks_of_the_generic_detector_begin_in_a_row_or_near_the_beam_with_one_hit_lost() -> None:
    windows = load_windows(load_model().path / "module_map.safetensors")
    barrel = windows.layers[:, 1] - windows.layers[:, 0] < windows.layers[:, 3] - windows.layers[:, 2]
    begins = growth.may_begin(windows)
    radii = windows.layers[:, :2].mean(axis=1).round().astype(int)
    triples = {
        (radii[a], radii[b], radii[c])
        for (p, (a, b)), slots in zip(enumerate(windows.pairs), begins, strict=True)
        for c in windows.pairs[windows.out_begin[b] :, 1][:MAX_OUT][slots[: len(windows.pairs) - windows.out_begin[b]]]
        if barrel[[a, b, c]].all()
    }
    in_a_row = {(33, 72, 116), (72, 116, 172), (116, 172, 261), (172, 261, 361), (261, 361, 501)}
    lost = {(33, 72, 172), (33, 116, 172)}
    beyond_the_end_of_one = {(72, 116, 261), (116, 261, 361)}
    assert in_a_row | lost <= triples
    assert triples - in_a_row - lost <= beyond_the_end_of_one


RADII = (32.0, 72.0, 116.0, 172.0, 260.0, 360.0, 500.0)


def barrels(seed: int) -> Windows:
    """Seven layers, each joined to its next one, all triplets allowed; the last four are no seed layers."""
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
def test_beyond_the_seeds_edges_continue_edges(seed: int) -> None:
    position, windows = hits(seed), barrels(seed)
    edges = reference.module_map_edges(position, windows, seed_depth=2)
    _, out = reference.triplets(position, edges, windows)[0]
    layer = reference.assign_layers(position, windows)[edges]
    late = np.flatnonzero(layer[0] > 2)
    assert len(late) > 50
    assert np.isin(late, out).all()  # an edge that agrees ends where it starts
    everything = reference.module_map_edges(position, windows, seed_depth=len(RADII))
    lost = np.array(sorted(as_set(everything) - as_set(edges))).T
    assert lost.shape[1] > 20  # tracks without their first hits
    assert as_set(edges) < as_set(everything)


def test_a_track_goes_on_across_a_gap_but_does_not_begin_there() -> None:
    windows = barrels(0)
    gap = np.array([[3, 5]], np.int32)
    pairs = np.concatenate([windows.pairs, gap])
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    wide = np.full((len(pairs), MAX_OUT, 4), 100, np.float32)
    windows = replace(
        windows,
        pairs=pairs[order],
        pair_windows=np.tile(windows.pair_windows[:1], (len(pairs), 1)),
        out_begin=np.searchsorted(pairs[order, 0], np.arange(len(RADII) + 1)).astype(np.int32),
        triplet_windows=wide,
    )
    track = np.array([(r, 0.1, 0.2 * r) for r in RADII], np.float32)
    without_layer_4 = np.delete(track, 4, axis=0)
    for find in (reference.module_map_edges, kernels.module_map_edges):
        assert (3, 4) in as_set(find(without_layer_4, windows))  # the rows of layers 3 and 5
        assert (1, 2) not in as_set(find(without_layer_4[2:], windows))  # of 2, 3, 5: it would begin there


@pytest.mark.parametrize(("seed", "threads"), [(0, 1), (1, 3)])
@pytest.mark.parametrize(("seed_depth", "least_curvature"), [(0, 0.0), (1, 0.4), (2, 0.0), (5, 0.1)])
def test_the_kernel_grows_as_the_reference(
    isa: str, seed: int, threads: int, seed_depth: int, least_curvature: float
) -> None:
    position, windows = hits(seed), barrels(seed)
    want = reference.module_map_edges(position, windows, None, seed_depth, least_curvature)
    got = kernels.module_map_edges(position, windows, threads, None, seed_depth, least_curvature)
    assert len(as_set(got) ^ as_set(want)) <= MOST_DIFFERENT * len(want.T)
