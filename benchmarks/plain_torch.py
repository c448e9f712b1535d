"""The kernels as one writes them first with PyTorch and SciPy: the reference of `kernels.py`."""

from __future__ import annotations

import numpy as np
import torch
from numpy import ndarray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn.functional import linear, silu

from beampipe.arrays import Float32, Int64
from beampipe.tracking.kernels import GnnWeights, Mlp
from beampipe.tracking.kernels.features import (
    edge_features,
    filter_features,
    hit_features,
    node_features,
)
from beampipe.tracking.kernels.geometry import doublet


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
