"""Toy events for the trainer's tests: helices through cylinders and disks like those of the ACTS generic detector."""

from __future__ import annotations

import numpy as np

from beampipe.events import Event, Hits, Particles, Truth

BARREL = [(8, 2 * k + 2, r, 500.0) for k, r in enumerate((32.0, 72.0, 116.0, 172.0))]
BARREL += [(13, 2 * k + 2, r, 1080.0) for k, r in enumerate((260.0, 360.0, 500.0, 660.0))]
BARREL += [(17, 2 * k + 2, r, 1080.0) for k, r in enumerate((820.0, 1020.0))]
DISKS = [(9, 2 * k + 2, z, 28.0, 186.0) for k, z in enumerate((600.0, 700.0, 820.0, 960.0, 1120.0, 1300.0, 1500.0))]
DISKS += [(14, 2 * k + 2, z, 220.0, 710.0) for k, z in enumerate((1220.0, 1500.0, 1800.0, 2150.0, 2550.0, 2950.0))]
DISKS += [(18, 2 * k + 2, z, 750.0, 1030.0) for k, z in enumerate((1220.0, 1500.0, 1800.0, 2150.0, 2550.0, 2950.0))]
FIELD = 2.0


def toy_event(n_particles: int = 60, seed: int = 0, *, pt_scale: float = 0.7, smear: float = 0.05) -> Event:
    """Charged particles from a 50 mm long beam spot in 2 T; measured with `smear` mm; a few twins in overlaps."""
    rng = np.random.default_rng(seed)
    pt = 0.3 + rng.exponential(pt_scale, n_particles)
    eta = rng.uniform(-3, 3, n_particles)
    phi0 = rng.uniform(-np.pi, np.pi, n_particles)
    charge = rng.choice([-1.0, 1.0], n_particles)
    z0 = rng.normal(0, 50, n_particles)
    radius = pt / (0.3e-3 * FIELD)
    cot = np.sinh(eta)
    rows: list[np.ndarray] = []
    for volume, layer, r, half_length in BARREL:
        ok = r < 1.95 * radius
        turn = 2 * np.arcsin(np.minimum(r / (2 * radius), 1))
        z = z0 + radius * turn * cot
        ok &= np.abs(z) < half_length
        rows.append(_rows(volume, layer, ok, np.full(n_particles, r), phi0 - charge * turn / 2, z))
    for volume, layer, z_disk, low, high in DISKS:
        z = np.sign(eta) * z_disk
        turn = (z - z0) / np.where(cot == 0, 1, cot) / radius
        reach = 2 * radius * np.abs(np.sin(turn / 2))
        ok = (turn > 0) & (turn < np.pi) & (reach > low) & (reach < high)
        rows.append(_rows(volume - 2, layer, ok & (z < 0), reach, phi0 - charge * turn / 2, z))
        rows.append(_rows(volume, layer, ok & (z > 0), reach, phi0 - charge * turn / 2, z))
    table = np.concatenate(rows)
    twin = table[rng.random(len(table)) < 0.05].copy()
    twin[:, 2] += 1.0
    twin[:, 5] += 1
    table = np.concatenate([table, twin])
    table = table[rng.permutation(len(table))]
    particle, code, r, phi, z, module = table.T
    phi = phi + rng.normal(0, smear, len(r)) / r
    phi = (phi + np.pi) % (2 * np.pi) - np.pi
    z = z + rng.normal(0, smear, len(r))
    geometry = (code.astype(np.uint64) << np.uint64(36)) | (module.astype(np.uint64) << np.uint64(8))
    momentum = np.stack([pt * np.cos(phi0), pt * np.sin(phi0), pt * cot], axis=1).astype(np.float32)
    vertex = np.stack([0 * z0, 0 * z0, z0], axis=1).astype(np.float32)
    particles = Particles(
        np.arange(1, n_particles + 1),
        np.full(n_particles, 211, np.int32),
        charge.astype(np.float32),
        momentum,
        vertex,
        np.ones(n_particles, bool),
    )
    hits = Hits(np.stack([r, phi, z], axis=1).astype(np.float32), geometry)
    return Event(seed, hits, Truth(particle.astype(np.int64) + 1, particles))


def _rows(volume: int, layer: int, ok: np.ndarray, r: np.ndarray, phi: np.ndarray, z: np.ndarray) -> np.ndarray:
    """One row per crossing: particle, volume and layer code, r, phi, z, module."""
    particle = np.flatnonzero(ok)
    code = (volume << 20) | layer
    phi = (phi + np.pi) % (2 * np.pi) - np.pi
    module = np.floor((phi[ok] + np.pi) * 8) * 64 + np.floor((z[ok] + 3200) / 100)
    return np.stack([particle, np.full(len(particle), code), r[ok], phi[ok], z[ok], module], axis=1)
