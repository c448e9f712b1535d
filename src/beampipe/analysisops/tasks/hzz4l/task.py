"""H -> Z Z -> four leptons: hidden mass, 6 to 13 GeV away from that of the Higgs boson, and yield.

Physics: Higgs bosons and pairs of Z bosons or photons, both by Pythia, with electrons and muons; Z bosons with two
fake leptons of any kind, of which those within 8 GeV of the peak are kept. Leptons have relative resolutions of 1.5 to
2.5 %, the peak one of about 1 %.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.samples.collisions import (
    HIGGS_MASS,
    Detector,
    collide,
    good_leptons,
    higgs_mass_settings,
    leptons_of,
    masses,
    observe,
    pair_events,
    parents,
    resonance_pairs,
    triggered,
)
from beampipe.analysisops.samples.dataset import Events, Instance, RandomParameters, Sample, joined, joined_objects
from beampipe.arrays import Bool

_PT_MIN, _LEADING_PT_MIN = 7.0, 20.0
"""Thresholds of the reference analysis [GeV]."""

_COLLISIONS: Final = 3_500
_FAKES: Final = 30_000.0
_FAKES_WITHIN: Final = 8.0
"""Distance to the mass of the boson [GeV]."""


def make(random: RandomParameters) -> Instance:
    """The data of an instance."""
    mass = random.away("mass", HIGGS_MASS, 6.0, 13.0)
    detector = Detector(
        electron=random.uniform("electron_resolution", 0.015, 0.025),
        muon=random.uniform("muon_resolution", 0.015, 0.025),
        efficiency=0.97,
        identified=0.98,
    )
    mean = random.uniform("signal", 400.0, 700.0)
    settings = (
        "HiggsSM:gg2H = on",
        "25:onMode = off",
        "25:onIfMatch = 23 23",
        "23:onMode = off",
        "23:onIfAny = 11 13",
        *higgs_mass_settings(mass),
    )
    particles = collide(settings, _COLLISIONS, random.seed("signal"))
    signal = observe(random.generator("signal detector"), detector, particles)
    # Most pairs of Z bosons or photons are heavier than the window, so only lighter ones are made.
    continuum_settings = (
        "WeakDoubleBoson:ffbar2gmZgmZ = on",
        "23:onMode = off",
        "23:onIfAny = 11 13",
        "23:mMin = 12",
        "PhaseSpace:mHatMin = 80",
        "PhaseSpace:mHatMax = 200",
    )
    number = random.count("continuum", random.uniform("continuum", 900.0, 1_500.0))
    pairs = collide(continuum_settings, number, random.seed("continuum"))
    continuum = observe(random.generator("continuum detector"), detector, pairs)
    events = joined([signal.first(random.count("signal", mean)), continuum, _fakes(random, detector, mass)])
    truth = {"mass": mass, "signal_yield": float(mean * np.mean(_passes(signal)))}
    recorded = triggered(events).shuffled(random.generator("order"))
    return Instance((Sample("data", "data", recorded),), truth)


def _fakes(random: RandomParameters, detector: Detector, mass: float) -> Events:
    """Z bosons to muons with two more leptons from jets, of a mass near that of the boson [GeV]."""
    number = random.count("fakes", _FAKES)
    generator = random.generator("fakes detector")
    first, second = (np.resize(one, (number, 4)) for one in resonance_pairs(random, "fakes", _COLLISIONS))
    momenta = parents(generator, np.full(2 * number, 1e-3), pt=7 + generator.exponential(12, 2 * number))
    total = masses(first + second + momenta.reshape(number, 2, 4).sum(axis=1))
    near = np.abs(total - mass) < _FAKES_WITHIN
    number = int(np.count_nonzero(near))
    momenta = momenta[np.repeat(near, 2)]
    events = pair_events(generator, detector, (first[near], second[near]))
    event = np.repeat(np.arange(number), 2)
    more = leptons_of(
        generator, detector, event, generator.choice([11, -11, 13, -13], 2 * number), momenta, prompt=False
    )
    return Events(number, events.columns, {"lep": joined_objects([events.collections["lep"], more]).by_pt()})


def _passes(events: Events) -> Bool[ndarray, " n"]:
    """Whether each event passes the reference analysis."""
    leptons = good_leptons(events, _PT_MIN)
    charge = leptons.fields["charge"]

    def total(values: ndarray) -> ndarray:
        return np.bincount(leptons.event, values, minlength=events.number)

    first = total(leptons.fields["pt"] > _LEADING_PT_MIN) > 0
    neutral = (total(charge) == 0) & (total(charge * (leptons.fields["type"] == 13)) == 0)
    passes: ndarray = (leptons.counts(events.number) == 4) & neutral & first
    return passes
