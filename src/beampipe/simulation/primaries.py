"""The particles that one event starts from: pile-up, a hard collision, particles of a gun."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float32, Float64, Int32, Int64
from beampipe.errors import ConfigError
from beampipe.events import ON_AXIS, BeamSpot
from beampipe.simulation.detector import Vertex
from beampipe.simulation.pythia import TRACKER_R, TRACKER_Z, CollisionPool, CollisionSource
from beampipe.units import GeV, mm, um


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
    soft: CollisionSource | CollisionPool | None,
    hard: CollisionPool | None,
    event: int,
    rng: np.random.Generator,
) -> PrimaryParticles:
    """Draw one event.

    Args:
        generator: pile-up, gun and spread of the vertices.
        soft: soft collisions, needed with pile-up.
        hard: the first collision, or None for none.
        event: number of the event.
        rng: source of all random choices.
    """
    collisions = [] if hard is None else [hard]
    n_soft = int(rng.poisson(generator.pileup)) if generator.pileup > 0 else 0
    if n_soft and soft is not None:
        start = int(event * generator.pileup)
        if generator.pool_size is None and start + n_soft <= len(soft):
            numbers = range(start, start + n_soft)
        else:
            numbers = rng.integers(len(soft), size=n_soft).tolist()
        collisions += [soft[k] for k in numbers]
    particles = [
        _placed(collision, number, generator, rng, turned=generator.turn_hard or collision is not hard)
        for number, collision in enumerate(collisions, start=1)
    ]
    if generator.hard == "gun":
        particles.append(_shot(generator, generator.gun, len(collisions) + 1, rng))
    if not particles:
        return PrimaryParticles.empty()
    joined = PrimaryParticles(
        *(np.concatenate([getattr(part, f.name) for part in particles]) for f in fields(PrimaryParticles))
    )
    radius = np.hypot(joined.vertex[:, 0], joined.vertex[:, 1])
    return joined.take((radius < TRACKER_R) & (np.abs(joined.vertex[:, 2]) < TRACKER_Z))


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
    collision: CollisionPool, number: int, generator: EventGenerator, rng: np.random.Generator, *, turned: bool
) -> PrimaryParticles:
    """A collision at a random vertex, if `turned` around the beam by a random angle."""
    angle = rng.uniform(-np.pi, np.pi) if turned else 0.0
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    vertex = collision.vertex.astype(np.float64)
    vertex[:, :3] = vertex[:, :3] @ turn.T
    return _collision(
        number,
        collision.pdg,
        collision.charge,
        collision.mass,
        collision.momentum.astype(np.float64) @ turn.T,
        vertex + _vertex(generator, rng),
    )


def _shot(generator: EventGenerator, gun: Gun, number: int, rng: np.random.Generator) -> PrimaryParticles:
    """The particles of a gun: all from one vertex, or each from a start of its own beside the beam line."""
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


MASSES: Final[dict[int, float]] = {11: 0.000511, 13: 0.105658, 211: 0.13957, 321: 0.49368, 2212: 0.93827}
"""Masses of electron, muon, charged pion, charged kaon and proton [GeV] by PDG code.

Source: Particle Data Group, Review of Particle Physics.
"""

MAX_ORIGIN: Final = 1000 * mm
"""Largest distance from the beam line at which particles of a gun start [mm]: nearly the end of the tracker."""


@dataclass(frozen=True)
class Gun:
    """Charged particles beside the pile-up: flat in log(pT), in eta and in phi, each of either charge by chance.

    With `origin` at 0 they come from one vertex on the beam line, like the particles of a collision. Otherwise they
    are isolated: each has a vertex of its own. A straight line leads from there to the particle's start, at a radius
    that is flat within `origin`. The particle leaves at an angle to that line in the transverse plane, flat within
    +-`spread`. Its impact parameter is the radius times the sine of the angle.

    Attributes:
        n_particles: number of particles per event.
        pdg: PDG code; each particle gets this code or its antiparticle with equal chance.
        pt: lowest and highest transverse momentum of a particle [GeV].
        eta_min: smallest absolute pseudorapidity of a particle.
        eta_max: largest absolute pseudorapidity of a particle.
        origin: smallest and largest distance from the beam line at which a particle starts [mm].
        spread: largest angle in the transverse plane between a particle and the line from its vertex [rad]: 0 for
            particles that point to the beam line, pi for any direction, back through the beam line included.
    """

    n_particles: int = 10
    pdg: int = 13
    pt: tuple[float, float] = (1 * GeV, 10 * GeV)
    eta_min: float = 0.0
    eta_max: float = 3.0
    origin: tuple[float, float] = (0.0, 0.0)
    spread: float = math.pi

    def __post_init__(self) -> None:
        if self.n_particles < 1 or not 0 < self.pt[0] <= self.pt[1] or not 0 <= self.eta_min <= self.eta_max <= 4:
            expected = "n_particles >= 1, 0 < pt[0] <= pt[1] and 0 <= eta_min <= eta_max <= 4"
            raise ConfigError(f"gun: got {self}, expected {expected}")
        if self.eta_max == 0:
            raise ConfigError("gun: got eta_max=0.0, expected it above 0")
        if not 0 <= self.origin[0] <= self.origin[1] <= MAX_ORIGIN:
            raise ConfigError(
                f"gun: got origin={self.origin}, expected two radii in mm, the smaller first, from 0 to {MAX_ORIGIN:g}"
            )
        if not 0 <= self.spread <= math.pi:
            raise ConfigError(f"gun: got spread={self.spread}, expected an angle in rad, from 0 to pi")
        if abs(self.pdg) not in MASSES:
            raise ConfigError(f"gun: got pdg {self.pdg}, expected +-11, 13, 211, 321 or 2212")


MOST_COLLISIONS: Final = 20_000
"""Largest number of soft collisions that are generated for the pile-up of a sample."""

HARD: Final = ("ttbar", "jets", "none", "gun")
"""Hard processes that can be added to the pile-up."""


@dataclass(frozen=True)
class EventGenerator:
    """Proton-proton collisions at 14 TeV by Pythia 8.

    Attributes:
        pileup: mean number mu of soft inelastic collisions, Poisson distributed.
        hard: ``"ttbar"`` adds one top pair, ``"jets"`` two or more jets of 1 TeV and above, in whose cores hits of
            neighbours merge. ``"none"`` adds nothing; with mu = 0 the event is then exactly one soft
            inelastic collision. ``"gun"`` adds particles of the gun instead of a collision: from the beam line, or
            isolated ones that start beside it.
        gun: particles that ``"gun"`` adds.
        pool_size: soft collisions to draw from, each time with a new vertex and rotation in phi. None: each event has
            collisions of its own, until those of a sample are `MOST_COLLISIONS`; later events draw from these.
        vertex_xy: spread of the vertices across the beam [mm].
        vertex_z: spread of the vertices along the beam [mm].
        vertex_z_max: vertices lie evenly over |z| below this [mm], in place of the spread; None for the spread.
        beam_spot: beam line that the vertices are on.
        turn_hard: whether the hard collision is turned around the beam by a random angle, as the others are. Jets and
            towers that are made of the generated particles need it as it was generated.
    """

    pileup: float = 200.0
    hard: str = "ttbar"
    gun: Gun = Gun()
    pool_size: int | None = None
    vertex_xy: float = 12.5 * um
    vertex_z: float = 50 * mm
    vertex_z_max: float | None = None
    beam_spot: BeamSpot = ON_AXIS
    turn_hard: bool = True

    def __post_init__(self) -> None:
        if self.hard not in HARD:
            one_of = f"{', '.join(map(repr, HARD[:-1]))} or {HARD[-1]!r}"
            raise ConfigError(f"generator: got hard={self.hard!r}, expected {one_of}")
        if not 0 <= self.pileup <= 1000:
            raise ConfigError(f"generator: got pileup={self.pileup}, expected a mean between 0 and 1000")
        if self.pool_size is not None and self.pool_size < 1:
            raise ConfigError(f"generator: got pool_size={self.pool_size}, expected at least 1")
        if self.vertex_z_max is not None and not 0 < self.vertex_z_max <= 1000:
            raise ConfigError(f"generator: got vertex_z_max={self.vertex_z_max}, expected 0 to 1000 mm")

    def at(self, vertex: Vertex) -> EventGenerator:
        """The same collisions in the luminous region of a layout."""
        return replace(self, vertex_xy=vertex.spread_xy_mm, vertex_z=vertex.spread_z_mm)
