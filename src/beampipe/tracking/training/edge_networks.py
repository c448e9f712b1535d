"""Train the edge filter and the interaction network, on graphs made by the kernels that inference uses.

The interaction network learns on phi wedges of the graphs: a wedge of a sixth of an event costs a sixth of a step and
loses little context, so there are many more updates in the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from beampipe.arrays import Bool, Float32, Int64
from beampipe.events import Position
from beampipe.tracking import kernels
from beampipe.tracking.kernels import logit_of, radius_edges, sigmoid
from beampipe.tracking.kernels.features import (
    EDGE_FEATURES,
    EMBEDDING_SIZE,
    PAIR_FEATURES,
    edge_features,
    filter_features,
    hit_features,
    node_features,
)
from beampipe.tracking.kernels.geometry import EdgeIndex, EdgeValues
from beampipe.tracking.training.networks import Embedding, FilterNetwork, InteractionNetwork, Log, Optimiser
from beampipe.tracking.training.samples import CleanEvent, KinematicWindows, Labelled, TrainingDegradation, visit
from beampipe.tracking.windows import Windows

_CHUNK = 1 << 16
"""Edges per pass of the filter: its activations stay in the cache."""

_DISPLACED_WEIGHT = 0.5
"""Weight in the loss of true edges of particles from the detector material or decays in flight."""

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
        edge_efficiency: true edges above the wanted pt in the graph over all of them inside the windows.
    """

    position: Position
    nodes: Float32[ndarray, "n_hits 3"]
    edge_index: EdgeIndex
    edges: Float32[ndarray, "n_edges 12"]
    target: EdgeValues
    weight: EdgeValues
    edge_efficiency: float


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


@torch.no_grad()
def filter_logits(position: Position, edge_index: EdgeIndex, dist2: EdgeValues, network: FilterNetwork) -> EdgeValues:
    """Logit of each edge by the torch network; `beampipe.tracking.kernels.filter_logits` does it for packed weights."""
    logits = [np.empty(0, np.float32)]
    for begin in range(0, edge_index.shape[1], _CHUNK):
        part = slice(begin, begin + _CHUNK)
        features = filter_features(position, edge_index[:, part], dist2[part])
        logits.append(network(torch.from_numpy(features)).squeeze(1).numpy())
    return np.concatenate(logits)


def edge_targets(
    event: Labelled, edge_index: EdgeIndex, config: FilterConfig | GnnConfig
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
    hard = (event.pt > config.pt_min)[edge_index[0]] & event.prompt[edge_index[0]]
    displaced = ~event.prompt[edge_index[0]] & (event.pt > config.pt_min)[edge_index[0]]
    of_true = np.where(hard, 1, np.where(displaced, _DISPLACED_WEIGHT, config.soft_weight))
    weight = np.where(true, of_true, np.where(same, config.same_weight, 1))
    return true.astype(np.float32), weight.astype(np.float32), true & hard


def build_graph(
    event: Labelled,
    embedding: Embedding,
    network: FilterNetwork,
    windows: Windows,
    building: Building,
    config: GnnConfig,
) -> TrainingGraph:
    """The input graph of the interaction network: edges inside radius and kinematic windows, above the filter cut.

    The learned `windows` give the features of pairs of edges.
    """
    edge_index, dist2 = nearby(event, embedding, building)
    logit = filter_logits(event.position, edge_index, dist2, network)
    edge_index = edge_index[:, logit >= logit_of(building.filter_cut)]
    triplets, chi2 = kernels.triplets(event.position, edge_index, windows)
    pairs = kernels.pair_features(triplets, chi2, edge_index.shape[1])
    partnered = (pairs[:, _PARTNERS] > 0).any(axis=1)
    edge_index, pairs = np.ascontiguousarray(edge_index[:, partnered]), pairs[partnered]
    target, weight, wanted = edge_targets(event, edge_index, config)
    all_true = event.edge_index[:, ((event.pt > config.pt_min) & event.prompt)[event.edge_index[0]]]
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
    """Several graphs as one, with no edges between them."""
    if len(graphs) == 1:
        return graphs[0]
    first = np.cumsum([0, *(len(graph.position) for graph in graphs)])
    columns = ("position", "nodes", "edges", "target", "weight")
    return TrainingGraph(
        edge_index=np.concatenate([graph.edge_index + k for graph, k in zip(graphs, first, strict=False)], axis=1),
        edge_efficiency=float(np.mean([graph.edge_efficiency for graph in graphs])),
        **{name: np.concatenate([getattr(graph, name) for graph in graphs]) for name in columns},
    )


@dataclass(frozen=True)
class FilterConfig:
    """How the filter is trained.

    Attributes:
        hidden: length of the hidden layer.
        steps: number of updates of the weights.
        batch: number of edges per update.
        rate: highest learning rate.
        events: largest number of training events that are used, for memory.
        negatives: number of wrong edges kept per true one when an event is sampled; their weights stand for the rest.
        negative_weight: weight in the loss of wrong edges, small because the cut must keep nearly all true ones.
        pt_min: lowest pT of a particle whose true edges must pass [GeV].
        soft_pt_min: lowest pT of a particle whose true edges count as right at all [GeV].
        soft_weight: weight in the loss of true edges between `soft_pt_min` and `pt_min`.
        same_weight: weight in the loss of edges between hits of one particle that are no true edges.
        efficiency: share of true edges above the cut.
        degrading: largest losses and noise of the training events.
        seed: seed of initial weights and of all random choices.
    """

    hidden: int = 64
    steps: int = 4000
    batch: int = 8192
    rate: float = 4e-3
    events: int = 40
    negatives: float = 8.0
    negative_weight: float = 0.1
    pt_min: float = 0.85
    soft_pt_min: float = 0.5
    soft_weight: float = 0.1
    same_weight: float = 0.05
    efficiency: float = 0.999
    degrading: TrainingDegradation = field(default_factory=TrainingDegradation)
    seed: int = 2


def train_filter(
    config: FilterConfig, events: Sequence[CleanEvent], embedding: Embedding, building: Building, log: Log
) -> FilterNetwork:
    """Train on the edges of the events within the radius and return the averaged network."""
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    features, target, weight = (
        torch.from_numpy(np.concatenate(column))
        for column in zip(
            *(_edges(config, event, embedding, building, rng) for event in events[: config.events]), strict=True
        )
    )
    network = FilterNetwork(config.hidden)
    optimiser = Optimiser(network, config.steps, config.rate)
    log("filter", 0, edges=float(len(target)), true=float(target.sum()))
    losses: list[float] = []
    for _ in optimiser.remaining_steps("exatrkx, 2 of 4: filter"):
        rows = torch.from_numpy(rng.integers(0, len(target), config.batch))
        logit = network(features[rows]).squeeze(1)
        losses.append(
            optimiser.step(torch.nn.functional.binary_cross_entropy_with_logits(logit, target[rows], weight[rows]))
        )
        if optimiser.step_number % 500 == 0:
            log("filter", optimiser.step_number, loss=float(np.mean(losses)))
            losses.clear()
    return cast(FilterNetwork, optimiser.average)


def filter_cut(
    config: FilterConfig, events: Sequence[Labelled], embedding: Embedding, network: FilterNetwork, building: Building
) -> tuple[float, dict[str, float]]:
    """The cut that keeps the wanted share of true edges, and the edges per hit before and after it."""
    of_true, everything, hits = [], [], 0
    for event in events:
        edge_index, dist2 = nearby(event, embedding, building)
        score = sigmoid(filter_logits(event.position, edge_index, dist2, network))
        _, _, wanted = edge_targets(event, edge_index, config)
        of_true.append(score[wanted])
        everything.append(score)
        hits += len(event)
    cut = float(np.quantile(np.concatenate(of_true), 1 - config.efficiency))
    scores = np.concatenate(everything)
    return cut, {
        "edges_per_hit_before": len(scores) / hits,
        "edges_per_hit_after": float((scores >= cut).sum()) / hits,
    }


def _edges(
    config: FilterConfig, sample: CleanEvent, embedding: Embedding, building: Building, rng: np.random.Generator
) -> tuple[Float32[ndarray, "n 13"], Float32[ndarray, " n"], Float32[ndarray, " n"]]:
    event = visit(sample, rng, config.degrading, config.soft_pt_min)
    edge_index, dist2 = nearby(event, embedding, building)
    target, weight, _ = edge_targets(event, edge_index, config)
    wrong = np.flatnonzero(target == 0)
    n_wrong = min(len(wrong), int(config.negatives * target.sum()))
    weight[wrong] *= np.float32(config.negative_weight * len(wrong) / max(n_wrong, 1))
    rows = np.concatenate([np.flatnonzero(target), rng.choice(wrong, n_wrong, replace=False)])
    features = filter_features(event.position, edge_index[:, rows], dist2[rows])
    return features, target[rows], weight[rows]


@dataclass(frozen=True)
class GnnConfig:
    """How the interaction network is trained.

    Attributes:
        hidden: length of all latent vectors.
        message_steps: number of message-passing steps.
        pair_features: whether the edges carry the pair features.
        steps: number of updates of the weights.
        rate: highest learning rate.
        wedge: width of the training wedges in phi [rad].
        copies: number of degraded graphs made of each training event.
        pt_min: lowest pT of a particle whose true edges weigh 1 in the loss [GeV].
        soft_pt_min: lowest pT of a particle whose true edges count as right at all [GeV].
        soft_weight: weight in the loss of true edges between `soft_pt_min` and `pt_min`.
        same_weight: weight in the loss of edges between hits of one particle that are no true edges.
        seed: seed of initial weights and of all random choices.
    """

    hidden: int = 32
    message_steps: int = 3
    pair_features: bool = True
    steps: int = 7000
    rate: float = 3e-3
    wedge: float = 1.05
    copies: int = 1
    pt_min: float = 0.85
    soft_pt_min: float = 0.5
    soft_weight: float = 0.1
    same_weight: float = 0.05
    seed: int = 3


def train_gnn(
    config: GnnConfig,
    graphs: Sequence[TrainingGraph],
    validation: Sequence[TrainingGraph],
    log: Log,
    *,
    report_every: int = 1000,
    checkpoint: Callable[[InteractionNetwork], None] | None = None,
) -> InteractionNetwork:
    """Train and return the averaged network.

    Args:
        config: sizes, learning rate and weights of the loss.
        graphs: graphs of degraded training events.
        validation: graphs of other events, for the log.
        log: receives `purity` at each report.
        report_every: number of updates between reports.
        checkpoint: called with the averaged network at each report.
    """
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    network = InteractionNetwork(config.hidden, config.message_steps, pair_features=config.pair_features)
    optimiser = Optimiser(network, config.steps, config.rate)
    average = cast(InteractionNetwork, optimiser.average)
    losses: list[float] = []
    deck: list[int] = []
    for _ in optimiser.remaining_steps("exatrkx, 4 of 4: interaction network"):
        if not deck:
            deck = list(rng.permutation(len(graphs)))
        loss = _loss(config, network, graphs[deck.pop()], rng.uniform(-np.pi, np.pi))
        if loss is None:
            optimiser.step_number += 1
            continue
        losses.append(optimiser.step(loss))
        if optimiser.step_number % report_every == 0 or optimiser.step_number == config.steps:
            log("gnn", optimiser.step_number, loss=float(np.mean(losses)), **purity(average, validation))
            losses.clear()
            if checkpoint is not None:
                checkpoint(average)
    return average


@torch.no_grad()
def scores(network: InteractionNetwork, graph: TrainingGraph) -> Float32[ndarray, " n_edges"]:
    """Score of each edge of a whole graph."""
    nodes, edges, edge_index = _tensors(network, graph.nodes, graph.edges, graph.edge_index)
    return sigmoid(network(nodes, edges, edge_index).numpy())


def purity(
    network: InteractionNetwork, graphs: Sequence[TrainingGraph], efficiencies: Sequence[float] = (0.98, 0.99, 0.995)
) -> dict[str, float]:
    """Share of true edges among those above the score that keeps the given share of the wanted true edges.

    Soft true edges and other edges within a particle are left out.
    """
    score = np.concatenate([scores(network, graph) for graph in graphs])
    target = np.concatenate([graph.target for graph in graphs]) > 0
    full = np.concatenate([graph.weight for graph in graphs]) == 1
    right, wrong = np.sort(score[target & full]), np.sort(score[~target & full])
    out = {}
    for efficiency in efficiencies:
        cut = right[int((1 - efficiency) * len(right))] if len(right) else 1.0
        n_right, n_wrong = (len(s) - np.searchsorted(s, cut) for s in (right, wrong))
        out[f"purity_{100 * efficiency:g}"] = float(n_right / max(n_right + n_wrong, 1))
    return out


def _loss(config: GnnConfig, network: InteractionNetwork, graph: TrainingGraph, start: float) -> Tensor | None:
    rows, hits, edge_index = _wedge(graph, start, config.wedge)
    if len(rows) < 2:
        return None
    nodes, edges, index = _tensors(network, graph.nodes[hits], graph.edges[rows], edge_index)
    logit = network(nodes, edges, index)
    target, weight = torch.from_numpy(graph.target[rows]), torch.from_numpy(graph.weight[rows])
    return torch.nn.functional.binary_cross_entropy_with_logits(logit, target, weight)


def _wedge(
    graph: TrainingGraph, start: float, width: float
) -> tuple[Int64[ndarray, " m"], Int64[ndarray, " k"], Int64[ndarray, "2 m"]]:
    """Edges with both ends in the wedge, their hits, and the edges in the numbering of these hits."""
    if width >= 2 * np.pi:
        inside = np.arange(graph.edge_index.shape[1])
    else:
        turn = (graph.position[:, 1] - np.float32(start)) % np.float32(2 * np.pi) < width
        inside = np.flatnonzero(turn[graph.edge_index[0]] & turn[graph.edge_index[1]])
    ends = graph.edge_index[:, inside]
    touched = np.zeros(len(graph.position), bool)
    touched[ends] = True
    hits = np.flatnonzero(touched)
    number = np.cumsum(touched) - 1
    return inside, hits, number[ends]


def _tensors(
    network: InteractionNetwork,
    nodes: Float32[ndarray, "n 3"],
    edges: Float32[ndarray, "n_edges 12"],
    edge_index: Int64[ndarray, "2 n_edges"],
) -> tuple[Tensor, Tensor, Tensor]:
    used = edges if network.pair_features else np.ascontiguousarray(edges[:, : len(EDGE_FEATURES)])
    return torch.from_numpy(nodes), torch.from_numpy(used), torch.from_numpy(edge_index)
