"""What a training is asked for: the parts of a tracker model, and the settings that are also options of the command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from beampipe.errors import ConfigError, look_up
from beampipe.events import ON_AXIS, BeamSpot
from beampipe.tracking.models import FIT_STEM, Digest


@dataclass(frozen=True)
class TrainingBudget:
    """Size of a training, as a share of the full one.

    Attributes:
        name: name on the command line.
        share: share of the updates of each network.
        queries: number of hits whose neighbours are searched in one update of the embedding.
        graph_events: largest number of events that become graphs.
        chooses: largest number of events that radius and cuts are chosen on.
        scored: largest number of events of the validation report; more if they are small.
        jets: largest number of events with hard jets of the report.
        duration: how long a training takes on two idle cores, in words.
    """

    name: str
    share: float
    queries: int
    graph_events: int
    chooses: int
    scored: int
    jets: int
    duration: str


BUDGETS: Final[Mapping[str, TrainingBudget]] = MappingProxyType(
    {
        effort.name: effort
        for effort in (
            TrainingBudget("quick", 0.25, 2500, 20, 4, 6, 200, "one to three minutes"),
            TrainingBudget("normal", 0.4, 4000, 60, 6, 10, 400, "half an hour"),
            TrainingBudget("full", 1.0, 5000, 160, 10, 24, 1000, "hours"),
        )
    }
)
"""Budgets by name; the full one is that of the shipped models."""


@dataclass(frozen=True)
class Part:
    """One stem of a tracker model, and its dependencies.

    Attributes:
        stem: stem of the weights; also the name of the recipe.
        kind: windows, networks, or the tables of the track fit.
        windows: stem of the windows that give networks their pair features, and the fit its layers; None for windows.
        soft: whether it is learned from the events for soft tracks, where there are some; its networks take long, and
            are learned only with the option for soft tracks.
    """

    stem: str
    kind: Literal["windows", "networks", "fit"]
    windows: str | None = None
    soft: bool = False


PARTS: Final[Mapping[str, Part]] = MappingProxyType(
    {
        part.stem: part
        for part in (
            Part("module_map", "windows"),
            Part(FIT_STEM, "fit", windows="module_map"),
            Part("exatrkx", "networks", windows="module_map"),
            Part("module_map_displaced", "windows"),
            Part("module_map_far", "windows"),
            Part("module_map_soft", "windows", soft=True),
            Part("exatrkx_soft", "networks", windows="module_map_soft", soft=True),
        )
    }
)
"""The parts of a model, in the order in which they are learned."""


@dataclass(frozen=True)
class Task:
    """A request to learn a tracker model.

    Raises:
        UnknownNameError: `only` names no part.
        ConfigError: `only` has networks without their windows.

    Attributes:
        name: name of the model. [default: name of the folder]
        for_what: detector and events that it is for, in one line; made from the name if empty.
        effort: how much of the full training is done.
        soft: learn the networks for soft tracks (pT > 0.3 GeV), too.
        only: learn this part only, such as module_map.
        command: command that was typed, for the card.
        inputs: digests of the files of events, for the card.
        beam_spot: beam line in the frame of the hits.
        field: magnetic field along z, in T. [default: measured from the curvature of tracks]
        log: file to append the metrics of the training to, one JSON object a line.
        min_layers: fewest layers that a particle must cross to count as reconstructable. No pipeline requires more
            hits. [default: three quarters of what the events' particles cross, at most 7]
        min_hits: fewest hits of a track that is scored. [default: as --min-layers]
        force: go on with fewer particles than a usable model is learned from.
        detector: TOML file of the detector that the events are of; odd is the Open Data Detector. [default: none]
    """

    name: str = ""
    for_what: str = ""
    effort: TrainingBudget = BUDGETS["normal"]
    soft: bool = False
    only: tuple[str, ...] = ()
    command: str = ""
    inputs: Mapping[str, Digest] = field(default_factory=dict)
    beam_spot: BeamSpot = ON_AXIS
    field: float | None = None
    log: Path | None = None
    min_layers: int | None = None
    min_hits: int | None = None
    force: bool = False
    detector: Path | None = None

    def __post_init__(self) -> None:
        for stem in self.only:
            look_up("part of a tracker model", stem, PARTS)
        for part in self.parts:
            if part.windows is not None and PARTS[part.windows] not in self.parts:
                raise ConfigError(
                    f"--only: got {part.stem} without {part.windows}, expected both; its features need it"
                )

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that are learned."""
        if self.only:
            return tuple(part for part in PARTS.values() if part.stem in self.only)
        return tuple(part for part in PARTS.values() if self.soft or not (part.soft and part.kind == "networks"))
