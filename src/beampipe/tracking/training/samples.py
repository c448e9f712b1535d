"""Training events as compact arrays: degraded afresh each time, labelled, cut into phi wedges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float32, Int64, UInt64
from beampipe.errors import InputError
from beampipe.events import NOISE, Event, Particles
from beampipe.tracking.kernels.geometry import MIN_DR, doublet
from beampipe.tracking.truth import HEADLINE, Selection

# Events as the compact arrays that the trainer loops over: degraded afresh, labelled, cut into phi wedges.


_LAYER_SHIFT = np.uint64(36)
"""Bits of an ACTS geometry identifier below volume and layer."""

_NO_PT = np.float32(0)
"""Stands for the pT of noise and of unknown particles [GeV]."""


@dataclass(frozen=True)
class KinematicWindows:
    """What an edge between hits of one particle from the beam spot looks like; see `geometry.doublet`.

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
        kept: Bool[ndarray, " n_edges"] = (np.abs(edge.kappa) < self.kappa_max) & (np.abs(edge.z0) < self.z0_max)
        return kept


@dataclass(frozen=True)
class TrainingDegradation:
    """How much a training event may lose and gain; each visit draws from 0 to these.

    Attributes:
        hit_loss: largest fraction of hits lost at random.
        dead_modules: largest fraction of modules that give no hits.
        noise: largest number of noise hits, as a fraction of the clean event's hits.
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

    def by_phi(self) -> CleanEvent:
        """The same event with its hits sorted by phi."""
        order = np.argsort(self.position[:, 1], kind="stable")
        return CleanEvent(*(getattr(self, column.name)[order] for column in fields(self)))


@dataclass(frozen=True, eq=False)
class Labelled:
    """A degraded event and its true edges.

    Attributes:
        position: (n, 3) float32 r [mm], phi [rad], z [mm] of each hit, sorted by phi.
        layer: (n,) int64 volume and layer of each hit: its geometry identifier without module and below.
        particle: (n,) int64 row of the particle that made each hit, -1 for noise.
        pt: (n,) float32 transverse momentum of that particle [GeV], 0 for noise and unknown ones.
        prompt: (n,) bool, whether that particle was made near the beam line, not in the detector.
        wanted: (n,) bool, whether that particle counts in headline efficiencies, if it crosses enough layers.
        edge_index: (2, n_true) int64 true edges with pt above the lowest that was asked for, inner then outer hit.
    """

    position: Float32[ndarray, "n 3"]
    layer: Int64[ndarray, " n"]
    particle: Int64[ndarray, " n"]
    pt: Float32[ndarray, " n"]
    prompt: Bool[ndarray, " n"]
    wanted: Bool[ndarray, " n"]
    edge_index: Int64[ndarray, "2 n_true"]

    def __len__(self) -> int:
        return len(self.position)


def clean_events(events: Iterable[Event], selection: Selection = HEADLINE) -> list[CleanEvent]:
    """The clean events as arrays.

    Args:
        events: simulated events.
        selection: particles that count in headline efficiencies.

    Raises:
        InputError: an event has no truth or no geometry ids.
    """
    return [_clean(event, selection) for event in events]


def particle_rows(particles: Particles, particle_id: Int64[ndarray, " n"]) -> Int64[ndarray, " n"]:
    """Row of the particle of each number, -1 for noise and for those that are not listed."""
    ids = particles.particle_id
    if len(ids) == 0:
        return np.full(len(particle_id), -1, np.int64)
    by_id = np.argsort(ids)
    row = by_id[np.minimum(np.searchsorted(ids, particle_id, sorter=by_id), len(ids) - 1)]
    return np.where((ids[row] == particle_id) & (particle_id != NOISE), row, -1)


def overlaid(events: Sequence[CleanEvent], size: int) -> list[CleanEvent]:
    """Each `size` consecutive events laid over each other as one event."""
    if size == 1:
        return list(events)
    return [_overlay(events[k : k + size]) for k in range(0, len(events), size)]


def visit(event: CleanEvent, rng: np.random.Generator, degrading: TrainingDegradation, pt_min: float) -> Labelled:
    """The event turned, degraded and labelled afresh."""
    fresh = degraded(
        rotated(event, rng),
        rng,
        hit_loss=rng.uniform(0, degrading.hit_loss),
        dead_modules=rng.uniform(0, degrading.dead_modules),
        noise=rng.uniform(0, degrading.noise),
    )
    return label(fresh, pt_min)


def degraded(
    event: CleanEvent,
    rng: np.random.Generator,
    *,
    hit_loss: float = 0.0,
    dead_modules: float = 0.0,
    noise: float = 0.0,
) -> CleanEvent:
    """Lose hits at random and with whole modules, and add noise hits at the (r, z) of real ones, phi uniform.

    The trainer's own quick copy of the measured effects: it runs once per event and visit.
    """
    keep = rng.random(len(event)) >= hit_loss
    if dead_modules > 0:
        modules, row = np.unique(event.geometry_id, return_inverse=True)
        keep &= (rng.random(len(modules)) >= dead_modules)[row]
    n_noise = rng.poisson(noise * len(event)) if len(event) else 0
    origin = rng.integers(0, max(len(event), 1), n_noise)
    at = event.position[origin]
    at[:, 1] = rng.uniform(-np.pi, np.pi, n_noise)
    kept = np.flatnonzero(keep)
    position = np.concatenate([event.position[kept], at])
    row = np.concatenate([kept, origin])
    is_noise = np.arange(len(row)) >= len(kept)
    return CleanEvent(
        position,
        event.geometry_id[row],
        np.where(is_noise, -1, event.particle[row]),
        np.where(is_noise, _NO_PT, event.pt[row]),
        event.prompt[row] & ~is_noise,
        event.wanted[row] & ~is_noise,
    ).by_phi()


def rotated(event: CleanEvent, rng: np.random.Generator) -> CleanEvent:
    """The event turned about the beam at random and, every other time, its two ends swapped."""
    position = event.position.copy()
    position[:, 1] = (position[:, 1] + np.float32(rng.uniform(0, 2 * np.pi)) + np.pi) % (2 * np.pi) - np.pi
    if rng.random() < 0.5:
        position[:, 2] *= -1
    return replace(event, position=position).by_phi()


def label(event: CleanEvent, pt_min: float, eta_max: float = 3.3) -> Labelled:
    """True edges: between consecutive layers among those that a particle still has hits on, twins in all combinations.

    Layers of a particle are ordered by the smallest distance of their hits from the detector's centre.

    Args:
        event: clean or degraded event.
        pt_min: lowest pT of a particle that gets true edges [GeV].
        eta_max: largest |eta| of a hit that gets true edges.
    """
    layer = (event.geometry_id >> _LAYER_SHIFT).astype(np.int64)
    eta = np.abs(np.arcsinh(event.position[:, 2] / np.maximum(event.position[:, 0], MIN_DR)))
    hit = np.flatnonzero((event.particle >= 0) & (event.pt > pt_min) & (eta < eta_max))
    distance = _distance(event.position)
    _, group = (
        np.unique(np.stack([event.particle[hit], layer[hit]], axis=1), axis=0, return_inverse=True)
        if len(hit)
        else (None, np.empty(0, np.int64))
    )
    group = group.reshape(-1)
    n_groups = int(group.max(initial=-1)) + 1
    nearest = np.full(n_groups, np.inf)
    np.minimum.at(nearest, group, distance[hit])
    owner = np.empty(n_groups, np.int64)
    owner[group] = event.particle[hit]
    by_path = np.lexsort((nearest, owner))
    rank = np.empty(n_groups, np.int64)
    rank[by_path] = np.arange(n_groups)
    order = np.argsort(rank[group], kind="stable")
    hit, place = hit[order], rank[group][order]
    first = np.searchsorted(place, np.arange(n_groups + 1))
    follows = np.zeros(n_groups, bool)
    follows[:-1] = owner[by_path][1:] == owner[by_path][:-1]
    # Every hit of a layer with every hit of the particle's next layer.
    has_next = follows[place]
    inner = np.flatnonzero(has_next)
    start, stop = first[place[inner] + 1], first[place[inner] + 2]
    count = stop - start
    inner_rows = np.repeat(inner, count)
    within = np.arange(len(inner_rows)) - np.repeat(np.cumsum(count) - count, count)
    outer_rows = np.repeat(start, count) + within
    edges = outward(event.position, np.stack([hit[inner_rows], hit[outer_rows]]))
    return Labelled(event.position, layer, event.particle, event.pt, event.prompt, event.wanted, edges)


def outward(position: Float32[ndarray, "n 3"], edge_index: Int64[ndarray, "2 n_edges"]) -> Int64[ndarray, "2 n_edges"]:
    """The same edges with the end nearer to the detector's centre first (ties: the lower index)."""
    d2 = _distance(position)
    a, b = edge_index
    swap = (d2[a] > d2[b]) | ((d2[a] == d2[b]) & (a > b))
    return np.stack([np.where(swap, b, a), np.where(swap, a, b)])


def wedge(event: Labelled, start: float, width: float) -> Int64[ndarray, " m"]:
    """Rows of the hits with phi in [start, start + width), across the seam at pi where need be."""
    phi = event.position[:, 1]
    start = (start + np.pi) % (2 * np.pi) - np.pi
    lo, hi = np.searchsorted(phi, [start, start + width])
    rows = np.arange(lo, hi)
    if start + width > np.pi:
        rows = np.concatenate([rows, np.arange(np.searchsorted(phi, start + width - 2 * np.pi))])
    return rows


def _clean(event: Event, selection: Selection) -> CleanEvent:
    truth, hits = event.truth, event.hits
    if truth is None or hits.geometry_id is None:
        raise InputError(f"event {event.event_id}: got no truth or no geometry ids, expected simulated events")
    who = truth.particles
    prompt = (who.origin_radius < selection.max_origin) & (who.primary | (not selection.primary_only))
    wanted = prompt & (who.pt > selection.min_pt) & (np.abs(who.eta) < selection.max_abs_eta) & (who.charge != 0)
    row = particle_rows(who, truth.particle_id)
    # What is appended is the last, which row -1 takes: no particle.
    pt, prompt, wanted = np.append(who.pt, _NO_PT), np.append(prompt, False), np.append(wanted, False)
    return CleanEvent(hits.position, hits.geometry_id, row, pt[row], prompt[row], wanted[row]).by_phi()


def _overlay(events: Sequence[CleanEvent]) -> CleanEvent:
    n_particles = np.cumsum([0, *(int(event.particle.max(initial=-1)) + 1 for event in events)])
    particle = [
        np.where(event.particle >= 0, event.particle + first, -1)
        for event, first in zip(events, n_particles, strict=False)
    ]
    names = [column.name for column in fields(CleanEvent)]
    joined = {name: np.concatenate([getattr(event, name) for event in events]) for name in names}
    return CleanEvent(**joined | {"particle": np.concatenate(particle)}).by_phi()


def _distance(position: Float32[ndarray, "n 3"]) -> Float32[ndarray, " n"]:
    """Squared distance from the detector's centre [mm^2], in float32 as the kernels compute it."""
    r, z = position[:, 0], position[:, 2]
    squared: Float32[ndarray, " n"] = r * r + z * z
    return squared


# Events that lose hits and modules and gain noise, on any detector: what a training event goes through.


def degraded_event(event: Event, degrading: TrainingDegradation, seed: int) -> Event:
    """Lose hits at random and with whole modules, then add noise hits at the (r, z) of real ones, phi uniform.

    Args:
        event: clean event; modules are told by its identifiers.
        degrading: fractions of hits and of modules that are lost, and noise hits per hit that was there.
        seed: seed of the random choices; the dead modules are those of the event's seed, not of a run.
    """
    rng = np.random.default_rng(seed)
    hits = event.hits
    keep = rng.random(len(hits)) >= degrading.hit_loss
    if degrading.dead_modules > 0 and hits.geometry_id is not None:
        modules, row = np.unique(hits.geometry_id, return_inverse=True)
        keep &= (rng.random(len(modules)) >= degrading.dead_modules)[row]
    lost = event.take(keep)
    source = rng.integers(0, max(len(hits), 1), rng.poisson(degrading.noise * len(hits)))
    if len(source) == 0:
        return lost
    copied = hits.take(source)
    position = copied.position.copy()
    position[:, 1] = rng.uniform(-np.pi, np.pi, len(source))
    return lost.with_noise(replace(copied, position=position))
