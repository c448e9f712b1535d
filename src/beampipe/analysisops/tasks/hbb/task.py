"""Z H with Z -> neutrinos and H -> b b: hidden mass, 9 to 17 GeV away from that of the Higgs boson, and yield.

Physics: Z H by Pythia, with jets of its incoming showers; pairs of jets with an exponential mass, 60 % of them b
jets, by laws of their own, with missing momentum that falls exponentially. Jets have a relative resolution of 9 to 12
% at 100 GeV, the peak one of about 10 %.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.samples.collisions import (
    HIGGS_MASS,
    TIGHT_TAG,
    Detector,
    assemble,
    collide,
    decay,
    falling,
    higgs_mass_settings,
    isotropic,
    jets_of,
    observe,
    parents,
)
from beampipe.analysisops.samples.dataset import Events, Instance, RandomParameters, Sample, joined
from beampipe.arrays import Bool

_MET_MIN: Final = 80.0
"""Threshold of the reference analysis on missing momentum [GeV]."""

_COLLISIONS: Final = 9_000
_B_SHARE: Final = 0.6


def make(random: RandomParameters) -> Instance:
    """The data of an instance."""
    mass = random.away("mass", HIGGS_MASS, 9.0, 17.0)
    detector = Detector(jet=random.uniform("jet_resolution", 0.09, 0.12))
    mean = random.uniform("signal", 4_500.0, 6_000.0)
    settings = (
        "HiggsSM:ffbar2HZ = on",
        "23:onMode = off",
        "23:onIfAny = 12 14 16",
        "25:onMode = off",
        "25:onIfAny = 5",
        *higgs_mass_settings(mass),
    )
    particles = collide(settings, _COLLISIONS, random.seed("signal"))
    signal = observe(random.generator("signal detector"), detector, particles, ("jet",))
    background = _background(random, detector)
    data = joined([signal.first(random.count("signal", mean)), background])
    # The skim: nobody looks at events with less.
    recorded = data.where(data.columns["met"] > 50).shuffled(random.generator("order"))
    truth = {"mass": mass, "signal_yield": float(mean * np.mean(_passes(signal)))}
    return Instance((Sample("data", "data", recorded),), truth)


def _background(random: RandomParameters, detector: Detector) -> Events:
    """Pairs of jets with an exponential mass, slow and central, so that no threshold bends the mass."""
    number = random.count("background", random.uniform("background", 30_000.0, 40_000.0))
    scale = random.uniform("background_scale", 55.0, 85.0)
    generator = random.generator("background")
    mass = falling(generator, number, scale=scale, low=40.0, high=450.0)
    direction = isotropic(generator, number)
    direction[:, 2] /= 3
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    pairs = decay(parents(generator, mass, pt=0.12 * mass * generator.exponential(size=number)), direction)
    momenta = np.stack(pairs, axis=1).reshape(-1, 4)
    flavour = np.where(generator.uniform(size=number) < _B_SHARE, 5, generator.choice([1, 4, 21], number))
    jets = jets_of(generator, detector, np.repeat(np.arange(number), 2), np.repeat(flavour, 2), momenta)
    met = falling(generator, number, scale=45.0, low=30.0, high=700.0)
    phi = generator.uniform(-np.pi, np.pi, number)
    invisible = np.stack([met * np.cos(phi), met * np.sin(phi)], axis=1)
    return assemble(generator, detector, number, {"jet": jets}, invisible)


def _passes(events: Events) -> Bool[ndarray, " n"]:
    """Whether each event passes the reference analysis."""
    jets = events.collections["jet"]
    tagged = jets.where(jets.fields["btag_quantile"] >= TIGHT_TAG).counts(events.number)
    passes: ndarray = (tagged == 2) & (events.columns["met"] > _MET_MIN)
    return passes
