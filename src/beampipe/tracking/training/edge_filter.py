"""Train the filter: a small network per edge that removes most of what the embedding and the windows let through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from numpy import ndarray

from beampipe.arrays import Float32
from beampipe.tracking.kernels.features import filter_features
from beampipe.tracking.kernels.reference import sigmoid
from beampipe.tracking.training.graphs import Building, edge_targets, filter_logits, nearby
from beampipe.tracking.training.networks import Embedding, FilterNetwork
from beampipe.tracking.training.samples import CleanEvent, Degrading, Labelled, visit
from beampipe.tracking.training.schedule import Log, Optimiser

__all__ = ["FilterConfig", "filter_cut", "train_filter"]


@dataclass(frozen=True)
class FilterConfig:
    """How the filter is trained.

    Attributes:
        hidden: length of the hidden layer.
        steps: number of updates of the weights.
        batch: number of edges per update.
        rate: highest learning rate.
        events: largest number of training events that are used, for memory.
        negatives: number of wrong edges kept per true one when an event is sampled; the rest is weighted in.
        negative_weight: weight in the loss of wrong edges: the cut will keep nearly all true ones.
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
    degrading: Degrading = field(default_factory=Degrading)
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
    while optimiser.step_number < config.steps:
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
        _, _, wanted = edge_targets(event, edge_index, config.pt_min, config.soft_weight, config.same_weight)
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
    target, weight, _ = edge_targets(event, edge_index, config.pt_min, config.soft_weight, config.same_weight)
    wrong = np.flatnonzero(target == 0)
    n_wrong = min(len(wrong), int(config.negatives * target.sum()))
    weight[wrong] *= np.float32(config.negative_weight * len(wrong) / max(n_wrong, 1))
    rows = np.concatenate([np.flatnonzero(target), rng.choice(wrong, n_wrong, replace=False)])
    features = filter_features(event.position, edge_index[:, rows], dist2[rows])
    return features, target[rows], weight[rows]
