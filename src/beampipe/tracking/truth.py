"""Definitions of the truth: which particles made which hits, which particles count, and which edges are true.

Scoring and training share these definitions, so that a network is trained for the quantities it is scored by.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float64, Int64
from beampipe.errors import ConfigError, InputError
from beampipe.events import NOISE, ON_AXIS, BeamSpot, Event, Hits, Particles, Position, Truth, distance_squared
from beampipe.tracking.fitting.helix import GEV_PER_TESLA_MM, cartesian, curvature

_LAYER_BITS: Final = 20
_NO_ROW: Final = -1


@dataclass(frozen=True)
class Selection:
    """Selection of the particles that a finder should find. Every printed number states it by its `str`.

    Lower limits of pT are exclusive, as is |eta|; the origin is half open, so that classes that meet do not overlap.

    Attributes:
        min_pt: pT > min_pt [GeV].
        max_abs_eta: |eta| < max_abs_eta.
        min_layers: hits on at least that many distinct layers (hits, where no `geometry_id` is known).
        min_origin: production at r >= min_origin [mm].
        max_origin: production at r < max_origin [mm].
        primary_only: only particles of the generator, none made in the detector material.

    Raises:
        ConfigError: the limits exclude everything.
    """

    min_pt: float = 1.0
    max_abs_eta: float = 3.0
    min_layers: int = 7
    min_origin: float = 0.0
    max_origin: float = 2.0
    primary_only: bool = True

    def __post_init__(self) -> None:
        if not (self.min_pt >= 0 and self.max_abs_eta > 0 and self.min_layers >= 1):
            raise ConfigError(f"selection: got {self}, expected min_pt >= 0, max_abs_eta > 0, min_layers >= 1")
        if not 0 <= self.min_origin < self.max_origin:
            raise ConfigError(
                f"selection: got origin from {self.min_origin} to {self.max_origin} mm, expected 0 <= min < max"
            )

    def __str__(self) -> str:
        kind = "primary" if self.primary_only else "any"
        return (
            f"charged, {kind}, pT > {self.min_pt:g} GeV, |eta| < {self.max_abs_eta:g}, >= {self.min_layers} layers,"
            f" origin {self.min_origin:g} <= r < {self.max_origin:g} mm"
        )

    def displaced(self, max_origin: float = 100.0) -> Selection:
        """The same cuts for the class next to this one: made between `self.max_origin` and `max_origin` [mm]."""
        return replace(self, min_origin=self.max_origin, max_origin=max_origin, primary_only=False)


HEADLINE: Final = Selection()
"""The reconstructable particles behind every headline number."""

DISPLACED: Final = HEADLINE.displaced()
"""Decays in flight and conversions, reported apart."""


@dataclass(frozen=True, eq=False)
class Contributions:
    """Every pair (hit, particle that contributes to it), noise left out, each pair once.

    Particles are rows of `particle_id`, the ids that made at least one hit, in ascending order.

    Attributes:
        particle_id: (n_particles,) int64, ascending.
        leading: (n_hits,) int64 row of the leading particle of each hit, -1 for noise.
        extra_hit: (n_extra,) int64, ascending: merged hits, once per further particle.
        extra_particle: (n_extra,) int64 row of that further particle.
    """

    particle_id: Int64[ndarray, " n_particles"]
    leading: Int64[ndarray, " n_hits"]
    extra_hit: Int64[ndarray, " n_extra"]
    extra_particle: Int64[ndarray, " n_extra"]

    @cached_property
    def hit(self) -> Int64[ndarray, " n_pairs"]:
        """Hit of each pair."""
        return np.concatenate([np.flatnonzero(self.leading != _NO_ROW), self.extra_hit])

    @cached_property
    def particle(self) -> Int64[ndarray, " n_pairs"]:
        """Particle row of each pair."""
        return np.concatenate([self.leading[self.leading != _NO_ROW], self.extra_particle])

    @cached_property
    def n_hits(self) -> Int64[ndarray, " n_particles"]:
        """Hits of each particle, merged ones included."""
        return np.bincount(self.particle, minlength=len(self.particle_id)).astype(np.int64)

    def n_layers(self, hits: Hits) -> Int64[ndarray, " n_particles"]:
        """Distinct layers that each particle hit; its number of hits where no `geometry_id` is known."""
        code = layer_code(hits)
        if code is None:
            return self.n_hits
        key = np.sort((self.particle << _LAYER_BITS) | code[self.hit])
        first = np.ones(len(key), np.bool_)
        first[1:] = key[1:] != key[:-1]
        return np.bincount(key[first] >> _LAYER_BITS, minlength=len(self.particle_id)).astype(np.int64)

    def row(self, particle_id: Int64[ndarray, " n"]) -> Int64[ndarray, " n"]:
        """Row of each given id, -1 for a particle without hits."""
        if len(self.particle_id) == 0:
            return np.full(len(particle_id), _NO_ROW, np.int64)
        row = np.minimum(np.searchsorted(self.particle_id, particle_id), len(self.particle_id) - 1)
        return np.where(self.particle_id[row] == particle_id, row, _NO_ROW).astype(np.int64)


def contributions(truth: Truth) -> Contributions:
    """List the particles that contribute to each hit.

    A further particle that repeats the leading one, or itself, is counted once.
    """
    n_leading = len(truth.particle_id)
    ids, row = np.unique(np.concatenate([truth.particle_id, truth.shared_particle]), return_inverse=True)
    # Noise has no row: rows after it move down by one.
    noise = int(np.searchsorted(ids, NOISE))
    has_noise = noise < len(ids) and ids[noise] == NOISE
    if has_noise:
        row = np.where(row == noise, _NO_ROW, row - (row > noise))
        ids = np.delete(ids, noise)
    leading, further = row[:n_leading].astype(np.int64), row[n_leading:].astype(np.int64)
    pairs = np.stack([truth.shared_hit, further])[:, (further != _NO_ROW) & (further != leading[truth.shared_hit])]
    pairs = np.unique(pairs, axis=1)
    return Contributions(ids.astype(np.int64), leading, pairs[0], pairs[1])


def layer_code(hits: Hits) -> Int64[ndarray, " n_hits"] | None:
    """Number of the layer of each hit: volume (bits 56-63) and layer (bits 36-47) of its ACTS identifier.

    Source: https://acts.readthedocs.io, `Acts::GeometryIdentifier`.

    Returns:
        The code, below 2**20, or None where no `geometry_id` is known.
    """
    if hits.geometry_id is None:
        return None
    volume = hits.geometry_id >> np.uint64(56)
    layer = (hits.geometry_id >> np.uint64(36)) & np.uint64(0xFFF)
    return ((volume << np.uint64(12)) | layer).astype(np.int64)


def select_particles(
    event: Event, selection: Selection, owners: Contributions | None = None
) -> Bool[ndarray, " n_particles"]:
    """Which rows of `event.truth.particles` pass the selection; layers are counted on the hits that are there.

    Args:
        event: an event with truth.
        selection: the cuts.
        owners: `contributions(event.truth)`, if already computed.

    Raises:
        InputError: the event has no truth.
    """
    truth = truth_of(event)
    owners = contributions(truth) if owners is None else owners
    particles = truth.particles
    row = owners.row(particles.particle_id)
    n_layers = np.append(owners.n_layers(event.hits), 0)[row]  # row -1 reads the appended 0
    origin = particles.origin_radius
    keep: Bool[ndarray, " n_particles"] = (
        (particles.charge != 0)
        & (particles.pt > selection.min_pt)
        & (np.abs(particles.eta) < selection.max_abs_eta)
        & (n_layers >= selection.min_layers)
        & (origin >= selection.min_origin)
        & (origin < selection.max_origin)
    )
    return keep & particles.primary if selection.primary_only else keep


def true_edges(event: Event, selection: Selection) -> Int64[ndarray, "2 n_edges"]:
    """Edges between hits of one particle on consecutive layers, by `consecutive_edges`.

    A layer on which the particle left no hit does not count: its neighbours are then consecutive. Where no
    `geometry_id` is known each hit is a layer of its own. A particle that crosses a layer again on its way back has
    both crossings taken as twins: choose `min_pt` so that selected particles do not curl.

    Args:
        event: an event with truth.
        selection: particles whose edges are returned.

    Returns:
        (2, n_edges) int64, inner hit then outer hit (r^2 + z^2, ties by index), each edge once, sorted.

    Raises:
        InputError: the event has no truth.
    """
    truth = truth_of(event)
    owners = contributions(truth)
    wanted = np.zeros(len(owners.particle_id), np.bool_)
    wanted[owners.row(truth.particles.particle_id[select_particles(event, selection, owners)])] = True
    kept = wanted[owners.particle]
    code = layer_code(event.hits)
    layer = np.arange(len(event.hits), dtype=np.int64) if code is None else code
    return consecutive_edges(event.hits.position, layer, owners.hit[kept], owners.particle[kept])


def consecutive_edges(
    position: Position, layer: Int64[ndarray, " n_hits"], hit: Int64[ndarray, " n"], particle: Int64[ndarray, " n"]
) -> Int64[ndarray, "2 n_edges"]:
    """Edges between hits of one particle on consecutive layers.

    A particle's layers are put in the order of their innermost hit of it (by r^2 + z^2). Every hit on a layer is
    joined to every hit on the next one, so that overlap twins (two hits on one layer) give all combinations; twins
    themselves are not joined.

    Args:
        position: r [mm], phi [rad], z [mm] of each hit of the event.
        layer: number of the layer of each hit.
        hit: row of the hit of each pair of a hit and a particle that made it.
        particle: number of the particle of each pair.

    Returns:
        (2, n_edges) int64, inner hit then outer hit (r^2 + z^2, ties by index), each edge once, sorted.
    """
    distance = distance_squared(position)
    # Crossings: the hits of one particle on one layer. `order` brings them together, innermost hit first.
    order = np.lexsort((distance[hit], layer[hit], particle))
    hit, particle = hit[order], particle[order]
    starts = np.ones(len(hit), np.bool_)
    starts[1:] = (particle[1:] != particle[:-1]) | (layer[hit[1:]] != layer[hit[:-1]])
    start = np.flatnonzero(starts)
    size = np.diff(np.append(start, len(hit)))
    along = np.lexsort((distance[hit[start]], particle[start]))
    start, size, owner = start[along], size[along], particle[start][along]

    near = np.flatnonzero(owner[:-1] == owner[1:])
    # All pairs of one hit of each crossing and one of the next.
    n_pairs = size[near] * size[near + 1]
    which = np.repeat(near, n_pairs)
    number = np.arange(len(which), dtype=np.int64) - np.repeat(np.cumsum(n_pairs) - n_pairs, n_pairs)
    a, b = np.divmod(number, size[which + 1])
    inner, outer = hit[start[which] + a], hit[start[which + 1] + b]
    wrong = (distance[inner] > distance[outer]) | ((distance[inner] == distance[outer]) & (inner > outer))
    inner, outer = np.where(wrong, outer, inner), np.where(wrong, inner, outer)
    key = np.unique(inner * np.int64(len(position)) + outer)
    return np.stack(np.divmod(key, np.int64(max(len(position), 1))))


def vertices_about_beam_spot(event: Event, beam_spot: BeamSpot) -> Event:
    """The event with vertices relative to the beam line, and hits as they are."""
    if event.truth is None or beam_spot == ON_AXIS:
        return event
    x, y, z = event.truth.particles.vertex.astype(np.float64).T
    seen = (x - beam_spot.x - beam_spot.dxdz * z, y - beam_spot.y - beam_spot.dydz * z, z)
    particles = replace(event.truth.particles, vertex=np.stack(seen, axis=1).astype(np.float32))
    return replace(event, truth=replace(event.truth, particles=particles))


def truth_of(event: Event, with_field: bool = True) -> Truth:
    """The truth of a simulated event, checked by `seen_field`.

    Args:
        event: an event.
        with_field: whether momenta are compared with curvatures, and vertices with hits.

    Raises:
        InputError: the event has none, or it cannot be that of the hits.
    """
    if event.truth is None:
        raise InputError(f"event {event.event_id}: got no truth (particle ids, momenta); data cannot be scored")
    seen_field(event, with_field)
    return event.truth


FIELDS: Final = (0.2, 20.0)
"""Range of plausible fields [T]; a field outside means wrong units."""

_CIRCLE_HITS: Final = 3000
"""Approximate number of hits of an event from which circles are made: those in one slice of the detector."""

_CIRCLE_LENGTH: Final = 100.0
"""Smallest distance across the beam between first and last hit of a circle [mm]."""

_LINE_LENGTH: Final = 30.0
"""Smallest distance across the beam between the hits of a line to the vertex [mm]."""

_OFF: Final = 10.0
"""Largest median distance along z between vertices and the lines of hits that lead to them [mm]; 3 in good events."""

_FEWEST_ON_CIRCLE: Final = 5

_FEWEST_CIRCLES: Final = 5
"""Fewest particles whose field is looked at; with five the median is right within 10 %."""

_WIDEST: Final = 2.5
"""Largest ratio of the upper to the lower quartile of the field by particle: at most 1.06 in 500 good events."""

_FEWEST_FOR_QUARTILES: Final = 20

OTHER_WAY: Final = (
    "particles bend the other way than their charges say in this field; have charges, or the field, the wrong sign?"
)

_COIL: Final = 0.2
"""Largest relative difference of the field that is seen from the expected one: that of a coil is not constant."""


def seen_field(event: Event, with_field: bool = True) -> float | None:
    """The field along z [T] that momenta and curvatures of an event mean; None where too few particles show it.

    It is negative if the particles bend the other way than their charges say in a field along z. Each set of
    particles is checked once. Circles through three hits of some particles give the field: right within 2 %, in events
    of the Generic and of the Open Data Detector. In a long series it is enough to look at some (`is_sampled`), as units
    and field hardly change within one.

    Args:
        event: an event with truth.
        with_field: whether momenta are compared with curvatures, and vertices with hits; else no field is known.

    Raises:
        InputError: particles are listed twice, momenta or vertices are not finite, momenta are in another unit than
            GeV or vertices than mm, or they do not belong to the hits.
    """
    assert event.truth is not None
    name = "seen_field" if with_field else "is_sound"
    field: float | None = event.truth.particles.kept(name, lambda: _checked_event(event, with_field))
    return field


def _checked_event(event: Event, with_field: bool) -> float | None:
    assert event.truth is not None
    where = f"event {event.event_id}"
    _require_sound(event.truth.particles, where)
    return _checked_field(event, event.truth, where) if with_field else None


def _require_sound(particles: Particles, where: str) -> None:
    """Refuse particles that are listed twice, or whose momenta or vertices are no numbers."""
    ids = particles.particle_id
    if np.any(ids[1:] <= ids[:-1]):
        ids = np.sort(ids)
    if (repeated := np.flatnonzero(ids[1:] == ids[:-1])).size:
        raise InputError(
            f"{where}: got the particle {ids[repeated[0]]} more than once, and {len(repeated)} rows too many, expected"
            " each particle once; drop the copies"
        )
    for name, values in (("momenta", particles.momentum), ("vertices", particles.vertex)):
        if not np.isfinite(values.sum(dtype=np.float64)):
            n_bad = np.count_nonzero(~np.isfinite(values).all(axis=1))
            raise InputError(f"{where}: got {n_bad} of {len(values)} particles whose {name} are NaN or infinite")


def _checked_field(event: Event, truth: Truth, where: str) -> float | None:
    particles = truth.particles
    fields, z, off = circles(event, truth)
    if len(particles) and not particles.momentum.any():
        raise InputError(f"{where}: got {len(particles)} particles without momentum, so no momentum is known")
    if len(fields) < _FEWEST_CIRCLES:
        return None
    low, field, high = np.quantile(np.abs(fields), [0.25, 0.5, 0.75])
    one_field = high < _WIDEST * low
    for unit, factor in (("MeV", 1e3), ("TeV", 1e-3), ("", 1.0)):
        plausible = FIELDS[0] * factor <= field <= FIELDS[1] * factor
        if one_field and (plausible if unit else field > FIELDS[1]):
            raise InputError(
                f"{where}: got momenta and curvatures that mean a field of {field:.3g} T, expected {FIELDS[0]:g} to"
                f" {FIELDS[1]:g} T; are the momenta in {unit or 'another unit'}, not GeV, or"
                " lengths not in mm?"
            )
    # Where there is no field, curvatures are those of the resolution, and so are their quartiles.
    if not one_field and field > FIELDS[0] and len(fields) >= _FEWEST_FOR_QUARTILES:
        raise InputError(
            f"{where}: got momenta and curvatures that mean fields from {low:.3g} to {high:.3g} T for the middle"
            f" half of {len(fields)} particles, expected one; are particle ids and momenta those of these hits?"
        )
    z, off = np.abs(z[np.isfinite(off)]), np.abs(off[np.isfinite(off)])
    # Where no vertices are known, all are at the origin.
    if len(off) >= _FEWEST_CIRCLES and particles.vertex.any() and np.median(off) > max(_OFF, np.median(z) / 2):
        raise InputError(
            f"{where}: got vertices whose z is off by {np.median(off):.3g} mm from where hits lead (median of"
            f" {len(off)} particles), expected less than {_OFF:g} mm; are vertices in mm, and is z not mirrored?"
        )
    return float(np.copysign(field, np.median(fields))) if one_field else None


def other_field(event: Event, expected: float | None) -> str:
    """What to say of an event that is of another field along z [T] than expected; empty if it is not, or none shows."""
    seen = seen_field(event)
    if seen is None or expected is None:
        return ""
    if abs(abs(seen) - abs(expected)) <= _COIL * abs(expected):
        return "" if seen * expected >= 0 else f"event {event.event_id}: {OTHER_WAY}"
    return (
        f"event {event.event_id}: momenta and curvatures mean a field of {abs(seen):.3g} T, where {expected:.3g} T is"
        f" expected (ratio {abs(seen / expected):.3g}); are the events of another field, or momenta in another unit?"
    )


def circles(event: Event, truth: Truth) -> Float64[ndarray, "3 n_particles"]:
    """Circles through three hits of some particles: the field [T] by which the momentum fits, z [mm] and its error.

    These are the half of higher pT of the charged particles with enough hits in a slice of the detector, or in all of
    it if there are too few. The field of a particle that bends the other way than its charge says in a field along z
    is negative. z is where the line through two hits is nearest to the particle's vertex; its error is the difference
    to z of the vertex, NaN for hits that are too close.

    Args:
        event: an event.
        truth: its truth.
    """
    position = event.hits.position
    rows = np.flatnonzero(truth.particle_id != NOISE)
    if len(position) > _CIRCLE_HITS:
        away = np.abs(position[rows, 1] - position[len(position) // 2, 1])
        sliced = _circles_of(event, truth, rows[away < np.float32(np.pi * _CIRCLE_HITS / len(position))])
        if sliced.shape[1] >= _FEWEST_CIRCLES:
            return sliced
    return _circles_of(event, truth, rows)


def _circles_of(event: Event, truth: Truth, rows: Int64[ndarray, " n_rows"]) -> Float64[ndarray, "3 n_particles"]:
    """The circles of particles with enough hits among these rows."""
    position, particles = event.hits.position, truth.particles
    ids, owner, n_hits = np.unique(truth.particle_id[rows], return_inverse=True, return_counts=True)
    rows = rows[np.lexsort((distance_squared(position[rows]), owner))]
    begin, row = np.cumsum(n_hits) - n_hits, particles.rows(ids)
    used = np.flatnonzero((row >= 0) & (n_hits >= _FEWEST_ON_CIRCLE))
    used = used[particles.charge[row[used]] != 0]
    begin, n_hits, row = begin[used], n_hits[used], row[used]
    first, middle, last = (cartesian(position[rows[at]]) for at in (begin, begin + n_hits // 2, begin + n_hits - 1))
    omega = curvature(first, middle, last)
    far = np.isfinite(omega) & (np.hypot(*(last - first)[:, :2].T) > _CIRCLE_LENGTH)
    pt, charge = particles.pt[row].astype(np.float64), particles.charge[row]
    far &= pt >= np.median(pt[far]) if far.any() else far
    row, first, middle = row[far], first[far], middle[far]
    vertex, step = particles.vertex[row], np.hypot(*(middle - first)[:, :2].T)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (middle - first)[:, 2] / step
    z = first[:, 2] - np.hypot(*(first - vertex)[:, :2].T) * slope
    off = np.where(step > _LINE_LENGTH, z - vertex[:, 2], np.nan)
    return np.stack([-omega[far] * pt[far] / (GEV_PER_TESLA_MM * charge[far]), z, off])
