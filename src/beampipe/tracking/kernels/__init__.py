"""The compiled kernels: one function each.

`threads` is the number of threads of that call; the result does not depend on it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Int64
from beampipe.events import Offsets, Position, TrackIds
from beampipe.tracking.kernels.geometry import Chi2, EdgeIndex, EdgeValues, PairTable, Triplets
from beampipe.tracking.kernels.geometry import TripletGraph as TripletGraph
from beampipe.tracking.kernels.loading import blocks, contiguous
from beampipe.tracking.kernels.loading import build as build
from beampipe.tracking.kernels.loading import native as native
from beampipe.tracking.kernels.weights import GnnWeights as GnnWeights
from beampipe.tracking.kernels.weights import Layer as Layer
from beampipe.tracking.kernels.weights import Mlp as Mlp
from beampipe.tracking.windows import SEED_DEPTH, LayerNumbers, Windows


def sigmoid(logit: Float32[ndarray, " n"]) -> Float32[ndarray, " n"]:
    """1 / (1 + exp(-logit)), through float64."""
    with np.errstate(over="ignore"):
        return (1.0 / (1.0 + np.exp(-logit.astype(np.float64)))).astype(np.float32)


def number_by_first_hit(track_id: TrackIds) -> TrackIds:
    """The same tracks, numbered by their first hit in input order; hits on no track get -1."""
    on_track = track_id >= 0
    names, first, number = np.unique(track_id[on_track], return_index=True, return_inverse=True)
    rank = np.empty(len(names), np.int64)
    rank[np.argsort(first)] = np.arange(len(names))
    numbered = np.full(len(track_id), -1, np.int64)
    numbered[on_track] = rank[number]
    return numbered


def embed(position: Position, weights: Mlp, threads: int = 1) -> Float32[ndarray, "n_hits d"]:
    """Embedding of each hit: source vector, then target vector.

    Args:
        position: r [mm], phi [rad], z [mm].
        weights: 5 hit features -> hidden layers -> d, all multiples of 16.
    """
    return np.asarray(native().embed(contiguous(position), weights.packed, weights.widths, threads))


def radius_edges(
    source: Float32[ndarray, "n_hits 8"],
    target: Float32[ndarray, "n_hits 8"],
    position: Position,
    radius: float,
    max_neighbours: int,
    kappa_max: float,
    z0_max: float,
    threads: int = 1,
    offsets: Offsets | None = None,
) -> tuple[EdgeIndex, EdgeValues]:
    """Edges i -> j with |source_i - target_j| < radius, j outward of i, inside the kinematic windows. Exact.

    Outward: r^2 + z^2 is larger, or equal with the higher index. Of the neighbours inside the windows the
    `max_neighbours` nearest stay, ties to the lower index.

    Args:
        source: source vector of each hit; columns of a wider array are fine.
        target: target vector of each hit; columns of a wider array are fine.
        position: r [mm], phi [rad], z [mm].
        kappa_max: largest |curvature| of the circle through both hits and the beam line [1/mm].
        z0_max: largest |z| of the edge's line at the beam line [mm].
        threads: largest number of threads that the call uses.
        offsets: first hit of each event, and the end, where there are several: no edge joins two events.

    Returns:
        edge_index, sorted by inner then outer hit, and the squared distance of each edge.
    """
    edges: tuple[EdgeIndex, EdgeValues] = native().radius_edges(
        source,
        target,
        contiguous(position),
        blocks(offsets, len(position)),
        radius,
        max_neighbours,
        kappa_max,
        z0_max,
        threads,
    )
    return edges


def logit_of(cut: float) -> np.float32:
    """The logit at which a score reaches `cut`.

    Every implementation cuts on this logit, because scores of likely edges round to 1.

    Args:
        cut: score in [0, 1].
    """
    if 0 < cut < 1:
        return np.float32(np.log(cut / (1 - cut)))
    return np.float32(-np.inf if cut <= 0 else np.inf)


def filter_logits(
    position: Position, edge_index: EdgeIndex, dist2: EdgeValues, weights: Mlp, threads: int = 1
) -> EdgeValues:
    """Logit of each edge from its own geometry, its hits and its squared embedding distance.

    Args:
        weights: 13 -> hidden (a multiple of 16) -> 1.
    """
    logit: EdgeValues = native().filter_logits(
        contiguous(position),
        contiguous(edge_index),
        contiguous(dist2),
        weights.packed_by_output,
        weights.widths[1],
        threads,
    )
    return logit


def filter_kept(
    position: Position, edge_index: EdgeIndex, dist2: EdgeValues, weights: Mlp, cut: float, threads: int = 1
) -> Int64[ndarray, "2 n_kept"]:
    """The edges whose `filter_logits` are at least `logit_of(cut)`, in order.

    Args:
        cut: lowest filter score of an edge that is kept, in [0, 1].
    """
    kept = filter_logits(position, edge_index, dist2, weights, threads) >= logit_of(cut)
    return np.ascontiguousarray(edge_index[:, kept])


def gnn_scores(
    position: Position,
    edge_index: EdgeIndex,
    pair_features: Float32[ndarray, "n_edges p"],
    weights: GnnWeights,
    threads: int = 1,
) -> tuple[EdgeValues, EdgeValues]:
    """Score in [0, 1] of each edge, and its logit, which still distinguishes scores that round to 1.

    Args:
        edge_index: inner hit and outer hit of each edge, sorted by inner hit.
        pair_features: `PAIR_FEATURES` of each edge, or no column where the network uses none.
    """
    logit = native().gnn_logits(
        contiguous(position),
        contiguous(edge_index),
        contiguous(pair_features),
        weights.packed,
        weights.hidden,
        len(weights.edge),
        threads,
    )
    return sigmoid(logit), logit


def connected_components(n: int, edge_index: EdgeIndex, min_hits: int = 2) -> TrackIds:
    """Component of each hit, numbered by first hit in input order; -1 where it has fewer than `min_hits` (>= 2) hits.

    Args:
        n: number of hits of the event, or of all events.
    """
    return np.asarray(native().connected_components(n, contiguous(edge_index), min_hits))


def assign_layers(position: Position, windows: Windows, threads: int = 1) -> LayerNumbers:
    """Layer of each hit, -1 for a hit outside every layer's box.

    Args:
        position: r [mm], phi [rad], z [mm].
        windows: learned windows, whose `layers` are the boxes.
        threads: largest number of threads that the call uses.
    """
    return np.asarray(native().assign_layers(contiguous(position), _native_windows(windows), threads))


def module_map_edges(
    position: Position,
    windows: Windows,
    threads: int = 1,
    offsets: Offsets | None = None,
    seed_depth: int = SEED_DEPTH,
    least_curvature: float = 0.0,
) -> EdgeIndex:
    """Doublets inside their windows that take part in a triplet inside its window, as tracks grow outwards.

    A triplet counts if a track may begin with it, or if its inner doublet is an edge already: regions that no track
    reaches are not searched. See `beampipe.tracking.windows.may_begin`.

    The compiled kernel searches dense events (more than 20,000 hits and 3,000 million pairs of doublets around seeds)
    with a smaller seed depth, down to 1.

    Args:
        position: r [mm], phi [rad] between -pi and pi, z [mm].
        windows: learned windows of doublets and triplets.
        threads: largest number of threads that the call uses.
        offsets: first hit of each event, and the end, where there are several: no edge joins two events.
        seed_depth: most layers before a seed layer.
        least_curvature: share of each window's largest curvature below which doublets are left out.

    Returns:
        edge_index, inner hit then outer hit, sorted by both.
    """
    edge_index: EdgeIndex = native().module_map_edges(
        contiguous(position),
        blocks(offsets, len(position)),
        _native_windows(windows),
        seed_depth,
        least_curvature,
        threads,
    )
    return edge_index


def triplets(position: Position, edge_index: EdgeIndex, windows: Windows, threads: int = 1) -> tuple[Triplets, Chi2]:
    """Pairs of edges (in, out) that share a hit and lie inside their triplet window.

    Args:
        position: r [mm], phi [rad], z [mm].
        edge_index: inner hit, outer hit; sorted by inner hit.
        windows: learned windows of doublets and triplets.
        threads: largest number of threads that the call uses.

    Returns:
        numbers of both edges, grouped by the shared hit from the beam outwards (by r^2 + z^2), and chi2 in units of
        the window, < 1.
    """
    triplets_and_chi2: tuple[Triplets, Chi2] = native().triplets(
        contiguous(position),
        contiguous(edge_index),
        _native_windows(windows),
        threads,
    )
    return triplets_and_chi2


def pair_features(triplets: Triplets, chi2: Chi2, n_edges: int) -> PairTable:
    """`beampipe.tracking.kernels.features.PAIR_FEATURES` of each edge.

    Smallest chi2 to an edge inwards and outwards (2 for none), log(1 + number of them) / 2, and the length of the
    longest chain inwards and outwards / 8.

    Args:
        triplets: pairs of edges as `triplets` returns them, from the beam outwards.
        chi2: chi2 of each triplet, in units of its window.
        n_edges: number of edges of the graph.
    """
    return np.asarray(native().pair_features(contiguous(triplets), contiguous(chi2), n_edges))


def walk(graph: TripletGraph, weight: EdgeValues, layer: LayerNumbers, penalty: float, min_hits: int) -> TrackIds:
    """Best paths through the triplets, best first, each hit on one path at most.

    The score of a path is the sum of its edges' weights less `penalty` times the chi2 of its triplets, in fixed
    point, so that equal paths compare equal in any order of summation. Of a path that shares hits with better paths,
    the outermost stretch of free hits remains. Then the free hit of the same layer that fits best in place of each
    hit is added to the path: where modules overlap, a particle leaves two hits on a layer.

    Args:
        graph: edges, and their triplets and chi2 as `triplets` returns them, from the beam outwards.
        weight: contribution of each edge to a path's score, below 1000 in absolute value.
        layer: layer of each hit, from `assign_layers`.
        penalty: cost of a triplet at the edge of its window.
        min_hits: fewest hits of a path that becomes a track.

    Returns:
        track_id of each hit, tracks numbered by their first hit, -1 for none.
    """
    track_id: TrackIds = native().walk(
        len(layer),
        *(contiguous(array) for array in graph),
        contiguous(weight),
        contiguous(layer),
        penalty,
        min_hits,
    )
    return track_id


def complete(
    position: Position,
    track_id: TrackIds,
    windows: Windows,
    penalty: float,
    min_score: float,
    threads: int = 1,
    offsets: Offsets | None = None,
    min_hits: int = 0,
) -> TrackIds:
    """Tracks with the free hits beyond their ends, less those that are short for their chi2.

    A free hit fits an end if its triplet with the last two layers of the track passes. The best hit on the nearest
    layer with such hits is added; a hit that fits several tracks goes to the smallest chi2. One layer more may be
    skipped than in the windows, within the widest of those windows. At most four hits are added at each end.

    A track's score is its number of layers, less 1, less `penalty` times the sum of the chi2 of each three layers in
    a row: the smallest of their hits, 1 where none passes.

    Args:
        position: r [mm], phi [rad] between -pi and pi, z [mm].
        track_id: track of each hit, -1 for none.
        windows: learned windows; those of doublets have no effect.
        penalty: cost of a chi2 at the edge of the window, in layers.
        min_score: lowest score of a track that stays in an event of 100,000 hits; it is lower by 1 for each factor of
            ten fewer hits, as chance combinations are then rarer, and from 200,000 hits on higher by 2 for ten times
            more.
        threads: largest number of threads that the call uses.
        offsets: first hit of each event, and the end, where there are several: no track takes hits of another event.
        min_hits: fewest hits of a completed track that stays.

    Returns:
        track_id of each hit, tracks numbered by their first hit, -1 for none.
    """
    completed: TrackIds = native().complete(
        contiguous(position),
        blocks(offsets, len(position)),
        contiguous(track_id),
        _native_windows(windows),
        penalty,
        min_score,
        min_hits,
        threads,
    )
    return completed


def _native_windows(windows: Windows) -> Any:
    """The windows as the native kernels read them, cached on the windows."""
    if "native" not in windows.__dict__:
        tables = native().Windows(
            windows.layers, windows.pairs, windows.pair_windows, windows.out_begin, windows.triplet_windows
        )
        windows.__dict__["native"] = tables  # the dataclass is frozen, but a cache may be added
    return windows.__dict__["native"]
