"""Tables of arrays in files: the data types that the stages of a chain pass on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TypeVar, get_type_hints

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float64, Int8, Int64
from beampipe.tables import load_table, save_tables

T = TypeVar("T")

VERTEX_MATCHED = 0.2
"""Largest distance along z at which a vertex is that of the hard collision [mm]."""

PRIMARY, SECONDARY, FAKE, DUPLICATE = range(4)
"""Kinds of a track: of a charged particle that counts, of another particle, of no particle, and further tracks of a
particle that has one already."""

UNKNOWN = -1
"""Kind of a track that was not compared with particles: there is no truth."""


@dataclass(frozen=True, eq=False)
class TrackTable:
    """Fitted tracks that pass the cuts, of some events.

    Attributes:
        event: (n,) int64, number of the event in its chunk.
        pt: (n,) float64, transverse momentum [GeV].
        eta: (n,) float64, pseudorapidity.
        phi: (n,) float64, azimuth [rad].
        kind: (n,) int8, `PRIMARY`, `SECONDARY`, `FAKE` or `DUPLICATE`; `UNKNOWN` without truth.
    """

    event: Int64[ndarray, " n"]
    pt: Float64[ndarray, " n"]
    eta: Float64[ndarray, " n"]
    phi: Float64[ndarray, " n"]
    kind: Int8[ndarray, " n"]


@dataclass(frozen=True, eq=False)
class ParticleTable:
    """Charged particles of the generator that are made within 2 mm of the beam line, within the cuts on pT and eta.

    Attributes:
        event: (n,) int64, number of the event in its chunk.
        pt: (n,) float64, transverse momentum [GeV].
        eta: (n,) float64, pseudorapidity.
        phi: (n,) float64, azimuth [rad].
        found: (n,) bool, whether a track matches the particle by double majority.
        reconstructable: (n,) bool, whether the particle has hits on at least 7 layers.
    """

    event: Int64[ndarray, " n"]
    pt: Float64[ndarray, " n"]
    eta: Float64[ndarray, " n"]
    phi: Float64[ndarray, " n"]
    found: Bool[ndarray, " n"]
    reconstructable: Bool[ndarray, " n"]

    @classmethod
    def empty(cls) -> ParticleTable:
        """No particles."""
        none, no = np.empty(0), np.empty(0, np.bool_)
        return cls(np.empty(0, np.int64), none, none, none, no, no)


@dataclass(frozen=True, eq=False)
class JetTable:
    """Jets of towers, by event and falling pT.

    Attributes:
        event: (n,) int64, number of the event.
        pt: (n,) float64, transverse momentum of the towers [GeV].
        eta: (n,) float64, pseudorapidity.
        phi: (n,) float64, azimuth [rad].
        label: (n,) int64, PDG number of the parton that initiated the jet, 0 for none.
        true_pt: (n,) float64, transverse momentum of the jet of particles at the same place [GeV]; nan for none.
    """

    event: Int64[ndarray, " n"]
    pt: Float64[ndarray, " n"]
    eta: Float64[ndarray, " n"]
    phi: Float64[ndarray, " n"]
    label: Int64[ndarray, " n"]
    true_pt: Float64[ndarray, " n"]

    def __len__(self) -> int:
        return len(self.event)


@dataclass(frozen=True, eq=False)
class Owners:
    """The jet that each track and each particle belongs to.

    Attributes:
        track: (n_tracks,) int64, row of the jet of each track; -1 for none.
        particle: (n_particles,) int64, row of the jet of each particle; -1 for none.
    """

    track: Int64[ndarray, " n_tracks"]
    particle: Int64[ndarray, " n_particles"]


@dataclass(frozen=True, eq=False)
class EventTable:
    """Weights of events, and how many tracks were left out.

    Attributes:
        weight: (n_events,) float64, weight of each event.
        tracks: (n_events,) int64, number of tracks that were found.
        unfitted: (n_events,) int64, number of tracks without a fit, which are left out.
        vertices: (n_events,) int64, number of vertices that were found; 0 without pile-up, where none is needed.
        vertex_dz: (n_events,) float64, z of the vertex that was taken for the hard one less that of the hard collision
            [mm]; nan for none.
    """

    weight: Float64[ndarray, " n_events"]
    tracks: Int64[ndarray, " n_events"]
    unfitted: Int64[ndarray, " n_events"]
    vertices: Int64[ndarray, " n_events"]
    vertex_dz: Float64[ndarray, " n_events"]

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def vertex_efficiency(self) -> float:
        """Share of events with pile-up in which the vertex that was taken is that of the hard collision."""
        return float(np.mean(np.abs(self.vertex_dz) < VERTEX_MATCHED))


@dataclass(frozen=True, eq=False)
class TrackEvents:
    """Tracks of some events: what the stage `tracks` makes.

    Attributes:
        tracks: tracks that pass the cuts.
        particles: charged particles that they should show; none without truth.
        events: the events.
    """

    tracks: TrackTable
    particles: ParticleTable
    events: EventTable

    def save(self, path: Path) -> None:
        """Write to a .npz file."""
        save_tables(path, tracks=self.tracks, particles=self.particles, events=self.events)

    @classmethod
    def load(cls, path: Path) -> TrackEvents:
        """Read what `save` wrote."""
        return cls(**{name: load_table(path, name, kind) for name, kind in get_type_hints(cls).items()})


def joined(kind: type[T], tables: Sequence[T]) -> T:
    """Several tables of one dataclass one after the other."""
    names = [each.name for each in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: np.concatenate([getattr(table, name) for table in tables]) for name in names})


@dataclass(frozen=True, eq=False)
class JetEvents:
    """Everything about the jets of some events.

    Attributes:
        events: weights of the events.
        jets: the jets.
        tracks: tracks of the events.
        particles: charged particles of the events.
        owners: jets that tracks and particles belong to.
    """

    events: EventTable
    jets: JetTable
    tracks: TrackTable
    particles: ParticleTable
    owners: Owners

    def save(self, path: Path) -> None:
        """Write to a .npz file."""
        save_tables(path, **{each.name: getattr(self, each.name) for each in fields(self)})

    @classmethod
    def load(cls, path: Path) -> JetEvents:
        """Read what `save` wrote."""
        return cls(**{name: load_table(path, name, kind) for name, kind in get_type_hints(cls).items()})

    @classmethod
    def join(cls, parts: Sequence[JetEvents]) -> JetEvents:
        """The events of several chunks one after the other, numbered through."""
        n_events = np.cumsum([0, *(len(part.events) for part in parts)])
        n_jets = np.cumsum([0, *(len(part.jets) for part in parts)])

        def owned(rows: ndarray, start: int) -> ndarray:
            return np.where(rows >= 0, rows + start, rows)

        moved = list(zip(parts, n_events.tolist(), n_jets.tolist(), strict=False))  # the last numbers are the sums
        owners = [Owners(owned(part.owners.track, jet), owned(part.owners.particle, jet)) for part, _, jet in moved]
        return cls(
            joined(EventTable, [part.events for part in parts]),
            joined(JetTable, [replace(part.jets, event=part.jets.event + first) for part, first, _ in moved]),
            joined(TrackTable, [replace(part.tracks, event=part.tracks.event + first) for part, first, _ in moved]),
            joined(ParticleTable, [replace(part.particles, event=part.particles.event + at) for part, at, _ in moved]),
            joined(Owners, owners),
        )
