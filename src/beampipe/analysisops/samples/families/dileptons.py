"""Pairs of leptons: resonances with Pythia's production and a stated line shape, and what else looks like a pair.

Pythia gives the pt, the rapidity and the decay angles of the resonance. Its mass is drawn from a Breit-Wigner law here
and put into the decay, for which pt, rapidity and angles in the rest frame stay: parton densities and the photon would
distort Pythia's own line by more than the statistical precision, and a fit of the stated law would find another mass
than was put in.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from beampipe.analysisops.samples.detector import Detector, assemble, leptons_of
from beampipe.analysisops.samples.draws import Draws
from beampipe.analysisops.samples.events import Events, joined_objects
from beampipe.analysisops.samples.generator import collide
from beampipe.analysisops.samples.kinematics import breit_wigner, decay, falling, isotropic, parents, with_masses
from beampipe.arrays import Float64, Int64

__all__ = ["continuum_pairs", "pair_events", "resonance_pairs"]

_LIMITS = 12.0
"""Masses are drawn within so many widths of the resonance."""


def resonance_pairs(
    draws: Draws, what: str, number: int, *, mass: float, width: float
) -> tuple[Float64[ndarray, "n 4"], Float64[ndarray, "n 4"]]:
    """Lepton and antilepton of a Z boson of some mass and width [GeV]."""
    near = max(20.0, 3 * width)
    settings = (
        "WeakSingleBoson:ffbar2gmZ = on",
        "WeakZ0:gmZmode = 2",
        "23:onMode = off",
        "23:onIfAny = 13",
        f"23:m0 = {mass:.6f}",
        f"23:mMin = {mass - near:.6f}",
        f"23:mMax = {mass + near:.6f}",
        f"PhaseSpace:mHatMin = {mass - near:.6f}",
        f"PhaseSpace:mHatMax = {mass + near:.6f}",
    )
    first, second = collide(settings, number, draws.seed(f"{what} collisions")).kinds(13).pairs()
    low, high = max(mass - _LIMITS * max(width, 1.0), mass / 3), mass + _LIMITS * max(width, 1.0)
    line = breit_wigner(draws.generator(f"{what} line"), len(first), mass=mass, width=width, low=low, high=high)
    return with_masses(first, second, line)


def continuum_pairs(
    draws: Draws, what: str, number: int, *, scale: float, low: float, high: float
) -> tuple[Float64[ndarray, "n 4"], Float64[ndarray, "n 4"]]:
    """Pairs whose mass falls exponentially [GeV], by laws of their own and not by Pythia."""
    generator = draws.generator(what)
    mass = falling(generator, number, scale=scale, low=low, high=high)
    pt = mass * generator.exponential(0.25, number)
    return decay(parents(generator, mass, pt=pt), isotropic(generator, number))


def pair_events(
    generator: np.random.Generator,
    detector: Detector,
    pairs: tuple[Float64[ndarray, "n 4"], Float64[ndarray, "n 4"]],
    pdg: tuple[int, int] = (13, -13),
    *,
    prompt: bool = True,
    soft: float = 0.0,
) -> Events:
    """Events with one pair of leptons each.

    Args:
        generator: of random numbers.
        detector: how well things are seen.
        pairs: four-vectors of the two leptons.
        pdg: kind of either.
        prompt: False for leptons in jets.
        soft: share of events with one more lepton, soft and from a jet.
    """
    number = len(pairs[0])
    event = np.repeat(np.arange(number), 2)
    momenta = np.stack(pairs, axis=1).reshape(-1, 4)
    leptons = leptons_of(generator, detector, event, np.tile(np.array(pdg), number), momenta, prompt=prompt)
    extra: Int64[ndarray, " n"] = np.flatnonzero(generator.uniform(size=number) < soft)
    if len(extra):
        pt = 5 + generator.exponential(6, len(extra))
        more = parents(generator, np.full(len(extra), 1e-3), pt=pt)
        kinds = generator.choice([11, -11, 13, -13], len(extra))
        leptons = joined_objects([leptons, leptons_of(generator, detector, extra, kinds, more, prompt=False)]).by_pt()
    return assemble(generator, detector, number, {"lep": leptons})
