"""Four-vectors as rows (px, py, pz, e) [GeV], decays into two massless particles, and collisions by Pythia 8.

Pythia simulates the hard process with initial-state showers only. Final-state radiation, multiple parton interactions
and hadronisation are switched off: they take most of the time, and the detector simulation is simple. A quark or gluon
therefore represents its jet.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float64, Int64
from beampipe.simulation.pythia import start_pythia

_LARGEST_ETA = 10.0


def masses(momenta: Float64[ndarray, "n 4"]) -> Float64[ndarray, " n"]:
    """Invariant masses [GeV]; 0 where rounding makes the square negative."""
    squared = momenta[:, 3] ** 2 - np.sum(momenta[:, :3] ** 2, axis=1)
    result: ndarray = np.sqrt(np.maximum(squared, 0))
    return result


def polar(
    momenta: Float64[ndarray, "n 4"],
) -> tuple[Float64[ndarray, " n"], Float64[ndarray, " n"], Float64[ndarray, " n"], Float64[ndarray, " n"]]:
    """pt [GeV], eta (within +-10), phi and e [GeV] of four-vectors."""
    pt = np.hypot(momenta[:, 0], momenta[:, 1])
    eta = np.arcsinh(momenta[:, 2] / np.maximum(pt, 1e-9))
    return pt, np.clip(eta, -_LARGEST_ETA, _LARGEST_ETA), np.arctan2(momenta[:, 1], momenta[:, 0]), momenta[:, 3].copy()


def from_polar(
    pt: Float64[ndarray, " n"], eta: Float64[ndarray, " n"], phi: Float64[ndarray, " n"], e: Float64[ndarray, " n"]
) -> Float64[ndarray, "n 4"]:
    """Four-vectors from pt, eta, phi and e; the inverse of `polar`."""
    return np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), e], axis=1)


def boosted(momenta: Float64[ndarray, "n 4"], frame: Float64[ndarray, "n 4"]) -> Float64[ndarray, "n 4"]:
    """Boost four-vectors from the rest frame of others to the laboratory."""
    mass = masses(frame)
    along = np.sum(momenta[:, :3] * frame[:, :3], axis=1)
    energy = (momenta[:, 3] * frame[:, 3] + along) / mass
    factor = (momenta[:, 3] + energy) / (frame[:, 3] + mass)
    return np.concatenate([momenta[:, :3] + factor[:, None] * frame[:, :3], energy[:, None]], axis=1)


def parents(
    generator: np.random.Generator, mass: Float64[ndarray, " n"], *, pt: Float64[ndarray, " n"]
) -> Float64[ndarray, "n 4"]:
    """Particles of given mass and pt [GeV], with rapidities as in proton collisions and random azimuths."""
    rapidity = np.clip(generator.normal(0, 1.2, len(mass)), -2.8, 2.8)
    phi = generator.uniform(-np.pi, np.pi, len(mass))
    transverse = np.hypot(mass, pt)
    return np.stack(
        [pt * np.cos(phi), pt * np.sin(phi), transverse * np.sinh(rapidity), transverse * np.cosh(rapidity)], axis=1
    )


def isotropic(generator: np.random.Generator, number: int) -> Float64[ndarray, "n 3"]:
    """Unit vectors in random directions."""
    cosine = generator.uniform(-1, 1, number)
    phi = generator.uniform(-np.pi, np.pi, number)
    sine = np.sqrt(1 - cosine**2)
    return np.stack([sine * np.cos(phi), sine * np.sin(phi), cosine], axis=1)


def decay(
    parent: Float64[ndarray, "n 4"], direction: Float64[ndarray, "n 3"]
) -> tuple[Float64[ndarray, "n 4"], Float64[ndarray, "n 4"]]:
    """The two massless decay products of each parent; the first is emitted along `direction` in the rest frame."""
    half = masses(parent)[:, None] / 2
    first = np.concatenate([half * direction, half], axis=1)
    second = np.concatenate([-half * direction, half], axis=1)
    return boosted(first, parent), boosted(second, parent)


def with_masses(
    first: Float64[ndarray, "n 4"], second: Float64[ndarray, "n 4"], mass: Float64[ndarray, " n"]
) -> tuple[Float64[ndarray, "n 4"], Float64[ndarray, "n 4"]]:
    """The same two-body decays at other masses: pt, rapidity and the direction in the rest frame are kept."""
    old = first + second
    transverse = np.hypot(mass, np.hypot(old[:, 0], old[:, 1])) / np.sqrt(old[:, 3] ** 2 - old[:, 2] ** 2)
    new = np.concatenate([old[:, :2], old[:, 2:] * transverse[:, None]], axis=1)
    back = np.concatenate([-old[:, :3], old[:, 3:]], axis=1)
    direction = boosted(first, back)[:, :3]
    return decay(new, direction / np.linalg.norm(direction, axis=1)[:, None])


def breit_wigner(
    generator: np.random.Generator, number: int, *, mass: float, width: float, low: float, high: float
) -> Float64[ndarray, " n"]:
    """Masses from a Breit-Wigner (Cauchy) distribution between two limits [GeV]; all equal `mass` if the width is 0."""
    if width == 0:
        return np.full(number, mass)
    edges = np.arctan((np.array([low, high]) - mass) / (width / 2))
    return mass + width / 2 * np.tan(generator.uniform(edges[0], edges[1], number))


def falling(
    generator: np.random.Generator, number: int, *, scale: float, low: float, high: float
) -> Float64[ndarray, " n"]:
    """Numbers from the exponential distribution exp(-x / scale) between two limits."""
    chance = generator.uniform(0, -np.expm1(-(high - low) / scale), number)
    return low - scale * np.log1p(-chance)


Z_MASS: Final = 91.1876
Z_WIDTH: Final = 2.4952
"""Mass and width of the Z boson [GeV], R. L. Workman et al. (Particle Data Group), PTEP 2022, 083C01."""

HIGGS_MASS: Final = 125.2
"""Mass of the Higgs boson [GeV], S. Navas et al. (Particle Data Group), Phys. Rev. D 110 (2024) 030001."""

_ALWAYS: Final = (
    "Print:quiet = on",
    "Beams:eCM = 13000",
    "PartonLevel:MPI = off",
    "PartonLevel:FSR = off",
    "HadronLevel:all = off",
    "SpaceShower:QEDshowerByQ = off",
    "Random:setSeed = on",
)

_OUTGOING: Final = (23, 24, 33, 43, 44)
"""Pythia's status codes of final quarks and gluons that are not proton remnants."""


@dataclass(frozen=True, eq=False)
class Particles:
    """Final particles, sorted by event.

    Attributes:
        number: number of events.
        event: (n,) int64, row of the event of each.
        pdg: (n,) int64, PDG code of each.
        hard: (n,) bool, whether it originates from the hard process or a decay, not from a shower.
        momenta: (n, 4) px, py, pz, e [GeV].
        cross_section: cross section of the process by Pythia [pb].
    """

    number: int
    event: Int64[ndarray, " n"]
    pdg: Int64[ndarray, " n"]
    hard: Bool[ndarray, " n"]
    momenta: Float64[ndarray, "n 4"]
    cross_section: float

    def where(self, kept: Bool[ndarray, " n"]) -> Particles:
        """Only some of the particles; the number of events is unchanged."""
        return Particles(
            self.number, self.event[kept], self.pdg[kept], self.hard[kept], self.momenta[kept], self.cross_section
        )

    def kinds(self, *pdg: int) -> Particles:
        """Particles and antiparticles of some kinds."""
        return self.where(np.isin(np.abs(self.pdg), pdg))

    def pairs(self) -> tuple[Float64[ndarray, "n_events 4"], Float64[ndarray, "n_events 4"]]:
        """The particle (positive number) and the antiparticle of each event; all events have one of each.

        Two identical particles, such as photons, keep the order of the event.
        """
        order = np.lexsort([-self.pdg, self.event])
        momenta = self.momenta[order].reshape(self.number, 2, 4)
        return momenta[:, 0].copy(), momenta[:, 1].copy()


def higgs_mass_settings(mass: float) -> tuple[str, str, str]:
    """Pythia settings for Higgs bosons of a mass [GeV]."""
    return f"25:m0 = {mass:.6f}", f"25:mMin = {mass - 5:.6f}", f"25:mMax = {mass + 5:.6f}"


def collide(settings: Iterable[str], number: int, seed: int) -> Particles:
    """Collide protons at 13 TeV.

    Args:
        settings: Pythia settings that choose the process and the decays.
        number: number of events.
        seed: seed for Pythia, from `RandomParameters.seed`.

    Returns:
        All final leptons, photons and neutrinos, and the quarks and gluons that are not proton remnants.
    """
    import awkward as ak

    pythia = start_pythia([*_ALWAYS, f"Random:seed = {seed}", *settings])
    made = pythia.nextBatch(number)
    counts = ak.num(made.prt.id).to_numpy()
    flat = ak.flatten(made.prt)
    pdg = flat.id.to_numpy().astype(np.int64)
    status = flat.status.to_numpy()
    absolute = np.abs(pdg)
    parton = (absolute <= 5) | (absolute == 21)
    kept = (status > 0) & np.where(parton, np.isin(status, _OUTGOING), (absolute >= 11) & (absolute <= 22))
    momenta = np.stack([flat.p[axis].to_numpy()[kept] for axis in ("px", "py", "pz", "e")], axis=1)
    return Particles(
        len(made),
        np.repeat(np.arange(len(made)), counts)[kept],
        pdg[kept],
        status[kept] == 23,
        momenta.astype(np.float64),
        float(pythia.infoPython().sigmaGen()) * 1e9,
    )
