"""Space points of double-sided strip modules: every pair of measurements that one particle may have made.

Each sensor of a module measures one coordinate, across its strips. Two strips, one of each sensor, give a space point
where a straight line from the origin crosses both. Two particles in one module give up to four such points; the wrong
ones are called ghosts, and are hits of no particle here.

The sensors are some millimetres apart. A track that bends does not come straight from the origin: between the sensors
it moves aside by ``gap * tan(angle)``, which looks like a shift along the strips by that over the angle of the strips.
In the Open Data Detector that is 65 mm at 1 GeV, more than half a strip. So pairs are kept whose crossing lies beyond
the ends of the strips by no more than a particle of `_MIN_PT` may be shifted; such a point is moved to the end of the
strip. Points lie where a shift along the strips does not move them across: on the sensor that is not turned, or in the
middle between two that are turned by opposite angles.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float32, Float64, Int64
from beampipe.errors import InputError
from beampipe.events import NOISE, Event, Hits, Truth, cylindrical
from beampipe.simulation.detector import Modules

_MIN_PT: Final = 1.0
"""Lowest pT of a particle whose strips are paired wherever it crosses a module [GeV]."""

_T_PER_GEV_MM: Final = 0.299792458e-3
"""Curvature of a particle of 1 GeV in 1 T [1/mm]."""


def pair_strips(event: Event, modules: Modules, field: float) -> Event:
    """The event with space points in place of the hits on double-sided modules.

    The identifier of a space point is that of the first sensor of its module; `local` and `variance` are the coordinate
    across the strips and its variance of the first sensor, then of the second one. Strips without a partner are lost.

    Args:
        event: event with truth; each hit on a double-sided module has the coordinate across the strips as its first
            local one.
        modules: modules of the detector.
        field: magnetic field along z [T].

    Raises:
        InputError: the event has no truth.
    """
    if modules.stereo is None:
        return event
    return _of_pairs(event, *_paired(event.hits, modules, field))


def _paired(hits: Hits, modules: Modules, field: float) -> tuple[Hits, Int64[ndarray, "n_hits 2"]]:
    """The hits that are no strips, then all space points; and the two rows that each is made of, or the same twice."""
    if modules.stereo is None:
        return hits, np.repeat(np.arange(len(hits))[:, None], 2, axis=1)
    assert hits.geometry_id is not None
    assert hits.local is not None
    assert hits.variance is not None
    row = modules.rows(hits.geometry_id)
    is_strip = np.isfinite(modules.stereo[row])
    is_second = is_strip & _is_second(modules)[row]
    first, second = _pairs(np.flatnonzero(is_strip & ~is_second), np.flatnonzero(is_second), row)
    xyz, kept = _crossings(modules, row[first], hits.local[first, 0], hits.local[second, 0], field)
    first, second, xyz = first[kept], second[kept], xyz[kept]
    points = Hits(
        cylindrical(*xyz.T),
        hits.geometry_id[first],
        np.column_stack([hits.local[first, 0], hits.local[second, 0]]),
        np.column_stack([hits.variance[first, 0], hits.variance[second, 0]]),
    )
    plain = np.flatnonzero(~is_strip)
    rows = np.concatenate([np.column_stack([plain, plain]), np.column_stack([first, second])])
    return Event(0, hits.take(plain)).with_noise(points).hits, rows


def _of_pairs(event: Event, hits: Hits, rows: Int64[ndarray, "n_hits 2"]) -> Event:
    """The event with these hits, each made of two of its own, and their truth: the particles that made both."""
    truth, is_plain = event.truth, rows[:, 0] == rows[:, 1]
    if truth is None:
        raise InputError(f"event {event.event_id}: got no truth, expected a simulated event")
    point, particle = _common_particles(truth, *rows[~is_plain].T)
    leads = np.ones(len(point), np.bool_)
    leads[1:] = point[1:] != point[:-1]
    leading = np.full(np.count_nonzero(~is_plain), NOISE, np.int64)
    leading[point[leads]] = particle[leads]
    plain = event.take(rows[is_plain, 0]).truth
    assert plain is not None
    return Event(
        event.event_id,
        hits,
        Truth(
            np.concatenate([plain.particle_id, leading]),
            truth.particles,
            np.concatenate([plain.shared_hit, point[~leads] + len(plain.particle_id)]),
            np.concatenate([plain.shared_particle, particle[~leads]]),
        ),
    )


_NEAREST: Final = 24
"""Number of modules around a hit of which one is its own."""

_ON_PLANE: Final = 0.05
"""Largest distance of a hit from the plane of its module [mm]."""

_MOST: Final = 0.9
"""Smallest share of the hits on modules of an event of the detector; the others are left out."""


def on_modules(hits: Hits, modules: Modules) -> tuple[Hits, Int64[ndarray, " n_placed"]]:
    """Each hit on the module whose plane it lies in: with identifier, local position and variance.

    Args:
        hits: hits of which positions are known only.
        modules: modules of the detector.

    Returns:
        The hits that lie on a module, and their rows.
    """
    from scipy.spatial import cKDTree

    xyz = hits.xyz.astype(np.float64)
    near = cKDTree(modules.centre).query(xyz, k=min(_NEAREST, len(modules)))[1].reshape(len(xyz), -1)
    hit, row = np.repeat(np.arange(len(xyz)), near.shape[1]), near.ravel()
    local = modules.to_local(row, xyz[hit])
    distance = np.where(modules.inside(row, local[:, :2], _ON_PLANE), np.abs(local[:, 2]), np.inf).reshape(near.shape)
    best = distance.argmin(axis=1)
    on_one = np.flatnonzero(distance[np.arange(len(xyz)), best] < _ON_PLANE)
    chosen = on_one * near.shape[1] + best[on_one]
    module = row[chosen]
    placed = Hits(
        hits.position[on_one],
        modules.geometry_id[module],
        local[chosen, :2].astype(np.float32),
        modules.variance[module].astype(np.float32),
    )
    return placed, on_one


def measured_hits(hits: Hits, modules: Modules, field: float) -> tuple[Hits, Int64[ndarray, "n_measured 2"]]:
    """Hits of which positions are known only as this detector measures them: on its modules, strips as space points.

    Args:
        hits: positions of the hits; those with local positions are measured already.
        modules: modules of the detector.
        field: magnetic field along z [T].

    Returns:
        The hits, and the two rows of the given ones that each is made of; the same twice for one that is no space
        point.

    Raises:
        InputError: more than a few hits lie on no module.
    """
    if hits.local is not None:
        return hits, np.repeat(np.arange(len(hits))[:, None], 2, axis=1)
    placed, kept = on_modules(hits, modules)
    if len(placed) < _MOST * len(hits):
        raise InputError(
            f"hits: got {len(placed)} of {len(hits)} hits on modules of the detector {modules.detector!r}, expected"
            f" {_MOST:.0%} or more; is it the detector of these events, in mm?"
        )
    paired, rows = _paired(placed, modules, field)
    return paired, kept[rows]


def measured_on(event: Event, modules: Modules, field: float) -> Event:
    """The event as this detector measures it, by `measured_hits`; an event with local positions is that already.

    Args:
        event: event with truth.
        modules: modules of the detector.
        field: magnetic field along z [T].

    Raises:
        InputError: more than a few hits lie on no module, or the event has no truth.
    """
    if event.hits.local is not None:
        return event
    return _of_pairs(event, *measured_hits(event.hits, modules, field))


def noise_hits(modules: Modules, row: Int64[ndarray, " n"], local: Float32[ndarray, "n 2"]) -> Hits:
    """Hits at local positions on modules; on double-sided ones as the space points that `pair_strips` makes.

    Args:
        modules: modules of the detector.
        row: row of the module of each hit; either sensor of a double-sided module.
        local: local position on it [mm].
    """
    xyz, variance = modules.to_global(row, local.astype(np.float64)), modules.variance[row]
    if modules.stereo is not None:
        is_strip = np.isfinite(modules.stereo[row])
        row = row - (is_strip & _is_second(modules)[row])
        other = np.where(is_strip, row + 1, row)
        on_both = np.column_stack([modules.to_local(sensor, xyz)[:, 0] for sensor in (row, other)])
        local = np.where(is_strip[:, None], on_both, local)
        two = np.column_stack([variance[:, 0], modules.variance[other, 0]])
        variance = np.where(is_strip[:, None], two, variance)
    return Hits(cylindrical(*xyz.T), modules.geometry_id[row], local.astype(np.float32), variance.astype(np.float32))


def _is_second(modules: Modules) -> Bool[ndarray, " n_modules"]:
    """Which modules are the second sensor of a double-sided one: the sensitive numbers of these are even."""
    assert modules.stereo is not None
    is_even = (modules.geometry_id >> np.uint64(8)) % np.uint64(2) == 0
    return np.asarray(is_even & np.isfinite(modules.stereo))


def _pairs(
    first: Int64[ndarray, " n"], second: Int64[ndarray, " m"], row: Int64[ndarray, " n_hits"]
) -> tuple[Int64[ndarray, " k"], Int64[ndarray, " k"]]:
    """Every pair of a hit on the first and one on the second sensor of a module."""
    second = second[np.argsort(row[second], kind="stable")]
    begin, end = (np.searchsorted(row[second], row[first] + 1, side) for side in ("left", "right"))
    count = end - begin
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return np.repeat(first, count), second[np.repeat(begin, count) + within]


def _crossings(
    modules: Modules, row: Int64[ndarray, " n"], u: ndarray, v: ndarray, field: float
) -> tuple[Float64[ndarray, "n 3"], Bool[ndarray, " n"]]:
    """Space points [mm] of strips at `u` on the sensor `row` and at `v` on the next one, and which are possible."""
    assert modules.stereo is not None
    on = np.stack([row, row + 1])
    across, along = modules.axes[on][..., 0], modules.axes[on][..., 1]
    middle = modules.centre[on] + np.stack([u, v])[..., None] * across
    # The strip of the other sensor and the origin span a plane, with this normal.
    normal = np.cross(middle, along)[::-1]
    position = -(normal * middle).sum(axis=2) / (normal * along).sum(axis=2)
    half = modules.half_y[on]
    stereo = modules.stereo[on]
    gap = np.abs(((modules.centre[on[1]] - modules.centre[on[0]]) * modules.axes[row][:, :, 2]).sum(axis=1))
    sine = np.minimum(np.hypot(*modules.centre[row, :2].T) * _T_PER_GEV_MM * abs(field) / _MIN_PT / 2, 0.9)
    # A track at this angle to the radius crosses a barrel module at it, a disc at the projection of it.
    radius, z = np.hypot(*modules.centre[row, :2].T), np.abs(modules.centre[row, 2])
    in_disc = np.abs(modules.axes[row][:, 2, 2]) > 0.5
    aside = np.where(in_disc, sine * radius / np.maximum(z, 1.0), sine / np.sqrt(1 - sine**2))
    shift = gap * aside / np.abs(np.sin(stereo[1] - stereo[0]))
    possible = (np.abs(position) <= half + shift).all(axis=0)
    points = middle + np.clip(position, -half, half)[..., None] * along
    weight = np.abs(stereo[::-1]) / np.abs(stereo).sum(axis=0)
    return (weight[..., None] * points).sum(axis=0), possible


def _common_particles(
    truth: Truth, first: Int64[ndarray, " n"], second: Int64[ndarray, " n"]
) -> tuple[Int64[ndarray, " k"], Int64[ndarray, " k"]]:
    """Pairs of a point and a particle that made both of its measurements, the leading one of the first sensor first."""
    made = truth.particle_id != NOISE
    hit = np.concatenate([np.flatnonzero(made), truth.shared_hit])
    particle = np.concatenate([truth.particle_id[made], truth.shared_particle])
    order = np.argsort(hit, kind="stable")
    hit, particle = hit[order], particle[order]
    begin, end = (np.searchsorted(hit, first, side) for side in ("left", "right"))
    count = end - begin
    point = np.repeat(np.arange(len(first)), count)
    candidate = particle[np.repeat(begin, count) + np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)]
    numbers, code = np.unique(np.concatenate([particle, candidate]), return_inverse=True)
    made_by = np.unique(hit * len(numbers) + code[: len(particle)])
    common = np.isin(second[point] * len(numbers) + code[len(particle) :], made_by)
    return point[common], candidate[common]
