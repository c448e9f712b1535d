"""The whole training, from event files to a weight file: embedding, radius, filter, cut, graphs, network, cut."""

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

from beampipe.errors import ConfigError, UnknownNameError
from beampipe.tracking.events import Event
from beampipe.tracking.training.edge_filter import FilterConfig, filter_cut, train_filter
from beampipe.tracking.training.embedding import EmbeddingConfig, neighbourhood, train_embedding
from beampipe.tracking.training.gnn import GnnConfig, purity, scores, train_gnn
from beampipe.tracking.training.graphs import Building, Graph, PairMaker, build, pair_maker, side_by_side
from beampipe.tracking.training.networks import Embedding, Filter, InteractionNetwork
from beampipe.tracking.training.samples import (
    Degrading,
    Labelled,
    Sample,
    Windows,
    degraded,
    label,
    overlaid,
    samples,
    visit,
)
from beampipe.tracking.training.schedule import Log
from beampipe.tracking.training.weight_file import tensors, write_weights
from beampipe.tracking.training.working_point import Point, choose, scan
from beampipe.tracking.truth import HEADLINE, Selection
from beampipe.tracking.windows import Windows as TripletWindows

__all__ = ["RECIPES", "Recipe", "recipe", "train"]


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, but the events.

    Attributes:
        embedding, edge_filter, gnn: the three trainings.
        efficiency: share of prompt true edges inside the radius.
        radius_max: but no larger radius than this.
        max_neighbours: nearest targets kept per source hit.
        graph_events: at most so many training events become graphs (memory and time).
        overlay: so many events are laid over each other for embedding and filter, and side by side for the network:
            small events make poor batches.
        validation: degradation of the events that fix radius and cuts.
        selection: particles that the cut on the score is chosen for.
        min_hits: of a track in that choice.
    """

    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    edge_filter: FilterConfig = field(default_factory=FilterConfig)
    gnn: GnnConfig = field(default_factory=GnnConfig)
    efficiency: float = 0.9975
    radius_max: float = 2.0
    max_neighbours: int = 64
    graph_events: int = 160
    overlay: int = 1
    validation: Degrading = field(default_factory=lambda: Degrading(0.02, 0.01, 0.05))
    selection: Selection = HEADLINE
    min_hits: int = 7


_SOFT_WINDOWS = Windows(kappa_max=2.6e-3, z0_max=220.0)


def _short(gnn: GnnConfig) -> Recipe:
    """About equal CPU time for each variant, on graphs of the same events."""
    return Recipe(gnn=replace(gnn, copies=1), graph_events=40)


RECIPES: dict[str, Recipe] = {
    "exatrkx": Recipe(),
    "exatrkx_soft": Recipe(
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


def recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in RECIPES:
        raise UnknownNameError("recipe", name, RECIPES)
    return RECIPES[name]


@dataclass(frozen=True)
class _Start:
    """Networks that are taken as they are instead of being trained."""

    embedding: Embedding
    edge_filter: Filter
    building: Building


def train(
    config: Recipe,
    events: Iterable[Event],
    validation: Iterable[Event],
    windows: TripletWindows,
    out: Path,
    *,
    log: Path | None = None,
    echo: bool = False,
    start: Path | None = None,
    about: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Train and write `out` (.safetensors) with its card; the file is usable, if poor, long before the end.

    One torch thread, every random number from the seeds in `config`: the same machine gives the same file.

    Args:
        config: how.
        events: clean simulated events; they are degraded on the fly.
        validation: other clean events: they fix radius and cuts, and give the metrics of the card.
        windows: triplet windows, for the pair features.
        out: the weight file.
        log: JSON lines of metrics, appended to.
        echo: print them as well.
        start: weight file whose embedding, and filter if it has one, are taken over instead of being trained.
        about: further facts for the card (command, data).

    Returns:
        The metrics of the card.

    Raises:
        ConfigError: no event to train on or to validate with.
    """
    torch.set_num_threads(1)
    taught = samples(events, config.selection)
    held_out = samples(validation, config.selection)
    if not taught or not held_out:
        raise ConfigError(f"train: got {len(taught)} training and {len(held_out)} validation events, expected some")
    soft_pt = config.gnn.soft_pt_min
    judged = [_validation_event(config, k, sample, soft_pt) for k, sample in enumerate(held_out)]
    pairs = pair_maker(windows)
    training = {
        "recipe": asdict(config),
        "events": len(taught),
        "validation_events": len(held_out),
        "windows_sha256": _digest(windows),
        **(about or {}),
    }
    metrics: dict[str, Any] = {}
    with Log(log, echo=echo) as record:
        known = None if start is None else load_file(start)
        if start is not None and known is not None and "filter.0.weight" in known:
            ready = _read_start(known, start.with_suffix(".json"))
        else:
            small = overlaid(taught, config.overlay)
            few = judged[: max(2, len(judged) // 4)]
            embedding = _embedding_of(known) if known else _train_embedding(config, small, few, record, log)
            ready = _edges(config, embedding, small, judged, record, metrics)
        rng = np.random.default_rng(config.gnn.seed)
        make = _GraphMaker(config, ready, pairs)
        graphs = [
            make(visit(taught[k], rng, config.embedding.degrading, soft_pt))
            for k in np.resize(rng.permutation(len(taught)), config.gnn.copies * min(len(taught), config.graph_events))
        ]
        graphs = [side_by_side(graphs[k : k + config.overlay]) for k in range(0, len(graphs), config.overlay)]
        checks = [make(event) for event in judged]
        found = float(np.mean([graph.found for graph in checks]))
        record("graphs", 0, found=found, edges=float(np.mean([graph.edge_index.shape[1] for graph in graphs])))

        def save(network: InteractionNetwork) -> None:
            point, points = _working_point(config, judged, checks, network)
            metrics["gnn"] = {"edge_efficiency_before": found, **purity(network, checks)}
            metrics["tracks"] = {"chosen": asdict(point), "scan": [asdict(p) for p in points]}
            record("tracks", 0, **asdict(point))
            write_weights(
                out,
                ready.embedding,
                ready.edge_filter,
                network,
                ready.building,
                point.cut,
                training=training,
                metrics=metrics,
            )

        train_gnn(config.gnn, graphs, checks, record, report_every=max(500, config.gnn.steps // 8), checkpoint=save)
    return metrics


class _GraphMaker:
    def __init__(self, config: Recipe, ready: _Start, pairs: PairMaker) -> None:
        self._config, self._ready, self._pairs = config, ready, pairs

    def __call__(self, event: Labelled) -> Graph:
        ready, gnn = self._ready, self._config.gnn
        return build(
            event,
            ready.embedding,
            ready.edge_filter,
            self._pairs,
            ready.building,
            pt_min=gnn.pt_min,
            soft_weight=gnn.soft_weight,
            same_weight=gnn.same_weight,
        )


def _validation_event(config: Recipe, number: int, sample: Sample, pt_min: float) -> Labelled:
    rng = np.random.default_rng(number)
    damage = config.validation
    broken = degraded(sample, rng, hit_loss=damage.hit_loss, dead_modules=damage.dead_modules, noise=damage.noise)
    return label(broken, pt_min)


def _train_embedding(
    config: Recipe, taught: Sequence[Sample], judged: Sequence[Labelled], record: Log, log: Path | None
) -> Embedding:
    """Train, and leave a copy beside the log after each report: it took the longest and can be a `start`."""

    def keep(network: Embedding) -> None:
        if log is not None:
            save_file(tensors(network, None, None), log.with_suffix(".embedding.safetensors"))

    every = max(500, config.embedding.steps // 12)
    network = train_embedding(config.embedding, taught, judged, record, report_every=every, checkpoint=keep)
    keep(network)
    return network


def _edges(
    config: Recipe,
    embedding: Embedding,
    taught: Sequence[Sample],
    judged: Sequence[Labelled],
    log: Log,
    metrics: dict[str, Any],
) -> _Start:
    """Train the filter, and fix radius and cut on the validation events."""
    windows, pt_min = config.embedding.windows, config.embedding.pt_min
    at = neighbourhood(embedding, judged, windows, pt_min, (0.98, 0.99, 0.995, config.efficiency))
    metrics["embedding"] = at
    radius = min(at[f"radius_{100 * config.efficiency:g}"], config.radius_max)
    building = Building(round(radius, 4), config.max_neighbours, windows)
    network = train_filter(config.edge_filter, taught, embedding, building, log)
    cut, measured = filter_cut(config.edge_filter, judged, embedding, network, building)
    metrics["filter"] = measured
    log("filter_cut", 0, cut=cut, **measured)
    return _Start(embedding, network, replace(building, filter_cut=cut))


def _working_point(
    config: Recipe, events: Sequence[Labelled], graphs: Sequence[Graph], network: InteractionNetwork
) -> tuple[Point, list[Point]]:
    points = scan(events, graphs, [scores(network, graph) for graph in graphs], min_hits=config.min_hits)
    return choose(points), points


def _digest(windows: TripletWindows) -> str:
    """Of the tables: networks and windows belong together."""
    tables = (windows.layers, windows.pairs, windows.pair_windows, windows.out_begin, windows.triplet_windows)
    return hashlib.sha256(b"".join(np.ascontiguousarray(table).tobytes() for table in tables)).hexdigest()


def _embedding_of(stored: Mapping[str, ndarray]) -> Embedding:
    network = Embedding(len(stored["embedding.0.bias"]))
    _load(network, stored, "embedding.")
    return network


def _read_start(stored: Mapping[str, ndarray], card_path: Path) -> _Start:
    card = json.loads(card_path.read_text(encoding="utf-8"))["config"]
    network = Filter(len(stored["filter.0.bias"]))
    _load(network, stored, "filter.")
    windows = Windows(card["kappa_max"], card["z0_max"])
    building = Building(card["radius"], card["max_neighbours"], windows, card["filter_cut"])
    return _Start(_embedding_of(stored), network, building)


def _load(network: torch.nn.Module, stored: Mapping[str, ndarray], prefix: str) -> None:
    named = {key.removeprefix(prefix): torch.from_numpy(v) for key, v in stored.items() if key.startswith(prefix)}
    network.load_state_dict(named)
