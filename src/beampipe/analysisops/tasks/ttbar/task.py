"""The mass of the top quark in lepton + jets: hidden, 8 to 13 GeV away from the known one, calibrated by simulation.

Physics: pairs of top quarks by Pythia, one W boson to e or mu and a neutrino, the other to quarks; jets of the incoming
showers make wrong combinations. There is no other background. The two files in the role ``signal_mc`` are the same
process through the same detector, with the masses that ``top_mass_gev`` states for each in the manifest. Wrong
combinations and thresholds pull the peak, so that it moves by less than the mass: one simulated mass is not enough.
Energies of jets are measured 5 % too low.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from beampipe.analysisops.samples.collisions import Detector, collide, observe, triggered
from beampipe.analysisops.samples.dataset import Events, Instance, Objects, RandomParameters, Sample, joined

KNOWN_MASS: Final = 172.57
"""Mass of the top quark [GeV], S. Navas et al. (Particle Data Group), Phys. Rev. D 110 (2024) 030001."""

SIMULATED: Final = {"simulation_1": 160.0, "simulation_2": 185.0}
"""Simulated file -> its mass of the top quark [GeV]."""

_SIMULATED: Final = 6_500
"""Simulated collisions per mass."""

_REPEATED: Final = 2
"""So often each simulated collision passes the detector: its resolution makes most of the peak's width."""


def make(random: RandomParameters) -> Instance:
    """The data of an instance."""
    mass = random.away("mass", KNOWN_MASS, 8.0, 13.0)
    detector = Detector(jet=random.uniform("jet_resolution", 0.06, 0.09), jet_scale=0.95)
    number = random.count("pairs", random.uniform("pairs", 10_000.0, 13_000.0))
    samples = [Sample("data", "data", _events(random, "data", detector, number, mass))]
    for name, simulated in SIMULATED.items():
        events = _events(random, name, detector, _SIMULATED, simulated, _REPEATED)
        samples.append(Sample(name, "signal_mc", events, {"top_mass_gev": simulated}))
    return Instance(tuple(samples), {"mass": mass})


def _events(
    random: RandomParameters, what: str, detector: Detector, number: int, mass: float, repeated: int = 1
) -> Events:
    """Recorded events of top quarks of some mass [GeV]."""
    settings = (
        "Top:gg2ttbar = on",
        "Top:qqbar2ttbar = on",
        f"6:m0 = {mass:.6f}",
        "24:onMode = off",
        "24:onPosIfAny = 11 13",
        "24:onNegIfAny = 1 2 3 4 5",
    )
    particles = collide(settings, number, random.seed(what))
    generator = random.generator(what)
    seen = joined([observe(generator, detector, particles, ("lep", "jet")) for _ in range(repeated)])
    # The lepton of every collision is positive; what is seen does not depend on it, so half of them are turned over.
    leptons = seen.collections["lep"]
    sign = generator.choice([-1, 1], seen.number)[leptons.event].astype(np.int32)
    turned = Objects(leptons.event, {**leptons.fields, "charge": sign * leptons.fields["charge"]})
    events = Events(seen.number, seen.columns, {**seen.collections, "lep": turned})
    return triggered(events).shuffled(generator)
