"""A cross section from events to a HistFactory workspace: Z Z -> two muons and two neutrinos.

Physics: muon pairs of Z bosons by Pythia; lepton pairs of other sources ("top": of independent flavours) and fakes have
exponential masses. Missing momentum is exponential, with a scale of 90 GeV for Z Z and top, 25 GeV for Z bosons with
jets, and 20 GeV for fakes. In the data the cross section of Z Z is 0.4 to 0.65 or 1.35 to 1.6 of the stated one; those
of both backgrounds differ from the stated ones, too, so that control regions must fix them. Muons pass the tight
identification less often in data than in the simulated samples, whatever their pt and direction. Fakes, of which those
of equal charge have masses around the Z boson's, are in no sample; tight, isolated leptons reject them. The luminosity
of the data is Gaussian around the stated one, with the stated uncertainty, up to two of it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.samples.collisions import (
    Z_MASS,
    Detector,
    continuum_pairs,
    pair_events,
    resonance_pairs,
    shoulder_pairs,
    triggered,
    weighted_sample,
    with_missing_momentum,
)
from beampipe.analysisops.samples.dataset import Events, Instance, RandomParameters, Sample, joined

_PAIRS: Final = 16_000
_SIMULATED: Final = {"zz": 24_000, "zjets": 24_000, "top": 14_000}
_MET: Final = {"zz": 90.0, "zjets": 25.0, "top": 90.0, "fakes": 20.0}
_IN_SIMULATION: Final = 0.95
"""Identification efficiency of the simulated samples."""


def make(random: RandomParameters) -> Instance:
    """The data of an instance."""
    factor = random.away("strength", 1.0, 0.35, 0.6)
    efficiency = random.uniform("efficiency", 0.64, 0.78)
    uncertainty = round(random.uniform("luminosity_uncertainty", 0.025, 0.045), 4)
    means = {
        "zz": random.uniform("zz", 9_000.0, 11_000.0),
        "zjets": random.uniform("zjets", 9_000.0, 12_000.0),
        "top": random.uniform("top", 6_000.0, 8_000.0),
    }
    stated_over_true = {
        "zz": 1.0 / factor,
        "zjets": random.uniform("zjets_stated", 0.6, 0.8),
        "top": random.uniform("top_stated", 1.3, 1.6),
    }
    resolution = random.uniform("muon_resolution", 0.014, 0.022)
    data_detector = Detector(muon=resolution, efficiency=0.97, identified=efficiency)
    simulated_detector = Detector(muon=resolution, efficiency=0.97, identified=_IN_SIMULATION)
    cross_section = 1000 * float(f"{random.uniform('stated', 0.02, 0.04):.4g}") * factor
    stated_luminosity = round(means["zz"] / cross_section, 3)
    shift = float(np.clip(random.generator("luminosity").normal(), -2.0, 2.0))
    luminosity = stated_luminosity * (1 + uncertainty * shift)
    z_bosons = resonance_pairs(random, "z bosons", _PAIRS)
    data, samples = [], []
    for name, mean in means.items():
        number = random.count(f"{name} events", mean * luminosity / stated_luminosity)
        data.append(_events(random, f"{name} in data", name, data_detector, number, z_bosons))
        events = _events(random, f"{name} simulated", name, simulated_detector, _SIMULATED[name], z_bosons)
        stated = float(f"{mean / (1000 * stated_luminosity) * stated_over_true[name]:.5g}")
        role = "signal_mc" if name == "zz" else "background_mc"
        samples.append(
            weighted_sample(random, name, role, events, stated, spread=0.1, negative=0.03, recorded=triggered)
        )
    data.append(_fakes(random, data_detector, random.uniform("fakes", 3_000.0, 5_000.0)))
    return Instance(
        (Sample("data", "data", triggered(joined(data)).shuffled(random.generator("order"))), *samples),
        {"cross_section": cross_section, "efficiency": efficiency},
        public={"luminosity_fb": stated_luminosity, "luminosity_uncertainty": uncertainty},
    )


def _events(
    random: RandomParameters,
    what: str,
    name: str,
    detector: Detector,
    number: int,
    z_bosons: tuple[ndarray, ndarray],
) -> Events:
    """Events of one process; only top has electrons."""
    generator = random.generator(f"{what} detector")
    if name == "top":
        kinds = generator.integers(4, size=number)
        parts = []
        for kind, pdg in enumerate(((13, -13), (11, -11), (13, -11), (11, -13))):
            number_of_kind = int(np.sum(kinds == kind))
            pairs = continuum_pairs(random, f"{what} {kind}", number_of_kind, scale=60.0, low=60.0, high=140.0)
            parts.append(pair_events(generator, detector, pairs, pdg, soft=0.05))
        events = joined(parts)
    else:
        chosen = generator.integers(len(z_bosons[0]), size=number)
        events = pair_events(generator, detector, (z_bosons[0][chosen], z_bosons[1][chosen]), soft=0.05)
    return with_missing_momentum(generator, events, scale=_MET[name], low=0.0)


def _fakes(random: RandomParameters, detector: Detector, mean: float) -> Events:
    """Pairs of muons in jets, of opposite and of equal charge."""
    generator = random.generator("fakes detector")
    opposite = continuum_pairs(random, "fakes", random.count("fakes", mean), scale=45.0, low=40.0, high=250.0)
    equal = shoulder_pairs(random, "same sign", random.count("same sign", mean), mass=Z_MASS, width=3.0)
    events = joined(
        [
            pair_events(generator, detector, opposite, prompt=False),
            pair_events(generator, detector, equal, (13, 13), prompt=False),
        ]
    )
    return with_missing_momentum(generator, events, scale=_MET["fakes"], low=0.0)
