"""What to simulate: the collisions, the detector, and how much of what it saw is lost or added afterwards."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from beampipe.errors import ConfigError
from beampipe.tracking.beam_spot import ON_AXIS, BeamSpot
from beampipe.tracking.simulation.detectors.layout import Layout, Vertex
from beampipe.units import GeV, T, mm, um

__all__ = [
    "DEFAULT",
    "DEGRADATIONS",
    "HARD",
    "MASSES",
    "NONE",
    "STRESS",
    "Degradation",
    "Detector",
    "EventGenerator",
    "Gun",
]

MASSES: Final[dict[int, float]] = {11: 0.000511, 13: 0.105658, 211: 0.13957, 321: 0.49368, 2212: 0.93827}
"""Masses of electron, muon, charged pion, charged kaon and proton [GeV] by PDG code.

Source: Particle Data Group, Review of Particle Physics.
"""

MAX_ORIGIN: Final = 1000 * mm
"""Largest distance from the beam line at which a gun lets particles start: nearly the end of the tracker."""


@dataclass(frozen=True)
class Gun:
    """Charged particles beside the pile-up: flat in log(pT), in eta and in phi, each of either charge by chance.

    With `origin` at 0 they come from one vertex on the beam line, as those of a collision do. Elsewhere they are
    isolated: each has a vertex of its own, flies from there in a straight line to a radius of origin, flat within
    `origin`, and starts there at an angle across the beam to that line, flat within +-`spread`. Its impact parameter
    is the radius times the sine of the angle.

    Attributes:
        n_particles: number of particles per event.
        pdg: PDG code; each particle gets this code or its antiparticle with equal chance.
        pt: lowest and highest transverse momentum of a particle [GeV].
        eta_min: smallest absolute pseudorapidity of a particle.
        eta_max: largest absolute pseudorapidity of a particle.
        origin: smallest and largest distance from the beam line at which a particle starts [mm].
        spread: largest angle across the beam between a particle and the line that its vertex sees it on [rad]: 0 for
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


HARD: Final = ("ttbar", "jets", "none", "gun")
"""What can be added to the pile-up."""


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
        pool_size: soft collisions generated once and drawn from, each time with a new vertex and rotation in phi.
        vertex_xy: spread of the vertices across the beam [mm].
        vertex_z: spread of the vertices along the beam [mm].
        vertex_z_max: vertices lie evenly over |z| below this [mm], in place of the spread; None for the spread.
        beam_spot: beam line that the vertices are on.
    """

    pileup: float = 200.0
    hard: str = "ttbar"
    gun: Gun = Gun()
    pool_size: int = 20_000
    vertex_xy: float = 12.5 * um
    vertex_z: float = 50 * mm
    vertex_z_max: float | None = None
    beam_spot: BeamSpot = ON_AXIS

    def __post_init__(self) -> None:
        if self.hard not in HARD:
            one_of = f"{', '.join(map(repr, HARD[:-1]))} or {HARD[-1]!r}"
            raise ConfigError(f"generator: got hard={self.hard!r}, expected {one_of}")
        if not 0 <= self.pileup <= 1000:
            raise ConfigError(f"generator: got pileup={self.pileup}, expected a mean between 0 and 1000")
        if self.pool_size < 1:
            raise ConfigError(f"generator: got pool_size={self.pool_size}, expected at least 1")
        if self.vertex_z_max is not None and not 0 < self.vertex_z_max <= 1000:
            raise ConfigError(f"generator: got vertex_z_max={self.vertex_z_max}, expected 0 to 1000 mm")

    def at(self, vertex: Vertex) -> EventGenerator:
        """The same collisions in the luminous region of a layout."""
        return replace(self, vertex_xy=vertex.spread_xy_mm, vertex_z=vertex.spread_z_mm)


@dataclass(frozen=True)
class Detector:
    """The ACTS GenericDetector, or one of your own, in a constant solenoid field.

    Attributes:
        field: magnetic field along z [T] that reconstruction is told of.
        field_scale: factor on the field that the particles feel, to simulate a field known wrongly.
        hadronic: let charged hadrons interact with the nuclei of the detector.
        layout: what the detector is made of, or None for the GenericDetector.
    """

    field: float = 2 * T
    field_scale: float = 1.0
    hadronic: bool = True
    layout: Layout | None = None

    @classmethod
    def of(cls, layout: Layout) -> Detector:
        """A layout in its own field."""
        return cls(field=layout.field_T, layout=layout)


@dataclass(frozen=True)
class Degradation:
    """How the measured hits differ from those of a perfect detector.

    Attributes:
        hit_loss: fraction of hits lost at random.
        dead_modules: fraction of modules that give no hits during a whole run.
        noise: hits made by no particle, as a fraction of the hits that are left.
    """

    hit_loss: float = 0.02
    dead_modules: float = 0.01
    noise: float = 0.05

    def __post_init__(self) -> None:
        for name in ("hit_loss", "dead_modules"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"degradation: got {name}={getattr(self, name)}, expected 0 <= {name} < 1")
        if not 0 <= self.noise <= 10:
            raise ConfigError(f"degradation: got noise={self.noise}, expected 0 <= noise <= 10")


DEFAULT: Final = Degradation()
"""2 % of the hits lost, 1 % of the modules dead, 5 % noise."""

STRESS: Final = Degradation(hit_loss=0.03, dead_modules=0.02, noise=0.20)
"""3 % of the hits lost, 2 % of the modules dead, 20 % noise."""

NONE: Final = Degradation(hit_loss=0.0, dead_modules=0.0, noise=0.0)
"""The events as simulated."""

DEGRADATIONS: Final[Mapping[str, Degradation]] = MappingProxyType({"none": NONE, "default": DEFAULT, "stress": STRESS})
"""Named levels: as simulated, as expected of a working detector, and beyond."""
