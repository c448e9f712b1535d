"""How long a training takes, and how recipes that were made for one detector and density fit another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np

from beampipe.tracking.training.recipe import TrainingRecipe
from beampipe.tracking.training.samples import Degrading, KinematicWindows
from beampipe.tracking.training.tracker.sample import TrainingSample
from beampipe.tracking.training.windows import WindowConfig

__all__ = ["EFFORTS", "Effort", "adapted_recipe", "adapted_windows", "seen_share"]

_FIELD: Final = 2.0
"""Field [T] that the recipes were made for."""

_HITS: Final = 90_000
"""Hits of an event that the recipe of the hard networks was made for."""

_MANY_HITS: Final = 1_500_000
"""Hits of all events from which on the fewest triplets of a recipe are asked for."""

_FEWEST_TRIPLETS: Final = 5
"""Fewest triplets of a triple of layers that is known, however few events there are."""

_FULL_TURN: Final = 6.3
"""Width of a wedge [rad] that is the whole event."""


@dataclass(frozen=True)
class Effort:
    """How much of the full training is done.

    Attributes:
        name: name on the command line.
        share: share of the updates of each network.
        queries: hits that ask for neighbours in one update of the embedding.
        graph_events: largest number of events that become graphs.
        chooses: largest number of events that radius and cuts are chosen on.
        scored: largest number of events of the validation report.
    """

    name: str
    share: float
    queries: int
    graph_events: int
    chooses: int
    scored: int


EFFORTS: Final[Mapping[str, Effort]] = MappingProxyType(
    {
        effort.name: effort
        for effort in (
            Effort("quick", 0.25, 2500, 20, 4, 6),
            Effort("normal", 0.4, 4000, 60, 6, 10),
            Effort("full", 1.0, 5000, 160, 10, 24),
        )
    }
)
"""How much to do, by name: minutes, half an hour, and what the shipped models had."""


def adapted_windows(config: WindowConfig, sample: TrainingSample) -> WindowConfig:
    """The windows for another field and luminous region, and for fewer hits: fewer triplets are then enough."""
    fewest = min(config.min_triplets, max(_FEWEST_TRIPLETS, round(seen_share(sample) * config.min_triplets)))
    return replace(
        config,
        kappa_max=config.kappa_max * sample.field / _FIELD,
        vertex_z_max=max(config.vertex_z_max, float(round(1.05 * sample.z_reach))),
        min_triplets=fewest,
    )


def seen_share(sample: TrainingSample) -> float:
    """Hits that are learned from, as a share of many; 1 for more."""
    return min(1.0, len(sample.taught) * sample.hits / _MANY_HITS)


def adapted_recipe(recipe: TrainingRecipe, effort: Effort, sample: TrainingSample) -> TrainingRecipe:
    """A recipe for another field, density and luminous region, and for less time.

    Wedges are as wide as to hold about as many hits as those of the recipe; small events are laid over each other.
    """
    embedding, edge_filter, gnn = recipe.embedding, recipe.edge_filter, recipe.gnn
    bend, density = sample.field / _FIELD, max(sample.hits, 1.0) / _HITS
    overlay = max(1, round(17_000 / max(sample.hits, 1.0)))
    windows = KinematicWindows(
        embedding.windows.kappa_max * bend, max(embedding.windows.z0_max, round(sample.z_reach) + 20.0)
    )
    laid_over = sample.hits * overlay
    sector = float(np.clip(2 * np.pi * effort.queries / laid_over, 0.15, 1.3))
    degrading = _possible(embedding.degrading, sample)
    wedge = float(np.clip(gnn.wedge / (density * overlay), 0.5, _FULL_TURN))

    def fewer(steps: int) -> int:
        return max(20, round(effort.share * steps))

    return replace(
        recipe,
        embedding=replace(
            embedding,
            steps=fewer(embedding.steps),
            windows=windows,
            sector=sector,
            border=embedding.border * bend,
            degrading=degrading,
        ),
        edge_filter=replace(
            edge_filter,
            steps=fewer(edge_filter.steps),
            events=min(edge_filter.events, effort.graph_events),
            degrading=degrading,
        ),
        gnn=replace(gnn, steps=fewer(gnn.steps), wedge=wedge),
        graph_events=min(recipe.graph_events, effort.graph_events * overlay),
        overlay=overlay,
        validation=_possible(recipe.validation, sample),
        selection=replace(recipe.selection, min_layers=sample.crossing.min_layers),
        min_hits=sample.crossing.min_layers,
    )


def _possible(degrading: Degrading, sample: TrainingSample) -> Degrading:
    """Without modules none can be switched off."""
    return degrading if sample.layers.has_modules else replace(degrading, dead_modules=0.0)
