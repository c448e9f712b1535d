"""Slow truth for the kernels of the networks: plain numpy and scipy, no blocking, no grid."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Int64
from beampipe.tracking.kernels.arrays import EdgeIndex, EdgeValues, Offsets, Position, TrackIds
from beampipe.tracking.kernels.features import edge_features, filter_features, hit_features, node_features
from beampipe.tracking.kernels.geometry import doublet
from beampipe.tracking.kernels.weights import GnnWeights, Mlp

__all__ = [
    "apply",
    "connected_components",
    "embed",
    "event_of",
    "filter_logits",
    "gnn_logits",
    "number_by_first_hit",
    "radius_edges",
    "sigmoid",
]

_CHUNK = 256  # source hits whose distances to all targets are held at a time


def sigmoid(logit: Float32[ndarray, " n"]) -> Float32[ndarray, " n"]:
    """1 / (1 + exp(-logit)), through float64."""
    with np.errstate(over="ignore"):
        return (1.0 / (1.0 + np.exp(-logit.astype(np.float64)))).astype(np.float32)


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


def number_by_first_hit(track_id: TrackIds) -> TrackIds:
    """The same tracks, numbered by their first hit in input order; hits on no track get -1."""
    on_track = track_id >= 0
    names, first, number = np.unique(track_id[on_track], return_index=True, return_inverse=True)
    rank = np.empty(len(names), np.int64)
    rank[np.argsort(first)] = np.arange(len(names))
    numbered = np.full(len(track_id), -1, np.int64)
    numbered[on_track] = rank[number]
    return numbered
