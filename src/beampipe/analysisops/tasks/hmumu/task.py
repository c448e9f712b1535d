"""H -> mu mu over Drell-Yan pairs: hidden mass, 6 to 11 GeV away from that of the Higgs boson, and yield.

Physics: Higgs bosons by Pythia, decaying isotropically; pairs of muons with an exponential mass from 95 GeV on, by
laws of their own: the data are a skim above the Z boson; soft third leptons. Two kinds of pairs have masses around the
peak: muons in jets, rarely tight and isolated, and muons of which one has a wrong charge. Muons have a relative
resolution of 1.5 to 2.5 %, the peak one of 1.1 to 1.8 %.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from beampipe.analysisops.samples.collisions import (
    HIGGS_MASS,
    Detector,
    continuum_pairs,
    decay,
    good_leptons,
    higgs_bosons,
    isotropic,
    lepton_mass,
    pair_events,
    shoulder_pairs,
)
from beampipe.analysisops.samples.dataset import Instance, RandomParameters, Sample, joined

_PT_MIN: Final = 20.0
"""Threshold of the reference analysis [GeV]."""

_MORE: Final = 20_000
"""Decays beside those of the data that tell the share of selected ones."""


def make(random: RandomParameters) -> Instance:
    """The data of an instance."""
    mass = random.away("mass", HIGGS_MASS, 6.0, 11.0)
    detector = Detector(muon=random.uniform("muon_resolution", 0.015, 0.025))
    mean = random.uniform("signal", 1_000.0, 1_600.0)
    background = random.uniform("background", 16_000.0, 22_000.0)
    scale = random.uniform("background_scale", 22.0, 35.0)
    generator = random.generator("detector")
    number = random.count("signal", mean)
    bosons = higgs_bosons(random, mass, number + _MORE)
    signal = pair_events(generator, detector, decay(bosons, isotropic(generator, len(bosons))), soft=0.05)
    two, _ = lepton_mass(good_leptons(signal, _PT_MIN), signal.number)
    pairs = continuum_pairs(random, "pairs", random.count("pairs", background), scale=scale, low=95.0, high=250.0)
    fakes = shoulder_pairs(random, "fakes", random.count("fakes", 12_000.0), mass=mass, width=3.0)
    wrong = shoulder_pairs(random, "wrong charge", random.count("wrong charge", 700.0), mass=mass, width=3.0)
    events = joined(
        [
            signal.first(number),
            pair_events(generator, detector, pairs, soft=0.05),
            pair_events(generator, detector, fakes, prompt=False),
            pair_events(generator, detector, wrong, (-13, -13)),
        ]
    )
    recorded = events.where(events.columns["trigM"]).shuffled(random.generator("order"))
    truth = {"mass": mass, "signal_yield": float(mean * np.mean(two))}
    return Instance((Sample("data", "data", recorded),), truth)
