"""Toy events with everything that scoring must cope with: twins, merged hits, noise, displaced and soft particles."""

from __future__ import annotations

import numpy as np

from beampipe.events import Event, Hits, Particles, Truth

RADII = np.array([32, 72, 116, 172, 260, 360, 500, 660, 820, 1020], np.float64)


def toy_event(n_particles: int = 60, *, seed: int = 0, noise: int = 20, merged: int = 6, event_id: int = 0) -> Event:
    """Nearly straight tracks through ten cylinders, hits in random order; ids as large as ACTS barcodes.

    About one hit in ten has a twin on the same layer, one in twenty is lost. A third of the particles are below
    1 GeV, a sixth start at r = 20 mm.
    """
    random = np.random.default_rng(seed)
    particle_id = (np.int64(1) << 52) + random.choice(10 * n_particles + 1, n_particles, replace=False) + 1
    pt = np.where(random.random(n_particles) < 1 / 3, 0.5, 1 + random.exponential(2, n_particles) + 1e-3)
    phi, eta = random.uniform(-np.pi, np.pi, n_particles), random.uniform(-1.5, 1.5, n_particles)
    displaced = random.random(n_particles) < 1 / 6
    vertex = np.zeros((n_particles, 3))
    vertex[:, 0] = np.where(displaced, 20, 0)
    charge = random.choice([-1.0, 1.0], n_particles)

    made = random.random((n_particles, len(RADII))) > 0.05
    owner, layer = np.nonzero(made)
    twin = np.flatnonzero(random.random(len(owner)) < 0.1)
    owner, layer = np.concatenate([owner, owner[twin]]), np.concatenate([layer, layer[twin]])
    r = RADII[layer] + random.uniform(-3, 3, len(layer))
    azimuth = phi[owner] - charge[owner] * 3e-4 * r / pt[owner]
    z = r * np.sinh(eta[owner]) + random.normal(0, 1, len(r))

    noise_layer = random.integers(0, len(RADII), noise)
    r = np.concatenate([r, RADII[noise_layer]])
    azimuth = np.concatenate([azimuth, random.uniform(-np.pi, np.pi, noise)])
    z = np.concatenate([z, random.uniform(-1000, 1000, noise)])
    layer = np.concatenate([layer, noise_layer])
    hit_particle = np.concatenate([particle_id[owner], np.zeros(noise, np.int64)])

    order = random.permutation(len(r))
    azimuth = np.mod(azimuth + np.pi, 2 * np.pi) - np.pi
    position = np.stack([r, azimuth, z], axis=1)[order].astype(np.float32)
    geometry_id = ((layer.astype(np.uint64) // 4 + 7) << 56 | (layer.astype(np.uint64) % 4 + 1) * 2 << 36)[order]
    momentum = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=1)
    particles = Particles(
        particle_id,
        np.full(n_particles, 211, np.int32),
        charge.astype(np.float32),
        momentum.astype(np.float32),
        vertex.astype(np.float32),
        ~displaced,
    )
    truth = Truth(
        hit_particle[order],
        particles,
        random.integers(0, len(r), merged),
        random.choice(particle_id, merged),
    )
    return Event(event_id, Hits(position, geometry_id.astype(np.uint64)), truth)


def labels_by_particle(event: Event) -> np.ndarray:
    """The perfect answer as labels, numbered by first hit."""
    assert event.truth is not None
    label = np.full(len(event.hits), -1, np.int64)
    seen: dict[int, int] = {}
    for hit, particle in enumerate(event.truth.particle_id.tolist()):
        if particle:
            label[hit] = seen.setdefault(particle, len(seen))
    return label
