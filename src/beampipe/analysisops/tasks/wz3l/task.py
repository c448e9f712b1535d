"""The cross section of W Z -> three leptons and a neutrino, from data and simulated samples with weights.

Physics: W Z and Z Z by Pythia, Z bosons with a fake lepton by Pythia's Z and a lepton of its own law. The cross
section in the data is 0.3 to 0.7 or 1.4 to 3.3 of the one that the manifest states for the simulated signal, and its
number of events varies fourfold: otherwise the luminosity would tell the answer. Backgrounds are as stated. Simulated
events carry weights, some negative.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from beampipe.analysisops.samples.collisions import (
    Detector,
    collide,
    leptons_of,
    observe,
    pair_events,
    parents,
    resonance_pairs,
    triggered,
    weighted_sample,
)
from beampipe.analysisops.samples.dataset import Events, Instance, RandomParameters, Sample, joined, joined_objects

_DECAYS: Final = ("23:onMode = off", "23:onIfAny = 11 13", "24:onMode = off", "24:onIfAny = 11 13")
_PROCESSES: Final = {
    "wz": ("WeakDoubleBoson:ffbar2ZW = on", *_DECAYS),
    "zz": ("WeakDoubleBoson:ffbar2gmZgmZ = on", "23:mMin = 12", *_DECAYS),
}
_SIMULATED: Final = {"wz": 6_000, "zz": 2_500, "zjets": 4_000}
_MOST: Final = 9_000
"""So many events of a process are there for the data at most."""


def make(random: RandomParameters) -> Instance:
    """The data of an instance."""
    factor = float(np.exp(random.away("log_strength", 0.0, 0.35, 1.2)))
    means = {
        "wz": random.uniform("wz", 2_000.0, 8_000.0),
        "zz": random.uniform("zz", 4_000.0, 5_500.0),
        "zjets": random.uniform("zjets", 1_000.0, 2_000.0),
    }
    detector = Detector(
        electron=random.uniform("electron_resolution", 0.015, 0.025),
        muon=random.uniform("muon_resolution", 0.015, 0.025),
    )
    chosen, samples = [], []
    luminosity = cross_section = 0.0
    for name, mean in means.items():
        number = min(random.count(f"{name} events", mean), _MOST)
        events, predicted = _sample(random, name, detector, number + _SIMULATED[name])
        if name == "wz":
            stated = float(f"{predicted:.5g}")
            cross_section = 1000 * stated * factor
            luminosity = round(mean / cross_section, 3)
        else:
            stated = float(f"{mean / (1000 * luminosity):.5g}")
        chosen.append(events.first(number))
        rest = events.rows(np.arange(number, events.number))
        role = "signal_mc" if name == "wz" else "background_mc"
        samples.append(weighted_sample(random, name, role, rest, stated, spread=0.1, negative=0.03, recorded=triggered))
    data = triggered(joined(chosen)).shuffled(random.generator("order"))
    return Instance(
        (Sample("data", "data", data), *samples),
        {"cross_section": cross_section},
        public={"luminosity_fb": luminosity},
    )


def _sample(random: RandomParameters, name: str, detector: Detector, number: int) -> tuple[Events, float]:
    """Events of one process and its cross section by Pythia [pb], 0 if Pythia does not know it."""
    generator = random.generator(f"{name} detector")
    if name in _PROCESSES:
        particles = collide(_PROCESSES[name], number, random.seed(name))
        return observe(generator, detector, particles), particles.cross_section
    pairs = resonance_pairs(random, name, number)
    events = joined(
        [
            pair_events(generator, detector, (pairs[0][0::2], pairs[1][0::2]), (13, -13)),
            pair_events(generator, detector, (pairs[0][1::2], pairs[1][1::2]), (11, -11)),
        ]
    )
    momenta = parents(generator, np.full(number, 1e-3), pt=12 + generator.exponential(12, number))
    kinds = generator.choice([11, -11, 13, -13], number)
    fakes = leptons_of(generator, detector, np.arange(number), kinds, momenta, prompt=False)
    leptons = joined_objects([events.collections["lep"], fakes]).by_pt()
    return Events(number, events.columns, {"lep": leptons}).shuffled(generator), 0.0
