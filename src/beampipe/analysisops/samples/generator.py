"""Collisions of the hard process by Pythia 8, with showers of the incoming partons only, as flat arrays.

Radiation of the decay products, further collisions of the same protons and hadronisation are switched off: they take
most of the time, and the detector that follows is a simple one. So a quark or gluon stands for its jet.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float64, Int64
from beampipe.pythia import start_pythia

__all__ = ["Particles", "collide"]

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
"""Pythia's status codes of final quarks and gluons that are no remnants of the protons."""


@dataclass(frozen=True, eq=False)
class Particles:
    """Final particles, sorted by event.

    Attributes:
        number: how many events there are.
        event: (n,) int64, row of the event of each.
        pdg: (n,) int64, kind of each, by the numbers of the Particle Data Group.
        hard: (n,) bool, whether it comes from the hard process or a decay, and not from a shower.
        momenta: (n, 4) px, py, pz, e [GeV].
        cross_section: of the process [pb], by Pythia.
    """

    number: int
    event: Int64[ndarray, " n"]
    pdg: Int64[ndarray, " n"]
    hard: Bool[ndarray, " n"]
    momenta: Float64[ndarray, "n 4"]
    cross_section: float

    def where(self, kept: Bool[ndarray, " n"]) -> Particles:
        """Only some of the particles; the events stay."""
        return Particles(
            self.number, self.event[kept], self.pdg[kept], self.hard[kept], self.momenta[kept], self.cross_section
        )

    def kinds(self, *pdg: int) -> Particles:
        """Particles and antiparticles of some kinds."""
        return self.where(np.isin(np.abs(self.pdg), pdg))

    def pairs(self) -> tuple[Float64[ndarray, "n_events 4"], Float64[ndarray, "n_events 4"]]:
        """The particle (positive number) and the antiparticle of each event; all events have one of each.

        Two equal particles, such as photons, come in the order of the event.
        """
        order = np.lexsort([-self.pdg, self.event])
        momenta = self.momenta[order].reshape(self.number, 2, 4)
        return momenta[:, 0].copy(), momenta[:, 1].copy()


def collide(settings: Iterable[str], number: int, seed: int) -> Particles:
    """Collide protons at 13 TeV.

    Args:
        settings: lines for Pythia that choose the process and the decays.
        number: events to make.
        seed: seed for Pythia, from `Draws.seed`.

    Returns:
        All final leptons, photons and neutrinos, and the quarks and gluons that are no remnants of the protons.
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
