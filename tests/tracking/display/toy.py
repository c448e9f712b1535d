"""A toy event, to try the displays without a simulation: helices through a barrel and two stacks of disks."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool
from beampipe.events import NO_TRACK, NOISE, Event, Hits, Particles, Tracks, Truth
from beampipe.tracking.fitting.helix import GEV_PER_TESLA_MM
from beampipe.tracking.kernels import number_by_first_hit

BARREL: Final = np.array([34, 70, 116, 172, 260, 360, 500, 660, 820, 1020], np.float64)
"""Radii of the cylinders [mm]."""

HALF_LENGTH: Final = 1100.0
"""Half the length of the cylinders [mm]."""

DISKS: Final = np.array([1300, 1500, 1750, 2050, 2400, 2800], np.float64)
"""Distance of the disks from the middle, on both sides [mm]."""

DISK_RADII: Final = (50.0, 1000.0)
"""Inner and outer radius of the disks [mm]."""

HIT_EFFICIENCY: Final = 0.98
"""Chance that a particle leaves a hit where it crosses a layer."""

FOUND_PT: Final = 0.5
"""Lowest pT of a particle that may be found [GeV]."""

PION: Final = 211
"""PDG code of the particles; the antiparticle has the negative code."""


def toy_event(
    n_particles: int, n_noise: int = 0, *, seed: int = 0, field: float = 2.0
) -> tuple[Event, Tracks, Bool[ndarray, " n_tracks"]]:
    """Helices from the beam line, noise, and imperfect tracks.

    19 of 20 particles above 0.5 GeV with at least 4 hits are found; the missed ones are mixed in pairs into fakes.

    Args:
        n_particles: number of particles; each leaves about nine hits at most.
        n_noise: number of hits that belong to no particle.
        seed: seed of the random numbers.
        field: solenoidal field [T].

    Returns:
        The event, the tracks, and which of them are fake.
    """
    random = np.random.default_rng(seed)
    pt = 0.25 + 0.8 * random.pareto(3.6, n_particles)
    phi, charge = random.uniform(-np.pi, np.pi, n_particles), random.choice([-1.0, 1.0], n_particles)
    z0, cot = random.normal(0, 45, n_particles), np.sinh(random.uniform(-2.9, 2.9, n_particles))
    diameter = 2 * pt / (GEV_PER_TESLA_MM * field)
    particle, turn, r, z = _crossings(diameter, z0, cot, random)
    signal = np.stack([r, phi[particle] - charge[particle] * turn, z], axis=1)
    noise = np.stack(
        [
            random.choice(BARREL, n_noise),
            random.uniform(-np.pi, np.pi, n_noise),
            random.uniform(-HALF_LENGTH, HALF_LENGTH, n_noise),
        ],
        axis=1,
    )
    position = np.concatenate([signal, noise])
    position[:, 1] = (position[:, 1] + np.pi) % (2 * np.pi) - np.pi
    particle_id = np.concatenate([particle + 1, np.full(n_noise, NOISE)])
    shuffle = random.permutation(len(position))
    position, particle_id = position[shuffle].astype(np.float32), particle_id[shuffle]

    momentum = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * cot], axis=1)
    vertex = np.stack([np.zeros(n_particles), np.zeros(n_particles), z0], axis=1)
    particles = Particles(
        np.arange(1, n_particles + 1),
        np.where(charge > 0, PION, -PION).astype(np.int32),
        charge.astype(np.float32),
        momentum.astype(np.float32),
        vertex.astype(np.float32),
        np.ones(n_particles, np.bool_),
    )
    event = Event(seed, Hits(position), Truth(particle_id, particles))
    n_hits = np.bincount(particle_id, minlength=n_particles + 1)[1:]
    result = (pt > FOUND_PT) & (n_hits >= 4) & (random.random(n_particles) < 0.95)
    return event, *_tracks(particle_id, result, pt, position, random, field)


def _crossings(
    diameter: ndarray, z0: ndarray, cot: ndarray, random: np.random.Generator
) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """Where helices of these diameters [mm], z0 [mm] and cot = dz / ds leave hits: particle, turn, r and z of each."""
    # A circle through the origin reaches radius r after the path diameter * asin(r / diameter).
    disk_z = np.concatenate([DISKS, -DISKS])
    with np.errstate(invalid="ignore"):
        barrel_path = diameter[:, None] * np.arcsin(BARREL / diameter[:, None])
    path = np.concatenate([barrel_path, (disk_z - z0[:, None]) / cot[:, None]], axis=1)
    with np.errstate(invalid="ignore"):
        turn = path / diameter[:, None]
        r, z = diameter[:, None] * np.sin(turn), z0[:, None] + path * cot[:, None]
        forwards = (path > 0) & (turn < np.pi / 2)
        barrel = np.arange(path.shape[1]) < len(BARREL)
        crossed = forwards & np.where(barrel, np.abs(z) < HALF_LENGTH, (r > DISK_RADII[0]) & (r < DISK_RADII[1]))
    crossed &= random.random(crossed.shape) < HIT_EFFICIENCY
    particle, surface = np.nonzero(crossed)
    return particle, turn[particle, surface], r[particle, surface], z[particle, surface]


def _tracks(
    particle_id: ndarray, found: ndarray, pt: ndarray, position: ndarray, random: np.random.Generator, field: float
) -> tuple[Tracks, Bool[ndarray, " n_tracks"]]:
    """One track per found particle, and fakes of one missed particle's inner and the next one's outer hits."""
    label = np.where(np.concatenate([[False], found])[particle_id], particle_id, NO_TRACK)
    missed = random.permutation(np.flatnonzero(~found & (pt > FOUND_PT)) + 1)[:400]
    rows = [row for row in (np.flatnonzero(particle_id == particle) for particle in missed) if len(row) >= 6]
    rows.sort(key=lambda row: float(position[row, 1].mean()))  # neighbours in phi, so that a fake looks like a track
    for fake, pair in enumerate(zip(rows[::2], rows[1::2], strict=False)):
        inner, outer = (row[np.argsort(np.hypot(position[row, 0], position[row, 2]))] for row in pair)
        label[np.concatenate([inner[:3], outer[3:]])] = len(found) + 1 + fake
    tracks = Tracks(number_by_first_hit(label), magnetic_field=field)
    is_fake = np.zeros(tracks.n_tracks, np.bool_)
    is_fake[tracks.track_id[label > len(found)]] = True
    return tracks, is_fake
