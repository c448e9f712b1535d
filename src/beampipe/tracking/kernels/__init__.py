"""The kernels: one function each, compiled if that was possible, else the numpy truth, with one warning.

`threads` is the number of threads of that call; the result does not depend on it.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Int64
from beampipe.tracking.kernels import reference
from beampipe.tracking.kernels.arrays import EdgeIndex, EdgeValues, Offsets, Position, TrackIds
from beampipe.tracking.kernels.loading import blocks, contiguous, native, useful_threads
from beampipe.tracking.kernels.weights import GnnWeights, Layer, Mlp

__all__ = [
    "GnnWeights",
    "Layer",
    "Mlp",
    "connected_components",
    "embed",
    "filter_kept",
    "filter_logits",
    "gnn_scores",
    "logit_of",
    "native",
    "radius_edges",
]


def embed(position: Position, weights: Mlp, threads: int = 1) -> Float32[ndarray, "n_hits d"]:
    """Embedding of each hit: source vector, then target vector.

    Args:
        position: r [mm], phi [rad], z [mm].
        weights: 5 hit features -> hidden layers -> d, all multiples of 16.
    """
    if (kernels := native()) is None:
        return reference.embed(position, weights)
    result: Float32[ndarray, "n_hits d"] = kernels.embed(
        contiguous(position), weights.packed, weights.widths, useful_threads(threads, len(position))
    )
    return result


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
    if (kernels := native()) is None:
        return reference.radius_edges(source, target, position, radius, max_neighbours, kappa_max, z0_max, offsets)
    edges: tuple[EdgeIndex, EdgeValues] = kernels.radius_edges(
        source,
        target,
        contiguous(position),
        blocks(offsets, len(position)),
        radius,
        max_neighbours,
        kappa_max,
        z0_max,
        useful_threads(threads, len(position)),
    )
    return edges


def logit_of(cut: float) -> np.float32:
    """The logit at which a score reaches `cut`.

    Cuts on the filter are made here, on the logit, by every implementation: scores of likely edges round to 1.

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
    if (kernels := native()) is None:
        return reference.filter_logits(position, edge_index, dist2, weights)
    logit: EdgeValues = kernels.filter_logits(*_filter_arguments(position, edge_index, dist2, weights, threads))
    return logit


def filter_kept(
    position: Position, edge_index: EdgeIndex, dist2: EdgeValues, weights: Mlp, cut: float, threads: int = 1
) -> Int64[ndarray, "2 n_kept"]:
    """The edges whose `filter_logits` are at least `logit_of(cut)`, in order.

    Args:
        cut: lowest filter score of an edge that is kept, in [0, 1].
    """
    if (kernels := native()) is None:
        kept: ndarray = reference.filter_logits(position, edge_index, dist2, weights) >= logit_of(cut)
        return np.ascontiguousarray(edge_index[:, kept])
    result: Int64[ndarray, "2 n_kept"] = kernels.filter_kept(
        *_filter_arguments(position, edge_index, dist2, weights, threads), float(logit_of(cut))
    )
    return result


def _filter_arguments(
    position: ndarray, edge_index: ndarray, dist2: ndarray, weights: Mlp, threads: int
) -> tuple[object, ...]:
    """What both native kernels of the filter read."""
    arrays = (contiguous(position), contiguous(edge_index), contiguous(dist2), weights.packed_by_output)
    return (*arrays, weights.widths[1], useful_threads(threads, len(position)))


def gnn_scores(
    position: Position,
    edge_index: EdgeIndex,
    pair_features: Float32[ndarray, "n_edges p"],
    weights: GnnWeights,
    threads: int = 1,
) -> tuple[EdgeValues, EdgeValues]:
    """Score in [0, 1] of each edge, and its logit, which still tells scores apart that round to 1.

    Args:
        edge_index: inner hit and outer hit of each edge, sorted by inner hit.
        pair_features: `PAIR_FEATURES` of each edge, or no column where the network uses none.
    """
    if (kernels := native()) is None:
        logit = reference.gnn_logits(position, edge_index, pair_features, weights)
    else:
        logit = kernels.gnn_logits(
            contiguous(position),
            contiguous(edge_index),
            contiguous(pair_features),
            weights.packed,
            weights.hidden,
            len(weights.edge),
            useful_threads(threads, len(position)),
        )
    return reference.sigmoid(logit), logit


def connected_components(n: int, edge_index: EdgeIndex, min_hits: int = 2) -> TrackIds:
    """Component of each hit, numbered by first hit in input order; -1 where it has fewer than `min_hits` (>= 2) hits.

    Args:
        n: number of hits of the event, or of all events.
    """
    if (kernels := native()) is None:
        return reference.connected_components(n, edge_index, min_hits)
    label: TrackIds = kernels.connected_components(n, contiguous(edge_index), min_hits)
    return label
