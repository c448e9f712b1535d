"""Particles shot through a detector of known errors and scattering: exact helices from layer to layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from beampipe.events import Event, Hits, Particles, Tracks, Truth, cylindrical
from beampipe.tracking.fitting.helix import GEV_PER_TESLA_MM, from_acts, through
from beampipe.tracking.fitting.tables import PION_MASS, FitTables, layer_of
from tests.tracking.diagnostics import true_perigee

BARREL = tuple((r - 4, r + 4, -600, 600) for r in (32, 72, 116, 172, 260, 360, 500, 660, 820, 1020))
DISCS = tuple((20, 1100, z - 3, z + 3) for z in (600, 700, 820, 960, 1120, 1300, 1500, 1800, 2150, 2500))


def toy_tables(
    layers: tuple[tuple[int, int, int, int], ...] = BARREL,
    *,
    errors: tuple[float, float] = (0.015, 0.03),
    scattering: float = 2.5e-6,
    beam_pipe: tuple[float, float] = (20.0, 1e-6),
    energy_loss: float = 100.0,
    field: float = 2.0,
    tubes: tuple[tuple[float, float], ...] = (),
    field_shape: tuple[float, ...] = (0.0,) * 9,
    rings: tuple[tuple[float, ...], ...] = (),
) -> FitTables:
    """Tables of layers that are all alike; `errors` across and along in mm."""
    n = len(layers)
    return FitTables(
        np.array(layers, np.float32),
        np.array(rings, np.float32).reshape(-1, 6),
        np.tile(np.square(errors), (n, 1)).astype(np.float32),
        np.full(n, scattering, np.float32),
        np.array(beam_pipe, np.float32),
        np.array([energy_loss], np.float32),
        np.array([field], np.float32),
        np.array(tubes, np.float32).reshape(-1, 2),
        np.array(field_shape, np.float32),
    )


@dataclass(frozen=True)
class Shot:
    """Particles and what the detector saw of them.

    Attributes:
        true: (n, 5) parameters at the perigee: d0, z0, phi, theta, q/p.
        event: hits, with truth.
        tracks: the hits of each particle as a track.
    """

    true: ndarray
    event: Event
    tracks: Tracks


def shoot(
    tables: FitTables,
    n: int,
    seed: int = 1,
    *,
    pt: tuple[float, float] = (0.8, 4.0),
    cot: tuple[float, float] = (-0.5, 0.5),
    width: float = 0.05,
    smeared: bool = True,
) -> Shot:
    """Particles from near the beam line through all layers in turn; each must reach the last one.

    Args:
        tables: layers in the order in which they are crossed, their errors and scattering.
        n: number of particles.
        seed: seed of the random numbers.
        pt: range of transverse momenta [GeV].
        cot: range of cot(theta).
        width: spread of the starting points across the beam [mm].
        smeared: whether hits have errors; without, particles are not scattered either.
    """
    random = np.random.default_rng(seed)
    field = float(tables.field[0])
    particles = _particles(random, n, pt, cot, width)
    true = true_perigee(particles, field)
    helix = from_acts(true, field)
    hits = []
    tubes = tables.all_tubes[tables.all_tubes[:, 1] > 0].astype(np.float64).tolist() if smeared else []
    for box, barrel, variance, amount in zip(
        tables.layers, tables.barrel, tables.variance, tables.scattering, strict=True
    ):
        radius, z = (float(box[:2].mean()), None) if barrel else (None, float(box[2:].mean()))
        place, turned = _crossing(helix, radius, z)
        if tubes and (np.hypot(*place[:, :2].T) > tubes[0][0]).all():
            tube, scattering = tubes.pop(0)
            at, direction = _crossing(helix, tube, None)
            radial = np.cos(np.arctan2(at[:, 1], at[:, 0]) - direction)
            helix = _scattered(random, helix, at, direction, scattering, 1 / radial, tables)
            place, turned = _crossing(helix, radius, z)
        error = random.normal(0, np.sqrt(variance), (n, 2)) if smeared else np.zeros((n, 2))
        seen = place  # where the field bends the particle to
        for _ in range(3 if tables.field_shape.any() else 0):
            seen, _ = _crossing(helix * tables.bending(seen), radius, z)
        hits.append(_hit(seen, error, bool(barrel), tables))
        if smeared:
            radial = np.cos(np.arctan2(place[:, 1], place[:, 0]) - turned)
            inverse = 1 / (radial if barrel else np.abs(helix[:, 4]))
            helix = _scattered(random, helix, place, turned, amount, inverse, tables)
    position = np.stack(hits, axis=1).reshape(-1, 3)
    owner = np.repeat(particles.particle_id, len(hits))
    event = Event(seed, Hits(position.astype(np.float32)), Truth(owner, particles))
    return Shot(true, event, Tracks(owner - 1))


def _particles(
    random: np.random.Generator, n: int, pt: tuple[float, float], cot: tuple[float, float], width: float
) -> Particles:
    transverse, phi = pt[0] * (pt[1] / pt[0]) ** random.random(n), random.uniform(-np.pi, np.pi, n)
    momentum = np.stack([np.cos(phi), np.sin(phi), random.uniform(*cot, n)], axis=1) * transverse[:, None]
    charge = random.choice([-1.0, 1.0], n)
    return Particles(
        np.arange(1, n + 1, dtype=np.int64),
        (211 * charge).astype(np.int32),
        charge.astype(np.float32),
        momentum.astype(np.float32),
        random.normal(0, [width, width, 40.0], (n, 3)).astype(np.float32),
        np.ones(n, np.bool_),
    )


def _crossing(helix: ndarray, radius: float | None, z: float | None) -> tuple[ndarray, ndarray]:
    """Place of each helix at a radius or a z, and the azimuth of its direction there."""
    d0, phi, omega, z0, cot = helix.T
    if radius is not None:
        # |place|^2 = d0^2 + (1 + omega d0) chord^2
        chord = np.sqrt((radius**2 - d0**2) / (1 + omega * d0))
        s = 2 * np.arcsin(omega * chord / 2) / omega
    else:
        assert z is not None
        s = (z - z0) / cot
    assert (s > 0).all()
    half = omega * s / 2
    chord = s * np.sinc(half / np.pi)
    x = -d0 * np.sin(phi) + chord * np.cos(phi + half)
    y = d0 * np.cos(phi) + chord * np.sin(phi + half)
    return np.stack([x, y, z0 + s * cot], axis=1), phi + 2 * half


def _hit(place: ndarray, error: ndarray, barrel: bool, tables: FitTables) -> ndarray:
    """r, phi, z of a hit that is wrong by `error` along phi and along z (barrel), or on the module of a disc."""
    position = cylindrical(*place.T)
    azimuth = np.arctan2(place[:, 1], place[:, 0])
    if not barrel:
        azimuth = tables.module_azimuth(position, layer_of(position, tables.layers))
    along, z = (0, place[:, 2] + error[:, 1]) if barrel else (error[:, 1], place[:, 2])
    x = place[:, 0] - error[:, 0] * np.sin(azimuth) + along * np.cos(azimuth)
    y = place[:, 1] + error[:, 0] * np.cos(azimuth) + along * np.sin(azimuth)
    return np.stack([np.hypot(x, y), np.arctan2(y, x), z], axis=1)


def _scattered(
    random: np.random.Generator,
    helix: ndarray,
    place: ndarray,
    turned: ndarray,
    scattering: float,
    inverse: ndarray,
    tables: FitTables,
) -> ndarray:
    """The helices behind a scatterer.

    `inverse` is 1 over the component of the direction at right angles to it, for a transverse component of 1.
    """
    omega, cot = helix[:, 2], helix[:, 4]
    stretch = np.sqrt(1 + cot * cot)
    path = stretch * inverse
    amount = scattering * path * (1 + 0.0446 * np.log(path)) ** 2
    p = GEV_PER_TESLA_MM * abs(float(tables.field[0])) * stretch / np.abs(omega)
    beta = p / np.hypot(p, PION_MASS)
    theta = np.arctan2(1, cot) + random.normal(0, np.sqrt(amount) / (p * beta))
    phi = turned + random.normal(0, np.sqrt(amount) / (p * beta)) * stretch
    slower = p - float(tables.energy_loss[0]) * amount / beta
    return through(place, phi, omega * p / slower / stretch / np.sin(theta), 1 / np.tan(theta))
