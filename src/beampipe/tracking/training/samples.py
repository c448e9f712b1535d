"""Training events as compact arrays: degraded anew at each use, labelled, and cut into phi wedges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields, replace

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float32, Float64, Int64, UInt64
from beampipe.errors import InputError
from beampipe.events import Event
from beampipe.tracking.kernels.geometry import MIN_DR, doublet
from beampipe.tracking.truth import HEADLINE, Selection, consecutive_edges

_LAYER_SHIFT = np.uint64(36)
"""Bits of an ACTS geometry identifier below volume and layer."""

_NO_PT = np.float32(0)
"""pT that is given to noise and to unknown particles [GeV]."""


@dataclass(frozen=True)
class KinematicWindows:
    """Kinematic limits on edges between hits of one particle from the beam spot; see `geometry.doublet`.

    Attributes:
        kappa_max: largest |curvature| of an edge [1/mm].
        z0_max: largest |z| of an edge's line at the beam line [mm].
    """

    kappa_max: float = 8.0e-4
    z0_max: float = 270.0

    def keep(
        self, position: Float32[ndarray, "n 3"], edge_index: Int64[ndarray, "2 n_edges"]
    ) -> Bool[ndarray, " n_edges"]:
        """Whether each edge lies inside."""
        edge = doublet(position, edge_index)
        return np.asarray((np.abs(edge.kappa) < self.kappa_max) & (np.abs(edge.z0) < self.z0_max))


@dataclass(frozen=True)
class TrainingDegradation:
    """Largest losses and noise of a training event, on any detector; each visit draws values from 0 to these.

    Attributes:
        hit_loss: fraction of hits lost at random.
        dead_modules: fraction of modules that give no hits.
        noise: number of noise hits, as a fraction of the clean event's hits.
    """

    hit_loss: float = 0.05
    dead_modules: float = 0.02
    noise: float = 0.10


@dataclass(frozen=True, eq=False)
class CleanEvent:
    """A clean event, hits sorted by phi.

    Attributes:
        position: (n, 3) float32 r [mm], phi [rad], z [mm] of each hit.
        geometry_id: (n,) uint64 identifier of the module of each hit.
        particle: (n,) int64 row of the particle that made each hit, -1 for noise.
        pt: (n,) float32 transverse momentum of that particle [GeV], 0 for noise and unknown ones.
        prompt: (n,) bool, whether that particle was made near the beam line, not in the detector.
        wanted: (n,) bool, whether that particle counts in headline efficiencies, if it crosses enough layers.
    """

    position: Float32[ndarray, "n 3"]
    geometry_id: UInt64[ndarray, " n"]
    particle: Int64[ndarray, " n"]
    pt: Float32[ndarray, " n"]
    prompt: Bool[ndarray, " n"]
    wanted: Bool[ndarray, " n"]

    def __len__(self) -> int:
        return len(self.position)

    @classmethod
    def of(cls, event: Event, selection: Selection) -> CleanEvent:
        """The hits of an event; `selection` states which particles are prompt and which are wanted."""
        truth, hits = event.truth, event.hits
        if truth is None or hits.geometry_id is None:
            raise InputError(f"event {event.event_id}: got no truth or no geometry ids, expected simulated events")
        who = truth.particles
        prompt = (who.origin_radius < selection.max_origin) & (who.primary | (not selection.primary_only))
        wanted = prompt & (who.pt > selection.min_pt) & (np.abs(who.eta) < selection.max_abs_eta) & (who.charge != 0)
        row = who.rows(truth.particle_id)
        # Row -1, for no particle, takes the appended last value.
        pt, prompt, wanted = np.append(who.pt, _NO_PT), np.append(prompt, False), np.append(wanted, False)
        return cls(hits.position, hits.geometry_id, row, pt[row], prompt[row], wanted[row]).by_phi()

    @classmethod
    def overlay(cls, events: Sequence[CleanEvent]) -> CleanEvent:
        """Several events as one."""
        n_particles = np.cumsum([0, *(int(event.particle.max(initial=-1)) + 1 for event in events)])
        particle = [
            np.where(event.particle >= 0, event.particle + first, -1)
            for event, first in zip(events, n_particles, strict=False)
        ]
        names = [column.name for column in fields(cls)]
        joined = {name: np.concatenate([getattr(event, name) for event in events]) for name in names}
        return cls(**joined | {"particle": np.concatenate(particle)}).by_phi()

    @property
    def layer(self) -> Int64[ndarray, " n"]:
        """(n,) int64 volume and layer of each hit: its geometry identifier without module and below."""
        return (self.geometry_id >> _LAYER_SHIFT).astype(np.int64)

    def by_phi(self) -> CleanEvent:
        """The same event with its hits sorted by phi."""
        order = np.argsort(self.position[:, 1], kind="stable")
        return CleanEvent(*(getattr(self, column.name)[order] for column in fields(self)))


@dataclass(frozen=True, eq=False)
class Labelled(CleanEvent):
    """A degraded event and its true edges.

    Attributes:
        edge_index: (2, n_true) int64 true edges with pt above the lowest one, inner then outer hit.
    """

    edge_index: Int64[ndarray, "2 n_true"]


def clean_events(events: Iterable[Event], selection: Selection = HEADLINE) -> list[CleanEvent]:
    """The clean events as arrays.

    Args:
        events: simulated events.
        selection: particles that count in headline efficiencies.

    Raises:
        InputError: an event has no truth or no geometry ids.
    """
    return [CleanEvent.of(event, selection) for event in events]


def overlaid(events: Sequence[CleanEvent], size: int) -> list[CleanEvent]:
    """Each `size` consecutive events laid over each other as one event."""
    if size == 1:
        return list(events)
    return [CleanEvent.overlay(events[k : k + size]) for k in range(0, len(events), size)]


def visit(event: CleanEvent, rng: np.random.Generator, degradation: TrainingDegradation, pt_min: float) -> Labelled:
    """The event rotated, degraded by up to `degradation`, and labelled."""
    turned = rotated(event, rng)
    drawn = TrainingDegradation(*(rng.uniform(0, largest) for largest in astuple(degradation)))
    return label(degraded(turned, rng, drawn), pt_min)


def degraded(event: CleanEvent, rng: np.random.Generator, degradation: TrainingDegradation) -> CleanEvent:
    """Lose hits at random and with whole modules, and add noise hits at the (r, z) of real ones, phi uniform."""
    kept, copied, phi = _losses_and_noise(len(event), event.geometry_id, degradation, rng)
    row = np.concatenate([np.flatnonzero(kept), copied])
    is_noise = np.arange(len(row)) >= len(row) - len(copied)
    position = event.position[row]
    position[is_noise, 1] = phi
    return CleanEvent(
        position,
        event.geometry_id[row],
        np.where(is_noise, -1, event.particle[row]),
        np.where(is_noise, _NO_PT, event.pt[row]),
        event.prompt[row] & ~is_noise,
        event.wanted[row] & ~is_noise,
    ).by_phi()


def degraded_event(event: Event, degradation: TrainingDegradation, seed: int) -> Event:
    """The same for an event, whose hits stay in order; noise hits come last.

    Args:
        event: clean event; its identifiers define the modules.
        degradation: fractions of hits and of modules that are lost, and noise hits per hit of the clean event.
        seed: seed of the random choices; the dead modules are those of the event's seed, not of a run.
    """
    rng = np.random.default_rng(seed)
    kept, copied, phi = _losses_and_noise(len(event.hits), event.hits.geometry_id, degradation, rng)
    left = event.take(kept)
    if len(copied) == 0:
        return left
    noise = event.hits.take(copied)
    noise.position[:, 1] = phi
    return left.with_noise(noise)


def _losses_and_noise(
    n_hits: int,
    geometry_id: UInt64[ndarray, " n_hits"] | None,
    degradation: TrainingDegradation,
    rng: np.random.Generator,
) -> tuple[Bool[ndarray, " n_hits"], Int64[ndarray, " n_noise"], Float64[ndarray, " n_noise"]]:
    """Which hits are kept; and for each noise hit the row that it takes r and z from, and its phi [rad]."""
    kept = rng.random(n_hits) >= degradation.hit_loss
    if degradation.dead_modules > 0 and geometry_id is not None:
        modules, row = np.unique(geometry_id, return_inverse=True)
        kept &= (rng.random(len(modules)) >= degradation.dead_modules)[row]
    copied = rng.integers(0, max(n_hits, 1), rng.poisson(degradation.noise * n_hits))
    return kept, copied, rng.uniform(-np.pi, np.pi, len(copied))


def rotated(event: CleanEvent, rng: np.random.Generator) -> CleanEvent:
    """The event turned about the beam at random and, every other time, its two ends swapped."""
    position = event.position.copy()
    position[:, 1] = (position[:, 1] + np.float32(rng.uniform(0, 2 * np.pi)) + np.pi) % (2 * np.pi) - np.pi
    if rng.random() < 0.5:
        position[:, 2] *= -1
    return replace(event, position=position).by_phi()


def label(event: CleanEvent, pt_min: float, eta_max: float = 3.3) -> Labelled:
    """The event with its true edges, those of `beampipe.tracking.truth.consecutive_edges`.

    Args:
        event: clean or degraded event.
        pt_min: lowest pT of a particle that gets true edges [GeV].
        eta_max: largest |eta| of a hit that gets true edges.
    """
    eta = np.abs(np.arcsinh(event.position[:, 2] / np.maximum(event.position[:, 0], MIN_DR)))
    hit = np.flatnonzero((event.particle >= 0) & (event.pt > pt_min) & (eta < eta_max))
    edges = consecutive_edges(event.position, event.layer, hit, event.particle[hit])
    return Labelled(**{column.name: getattr(event, column.name) for column in fields(CleanEvent)}, edge_index=edges)


def wedge(event: Labelled, start: float, width: float) -> Int64[ndarray, " m"]:
    """Rows of the hits with phi in [start, start + width), across the seam at pi where need be."""
    phi = event.position[:, 1]
    start = (start + np.pi) % (2 * np.pi) - np.pi
    lo, hi = np.searchsorted(phi, [start, start + width])
    rows = np.arange(lo, hi)
    if start + width > np.pi:
        rows = np.concatenate([rows, np.arange(np.searchsorted(phi, start + width - 2 * np.pi))])
    return rows
