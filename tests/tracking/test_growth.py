"""The order of layers in which tracks grow, and that beyond the seed layers no edge stands alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy import ndarray

from beampipe.tracking import kernels
from beampipe.tracking import windows as growth
from beampipe.tracking.kernels import reference
from beampipe.tracking.kernels.geometry import arc
from beampipe.tracking.models import load_model
from beampipe.tracking.windows import MAX_OUT, Windows, load_windows

pytest.importorskip("beampipe.tracking.kernels._native", exc_type=ImportError)

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
        (joined(6, *chain(6)), [0, 0, 0, 1, 2, 3]),
        (joined(6, *chain(6), (0, 4)), [0, 0, 0, 1, 2, 3]),  # a pair past lost hits makes no seed layer
        (joined(7, *chain(7), (3, 5)), [0, 0, 0, 1, 2, 3, 4]),  # the last layer inside counts
        (joined(6, *chain(6), (5, 3)), [0] * 6),  # a ring: 3, 4, 5
        (joined(7, *chain(5), (4, 3), (4, 5), (5, 6)), [0] * 7),  # 5 and 6 lie behind a ring
        (joined(3, (0, 1), (1, 2), (2, 0)), [0] * 3),  # nothing is innermost
        (joined(8, *chain(4), (7, 3)), [0, 0, 0, 1, 0, 0, 0, 0]),  # no pair ends on 4, 5, 6 and 7
        (joined(2), [0, 0]),
        (joined(0), []),
    ],
)
def test_stages(windows: Windows, stages: list[int]) -> None:
    np.testing.assert_array_equal(growth.growth_stages(windows, 2), np.array(stages, np.int64))


BARREL = ((30, 32, -500, 500), (70, 72, -500, 500))
"""Two layers around the beam line; a disc at z = 600 mm is behind both from r = 86 mm on, behind one from 38 mm on."""


@pytest.mark.parametrize(
    ("box", "depth"),
    [
        ((120, 122, -500, 500), 2),
        ((120, 122, 300, 500), 2),  # as seen from the origin, not from its own z
        ((120, 122, 2000, 2500), 0),  # beyond the ends of both
        ((200, 400, 598, 602), 2),
        ((60, 80, 598, 602), 1),
        ((60, 200, 598, 602), 1),  # its inner edge is behind one
        ((20, 200, 598, 602), 0),
        ((10, 12, -500, 500), 0),  # inside of both
    ],
)
@pytest.mark.parametrize("side", [1, -1])
def test_depths(box: tuple[float, ...], depth: int, side: int) -> None:
    z_min, z_max = sorted((side * box[2], side * box[3]))
    layers = np.array([*BARREL, (*box[:2], z_min, z_max)], np.float32)
    assert growth.layer_depths(replace(joined(3), layers=layers))[2] == depth


def test_the_pixel_layers_are_the_seed_layers_of_the_generic_detector() -> None:
    windows = load_windows(load_model().path / "module_map.safetensors")
    r_max, z_max = windows.layers[:, 1], np.abs(windows.layers[:, 2:]).max(axis=1)
    seeds = growth.growth_stages(windows) == growth.SEED_STAGE
    ends = np.isin(np.arange(len(windows.layers)), windows.pairs[:, 1])
    np.testing.assert_array_equal(seeds & ends, (r_max < 180) & ends)
    assert z_max[seeds & ends].max() > 1400  # the discs, by their inner edges


def test_a_track_that_has_lost_two_hits_begins_further_out_if_it_can() -> None:
    windows = load_windows(load_model().path / "module_map.safetensors")
    inner, outer = windows.pairs.T
    assert growth.may_begin(windows, 3)[inner, outer].all()
    never = windows.pairs[~growth.may_begin(windows, 5)[inner, outer]]
    radii = windows.layers[:, :2].mean(axis=1).round()
    assert radii[never].tolist() == [[33.0, 172.0], [33.0, 261.0], [33.0, 361.0], [72.0, 261.0]]  # of 33, 72, 116 ...


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
def test_beyond_the_seeds_edges_continue_edges(seed: int) -> None:
    position, windows = hits(seed), barrels(seed)
    stage = growth.growth_stages(windows, 2)
    assert stage.tolist() == [0, 0, 0, 1, 2, 3, 4]
    edges = reference.module_map_edges(position, windows, seed_depth=2)
    into, out = reference.triplets(position, edges, windows)[0]
    stage_of_inner, stage_of_outer = stage[reference.assign_layers(position, windows)[edges]]
    late = np.flatnonzero(stage_of_inner > growth.SEED_STAGE)
    assert len(late) > 50
    assert np.isin(late, out).all()  # an edge that agrees ends where it starts
    everything = reference.module_map_edges(position, windows, seed_depth=len(RADII))
    lost = np.array(sorted(as_set(everything) - as_set(edges))).T
    assert lost.shape[1] > 20  # tracks without their first hits
    assert as_set(edges) < as_set(everything)
    leads_out = np.flatnonzero((stage_of_inner == growth.SEED_STAGE) & (stage_of_outer > growth.SEED_STAGE))
    assert len(leads_out) > 20
    assert np.isin(leads_out, into).all()  # an edge out of the seed layers is continued


@pytest.mark.parametrize("continued", [True, False])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("seed_depth", "least_curvature"), [(0, 0.0), (1, 0.4), (2, 0.0), (5, 0.1)])
def test_the_kernel_grows_as_the_reference(
    isa: str, seed: int, threads: int, seed_depth: int, least_curvature: float, continued: bool
) -> None:
    position, windows = hits(seed), barrels(seed)
    want = reference.module_map_edges(position, windows, None, seed_depth, least_curvature, continued)
    got = kernels.module_map_edges(position, windows, threads, None, seed_depth, least_curvature, continued)
    assert len(as_set(got) ^ as_set(want)) <= MOST_DIFFERENT * len(want.T)


def test_straight_doublets_are_left_out() -> None:
    position, windows = hits(3), barrels(3)
    everything, bent = (reference.module_map_edges(position, windows, None, 5, least) for least in (0.0, 0.3))
    kappa = np.abs(arc(position, bent).kappa)
    assert 50 < len(bent.T) < len(everything.T)
    assert as_set(bent) < as_set(everything)
    assert (kappa >= np.float32(0.3) * windows.pair_windows[0, 0]).all()
