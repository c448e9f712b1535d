"""Train the embedding: true edges inside the radius, false edges that the windows would let through outside.

Metric learning with hard negatives as in the Exa.TrkX chain (Ju et al. 2021, arXiv:2103.06995), with two differences:
there are two heads (an edge goes from a source vector to a target vector, hence outward), and the loss hardly counts
pairs that the kinematic windows remove anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from beampipe.arrays import Float32, Int64
from beampipe.tracking.kernels.features import hit_features
from beampipe.tracking.training.networks import Embedding, Log, Optimiser
from beampipe.tracking.training.samples import CleanEvent, KinematicWindows, Labelled, TrainingDegradation, visit, wedge


@dataclass(frozen=True)
class EmbeddingConfig:
    """How the embedding is trained.

    Attributes:
        hidden: length of the hidden layers.
        steps: number of updates of the weights.
        rate: highest learning rate.
        windows: kinematic windows of the pipeline.
        pt_min: lowest pT of a particle whose true edges are pulled together [GeV].
        sector: width in phi of the wedge of queries [rad].
        border: margin in phi of the candidates on both sides [rad]; true edges inside the windows span less.
        margin: distance up to which negatives are pushed; the working radius is about 1.
        positive_weight: weight in the loss of true edges against false ones.
        displaced_weight: weight in the loss of true edges of particles made in the detector or by decays in flight.
        killed_share: share used of the negatives that the windows remove anyway; those cost search time only.
        max_pairs: largest number of close pairs per update, thinned at random and weighted up.
        other_queries: number of queries from hits on no true edge, per query from a hit on one.
        far_hits: number of further candidates from the whole event.
        degrading: largest losses and noise of the training events, drawn anew per visit.
        visits: number of consecutive updates on one degraded event.
        seed: seed of initial weights and of all random choices.
    """

    hidden: int = 64
    steps: int = 9000
    rate: float = 2e-3
    windows: KinematicWindows = field(default_factory=KinematicWindows)
    pt_min: float = 0.85
    sector: float = 0.35
    border: float = 0.14
    margin: float = 1.25
    positive_weight: float = 16.0
    displaced_weight: float = 0.2
    killed_share: float = 0.3
    max_pairs: int = 80_000
    other_queries: float = 0.4
    far_hits: int = 2000
    degrading: TrainingDegradation = field(default_factory=TrainingDegradation)
    visits: int = 8
    seed: int = 1


def train_embedding(
    config: EmbeddingConfig,
    events: Sequence[CleanEvent],
    validation: Sequence[Labelled],
    log: Log,
    *,
    report_every: int = 1000,
) -> Embedding:
    """Train and return the averaged network.

    Args:
        config: sizes, learning rate and weights of the loss.
        events: clean training events.
        validation: degraded, labelled events, for the log.
        log: receives `neighbourhood` at each report.
        report_every: number of updates between reports.
    """
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    network = Embedding(config.hidden)
    optimiser = Optimiser(network, config.steps, config.rate)
    losses: list[float] = []
    event: Labelled | None = None
    deck: list[int] = []
    for number in optimiser.remaining_steps("exatrkx, 1 of 4: embedding"):
        if number % config.visits == 0 or event is None:
            if not deck:
                deck = list(rng.permutation(len(events)))
            event = visit(events[deck.pop()], rng, config.degrading, config.pt_min)
            phase = rng.uniform(-np.pi, np.pi)
        phase += 2 * np.pi / config.visits
        loss = _loss(config, network, event, phase, rng)
        if loss is None:
            optimiser.step_number += 1
            continue
        losses.append(optimiser.step(loss))
        if optimiser.step_number % report_every == 0:
            metrics = neighbourhood(optimiser.average, validation, config.windows, config.pt_min)
            log("embedding", optimiser.step_number, loss=float(np.mean(losses)), **metrics)
            losses.clear()
    return cast(Embedding, optimiser.average)


def _loss(
    config: EmbeddingConfig, network: Embedding, event: Labelled, phase: float, rng: np.random.Generator
) -> Tensor | None:
    rows = wedge(event, phase - config.border, config.sector + 2 * config.border)
    position = event.position[rows]
    local = np.full(len(event), -1, np.int64)
    local[rows] = np.arange(len(rows))
    along = (position[:, 1] - position[:1, 1]) % np.float32(2 * np.pi)
    inside = np.abs((position[:, 1] - phase - config.sector / 2 + np.pi) % (2 * np.pi) - np.pi) < config.sector / 2
    true = local[event.edge_index]
    true = true[:, (true >= 0).all(axis=0)]
    true = true[:, inside[true[0]] & config.windows.keep(position, true)]
    if true.shape[1] == 0:
        return None
    asking = np.unique(true[0])
    others = np.setdiff1d(np.flatnonzero(inside), asking)
    n_others = min(len(others), int(config.other_queries * len(asking)))
    query = np.sort(np.concatenate([asking, rng.choice(others, n_others, replace=False)]))

    # A sample of the whole event keeps far hits far, which the candidates at the border of the wedge cannot.
    n_near = len(rows)
    far = rng.integers(0, len(event), min(config.far_hits, len(event)))
    rows, position = np.concatenate([rows, far]), np.concatenate([position, event.position[far]])
    source, target = network.split(torch.from_numpy(hit_features(position)))
    pairs = _near(source.detach(), target[:n_near].detach(), query, along, config.margin, config.border)
    some_queries = rng.choice(query, min(len(query), 256), replace=False)
    distant = torch.cdist(
        source.detach()[some_queries], target[n_near:].detach(), compute_mode="use_mm_for_euclid_dist"
    )
    a, b = np.nonzero(distant.numpy() < config.margin)
    pairs = np.concatenate([pairs, np.stack([some_queries[a], b + n_near])], axis=1)
    thinning = max(1.0, pairs.shape[1] / config.max_pairs)
    if thinning > 1:
        pairs = pairs[:, rng.integers(0, pairs.shape[1], config.max_pairs)]
    d2 = position[:, 0] ** 2 + position[:, 2] ** 2
    particle = event.particle[rows]
    same = (particle[pairs[0]] == particle[pairs[1]]) & (particle[pairs[0]] >= 0)
    pairs = pairs[:, (d2[pairs[0]] < d2[pairs[1]]) & ~same]
    alive = config.windows.keep(position, pairs)
    # A random tenth at full weight has the same expected gradient as all at a tenth, for less work.
    chosen = alive | (rng.random(len(alive)) < config.killed_share) | (pairs[1] >= n_near)
    pairs, weight = pairs[:, chosen], thinning

    positive = _distance(source, target, true)
    negative = _distance(source, target, pairs)
    pull = torch.relu(positive - 0.5).square() + 4 * torch.relu(positive - 0.9)
    share = np.where(event.prompt[rows][true[0]], np.float32(1), np.float32(config.displaced_weight))
    pull = (torch.from_numpy(share) * pull).sum() / max(float(share.sum()), 1.0)
    push = weight * torch.relu(config.margin - negative).square().sum() / len(query)
    total: Tensor = config.positive_weight * pull + push
    return total


def _near(
    source: Float32[Tensor, "n_source 8"],
    target: Float32[Tensor, "n 8"],
    query: Int64[ndarray, " n_queries"],
    along: Float32[ndarray, " n"],
    radius: float,
    border: float,
) -> Int64[ndarray, "2 n_pairs"]:
    """All (query, target) rows within `radius` and within `border` of `along`, by blocks that stay in the cache.

    `query` and `along` (an unwrapped phi) ascend.
    """
    half_norm = target.square().sum(1) * 0.5
    limit = (radius * radius - source.square().sum(1, keepdim=True)) * 0.5
    pairs = [np.empty((2, 0), np.int64)]
    for begin in range(0, len(query), 128):
        rows = query[begin : begin + 128]
        lo, hi = np.searchsorted(along, [along[rows[0]] - border, along[rows[-1]] + border])
        if lo == hi:
            continue
        # |s - t|^2 < R^2 as s.t - |t|^2 / 2 > (|s|^2 - R^2) / 2
        reached = torch.addmm(half_norm[lo:hi], source[rows], target[lo:hi].T, beta=-1) + limit[rows] > 0
        flat = np.flatnonzero(reached.numpy())
        block, column = np.divmod(flat, hi - lo)
        pairs.append(np.stack([rows[block], column + lo]))
    return np.concatenate(pairs, axis=1)


def _distance(source: Tensor, target: Tensor, pairs: Int64[ndarray, "2 n"]) -> Float32[Tensor, " n"]:
    inner, outer = torch.from_numpy(np.ascontiguousarray(pairs))
    return (source[inner] - target[outer]).square().sum(1).add(1e-8).sqrt()


@torch.no_grad()
def neighbourhood(
    network: torch.nn.Module,
    events: Sequence[Labelled],
    windows: KinematicWindows,
    pt_min: float,
    efficiencies: Sequence[float] = (0.98, 0.99, 0.995),
    n_queries: int = 1000,
) -> dict[str, float]:
    """Radius and neighbours per hit, before and after the windows, at given efficiencies of true edges.

    Efficiency is over the prompt true edges inside the windows; neighbours are outward ones of a sample of all hits.
    """
    assert isinstance(network, Embedding)
    distances, counts = [], []
    rng = np.random.default_rng(0)
    for event in events:
        source, target = network.split(torch.from_numpy(hit_features(event.position)))
        true = event.edge_index[:, (event.pt > pt_min)[event.edge_index[0]] & event.prompt[event.edge_index[0]]]
        true = true[:, windows.keep(event.position, true)]
        distances.append(_distance(source, target, true).numpy())
        query = np.sort(rng.choice(len(event), min(n_queries, len(event)), replace=False))
        counts.append((event, source, target, query))
    radii = np.quantile(np.concatenate(distances), efficiencies)
    before, after = np.zeros(len(radii)), np.zeros(len(radii))
    n_asked = 0
    for event, source, target, query in counts:
        pairs = _near(source, target, query, event.position[:, 1], float(radii[-1]), 2 * np.pi)
        r2 = event.position[:, 0] ** 2 + event.position[:, 2] ** 2
        pairs = pairs[:, r2[pairs[0]] < r2[pairs[1]]]
        distance = _distance(source, target, pairs).numpy()
        alive = distance[windows.keep(event.position, pairs)]
        before += [(distance < radius).sum() for radius in radii]
        after += [(alive < radius).sum() for radius in radii]
        n_asked += len(query)
    out: dict[str, float] = {}
    for k, efficiency in enumerate(efficiencies):
        name = f"{100 * efficiency:g}"
        out |= {f"radius_{name}": radii[k], f"all_{name}": before[k] / n_asked, f"kept_{name}": after[k] / n_asked}
    return out
