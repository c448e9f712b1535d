"""From events to a weight file: train embedding, filter and interaction network, and choose the cuts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from safetensors.numpy import load_file, save_file

from beampipe.arrays import Float32, Int64
from beampipe.errors import ConfigError, UnknownNameError
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
    PairMaker,
    TrainingGraph,
    build_graph,
    filter_cut,
    pair_maker,
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


def tensors(
    embedding: Embedding | None, network: FilterNetwork | None, gnn: InteractionNetwork | None
) -> dict[str, Float32[ndarray, ...]]:
    """All weights by their name in the file."""
    named = {}
    for prefix, module in (("embedding", embedding), ("filter", network), ("gnn", gnn)):
        if module is not None:
            for key, value in module.state_dict().items():
                named[f"{prefix}.{key}"] = np.ascontiguousarray(value.detach().cpu().numpy(), np.float32)
    return named


def write_weights(
    path: Path,
    embedding: Embedding | None,
    network: FilterNetwork | None,
    gnn: InteractionNetwork | None,
    building: Building,
    score_cut: float,
    *,
    training: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> None:
    """Write `path` (.safetensors) and its card (.json), each replaced in one go.

    Args:
        path: safetensors file to write; the card lies beside it.
        embedding: trained embedding; None leaves it out.
        network: trained filter; None leaves it out.
        gnn: trained interaction network; None leaves it out.
        building: radius, windows and filter cut that belong to the networks.
        score_cut: lowest score of an edge that joins two hits.
        training: data, seeds, command and configurations, for the card.
        metrics: measured on validation events, for the card.
    """
    from safetensors.numpy import save

    payload = save(tensors(embedding, network, gnn))
    config = {
        "embedding_hidden": None if embedding is None else embedding[0].out_features,
        "filter_hidden": None if network is None else network[0].out_features,
        "gnn_hidden": None if gnn is None else gnn.hidden,
        "gnn_steps": None if gnn is None else len(gnn.edge),
        "pair_features": None if gnn is None else gnn.pair_features,
        "radius": building.radius,
        "max_neighbours": building.max_neighbours,
        "kappa_max": building.windows.kappa_max,
        "z0_max": building.windows.z0_max,
        "filter_cut": building.filter_cut,
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
) -> list[WorkingPoint]:
    """Components of the edges above each cut, scored."""
    points = []
    for cut in cuts:
        total = np.zeros(5)
        for event, graph, score in zip(events, graphs, scores, strict=True):
            track = connected_components(len(event), graph.edge_index[:, score >= cut], min_hits)
            total += score_tracks(event, track, min_hits)
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


def _short(gnn: GnnConfig) -> TrainingRecipe:
    """A variant of the ablation: all take about equal CPU time, on graphs of the same events."""
    return TrainingRecipe(gnn=replace(gnn, copies=1), graph_events=40)


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
    "ablation_full": _short(GnnConfig(steps=1500)),
    "ablation_one_step": _short(GnnConfig(message_steps=1, steps=2500)),
    "ablation_no_message_passing": _short(GnnConfig(message_steps=0, steps=3500)),
    "ablation_no_pair_features": _short(GnnConfig(pair_features=False, steps=1500)),
}
"""Named recipes: the two that are shipped, and the variants of the ablation (to be started from the shipped file)."""


def recipe(name: str) -> TrainingRecipe:
    """The recipe of that name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in RECIPES:
        raise UnknownNameError("recipe", name, RECIPES)
    return RECIPES[name]


def train(
    config: TrainingRecipe,
    events: Iterable[Event],
    validation: Iterable[Event],
    windows: Windows,
    out: Path,
    *,
    log: Path | None = None,
    echo: bool = False,
    start: Path | None = None,
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
        echo: print these lines as well.
        start: weight file whose embedding, and filter if it has one, are used instead of being trained.
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
    with Log(log, echo=echo) as record:
        training = _Training(config, taught, judged, record, log)
        first, metrics = training.first_networks(start), training.metrics
        graphs, checks = training.graphs(first, pair_maker(windows))
        edge_efficiency = float(np.mean([graph.edge_efficiency for graph in checks]))
        n_edges = float(np.mean([graph.edge_index.shape[1] for graph in checks]))
        record("graphs", 0, found=edge_efficiency, edges=n_edges)

        def save(network: InteractionNetwork) -> None:
            points = scan(judged, checks, [scores(network, graph) for graph in checks], min_hits=config.min_hits)
            chosen = choose(points)
            metrics["gnn"] = {"edge_efficiency_before": edge_efficiency, **purity(network, checks)}
            metrics["tracks"] = {"chosen": asdict(chosen), "scan": [asdict(point) for point in points]}
            record("tracks", 0, **asdict(chosen))
            networks = (first.embedding, first.edge_filter, network)
            write_weights(out, *networks, first.building, chosen.cut, training=facts, metrics=metrics)

        train_gnn(config.gnn, graphs, checks, record, report_every=max(500, config.gnn.steps // 8), checkpoint=save)
    return metrics


@dataclass(frozen=True)
class _FirstNetworks:
    """Embedding and filter, with their cuts."""

    embedding: Embedding
    edge_filter: FilterNetwork
    building: Building

    @classmethod
    def read(cls, stored: Mapping[str, ndarray], card: Path) -> _FirstNetworks:
        """From a weight file and its card, which has the cuts."""
        config = json.loads(card.read_text(encoding="utf-8"))["config"]
        edge_filter = FilterNetwork(len(stored["filter.0.bias"]))
        _load(edge_filter, stored, "filter.")
        windows = KinematicWindows(config["kappa_max"], config["z0_max"])
        building = Building(config["radius"], config["max_neighbours"], windows, config["filter_cut"])
        return cls(_stored_embedding(stored), edge_filter, building)


@dataclass(frozen=True)
class _Training:
    """One training.

    Attributes:
        config: everything that determines the weights, except the events.
        taught: clean events to learn from.
        judged: degraded, labelled events on which radius and cuts are chosen.
        record: log of the metrics.
        log: file of that log; the embedding is saved beside it.
        metrics: metrics measured so far, for the card.
    """

    config: TrainingRecipe
    taught: Sequence[CleanEvent]
    judged: Sequence[Labelled]
    record: Log
    log: Path | None
    metrics: dict[str, Any] = field(default_factory=dict)

    def first_networks(self, start: Path | None) -> _FirstNetworks:
        """Embedding, filter and cuts: from the weight file `start` where it has them, else trained."""
        stored = {} if start is None else load_file(start)
        if start is not None and "filter.0.weight" in stored:
            return _FirstNetworks.read(stored, start.with_suffix(".json"))
        config, small = self.config, overlaid(self.taught, self.config.overlay)
        embedding = _stored_embedding(stored) if stored else self.trained_embedding(small)
        windows, pt_min = config.embedding.windows, config.embedding.pt_min
        at = neighbourhood(embedding, self.judged, windows, pt_min, (0.98, 0.99, 0.995, config.efficiency))
        radius = min(at[f"radius_{100 * config.efficiency:g}"], config.radius_max)
        building = Building(round(radius, 4), config.max_neighbours, windows)
        network = train_filter(config.edge_filter, small, embedding, building, self.record)
        cut, measured = filter_cut(config.edge_filter, self.judged, embedding, network, building)
        self.metrics.update(embedding=at, filter=measured)
        self.record("filter_cut", 0, cut=cut, **measured)
        return _FirstNetworks(embedding, network, replace(building, filter_cut=cut))

    def trained_embedding(self, events: Sequence[CleanEvent]) -> Embedding:
        """Train, and save a copy beside the log after each report: it takes longest and can serve as `start`."""

        def keep(network: Embedding) -> None:
            if self.log is not None:
                save_file(tensors(network, None, None), self.log.with_suffix(".embedding.safetensors"))

        config, few = self.config.embedding, self.judged[: max(2, len(self.judged) // 4)]
        every = max(500, config.steps // 12)
        network = train_embedding(config, events, few, self.record, report_every=every, checkpoint=keep)
        keep(network)
        return network

    def graphs(self, first: _FirstNetworks, pairs: PairMaker) -> tuple[list[TrainingGraph], list[TrainingGraph]]:
        """Graphs of training events, each degraded `copies` times independently, and of the validation events."""
        config, gnn = self.config, self.config.gnn

        def make(event: Labelled) -> TrainingGraph:
            return build_graph(
                event,
                first.embedding,
                first.edge_filter,
                pairs,
                first.building,
                pt_min=gnn.pt_min,
                soft_weight=gnn.soft_weight,
                same_weight=gnn.same_weight,
            )

        rng = np.random.default_rng(gnn.seed)
        deck = np.resize(rng.permutation(len(self.taught)), gnn.copies * min(len(self.taught), config.graph_events))
        graphs = []
        with bar("exatrkx, 3 of 4: graphs", len(deck)) as step:
            for k in deck.tolist():
                graphs.append(make(visit(self.taught[k], rng, config.embedding.degrading, gnn.soft_pt_min)))
                step()
        graphs = [side_by_side(graphs[k : k + config.overlay]) for k in range(0, len(graphs), config.overlay)]
        return graphs, [make(event) for event in self.judged]


def _stored_embedding(stored: Mapping[str, ndarray]) -> Embedding:
    network = Embedding(len(stored["embedding.0.bias"]))
    _load(network, stored, "embedding.")
    return network


def _load(network: torch.nn.Module, stored: Mapping[str, ndarray], prefix: str) -> None:
    named = {key.removeprefix(prefix): torch.from_numpy(v) for key, v in stored.items() if key.startswith(prefix)}
    network.load_state_dict(named)
