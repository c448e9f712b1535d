"""Muons shot through the Generic detector: small events whose answer is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import ndarray

from beampipe.events import Event, Hits, Particles, Truth
from beampipe.tracking.acts.sequencer import (
    ActsDetector,
    detector,
    pyacts,
    python_algorithm,
    reader,
    run_sequence,
    writer,
)

MUON_MASS = 0.1056583755
PIXELS = (7, 8, 9)


def shoot(
    n_events: int,
    muons: int,
    pt: tuple[float, float] = (1.0, 10.0),
    eta: float = 2.0,
    sigma_z: float = 30.0,
    seed: int = 7,
) -> list[Event]:
    """Events of muons from the beam line, each hit smeared on its module.

    Args:
        n_events: number of events.
        muons: muons in each.
        pt: range of transverse momentum [GeV].
        eta: largest abs(eta).
        sigma_z: spread of the (single) vertex along the beam [mm].
        seed: of every random number.
    """
    acts, examples = pyacts()
    where, random = detector(2.0), np.random.default_rng(seed)
    generated = [_particles(random, muons, pt, eta, sigma_z) for _ in range(n_events)]
    events: dict[int, Event] = {}

    def source(algorithm: Any) -> Callable[[int, Any], None]:
        write = writer(algorithm, examples.SimParticleContainer, "particles")
        return lambda number, context: write(context, _container(acts, examples, generated[number]))

    def collect(algorithm: Any) -> Callable[[int, Any], None]:
        read = reader(algorithm, examples.SimHitContainer, "simhits")

        def run(number: int, context: Any) -> None:
            events[number] = _digitise(number, read(context), generated[number], where, random)

        return run

    fatras = examples.FatrasSimulation(
        level=acts.logging.FATAL,
        inputParticles="particles",
        outputParticles="particles_simulated",
        outputSimHits="simhits",
        randomNumbers=examples.RandomNumbers(seed=seed),
        trackingGeometry=where.geometry,
        magneticField=where.field,
        generateHitsOnSensitive=True,
        pMin=0.05,
    )
    run_sequence([python_algorithm("Source", source), fatras, python_algorithm("Collect", collect)], n_events, 1)
    return [events[number] for number in range(n_events)]


def _particles(random: np.random.Generator, n: int, pt: tuple[float, float], eta: float, sigma_z: float) -> Particles:
    transverse, phi = random.uniform(*pt, n), random.uniform(-np.pi, np.pi, n)
    momentum = np.stack(
        [transverse * np.cos(phi), transverse * np.sin(phi), transverse * np.sinh(random.uniform(-eta, eta, n))], axis=1
    )
    vertex = np.tile(random.normal(0, [0.01, 0.01, sigma_z]), (n, 1))
    charge = random.choice([-1.0, 1.0], n)
    return Particles(
        np.arange(1, n + 1, dtype=np.int64),
        (-13 * charge).astype(np.int32),
        charge.astype(np.float32),
        momentum.astype(np.float32),
        vertex.astype(np.float32),
        np.ones(n, bool),
    )


def _container(acts: Any, examples: Any, particles: Particles) -> Any:
    container = examples.SimParticleContainer()
    for number, charge, momentum, vertex in zip(
        particles.particle_id.tolist(),
        particles.charge.tolist(),
        particles.momentum.tolist(),
        particles.vertex.tolist(),
        strict=True,
    ):
        code = examples.SimBarcode()
        code.vertexPrimary, code.particle = 1, number
        kind = acts.PdgParticle.eMuon if charge < 0 else acts.PdgParticle.eAntiMuon
        particle = examples.SimParticle(code, kind, charge, MUON_MASS)
        size = float(np.linalg.norm(momentum))
        particle.direction = acts.Vector3(*(component / size for component in momentum))
        particle.absoluteMomentum = size
        particle.fourPosition = acts.Vector4(*vertex, 0.0)
        container.insert(particle)
    return container


def _digitise(
    number: int, simhits: Any, particles: Particles, where: ActsDetector, random: np.random.Generator
) -> Event:
    acts, _ = pyacts()
    surfaces = {key.value: surface for key, surface in where.geometry.geoIdSurfaceMap().items()}
    world, zero = acts.GeometryContext.dangerouslyDefaultConstruct(), acts.Vector3(0, 0, 0)

    def point(surface: Any, u: float, v: float) -> ndarray:
        at = surface.localToGlobal(world, acts.Vector2(u, v), zero)
        return np.array([at[0], at[1], at[2]])

    module, local, variance, position, owner = [], [], [], [], []
    for hit in simhits:
        surface = surfaces[hit.geometryId.value]
        centre = point(surface, 0, 0)
        axes = np.stack([point(surface, 1, 0) - centre, point(surface, 0, 1) - centre])
        at = np.array([hit.fourPosition[0], hit.fourPosition[1], hit.fourPosition[2]])
        sigma = 0.015 if hit.geometryId.volume in PIXELS else 0.05
        # Smear before rounding to float32, so that position and local coordinates agree.
        where_local = axes @ (at - centre) + random.normal(0, sigma, 2)
        module.append(hit.geometryId.value)
        local.append(where_local)
        variance.append([sigma**2, sigma**2])
        position.append(centre + where_local @ axes)
        owner.append(hit.particleId.particle)
    xyz = np.array(position).reshape(-1, 3)
    cylindrical = np.stack([np.hypot(xyz[:, 0], xyz[:, 1]), np.arctan2(xyz[:, 1], xyz[:, 0]), xyz[:, 2]], axis=1)
    hits = Hits(
        cylindrical.astype(np.float32),
        np.array(module, np.uint64),
        np.array(local, np.float32).reshape(-1, 2),
        np.array(variance, np.float32).reshape(-1, 2),
    )
    return Event(number, hits, Truth(np.array(owner, np.int64), particles))
