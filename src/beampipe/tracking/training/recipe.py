"""From events to a weight file: train embedding, filter and interaction network, and choose the cuts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from safetensors.numpy import save
from torch import nn

from beampipe.arrays import Float32, Int64
from beampipe.errors import ConfigError, look_up
from beampipe.events import Event
from beampipe.files import write_whole
from beampipe.terminal import bar
from beampipe.tracking.evaluation.matching import Candidates, match
from beampipe.tracking.kernels import connected_components
from beampipe.tracking.kernels.weights import write_card
from beampipe.tracking.training.edge_networks import (
    Building,
    FilterConfig,
    GnnConfig,
    TrainingGraph,
    build_graph,
    filter_cut,
    purity,
    scores,
    side_by_side,
    train_filter,
    train_gnn,
)
from beampipe.tracking.training.embedding import EmbeddingConfig, neighbourhood, train_embedding
from beampipe.tracking.training.networks import Embedding, FilterNetwork, InteractionNetwork, Log
from beampipe.tracking.training.samples import (
    CleanEvent,
    KinematicWindows,
    Labelled,
    TrainingDegradation,
    clean_events,
    degraded,
    label,
    overlaid,
    visit,
)
from beampipe.tracking.truth import HEADLINE, Contributions, Selection
from beampipe.tracking.windows import Windows


@dataclass(frozen=True)
class FirstNetworks:
    """Embedding and filter, with their cuts.

    Attributes:
        embedding: trained embedding.
        edge_filter: trained filter.
        building: radius, windows and filter cut that belong to them.
    """

    embedding: Embedding
    edge_filter: FilterNetwork
    building: Building


def write_weights(
    path: Path,
    first: FirstNetworks,
    gnn: InteractionNetwork,
    score_cut: float,
    *,
    training: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> None:
    """Write `path` (.safetensors) and its card (.json), each replaced in one go.

    Args:
        path: safetensors file to write; the card lies beside it.
        first: trained embedding and filter.
        gnn: trained interaction network.
        score_cut: lowest score of an edge that joins two hits.
        training: data, seeds, command and configurations, for the card.
        metrics: measured on validation events, for the card.
    """
    modules: dict[str, nn.Module] = {"embedding": first.embedding, "filter": first.edge_filter, "gnn": gnn}
    payload = save(
        {
            f"{prefix}.{key}": np.ascontiguousarray(value.detach().cpu().numpy(), np.float32)
            for prefix, module in modules.items()
            for key, value in module.state_dict().items()
        }
    )
    config = {
        "embedding_hidden": first.embedding[0].out_features,
        "filter_hidden": first.edge_filter[0].out_features,
        "gnn_hidden": gnn.hidden,
        "gnn_steps": len(gnn.edge),
        "pair_features": gnn.pair_features,
        "radius": first.building.radius,
        "max_neighbours": first.building.max_neighbours,
        "kappa_max": first.building.windows.kappa_max,
        "z0_max": first.building.windows.z0_max,
        "filter_cut": first.building.filter_cut,
        "score_cut": score_cut,
    }
    write_whole(path, lambda part: part.write_bytes(payload))
    write_card(path, config, training, metrics)


SCORE_CUTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97)
"""Cuts on the score that `scan` tries."""


@dataclass(frozen=True)
class WorkingPoint:
    """Single- and double-majority efficiency and single-majority fake rate at one cut."""

    cut: float
    efficiency: float
    efficiency_double: float
    fake_rate: float


def scan(
    events: Sequence[Labelled],
    graphs: Sequence[TrainingGraph],
    scores: Sequence[Float32[ndarray, " _"]],
    cuts: Sequence[float] = SCORE_CUTS,
    min_hits: int = 7,
    min_layers: int = 7,
) -> list[WorkingPoint]:
    """Components of the edges above each cut, scored."""
    points = []
    for cut in cuts:
        total = np.zeros(5)
        for event, graph, score in zip(events, graphs, scores, strict=True):
            track = connected_components(len(event), graph.edge_index[:, score >= cut], min_hits)
            total += score_tracks(event, track, min_hits, min_layers)
        wanted, found_single, found_double, tracks, matched = total
        points.append(
            WorkingPoint(
                float(cut),
                float(found_single / max(wanted, 1)),
                float(found_double / max(wanted, 1)),
                float(1 - matched / max(tracks, 1)),
            )
        )
    return points


def choose(points: Sequence[WorkingPoint]) -> WorkingPoint:
    """The point with the highest efficiency minus fake rate, both by the stricter definitions."""
    return max(points, key=lambda point: point.efficiency + point.efficiency_double - 2 * point.fake_rate)


def score_tracks(
    event: Labelled, track_id: Int64[ndarray, " n"], min_hits: int = 7, min_layers: int = 7
) -> tuple[int, int, int, int, int]:
    """Numbers of wanted particles, of those found by single and double majority, of tracks, of matched tracks."""
    owned = event.particle >= 0
    ids, rows = np.unique(event.particle[owned], return_inverse=True)
    leading = np.full(len(event), -1)
    leading[owned] = rows
    none = np.empty(0, np.int64)
    matches = match(Candidates.from_labels(track_id), Contributions(ids, leading, none, none), min_hits)
    crossed = np.unique(np.stack([leading[owned], event.layer[owned]]), axis=1)[0]
    wanted = np.bincount(crossed, minlength=len(ids)) >= min_layers
    wanted &= np.bincount(leading[owned], event.wanted[owned], len(ids)) > 0
    return (
        int(wanted.sum()),
        int((wanted & matches.found_single).sum()),
        int((wanted & matches.found_double).sum()),
        len(matches),
        int(matches.single.sum()),
    )


@dataclass(frozen=True)
class TrainingRecipe:
    """Everything that determines the weights, except the events.

    Attributes:
        embedding: training of the embedding.
        edge_filter: training of the filter.
        gnn: training of the interaction network.
        efficiency: share of prompt true edges inside the radius.
        radius_max: largest radius that may be chosen for that efficiency.
        max_neighbours: most outgoing edges of a hit before the filter.
        graph_events: largest number of training events that become graphs, for memory and time.
        overlay: number of events laid over each other for embedding and filter, and side by side for the network:
            small events make poor batches.
        validation: degradation of the events that fix radius and cuts.
        selection: particles that the cut on the score is chosen for.
        min_hits: fewest hits of a track in that choice.
    """

    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    edge_filter: FilterConfig = field(default_factory=FilterConfig)
    gnn: GnnConfig = field(default_factory=GnnConfig)
    efficiency: float = 0.995
    radius_max: float = 2.0
    max_neighbours: int = 64
    graph_events: int = 160
    overlay: int = 1
    validation: TrainingDegradation = field(default_factory=lambda: TrainingDegradation(0.02, 0.01, 0.05))
    selection: Selection = HEADLINE
    min_hits: int = 7


_SOFT_WINDOWS = KinematicWindows(kappa_max=2.6e-3, z0_max=270.0)


RECIPES: dict[str, TrainingRecipe] = {
    "exatrkx": TrainingRecipe(),
    "exatrkx_soft": TrainingRecipe(
        embedding=EmbeddingConfig(steps=6000, windows=_SOFT_WINDOWS, pt_min=0.27, sector=1.3, border=0.45, visits=5),
        edge_filter=FilterConfig(steps=3000, pt_min=0.27, soft_pt_min=0.2),
        gnn=GnnConfig(steps=4000, wedge=6.3, pt_min=0.27, soft_pt_min=0.2, copies=3),
        selection=replace(HEADLINE, min_pt=0.3),
        graph_events=4000,
        overlay=24,
    ),
}
"""The recipes of the shipped networks."""


def recipe(name: str) -> TrainingRecipe:
    """The recipe of that name.

    Raises:
        UnknownNameError: there is none.
    """
    return look_up("recipe", name, RECIPES)


def train(
    config: TrainingRecipe,
    events: Iterable[Event],
    validation: Iterable[Event],
    windows: Windows,
    out: Path,
    *,
    log: Path | None = None,
    first: FirstNetworks | None = None,
    about: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Train and write `out` (.safetensors) with its card; the file is usable, if poor, long before the end.

    Uses one torch thread, and random numbers only from the seeds in `config`: the same machine gives the same file.

    Args:
        config: everything that determines the weights, except the events.
        events: clean simulated events; they are degraded on the fly.
        validation: other clean events, on which radius and cuts are chosen and the metrics of the card measured.
        windows: learned windows, for the pair features.
        out: weight file to write.
        log: file of JSON lines that metrics are appended to.
        first: embedding and filter that are used instead of being trained.
        about: further facts for the card (command, data).

    Returns:
        The metrics of the card.

    Raises:
        ConfigError: no event to train on or to validate with.
    """
    torch.set_num_threads(1)
    taught = clean_events(events, config.selection)
    held_out = clean_events(validation, config.selection)
    if not taught or not held_out:
        raise ConfigError(f"train: got {len(taught)} training and {len(held_out)} validation events, expected some")
    judged = [
        label(degraded(event, np.random.default_rng(k), config.validation), config.gnn.soft_pt_min)
        for k, event in enumerate(held_out)
    ]
    tables = (windows.layers, windows.pairs, windows.pair_windows, windows.out_begin, windows.triplet_windows)
    contents = b"".join(np.ascontiguousarray(table).tobytes() for table in tables)
    facts = {
        "recipe": asdict(config),
        "events": len(taught),
        "validation_events": len(held_out),
        "windows_sha256": hashlib.sha256(contents).hexdigest(),
        **(about or {}),
    }
    metrics: dict[str, Any] = {}
    with Log(log) as record:
        networks = _train_first(config, taught, judged, record, metrics) if first is None else first
        graphs, checks = _graphs(config, taught, judged, networks, windows)
        edge_efficiency = float(np.mean([graph.edge_efficiency for graph in checks]))
        n_edges = float(np.mean([graph.edge_index.shape[1] for graph in checks]))
        record("graphs", 0, found=edge_efficiency, edges=n_edges)

        def save(network: InteractionNetwork) -> None:
            points = scan(
                judged,
                checks,
                [scores(network, graph) for graph in checks],
                min_hits=config.min_hits,
                min_layers=config.selection.min_layers,
            )
            chosen = choose(points)
            metrics["gnn"] = {"edge_efficiency_before": edge_efficiency, **purity(network, checks)}
            metrics["tracks"] = {"chosen": asdict(chosen), "scan": [asdict(point) for point in points]}
            record("tracks", 0, **asdict(chosen))
            write_weights(out, networks, network, chosen.cut, training=facts, metrics=metrics)

        train_gnn(config.gnn, graphs, checks, record, report_every=max(500, config.gnn.steps // 8), checkpoint=save)
    return metrics


def _train_first(
    config: TrainingRecipe,
    taught: Sequence[CleanEvent],
    judged: Sequence[Labelled],
    record: Log,
    metrics: dict[str, Any],
) -> FirstNetworks:
    """Train embedding and filter on the events `taught`, and choose their cuts on `judged`; adds to the metrics."""
    small, few = overlaid(taught, config.overlay), judged[: max(2, len(judged) // 4)]
    every = max(500, config.embedding.steps // 12)
    embedding = train_embedding(config.embedding, small, few, record, report_every=every)
    windows, pt_min = config.embedding.windows, config.embedding.pt_min
    at = neighbourhood(embedding, judged, windows, pt_min, (0.98, 0.99, 0.995, config.efficiency))
    radius = min(at[f"radius_{100 * config.efficiency:g}"], config.radius_max)
    building = Building(round(radius, 4), config.max_neighbours, windows)
    network = train_filter(config.edge_filter, small, embedding, building, record)
    cut, measured = filter_cut(config.edge_filter, judged, embedding, network, building)
    metrics.update(embedding=at, filter=measured)
    record("filter_cut", 0, cut=cut, **measured)
    return FirstNetworks(embedding, network, replace(building, filter_cut=cut))


def _graphs(
    config: TrainingRecipe,
    taught: Sequence[CleanEvent],
    judged: Sequence[Labelled],
    first: FirstNetworks,
    windows: Windows,
) -> tuple[list[TrainingGraph], list[TrainingGraph]]:
    """Graphs of training events, each degraded `copies` times independently, and of the validation events."""
    gnn = config.gnn

    def make(event: Labelled) -> TrainingGraph:
        return build_graph(event, first.embedding, first.edge_filter, windows, first.building, gnn)

    rng = np.random.default_rng(gnn.seed)
    deck = np.resize(rng.permutation(len(taught)), gnn.copies * min(len(taught), config.graph_events))
    graphs = []
    with bar("exatrkx, 3 of 4: graphs", len(deck)) as step:
        for k in deck.tolist():
            graphs.append(make(visit(taught[k], rng, config.embedding.degrading, gnn.soft_pt_min)))
            step()
    graphs = [side_by_side(graphs[k : k + config.overlay]) for k in range(0, len(graphs), config.overlay)]
    return graphs, [make(event) for event in judged]
