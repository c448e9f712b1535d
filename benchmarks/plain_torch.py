"""The same chain, straightforward: what one writes first with PyTorch and SciPy. The baseline of the speed figures.

Concatenate and apply the networks; neighbours from scipy's k-d tree; components from scipy. Same weights, same cuts.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from numpy import ndarray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn.functional import linear, silu

from beampipe.arrays import Float32, Int64
from beampipe.events import Hits
from beampipe.tracking.kernels import GnnWeights, Mlp, logit_of
from beampipe.tracking.kernels.features import (
    EMBEDDING_SIZE,
    edge_features,
    filter_features,
    hit_features,
    node_features,
)
from beampipe.tracking.kernels.geometry import doublet
from beampipe.tracking.kernels.weights import Networks

__all__ = ["PairFeatures", "PlainTorch", "apply", "components", "embed", "filter_logits", "gnn_logits", "radius_edges"]

PairFeatures = Callable[
    [Float32[ndarray, "n 3"], Int64[ndarray, "2 n_edges"]],
    tuple[Int64[ndarray, " n_kept"], Float32[ndarray, "n_kept 6"]],
]
"""Positions and edges -> which edges have a compatible neighbour edge, and their pair features."""


def apply(mlp: Mlp, x: Tensor) -> Tensor:
    """Linear layers with SiLU between them."""
    for k, layer in enumerate(mlp.layers):
        x = linear(x if k == 0 else silu(x), torch.from_numpy(layer.weight), torch.from_numpy(layer.bias))
    return x


def embed(position: Float32[ndarray, "n 3"], mlp: Mlp) -> Float32[ndarray, "n d"]:
    with torch.inference_mode():
        return apply(mlp, torch.from_numpy(hit_features(position))).numpy()


def radius_edges(
    source: Float32[ndarray, "n 8"],
    target: Float32[ndarray, "n 8"],
    position: Float32[ndarray, "n 3"],
    radius: float,
    max_neighbours: int,
    kappa_max: float,
    z0_max: float,
    threads: int = 1,
) -> tuple[Int64[ndarray, "2 n_edges"], Float32[ndarray, " n_edges"]]:
    """Neighbours inside the radius, outward, inside the windows; at most `max_neighbours` nearest per source."""
    neighbours = cKDTree(target).query_ball_point(source, radius, workers=threads, return_sorted=True)
    counts = np.fromiter((len(neighbour) for neighbour in neighbours), np.int64, len(neighbours))
    inner = np.repeat(np.arange(len(source)), counts)
    outer = np.concatenate([np.asarray(neighbour, np.int64) for neighbour in neighbours]) if len(inner) else inner
    r, z = position[:, 0].astype(np.float64), position[:, 2].astype(np.float64)
    rho2 = (r * r + z * z).astype(np.float32)
    outward = (rho2[outer] > rho2[inner]) | ((rho2[outer] == rho2[inner]) & (outer > inner))
    edge_index = np.stack([inner[outward], outer[outward]])
    kappa, _, z0, *_ = doublet(position, edge_index)
    edge_index = edge_index[:, (np.abs(kappa) < kappa_max) & (np.abs(z0) < z0_max)]
    dist2 = np.square(target[edge_index[1]] - source[edge_index[0]]).sum(axis=1)
    order = np.lexsort((edge_index[1], dist2, edge_index[0]))
    sorted_inner = edge_index[0, order]
    rank = np.arange(len(order)) - np.searchsorted(sorted_inner, sorted_inner)
    chosen = np.sort(order[rank < max_neighbours])
    return edge_index[:, chosen], dist2[chosen]


def filter_logits(
    position: Float32[ndarray, "n 3"],
    edge_index: Int64[ndarray, "2 n_edges"],
    dist2: Float32[ndarray, " n_edges"],
    mlp: Mlp,
) -> Float32[ndarray, " n_edges"]:
    with torch.inference_mode():
        return apply(mlp, torch.from_numpy(filter_features(position, edge_index, dist2)))[:, 0].numpy()


def gnn_logits(
    position: Float32[ndarray, "n 3"],
    edge_index: Int64[ndarray, "2 n_edges"],
    pair_features: Float32[ndarray, "n_edges p"],
    weights: GnnWeights,
) -> Float32[ndarray, " n_edges"]:
    inner, outer = torch.from_numpy(edge_index)
    edges = np.concatenate([edge_features(position, edge_index), pair_features], axis=1)
    with torch.inference_mode():
        x = apply(weights.node_encoder, torch.from_numpy(node_features(position)))
        e = apply(weights.edge_encoder, torch.from_numpy(edges))
        for edge, node in zip(weights.edge, weights.node, strict=True):
            e = e + apply(edge, torch.cat([x[inner], x[outer], e], dim=1))
            ending = torch.zeros_like(x).index_add_(0, outer, e)
            starting = torch.zeros_like(x).index_add_(0, inner, e)
            x = x + apply(node, torch.cat([x, ending, starting], dim=1))
        return apply(weights.classifier, torch.cat([x[inner], x[outer], e], dim=1))[:, 0].numpy()


def components(n: int, edge_index: Int64[ndarray, "2 n_edges"], min_hits: int) -> Int64[ndarray, " n"]:
    inner, outer = edge_index
    _, raw = connected_components(
        coo_array((np.ones(len(inner), np.int8), (inner, outer)), shape=(n, n)), directed=False
    )
    _, first, of_hit, size = np.unique(raw, return_index=True, return_inverse=True, return_counts=True)
    kept = np.flatnonzero(size >= max(min_hits, 2))
    number = np.full(len(first), -1, np.int64)
    number[kept[np.argsort(first[kept])]] = np.arange(len(kept))
    return number[of_hit]


class PlainTorch:
    """The whole chain.

    Args:
        networks: the networks, with all three parts.
        pair_features: function that makes the pair features.
        min_hits: smallest number of hits of a track.
        threads: number of threads of torch and of the k-d tree.
    """

    def __init__(self, networks: Networks, pair_features: PairFeatures, min_hits: int = 3, threads: int = 1) -> None:
        if networks.embedding is None or networks.filter is None or networks.gnn is None:
            raise ValueError("networks: got some parts only, expected embedding, filter and gnn")
        self.config = networks.config
        self.embedding, self.filter, self.gnn = networks.embedding, networks.filter, networks.gnn
        self.pair_features, self.min_hits, self.threads = pair_features, min_hits, threads

    def find(self, hits: Hits) -> tuple[Int64[ndarray, " n_hits"], dict[str, float]]:
        """Labels of the hits, and wall time of each stage [s]."""
        torch.set_num_threads(self.threads)
        seconds: dict[str, float] = {}
        clock = time.perf_counter()

        def stop(stage: str) -> None:
            nonlocal clock
            now = time.perf_counter()
            seconds[stage], clock = now - clock, now

        cuts, position = self.config, hits.position
        vectors = embed(position, self.embedding)
        stop("embed")
        edge_index, dist2 = radius_edges(
            vectors[:, :EMBEDDING_SIZE],
            vectors[:, EMBEDDING_SIZE:],
            position,
            cuts.radius,
            cuts.max_neighbours,
            cuts.kappa_max,
            cuts.z0_max,
            self.threads,
        )
        stop("connect")
        logit = filter_logits(position, edge_index, dist2, self.filter)
        edge_index = np.ascontiguousarray(edge_index[:, logit >= logit_of(cuts.filter_cut)])
        stop("filter")
        kept, features = self.pair_features(position, edge_index)
        edge_index = np.ascontiguousarray(edge_index[:, kept])
        stop("pairs")
        logit = gnn_logits(position, edge_index, features, self.gnn)
        score = torch.sigmoid(torch.from_numpy(logit).double()).numpy()
        stop("classify")
        label = components(len(hits), edge_index[:, score >= cuts.score_cut], self.min_hits)
        stop("segment")
        return label, seconds
