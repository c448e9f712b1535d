"""Slow truth for the kernels of the learned windows: plain numpy, every pair tried."""

from __future__ import annotations

from typing import Final

import numpy as np

from beampipe.tracking.kernels.arrays import (
    Chi2,
    EdgeIndex,
    EdgeValues,
    LayerNumbers,
    Offsets,
    PairTable,
    Position,
    TrackIds,
    Triplets,
)
from beampipe.tracking.kernels.geometry import MIN_DR, arc, triplet_chi2, wrapped
from beampipe.tracking.kernels.growth import SEED, SEED_DEPTH, stages
from beampipe.tracking.kernels.reference import event_of, number_by_first_hit
from beampipe.tracking.windows import Windows

__all__ = [
    "assign_layers",
    "fit_on_layers",
    "module_map_edges",
    "pair_features",
    "triplets",
    "walk",
]

MAX_DPHI: Final = np.float32(1.2)
"""An edge of the learned windows goes outwards by more than `MIN_DR`, and turns by less than this [rad]."""

MANY_HITS: Final = 50
"""Hits of a layer; so many lie all over it."""

FILLED: Final = np.float32(0.5)
"""Part of a layer's extent in r and in z that they fill at least."""

THIN: Final = np.float32(2)
"""Extent [mm] that is little more than the margin of a layer's box; hits of thin layers do not fill it."""

NO_PARTNER: Final = np.float32(2.0)
"""Stands for the chi2 of an edge with no partner; one that passes has chi2 < 1."""


def assign_layers(position: Position, windows: Windows) -> LayerNumbers:
    """Layer of each hit, -1 for a hit outside every box."""
    r, z = position[:, 0], position[:, 2]
    layer = np.full(len(position), -1, np.int16)
    for number, (r_min, r_max, z_min, z_max) in enumerate(windows.layers):
        layer[(r >= r_min) & (r <= r_max) & (z >= z_min) & (z <= z_max)] = number
    return layer


def fit_on_layers(position: Position, windows: Windows) -> tuple[int, int]:
    """Number of hits on no layer, and of layers that the hits do not fill."""
    layer = assign_layers(position, windows)
    unfilled = 0
    for number, box in enumerate(windows.layers):
        hits = position[layer == number][:, ::2]
        if len(hits) < MANY_HITS:
            unfilled += len(hits) == 0
        else:
            extent = box[1::2] - box[::2]
            unfilled += bool(((np.ptp(hits, axis=0) < FILLED * extent) & (extent > THIN)).any())
    return int(np.count_nonzero(layer < 0)), unfilled


def module_map_edges(
    position: Position,
    windows: Windows,
    offsets: Offsets | None = None,
    seed_depth: int = SEED_DEPTH,
    least_curvature: float = 0.0,
) -> EdgeIndex:
    """Doublets inside their windows, of one event, from which tracks grow, sorted.

    A triplet inside its window makes edges of both of its doublets; where its middle hit lies on no seed layer, only if
    the inner one is an edge already. See `beampipe.tracking.kernels.growth`.
    """
    layer = assign_layers(position, windows)
    event = event_of(len(position), offsets)
    doublets = []
    for (inner_layer, outer_layer), (kappa_max, z0_min, z0_max) in zip(
        windows.pairs, windows.pair_windows, strict=True
    ):
        inner, outer = np.flatnonzero(layer == inner_layer), np.flatnonzero(layer == outer_layer)
        edge_index = np.stack([np.repeat(inner, len(outer)), np.tile(outer, len(inner))])
        kappa, _, z0, _ = arc(position, edge_index)
        dr, dphi, _ = (position[edge_index[1]] - position[edge_index[0]]).T
        inside = (event[edge_index[0]] == event[edge_index[1]]) & (dr > MIN_DR) & (np.abs(wrapped(dphi)) < MAX_DPHI)
        inside &= (np.abs(kappa) < kappa_max) & (np.abs(kappa) >= np.float32(least_curvature) * kappa_max)
        inside &= (z0 > z0_min) & (z0 < z0_max)
        doublets.append(edge_index[:, inside])
    edge_index = np.concatenate([np.empty((2, 0), np.int64), *doublets], axis=1)
    edge_index = edge_index[:, np.lexsort((edge_index[1], edge_index[0]))]
    into, out = triplets(position, edge_index, windows)[0]
    kept = np.zeros(len(edge_index.T), bool)
    stage = stages(windows, seed_depth)[layer[edge_index[1, into]]]  # of the middle hits
    for current in np.unique(stage):
        grows = (stage == current) & ((current == SEED) | kept[into])
        kept[into[grows]] = kept[out[grows]] = True
    return edge_index[:, kept]


def triplets(position: Position, edge_index: EdgeIndex, windows: Windows) -> tuple[Triplets, Chi2]:
    """Pairs of edges (in, out) that share a hit and pass, from the beam outwards, and their chi2."""
    layer = assign_layers(position, windows)
    n_layers = len(windows.layers)
    pair_of = np.full((n_layers + 1, n_layers + 1), -1)  # the last row and column serve layer -1
    pair_of[windows.pairs[:, 0], windows.pairs[:, 1]] = np.arange(len(windows.pairs))
    pair = pair_of[layer[edge_index[0]], layer[edge_index[1]]]
    rho2 = position[:, 0] * position[:, 0] + position[:, 2] * position[:, 2]
    ins, outs = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for middle in np.argsort(rho2, kind="stable"):
        into = np.flatnonzero((edge_index[1] == middle) & (pair >= 0))
        out = np.flatnonzero((edge_index[0] == middle) & (pair >= 0))
        ins.append(np.repeat(into, len(out)))
        outs.append(np.tile(out, len(into)))
    e, f = np.concatenate(ins), np.concatenate(outs)
    arcs = arc(position, edge_index)
    window = windows.triplet_windows[pair[e], pair[f] - windows.out_begin[windows.pairs[pair[e], 1]]]
    chi2 = triplet_chi2(arcs.take(e), arcs.take(f), window)
    good = np.isfinite(chi2)
    return np.stack([e[good], f[good]]), chi2[good].astype(np.float32)


def pair_features(triplets: Triplets, chi2: Chi2, n_edges: int) -> PairTable:
    """`beampipe.tracking.kernels.features.PAIR_FEATURES` of each edge."""
    into, out = triplets
    best = np.full((2, n_edges), NO_PARTNER, np.float32)
    level = np.zeros((2, n_edges), np.int64)
    np.minimum.at(best[0], out, chi2)
    np.minimum.at(best[1], into, chi2)
    for i, o in zip(into, out, strict=True):
        level[0, o] = max(level[0, o], level[0, i] + 1)
    for i, o in zip(into[::-1], out[::-1], strict=True):
        level[1, i] = max(level[1, i], level[1, o] + 1)
    count = np.stack([np.bincount(out, minlength=n_edges), np.bincount(into, minlength=n_edges)])
    log_count = np.float32(0.5) * np.log1p(count.astype(np.float32))
    return np.concatenate([best, log_count, np.float32(0.125) * level.astype(np.float32)]).T.copy()


def walk(
    n_hits: int,
    edge_index: EdgeIndex,
    triplets: Triplets,
    chi2: Chi2,
    weight: EdgeValues,
    layer: LayerNumbers,
    penalty: float,
    min_hits: int,
) -> TrackIds:
    """Best paths, best first, each hit on one at most; see `beampipe.tracking.kernels.walk`."""
    unit = 1 << 20
    own = np.rint(np.nan_to_num(weight.astype(np.float64), nan=0.0) * unit).astype(np.int64)
    score, previous = own.copy(), np.full(len(own), -1)
    cost = np.rint((chi2 * np.float32(penalty)).astype(np.float64) * unit).astype(np.int64)
    for i, o, loss in zip(*triplets, cost, strict=True):
        through = score[i] + own[o] - loss
        if through > score[o]:
            score[o], previous[o] = through, i
    continued = np.isin(np.arange(len(own)), previous)
    ends = np.flatnonzero(~continued & (previous >= 0))
    track_id, n_tracks = np.full(n_hits, -1), 0
    paths: list[list[int]] = []
    for end in ends[np.lexsort((ends, -score[ends]))]:
        chain = [int(end)]
        while previous[chain[-1]] >= 0:
            chain.append(int(previous[chain[-1]]))
        hits = [int(edge_index[1, e]) for e in chain] + [int(edge_index[0, chain[-1]])]
        free = [track_id[hit] < 0 for hit in hits]
        if True not in free[:-1]:
            continue
        first = free.index(True)
        last = free.index(False, first) if False in free[first:] else len(hits)
        if last - first >= min_hits:
            track_id[hits[first:last]] = n_tracks
            n_tracks += 1
            paths.append(hits[first:last][::-1])
    _add_twins(track_id, paths, edge_index, triplets, chi2, layer)
    return number_by_first_hit(track_id)


def _add_twins(
    track_id: TrackIds,
    paths: list[list[int]],
    edge_index: EdgeIndex,
    triplets: Triplets,
    chi2: Chi2,
    layer: LayerNumbers,
) -> None:
    """Give each hit of a path the free hit of its layer that fits best in its place: modules overlap."""
    replaces: dict[tuple[int, int, int], float] = {}  # three hits of a possible path: chi2
    for (e, f), x in zip(triplets.T.tolist(), chi2.tolist(), strict=True):
        replaces[int(edge_index[0, e]), int(edge_index[1, e]), int(edge_index[1, f])] = x
    twins = []
    for path in paths:
        for (a, b, c), x in replaces.items():
            for k in range(len(path) - 2):
                if (a, c) == (path[k], path[k + 2]):
                    twins.append((x, b, path[k + 1]))
            if (b, c) == (path[1], path[2]):
                twins.append((x, a, path[0]))
            if (a, b) == (path[-3], path[-2]):
                twins.append((x, c, path[-1]))
    paired = set()
    free = track_id < 0
    for _, hit, spot in sorted(t for t in twins if free[t[1]] and layer[t[1]] == layer[t[2]]):
        if track_id[hit] < 0 and spot not in paired:
            track_id[hit] = track_id[spot]
            paired.add(spot)
