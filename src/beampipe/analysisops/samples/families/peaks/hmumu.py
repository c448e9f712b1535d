"""H -> mu mu over Drell-Yan pairs: hidden mass, 6 to 11 GeV away from that of the Higgs boson, and yield.

Physics: Higgs bosons by Pythia, decaying isotropically; pairs of muons with an exponential mass from 95 GeV on, by
laws of their own: the data are a skim above the Z boson. Fake muons of any charge, and soft third leptons. Muons have
a relative resolution of 1.5 to 2.5 %, the peak one of 1.1 to 1.8 %.

Best analysis: tight, isolated (ptcone20 < 0.1 pt) muons with pt > 20 GeV, exactly two, of opposite charge. Fit a
Gaussian over an exponential to the masses from 105 to 160 GeV, all parameters free, starting at the highest excess
over the sidebands. Mass to about 0.15 GeV; signal_yield: the Gaussian's number of events after these cuts, to about 8
%. Histogram ``mass``: 55 bins from 105 to 160 GeV.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from beampipe.analysisops.samples.dataset import Instance, Sample
from beampipe.analysisops.samples.detector import ISOLATION, Detector
from beampipe.analysisops.samples.events import joined
from beampipe.analysisops.samples.kinematics import decay, isotropic
from beampipe.analysisops.samples.pairs import continuum_pairs, good_leptons, higgs_bosons, lepton_mass, pair_events
from beampipe.analysisops.samples.random_parameters import RandomParameters

__all__ = ["ANALYSIS", "make"]

KNOWN_MASS: Final = 125.2
"""Mass of the Higgs boson [GeV], S. Navas et al. (Particle Data Group), Phys. Rev. D 110 (2024) 030001."""

ANALYSIS: Final[dict[str, Any]] = {
    "lepton_type": 13,
    "pt_min": 20.0,
    "isolation_max": ISOLATION,
    "window": [105.0, 160.0],
    "model": "gauss_plus_exponential",
    "histogram": {"name": "mass", "bins": 55, "low": 105.0, "high": 160.0},
}
"""The cuts [GeV], the window [GeV] and the model of the reference analysis."""

_MORE: Final = 20_000
"""Decays beside those of the data that tell the share of selected ones."""


def make(draws: RandomParameters) -> Instance:
    """The data of an instance."""
    mass = draws.away("mass", KNOWN_MASS, 6.0, 11.0)
    detector = Detector(muon=draws.uniform("muon_resolution", 0.015, 0.025))
    mean = draws.uniform("signal", 1_000.0, 1_600.0)
    background = draws.uniform("background", 16_000.0, 22_000.0)
    scale = draws.uniform("background_scale", 22.0, 35.0)
    generator = draws.generator("detector")
    number = draws.count("signal", mean)
    bosons = higgs_bosons(draws, mass, number + _MORE)
    signal = pair_events(generator, detector, decay(bosons, isotropic(generator, len(bosons))), soft=0.05)
    two, _ = lepton_mass(good_leptons(signal, ANALYSIS["pt_min"]), signal.number)
    pairs = continuum_pairs(draws, "pairs", draws.count("pairs", background), scale=scale, low=95.0, high=250.0)
    fakes = [
        continuum_pairs(draws, f"fakes {sign}", draws.count(f"fakes {sign}", 1_500.0), scale=30.0, low=95.0, high=250.0)
        for sign in range(2)
    ]
    events = joined(
        [
            signal.first(number),
            pair_events(generator, detector, pairs, soft=0.05),
            pair_events(generator, detector, fakes[0], prompt=False),
            pair_events(generator, detector, fakes[1], (-13, -13), prompt=False),
        ]
    )
    recorded = events.where(events.columns["trigM"]).shuffled(draws.generator("order"))
    truth = {"mass": mass, "signal_yield": float(mean * np.mean(two))}
    return Instance((Sample("data", "data", recorded),), truth, analysis=ANALYSIS)
