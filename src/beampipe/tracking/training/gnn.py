"""Train the interaction network on phi wedges of the graphs.

A wedge of a sixth of an event costs a sixth of a step and loses little context: many more updates for the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from beampipe.arrays import Float32, Int64
from beampipe.tracking.kernels.features import EDGE_FEATURES
from beampipe.tracking.kernels.reference import sigmoid
from beampipe.tracking.training.graphs import TrainingGraph
from beampipe.tracking.training.networks import InteractionNetwork
from beampipe.tracking.training.schedule import Log, Optimiser

__all__ = ["GnnConfig", "purity", "scores", "train_gnn"]


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
    while optimiser.step_number < config.steps:
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
    """Edges with both ends inside, the hits that they touch, and the edges renumbered to these."""
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
