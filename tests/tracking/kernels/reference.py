"""Slow references of the kernels in numpy and scipy."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Int64
from beampipe.events import Offsets, Position, TrackIds
from beampipe.tracking.kernels import number_by_first_hit
from beampipe.tracking.kernels.features import (
    NO_PARTNER,
    edge_features,
    filter_features,
    hit_features,
    node_features,
)
from beampipe.tracking.kernels.geometry import (
    MAX_DPHI,
    MIN_DR,
    Arc,
    Chi2,
    EdgeIndex,
    EdgeValues,
    PairTable,
    TripletGraph,
    Triplets,
    arc,
    doublet,
    triplet_chi2,
    wrapped,
)
from beampipe.tracking.kernels.weights import GnnWeights, Mlp
from beampipe.tracking.windows import SEED_DEPTH, LayerNumbers, Windows, growth_stages, may_begin, pair_numbers

_CHUNK = 256  # source hits whose distances to all targets are held at a time


def event_of(n: int, offsets: Offsets | None) -> Int64[ndarray, " n_hits"]:
    """Number of the event that each of n hits belongs to."""
    return np.zeros(n, np.int64) if offsets is None else np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def apply(mlp: Mlp, x: Float32[ndarray, "n in"]) -> Float32[ndarray, "n out"]:
    """Linear layers with x / (1 + exp(-x)) between them."""
    for k, layer in enumerate(mlp.layers):
        if k > 0:
            with np.errstate(over="ignore"):
                x = x / (np.float32(1) + np.exp(-x))
        x = x @ layer.weight.T + layer.bias
    return x


def embed(position: Position, mlp: Mlp) -> Float32[ndarray, "n_hits d"]:
    """Source and target vectors of the hits, side by side."""
    return apply(mlp, hit_features(position))


def radius_edges(
    source: Float32[ndarray, "n_hits d"],
    target: Float32[ndarray, "n_hits d"],
    position: Position,
    radius: float,
    max_neighbours: int,
    kappa_max: float,
    z0_max: float,
    offsets: Offsets | None = None,
) -> tuple[EdgeIndex, EdgeValues]:
    """All edges i -> j with |source_i - target_j| < radius, j outward of i, inside the kinematic windows.

    Outward: r^2 + z^2 is larger, or equal with the higher index. Of more than `max_neighbours` the nearest stay, ties
    to the lower index. Every pair is tried. With `offsets` both hits lie in one event.
    """
    n = len(position)
    r, z = position[:, 0].astype(np.float64), position[:, 2].astype(np.float64)
    rho2 = (r * r + z * z).astype(np.float32)
    hit = np.arange(n)
    event = event_of(n, offsets)
    radius2 = np.float32(radius) * np.float32(radius)
    edges, distances = [np.empty((2, 0), np.int64)], [np.empty(0, np.float32)]
    for first in range(0, n, _CHUNK):
        rows = hit[first : first + _CHUNK, None]
        dist2 = np.zeros((len(rows), n), np.float32)
        for k in range(source.shape[1]):
            dist2 += np.square(target[None, :, k] - source[first : first + _CHUNK, None, k])
        outward = (rho2 > rho2[rows]) | ((rho2 == rho2[rows]) & (hit > rows))
        at, outer = np.nonzero((dist2 < radius2) & outward & (event == event[rows]))
        edge_index = np.stack([first + at, outer])
        near = dist2[at, outer]
        edge = doublet(position, edge_index)
        inside = (np.abs(edge.kappa) < np.float32(kappa_max)) & (np.abs(edge.z0) < np.float32(z0_max))
        edge_index, near = edge_index[:, inside], near[inside]
        order = np.lexsort((edge_index[1], near, edge_index[0]))
        inner = edge_index[0, order]
        rank = np.arange(len(inner)) - np.searchsorted(inner, inner)
        chosen = np.sort(order[rank < max_neighbours])  # np.nonzero gave them sorted by inner, then outer
        edges.append(edge_index[:, chosen])
        distances.append(near[chosen])
    return np.concatenate(edges, axis=1), np.concatenate(distances)


def filter_logits(position: Position, edge_index: EdgeIndex, dist2: EdgeValues, mlp: Mlp) -> EdgeValues:
    """Logit of each edge from its own features and those of its hits."""
    return apply(mlp, filter_features(position, edge_index, dist2))[:, 0]


def gnn_logits(
    position: Position, edge_index: EdgeIndex, pair_features: Float32[ndarray, "n_edges p"], weights: GnnWeights
) -> EdgeValues:
    """Logit of each edge: message passing over edges and hits (Battaglia et al. 2016, arXiv:1612.00222)."""
    inner, outer = edge_index
    x = apply(weights.node_encoder, node_features(position))
    e = apply(weights.edge_encoder, np.concatenate([edge_features(position, edge_index), pair_features], axis=1))
    for edge, node in zip(weights.edge, weights.node, strict=True):
        e = e + apply(edge, np.concatenate([x[inner], x[outer], e], axis=1))
        ending, starting = np.zeros_like(x), np.zeros_like(x)
        np.add.at(ending, outer, e)
        np.add.at(starting, inner, e)
        x = x + apply(node, np.concatenate([x, ending, starting], axis=1))
    return apply(weights.classifier, np.concatenate([x[inner], x[outer], e], axis=1))[:, 0]


def connected_components(n: int, edge_index: EdgeIndex, min_hits: int = 2) -> TrackIds:
    """Component of each hit, numbered by first hit; -1 where it has fewer than `min_hits` (>= 2) hits."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components as components

    inner, outer = edge_index
    _, raw = components(coo_array((np.ones(len(inner), np.int8), (inner, outer)), shape=(n, n)), directed=False)
    return number_by_first_hit(np.where(np.bincount(raw)[raw] >= max(min_hits, 2), raw, -1).astype(np.int64))


# Learned windows: every pair of hits is tried.


MANY_LAYER_HITS: Final = 50
"""Fewest hits of a layer that must fill it."""

FILLED: Final = np.float32(0.5)
"""Share of a layer's extent in r and in z that these hits cover at least."""

THIN: Final = np.float32(2)
"""Extents [mm] up to this are not checked: the margin of a thin layer's box is most of them."""


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
        if len(hits) < MANY_LAYER_HITS:
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

    Both doublets of a triplet inside its window become edges if a track may begin with it, or if the inner one is an
    edge already. See `beampipe.tracking.windows.may_begin`.
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
    begins = may_begin(windows, seed_depth)[_windows_of(edge_index[:, into], edge_index[:, out], layer, windows)]
    stage = growth_stages(windows)[layer[edge_index[1, into]]]  # of the middle hits
    for current in np.unique(stage):
        grows = (stage == current) & (begins | kept[into])
        kept[into[grows]] = kept[out[grows]] = True
    return edge_index[:, kept]


def _windows_of(into: EdgeIndex, out: EdgeIndex, layer: LayerNumbers, windows: Windows) -> tuple[ndarray, ndarray]:
    """Pair of each inner edge, and slot of the pair of the outer edge: index of the window of each triplet."""
    pair_of = pair_numbers(windows)
    pair = pair_of[layer[into[0]], layer[into[1]]]
    return pair, pair_of[layer[out[0]], layer[out[1]]] - windows.out_begin[windows.pairs[pair, 1]]


def triplets(position: Position, edge_index: EdgeIndex, windows: Windows) -> tuple[Triplets, Chi2]:
    """Pairs of edges (in, out) that share a hit and pass, from the beam outwards, and their chi2."""
    layer = assign_layers(position, windows)
    pair = pair_numbers(windows)[layer[edge_index[0]], layer[edge_index[1]]]
    rho2 = position[:, 0] * position[:, 0] + position[:, 2] * position[:, 2]
    ins, outs = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for middle in np.argsort(rho2, kind="stable"):
        into = np.flatnonzero((edge_index[1] == middle) & (pair >= 0))
        out = np.flatnonzero((edge_index[0] == middle) & (pair >= 0))
        ins.append(np.repeat(into, len(out)))
        outs.append(np.tile(out, len(into)))
    e, f = np.concatenate(ins), np.concatenate(outs)
    arcs = arc(position, edge_index)
    window = windows.triplet_windows[_windows_of(edge_index[:, e], edge_index[:, f], layer, windows)]
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


def walk(graph: TripletGraph, weight: EdgeValues, layer: LayerNumbers, penalty: float, min_hits: int) -> TrackIds:
    """Best paths, best first, each hit on one at most; see `beampipe.tracking.kernels.walk`."""
    unit = 1 << 20
    own = np.rint(np.nan_to_num(weight.astype(np.float64), nan=0.0) * unit).astype(np.int64)
    score, previous = own.copy(), np.full(len(own), -1)
    cost = np.rint((graph.chi2 * np.float32(penalty)).astype(np.float64) * unit).astype(np.int64)
    for i, o, loss in zip(*graph.triplets, cost, strict=True):
        through = score[i] + own[o] - loss
        if through > score[o]:
            score[o], previous[o] = through, i
    continued = np.isin(np.arange(len(own)), previous)
    ends = np.flatnonzero(~continued & (previous >= 0))
    track_id, n_tracks = np.full(len(layer), -1), 0
    paths: list[list[int]] = []
    for end in ends[np.lexsort((ends, -score[ends]))]:
        chain = [int(end)]
        while previous[chain[-1]] >= 0:
            chain.append(int(previous[chain[-1]]))
        hits = [int(graph.edge_index[1, e]) for e in chain] + [int(graph.edge_index[0, chain[-1]])]
        free = [track_id[hit] < 0 for hit in hits]
        if True not in free[:-1]:
            continue
        first = free.index(True)
        last = free.index(False, first) if False in free[first:] else len(hits)
        if last - first >= min_hits:
            track_id[hits[first:last]] = n_tracks
            n_tracks += 1
            paths.append(hits[first:last][::-1])
    _add_twins(track_id, paths, graph, layer)
    return number_by_first_hit(track_id)


def _add_twins(track_id: TrackIds, paths: list[list[int]], graph: TripletGraph, layer: LayerNumbers) -> None:
    """Add to each hit of a path the free hit of the same layer that fits best, as modules overlap."""
    replaces: dict[tuple[int, int, int], float] = {}  # three hits of a possible path: chi2
    edge_index = graph.edge_index
    for (e, f), x in zip(graph.triplets.T.tolist(), graph.chi2.tolist(), strict=True):
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


# Completion of tracks: every end is compared with every free hit.


MAX_ADDED_HITS: Final = 4
"""Most hits that are added at each end of a track."""

MANY_EVENT_HITS: Final = np.float32(1e5)
"""Hits of an event for which `min_score` is defined; it is lower by one layer for ten times fewer hits."""

DENSE_EVENT_HITS: Final = np.float32(2e5)
"""From so many hits on `min_score` grows by two layers for ten times more, as chance combinations grow faster."""

_Path = list[tuple[int, ...]]
"""The layers on the way of a track, from the beam outwards: its first hit on each, and the second if there is one."""

_Reach = dict[tuple[int, int, bool], dict[int, Float32[ndarray, " 4"]]]
"""(inner layer, outer layer, outward): the layers to search beyond that pair, nearest first, and their windows."""


class _Proposal(NamedTuple):
    """A hit that may be added to an end of a track; proposals sort by their fields in this order."""

    chi2: float
    hit: int
    track: int
    outward: bool


def complete(
    position: Position,
    track_id: TrackIds,
    windows: Windows,
    penalty: float,
    min_score: float,
    offsets: Offsets | None = None,
    min_hits: int = 0,
) -> TrackIds:
    """Tracks with the free hits beyond their ends; see `beampipe.tracking.kernels.complete`."""
    layer, event = assign_layers(position, windows), event_of(len(position), offsets)
    reach, label = _reach(windows), track_id.copy()
    paths = {int(track): _path(position, layer, track_id == track) for track in np.unique(track_id[track_id >= 0])}
    ends = [(track, outward) for track in paths for outward in (False, True)]
    for _ in range(MAX_ADDED_HITS):
        best_hits = [
            _proposal(position, layer, np.where(label < 0, event, -1), event, reach, paths, *end) for end in ends
        ]
        proposals = [proposal for proposal in best_hits if proposal is not None]
        for _, hit, track, outward in sorted(proposals):
            if label[hit] < 0 and layer[hit] not in _layers_of(paths[track], layer):
                label[hit] = track
                paths[track].insert(len(paths[track]) if outward else 0, (hit,))
        ends = [(proposal.track, proposal.outward) for proposal in proposals]
    n_hits = np.bincount(event)
    # A track may have no hit on any layer, so its event is taken from its label, not from its path.
    event_of_track = {int(track): int(event[label == track][0]) for track in paths}
    n = n_hits.astype(np.float32)
    with np.errstate(divide="ignore"):  # events without hits
        least = min_score + np.log10(n / MANY_EVENT_HITS) + np.maximum(np.log10(n / DENSE_EVENT_HITS), np.float32(0))
    short = [
        track
        for track, path in paths.items()
        if np.count_nonzero(label == track) < min_hits
        or _score(position, layer, reach, path, penalty) < least[event_of_track[track]]
    ]
    return number_by_first_hit(np.where(np.isin(label, short), -1, label))


def _reach(windows: Windows) -> _Reach:
    """The triples of layers in the windows, and those that skip one layer more, with the widest of their windows."""
    reach: _Reach = {}
    pairs = [(int(a), int(b)) for a, b in windows.pairs]
    for p, (a, b) in enumerate(pairs):
        for slot, q in enumerate(range(windows.out_begin[b], windows.out_begin[b + 1])):
            if (window := windows.triplet_windows[p, slot])[0] > 0:
                reach.setdefault((a, b, True), {})[pairs[q][1]] = window
                reach.setdefault((b, pairs[q][1], False), {})[a] = window
    for (_, _, outward), targets in reach.items():
        widest = np.max(list(targets.values()), axis=0)
        for near in list(targets):
            for inner, outer in pairs:
                if (inner if outward else outer) == near:
                    targets.setdefault(outer if outward else inner, widest)
    return reach


def _path(position: Position, layer: LayerNumbers, mine: ndarray) -> _Path:
    """The layers on the way of one track."""
    rows = np.flatnonzero(mine & (layer >= 0))
    rho2 = position[rows, 0] * position[rows, 0] + position[rows, 2] * position[rows, 2]
    crossings: dict[int, tuple[int, ...]] = {}
    for hit in rows[np.argsort(rho2, kind="stable")].tolist():
        crossings[int(layer[hit])] = (*crossings.get(int(layer[hit]), ()), hit)[:2]
    return list(crossings.values())


def _layers_of(path: _Path, layer: LayerNumbers) -> set[int]:
    return {int(layer[hits[0]]) for hits in path}


def _proposal(
    position: Position,
    layer: LayerNumbers,
    free: Int64[ndarray, " n_hits"],
    event: Int64[ndarray, " n_hits"],
    reach: _Reach,
    paths: dict[int, _Path],
    track: int,
    outward: bool,
) -> _Proposal | None:
    """The best hit on the nearest layer that has one; `free` is the event of each free hit, -1 for the others."""
    path = paths[track]
    if len(path) < 2:
        return None
    inner, outer = (path[-2][0], path[-1][0]) if outward else (path[0][0], path[1][0])
    end = outer if outward else inner
    own = arc(position, np.array([[inner], [outer]]))
    for target, window in reach.get((int(layer[inner]), int(layer[outer]), outward), {}).items():
        hits = np.flatnonzero((layer == target) & (free == event[end]))
        if target in _layers_of(path, layer) or len(hits) == 0:
            continue
        ends = np.full(len(hits), end)
        edge_index = np.stack([ends, hits] if outward else [hits, ends])
        dr, dphi, _ = (position[edge_index[1]] - position[edge_index[0]]).T
        chi2 = _chi2(own.take(np.zeros(len(hits), np.int64)), arc(position, edge_index), window)
        chi2[(dr <= MIN_DR) | (np.abs(wrapped(dphi)) >= MAX_DPHI)] = np.inf
        best = int(np.argmin(chi2))
        if np.isfinite(chi2[best]):
            return _Proposal(float(chi2[best]), int(hits[best]), track, outward)
    return None


def _chi2(own: Arc, candidate: Arc, window: Float32[ndarray, " 4"]) -> Float32[ndarray, " n"]:
    return triplet_chi2(own, candidate, np.tile(window, (len(own.kappa), 1)))


def _score(position: Position, layer: LayerNumbers, reach: _Reach, path: _Path, penalty: float) -> float:
    """Number of layers, less 1, less the cost of the chi2 of each three in a row."""
    chi2 = 0.0
    for a, b, c in zip(path, path[1:], path[2:], strict=False):
        inner, middle, outer = (int(layer[hits[0]]) for hits in (a, b, c))
        window = reach.get((inner, middle, True), {}).get(outer)
        window = reach.get((middle, outer, False), {}).get(inner) if window is None else window
        if window is None:
            chi2 += 1
            continue
        triples = np.array([(i, m, o) for i in a for m in b for o in c]).T
        x = _chi2(arc(position, triples[:2]), arc(position, triples[1:]), window)
        chi2 += min(float(x.min()), 1.0)
    return len(path) - 1 - penalty * chi2
