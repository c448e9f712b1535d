"""Events as the graphs that filter and interaction network learn from, made by the kernels that inference uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy import ndarray

from beampipe.arrays import Bool, Float32
from beampipe.errors import MissingExtraError
from beampipe.tracking.kernels import logit_of, module_map, native, radius_edges
from beampipe.tracking.kernels.arrays import EdgeIndex, EdgeValues, PairTable, Position
from beampipe.tracking.kernels.features import (
    EMBEDDING_SIZE,
    PAIR_FEATURES,
    edge_features,
    filter_features,
    hit_features,
    node_features,
)
from beampipe.tracking.training.networks import Embedding, FilterNetwork
from beampipe.tracking.training.samples import KinematicWindows, Labelled
from beampipe.tracking.windows import Windows

__all__ = [
    "Building",
    "PairMaker",
    "TrainingGraph",
    "build_graph",
    "edge_targets",
    "filter_logits",
    "nearby",
    "pair_maker",
    "side_by_side",
]

PairMaker = Callable[[Position, EdgeIndex], PairTable]
"""Makes the pair features of edges from the positions of the hits and the edges."""

_CHUNK = 1 << 16
"""Edges per pass of the filter: its activations stay in the cache."""

_DISPLACED_WEIGHT = 0.5
"""Weight in the loss of true edges of particles that were made in the detector or by decays in flight."""

_PARTNERS = [PAIR_FEATURES.index("n_in"), PAIR_FEATURES.index("n_out")]
"""Columns of the pair features that are 0 where an edge has no partner inside, outside."""


@dataclass(frozen=True)
class Building:
    """How edges are made from the embedding; frozen into the card of the weights.

    Attributes:
        radius: largest distance of an edge's source and target vector.
        max_neighbours: most outgoing edges of a hit before the filter.
        windows: kinematic windows that an edge lies in.
        filter_cut: lowest filter score of an edge that is kept, in [0, 1].
    """

    radius: float
    max_neighbours: int
    windows: KinematicWindows
    filter_cut: float = 0.0


@dataclass(frozen=True, eq=False)
class TrainingGraph:
    """The filtered edges of one event, sorted by inner hit.

    Attributes:
        position: (n, 3) float32 r [mm], phi [rad], z [mm] of each hit, sorted by phi.
        nodes: (n, 3) float32 `NODE_FEATURES` of each hit.
        edge_index: (2, n_edges) int64 inner hit and outer hit of each edge.
        edges: (n_edges, 12) float32 `EDGE_FEATURES` and `PAIR_FEATURES` of each edge.
        target: (n_edges,) float32 1 for a true edge.
        weight: (n_edges,) float32 weight in the loss; 1 for wrong edges and for true ones that are wanted.
        found: true edges above the wanted pt in the graph over all of them inside the windows.
    """

    position: Position
    nodes: Float32[ndarray, "n_hits 3"]
    edge_index: EdgeIndex
    edges: Float32[ndarray, "n_edges 12"]
    target: EdgeValues
    weight: EdgeValues
    found: float


@torch.no_grad()
def nearby(event: Labelled, embedding: Embedding, building: Building) -> tuple[EdgeIndex, EdgeValues]:
    """Edges within the radius and the kinematic windows, and their squared embedding distances."""
    if len(event) < 2:
        return np.empty((2, 0), np.int64), np.empty(0, np.float32)
    both = embedding(torch.from_numpy(hit_features(event.position))).numpy()
    windows = building.windows
    return radius_edges(
        np.ascontiguousarray(both[:, :EMBEDDING_SIZE]),
        np.ascontiguousarray(both[:, EMBEDDING_SIZE:]),
        event.position,
        building.radius,
        building.max_neighbours,
        windows.kappa_max,
        windows.z0_max,
    )


def pair_maker(windows: Windows) -> PairMaker:
    """Pair features from the learned windows, by the kernels that inference uses.

    Raises:
        MissingExtraError: the native kernels were not built; the reference would take months.
    """
    if native() is None:
        raise MissingExtraError("the native kernels", "train", "training")

    def make(position: Position, edge_index: EdgeIndex) -> PairTable:
        triplets, chi2 = module_map.triplets(position, edge_index, windows)
        return module_map.pair_features(triplets, chi2, edge_index.shape[1])

    return make


@torch.no_grad()
def filter_logits(position: Position, edge_index: EdgeIndex, dist2: EdgeValues, network: FilterNetwork) -> EdgeValues:
    """Logit of each edge by the network in training, as `beampipe.tracking.kernels.filter_logits` by the packed one."""
    logits = [np.empty(0, np.float32)]
    for begin in range(0, edge_index.shape[1], _CHUNK):
        part = slice(begin, begin + _CHUNK)
        features = filter_features(position, edge_index[:, part], dist2[part])
        logits.append(network(torch.from_numpy(features)).squeeze(1).numpy())
    return np.concatenate(logits)


def edge_targets(
    event: Labelled, edge_index: EdgeIndex, pt_min: float, soft_weight: float, same_weight: float
) -> tuple[EdgeValues, EdgeValues, Bool[ndarray, " n_edges"]]:
    """Target and loss weight of each edge, and which edges are true and wanted.

    Wrong edges weigh 1, prompt true edges above `pt_min` 1, displaced ones half, softer ones `soft_weight`; edges
    between hits of one particle that are no true edges (they skip a layer that has a hit, or join twins) are wrong
    with `same_weight`.
    """
    n = len(event)
    true = np.isin(edge_index[0] * n + edge_index[1], event.edge_index[0] * n + event.edge_index[1])
    owner = event.particle[edge_index]
    same = (owner[0] == owner[1]) & (owner[0] >= 0)
    hard = (event.pt > pt_min)[edge_index[0]] & event.prompt[edge_index[0]]
    displaced = ~event.prompt[edge_index[0]] & (event.pt > pt_min)[edge_index[0]]
    of_true = np.where(hard, 1, np.where(displaced, _DISPLACED_WEIGHT, soft_weight))
    weight = np.where(true, of_true, np.where(same, same_weight, 1))
    return true.astype(np.float32), weight.astype(np.float32), true & hard


def build_graph(
    event: Labelled,
    embedding: Embedding,
    network: FilterNetwork | None,
    pair_maker: PairMaker,
    building: Building,
    *,
    pt_min: float = 0.85,
    soft_weight: float = 0.1,
    same_weight: float = 0.05,
) -> TrainingGraph:
    """The graph that the interaction network sees: radius, windows, filter, then edges with a partner."""
    edge_index, dist2 = nearby(event, embedding, building)
    if network is not None and edge_index.shape[1]:
        logit = filter_logits(event.position, edge_index, dist2, network)
        edge_index = edge_index[:, logit >= logit_of(building.filter_cut)]
    pairs = pair_maker(event.position, edge_index)
    partnered = (pairs[:, _PARTNERS] > 0).any(axis=1)
    edge_index, pairs = np.ascontiguousarray(edge_index[:, partnered]), pairs[partnered]
    target, weight, wanted = edge_targets(event, edge_index, pt_min, soft_weight, same_weight)
    all_true = event.edge_index[:, ((event.pt > pt_min) & event.prompt)[event.edge_index[0]]]
    n_true = int(building.windows.keep(event.position, all_true).sum())
    return TrainingGraph(
        event.position,
        node_features(event.position),
        edge_index,
        np.concatenate([edge_features(event.position, edge_index), pairs], axis=1),
        target,
        weight,
        float(wanted.sum()) / max(n_true, 1),
    )


def side_by_side(graphs: Sequence[TrainingGraph]) -> TrainingGraph:
    """Several graphs as one of which no edge joins two."""
    if len(graphs) == 1:
        return graphs[0]
    first = np.cumsum([0, *(len(graph.position) for graph in graphs)])
    columns = ("position", "nodes", "edges", "target", "weight")
    return TrainingGraph(
        edge_index=np.concatenate([graph.edge_index + k for graph, k in zip(graphs, first, strict=False)], axis=1),
        found=float(np.mean([graph.found for graph in graphs])),
        **{name: np.concatenate([getattr(graph, name) for graph in graphs]) for name in columns},
    )
