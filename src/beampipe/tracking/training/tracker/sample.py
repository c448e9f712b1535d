"""Events of a stranger's detector made ready for training: about the beam line, with layers, split, and looked at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from beampipe.errors import ConfigError
from beampipe.tracking.beam_spot import ON_AXIS, TOLERATED, BeamSpot
from beampipe.tracking.events import Event
from beampipe.tracking.kernels.geometry import doublet
from beampipe.tracking.models import Crossing
from beampipe.tracking.training.samples import particle_rows
from beampipe.tracking.training.tracker.layers import FoundLayers, find_layers
from beampipe.tracking.truth import HEADLINE, Selection, contributions, select_particles, true_edges, truth_of

__all__ = ["SPLIT", "SeenEvents", "TrainingSample", "about_beam_spot", "look_at", "measured_field", "prepare"]

SPLIT: Final = "of six events in a row, one chooses radius and cuts, another one is scored, four are learned from"
"""How events are divided, in words."""

_TURN: Final = 6
_CHOOSES, _SCORED = 1, 4
_FEWEST_EVENTS: Final = 6

_T_PER_GEV_MM: Final = 0.299792458e-3
"""Curvature of a particle of 1 GeV in 1 T [1/mm]."""

_FIELDS: Final = (0.2, 20.0)
"""Fields [T] that a tracker may have; others tell of wrong units."""

_AGREEMENT: Final = 0.05
"""Largest relative difference between a field that is given and the one that the tracks show."""


@dataclass(frozen=True, eq=False)
class SeenEvents:
    """Events as they were looked at.

    Attributes:
        layers: the events, and how their layers were told.
        field: magnetic field [T] that the tracks show.
        hits: mean number of hits of an event.
        z_reach: |z| below which all but a thousandth of the prompt particles start [mm].
        crossing: how many layers particles cross, and how many one must cross to count as reconstructable.
    """

    layers: FoundLayers
    field: float
    hits: float
    z_reach: float
    crossing: Crossing


@dataclass(frozen=True, eq=False)
class TrainingSample(SeenEvents):
    """Events that a model is learned from, and what was seen of them.

    Attributes:
        taught: events that are learned from.
        chooses: events that radius and cuts are chosen on.
        scored: events that are kept for the validation report.
    """

    taught: tuple[Event, ...]
    chooses: tuple[Event, ...]
    scored: tuple[Event, ...]


def prepare(
    events: Iterable[Event],
    beam_spot: BeamSpot = ON_AXIS,
    field: float | None = None,
    min_layers: int | None = None,
) -> TrainingSample:
    """Look at events and divide them.

    Args:
        events: clean events with truth; hits in mm and rad, momenta in GeV.
        beam_spot: beam line in the frame of the hits; they are shifted so that it is the z axis.
        field: magnetic field [T]; if not given, it is measured.
        min_layers: fewest layers of a reconstructable particle; if not given, the events tell it.

    Raises:
        ConfigError: there are too few events or particles, no layers can be told, the field that the tracks show is
            impossible or another than the one given, or `min_layers` is below 3.
        InputError: an event has no truth.
    """
    read = list(events)
    if len(read) < _FEWEST_EVENTS:
        raise ConfigError(
            f"training: got {len(read)} events, expected {_FEWEST_EVENTS} or more, better 30 with hundreds of tracks"
        )
    seen = look_at(read, beam_spot)
    if field is not None and abs(seen.field - field) > _AGREEMENT * field:
        raise ConfigError(f"field: got {field:g} T, but the tracks show {seen.field:.3g} T; expected them to agree")
    told = seen.layers.events
    return TrainingSample(
        seen.layers,
        seen.field if field is None else field,
        seen.hits,
        seen.z_reach,
        seen.crossing if min_layers is None else replace(seen.crossing, min_layers=min_layers),
        taught=tuple(event for k, event in enumerate(told) if k % _TURN not in (_CHOOSES, _SCORED)),
        chooses=told[_CHOOSES::_TURN],
        scored=told[_SCORED::_TURN],
    )


def look_at(events: Iterable[Event], beam_spot: BeamSpot = ON_AXIS) -> SeenEvents:
    """Tell layers, field and vertices of events.

    Args:
        events: clean events with truth; hits in mm and rad, momenta in GeV.
        beam_spot: beam line in the frame of the hits; they are shifted so that it is the z axis.

    Raises:
        ConfigError: there are too few particles, they come from another beam line, no layers can be told, or the tracks
            show an impossible field.
        InputError: an event has no truth.
    """
    read = [about_beam_spot(event, beam_spot) for event in events]
    _require_vertices_about(read, beam_spot)
    layers = find_layers(read)
    told = layers.events
    return SeenEvents(
        layers,
        field=round(measured_field(told), 3),
        hits=float(np.mean([len(event.hits) for event in told])),
        z_reach=_z_reach(told),
        crossing=_crossing(told),
    )


def about_beam_spot(event: Event, beam_spot: BeamSpot) -> Event:
    """The event seen from the beam line: hits and vertices shifted so that it is the z axis."""
    if beam_spot == ON_AXIS:
        return event
    truth = event.truth
    if truth is not None:
        x, y, z = truth.particles.vertex.astype(np.float64).T
        seen = (x - beam_spot.x - beam_spot.dxdz * z, y - beam_spot.y - beam_spot.dydz * z, z)
        truth = replace(truth, particles=replace(truth.particles, vertex=np.stack(seen, axis=1).astype(np.float32)))
    return Event(event.event_id, replace(event.hits, position=beam_spot.seen(event.hits.position)), truth)


def measured_field(events: Sequence[Event]) -> float:
    """Magnetic field [T] from the curvature of true edges of particles from the beam line: kappa pT / 0.0003.

    Raises:
        ConfigError: there are no such edges, or the field is impossible.
    """
    selection = Selection(min_pt=0.3, min_layers=3)
    products = []
    for event in events[:20]:
        truth = truth_of(event)
        edges = true_edges(event, selection)
        row = particle_rows(truth.particles, truth.particle_id[edges[0]])
        pt, edge = truth.particles.pt[row], doublet(event.hits.position, edges)
        far = (edge.dr > 20) & (row >= 0)
        products.append(np.abs(edge.kappa[far]) * pt[far])
    found = np.concatenate(products)
    if len(found) < 30:
        raise ConfigError(
            f"training: got {len(found)} steps between layers of primary particles above {selection.min_pt:g} GeV,"
            " expected hundreds; are particle ids, momenta (GeV) and vertices (mm) those of the hits?"
        )
    field = float(np.median(found)) / _T_PER_GEV_MM
    if not _FIELDS[0] <= field <= _FIELDS[1]:
        raise ConfigError(
            f"training: got momenta and curvatures that mean a field of {field:.3g} T, expected {_FIELDS[0]:g} to"
            f" {_FIELDS[1]:g} T; are momenta in GeV, r and z in mm, phi in rad, and is the beam line at x = y = 0"
            " (--beam-spot)?"
        )
    return field


def _require_vertices_about(events: Sequence[Event], beam_spot: BeamSpot) -> None:
    """Refuse events whose primary particles come from another line than the one they are seen from."""
    primaries = [truth_of(event).particles for event in events]
    vertices = np.concatenate([particles.vertex[particles.primary, :2] for particles in primaries])
    if len(vertices) == 0:
        raise ConfigError("training: got no primary particle, expected thousands; mark those of the generator")
    x, y = np.median(vertices.astype(np.float64), axis=0)
    if np.hypot(x, y) > TOLERATED:
        there = f"{beam_spot.x + x:.3g},{beam_spot.y + y:.3g}"
        raise ConfigError(
            f"training: got vertices about ({x:.3g}, {y:.3g}) mm from the beam line, expected them within {TOLERATED:g}"
            f" mm; give --beam-spot {there}"
        )


def _z_reach(events: Sequence[Event]) -> float:
    """|z| of the vertices of prompt particles; decays along the beam line are left out."""
    vertices = [
        np.abs(particles.vertex[particles.primary & (particles.origin_radius < HEADLINE.max_origin), 2])
        for particles in (truth_of(event).particles for event in events)
    ]
    return float(np.quantile(np.concatenate(vertices), 0.999))


def _crossing(events: Sequence[Event]) -> Crossing:
    """What the usual particle crosses; those of one or two layers pass by the detector."""
    crossed = []
    for event in events[:20]:
        truth = truth_of(event)
        known = contributions(truth)
        rows = known.row(truth.particles.particle_id[select_particles(event, Selection(min_layers=3), known)])
        crossed.append(known.n_layers(event.hits)[rows])
    every = np.concatenate(crossed)
    if len(every) == 0:
        raise ConfigError(
            f"training: got no particle that is {Selection(min_layers=3)}, expected hundreds; see that particles have"
            " charge, momentum (GeV), vertex (mm) and are marked primary"
        )
    return Crossing.usual(float(np.median(every)))
