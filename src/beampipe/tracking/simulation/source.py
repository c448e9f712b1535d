"""The particles that one event starts from."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float32, Float64, Int32, Int64
from beampipe.tracking.simulation.parameters import MASSES, EventGenerator, Gun
from beampipe.tracking.simulation.pythia import TRACKER_R, TRACKER_Z, CollisionPool

__all__ = ["PrimaryParticles", "primaries"]


@dataclass(frozen=True, eq=False)
class PrimaryParticles:
    """Particles to be tracked.

    Attributes:
        collision: (n,) int64 number of the collision in the event, from 1.
        group: (n,) int64, 0, or the number of the interaction that made them.
        number: (n,) int64 number within collision and group, from 1.
        pdg: (n,) int32 PDG code of each particle.
        charge: (n,) float32 charge of each particle [e].
        mass: (n,) float32 mass of each particle [GeV].
        momentum: (n, 3) float64 x, y, z of each momentum [GeV].
        vertex: (n, 4) float64 x, y, z, t of each particle's start [mm].
    """

    collision: Int64[ndarray, " n"]
    group: Int64[ndarray, " n"]
    number: Int64[ndarray, " n"]
    pdg: Int32[ndarray, " n"]
    charge: Float32[ndarray, " n"]
    mass: Float32[ndarray, " n"]
    momentum: Float64[ndarray, "n 3"]
    vertex: Float64[ndarray, "n 4"]

    def take(self, mask: Bool[ndarray, " n"]) -> PrimaryParticles:
        """The particles of a mask."""
        return PrimaryParticles(*(getattr(self, f.name)[mask] for f in fields(self)))

    @classmethod
    def empty(cls) -> PrimaryParticles:
        """No particles."""
        integers, reals = np.empty(0, np.int64), np.empty(0, np.float32)
        vectors = np.empty((0, 3)), np.empty((0, 4))
        return cls(integers, integers, integers, np.empty(0, np.int32), reals, reals, *vectors)


def primaries(
    generator: EventGenerator,
    soft: CollisionPool | None,
    hard: CollisionPool | None,
    rows: slice | None,
    rng: np.random.Generator,
) -> PrimaryParticles:
    """Draw one event.

    Args:
        generator: pile-up, gun and spread of the vertices.
        soft: pool of soft collisions, needed with pile-up.
        hard: pool that `rows` refers to.
        rows: particles of the first collision, or None for none.
        rng: source of all random choices.
    """
    parts = []
    if rows is not None and hard is not None:
        parts.append((hard, rows))
    n_soft = int(rng.poisson(generator.pileup)) if generator.pileup > 0 else 0
    if n_soft and soft is not None:
        parts += [(soft, soft.collision(int(k))) for k in rng.integers(len(soft), size=n_soft)]
    made = [_placed(pool, rows, number, generator, rng) for number, (pool, rows) in enumerate(parts, start=1)]
    if generator.hard == "gun":
        made.append(_shot(generator, generator.gun, len(parts) + 1, rng))
    if not made:
        return PrimaryParticles.empty()
    event = PrimaryParticles(
        *(np.concatenate([getattr(part, f.name) for part in made]) for f in fields(PrimaryParticles))
    )
    radius = np.hypot(event.vertex[:, 0], event.vertex[:, 1])
    return event.take((radius < TRACKER_R) & (np.abs(event.vertex[:, 2]) < TRACKER_Z))


def _vertex(generator: EventGenerator, rng: np.random.Generator) -> Float64[ndarray, " 4"]:
    """x, y, z, t of a collision [mm]."""
    spread = (generator.vertex_xy, generator.vertex_xy, generator.vertex_z, 0.0)
    vertex: Float64[ndarray, " 4"] = rng.normal(size=4) * np.array(spread)
    if generator.vertex_z_max is not None:
        vertex[2] = rng.uniform(-generator.vertex_z_max, generator.vertex_z_max)
    line = generator.beam_spot
    vertex[:2] += line.x + line.dxdz * vertex[2], line.y + line.dydz * vertex[2]
    return vertex


def _collision(number: int, pdg: Int32[ndarray, " n"], *columns: ndarray) -> PrimaryParticles:
    """The particles of the collision `number`, from their PDG codes and the columns after these."""
    n = len(pdg)
    return PrimaryParticles(np.full(n, number), np.zeros(n, np.int64), np.arange(n) + 1, pdg, *columns)


def _placed(
    pool: CollisionPool, rows: slice, number: int, generator: EventGenerator, rng: np.random.Generator
) -> PrimaryParticles:
    """One collision of a pool, turned around the beam by a random angle, at a random vertex."""
    angle = rng.uniform(-np.pi, np.pi)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    vertex = pool.vertex[rows].astype(np.float64)
    vertex[:, :3] = vertex[:, :3] @ turn.T
    return _collision(
        number,
        pool.pdg[rows],
        pool.charge[rows],
        pool.mass[rows],
        pool.momentum[rows].astype(np.float64) @ turn.T,
        vertex + _vertex(generator, rng),
    )


def _shot(generator: EventGenerator, gun: Gun, number: int, rng: np.random.Generator) -> PrimaryParticles:
    """The particles of a gun: all from one vertex, or each from a place of its own beside the beam line."""
    n = gun.n_particles
    sign = rng.choice([-1, 1], size=n)
    pt = np.exp(rng.uniform(np.log(gun.pt[0]), np.log(gun.pt[1]), size=n))
    phi, eta = rng.uniform(-np.pi, np.pi, n), rng.uniform(-gun.eta_max, gun.eta_max, n)
    eta = np.copysign(gun.eta_min + np.abs(eta) * (1 - gun.eta_min / gun.eta_max), eta)
    start = np.tile(_vertex(generator, rng), (n, 1)) if gun.origin[1] == 0 else _beside(generator, gun, phi, eta, rng)
    # Positive PDG codes of leptons are negative particles.
    charge = sign * np.sign(gun.pdg) * (-1 if abs(gun.pdg) in (11, 13) else 1)
    return _collision(
        number,
        (sign * gun.pdg).astype(np.int32),
        charge.astype(np.float32),
        np.full(n, MASSES[abs(gun.pdg)], np.float32),
        np.column_stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)]),
        start,
    )


def _beside(
    generator: EventGenerator,
    gun: Gun,
    phi: Float64[ndarray, " n"],
    eta: Float64[ndarray, " n"],
    rng: np.random.Generator,
) -> Float64[ndarray, "n 4"]:
    """x, y, z, t where particles in these directions start beside the beam line [mm], each by a vertex of its own."""
    radius = rng.uniform(*gun.origin, len(phi))
    way = phi - rng.uniform(-gun.spread, gun.spread, len(phi))
    vertex = np.stack([_vertex(generator, rng) for _ in phi])
    step = [radius * np.cos(way), radius * np.sin(way), radius * np.sinh(eta), radius * np.cosh(eta)]
    start: Float64[ndarray, "n 4"] = vertex + np.column_stack(step)
    return start
