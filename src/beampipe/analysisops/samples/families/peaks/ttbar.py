"""The mass of the top quark in lepton + jets: hidden, 8 to 13 GeV away from the known one, calibrated by simulation.

Physics: pairs of top quarks by Pythia, one W boson to e or mu and a neutrino, the other to quarks; jets of the incoming
showers make wrong combinations. There is no other background. The two files in the role ``signal_mc`` are the same
process through the same detector, with the masses that ``top_mass_gev`` states for each in the manifest. Wrong
combinations and thresholds pull the peak, so that it moves by less than the mass: one simulated mass is not enough.

Best analysis, in each file: exactly one tight, isolated (ptcone20 < 0.1 pt) lepton with pt > 25 GeV; met > 20 GeV; at
least four jets with pt > 25 GeV, exactly two of them with btag_quantile >= 4. Of all three jets among these of which
exactly one is b-tagged, take those whose summed momentum has the highest pt. Fit a Gaussian over a straight line to
their mass, from 0.78 to 1.22 of the highest of 50 bins between 100 and 250 GeV. With the positions p of the data and
p1, p2 of the simulated masses m1, m2: mass = m1 + (p - p1) (m2 - m1) / (p2 - p1), to about 0.7 GeV, by propagation of
the three errors. Histogram ``mass``: 50 bins from 100 to 250 GeV of the data.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from beampipe.analysisops.samples.dataset import Instance, Sample
from beampipe.analysisops.samples.detector import ISOLATION, TIGHT_TAG, Detector, observe
from beampipe.analysisops.samples.events import Events, Objects, joined
from beampipe.analysisops.samples.kinematics import collide
from beampipe.analysisops.samples.random_parameters import RandomParameters

__all__ = ["ANALYSIS", "make"]

KNOWN_MASS: Final = 172.57
"""Mass of the top quark [GeV], S. Navas et al. (Particle Data Group), Phys. Rev. D 110 (2024) 030001."""

SIMULATED: Final = {"simulation_1": 160.0, "simulation_2": 185.0}
"""Simulated file -> its mass of the top quark [GeV]."""

ANALYSIS: Final[dict[str, Any]] = {
    "lepton_pt_min": 25.0,
    "isolation_max": ISOLATION,
    "met_min": 20.0,
    "jet_pt_min": 25.0,
    "jets_min": 4,
    "btag_quantile_min": TIGHT_TAG,
    "b_jets": 2,
    "window_relative": [0.78, 1.22],
    "model": "gauss_plus_linear",
    "histogram": {"name": "mass", "bins": 50, "low": 100.0, "high": 250.0},
}
"""The cuts [GeV], the window relative to the highest bin and the model of the reference analysis."""

_SIMULATED: Final = 6_500
"""Simulated collisions per mass."""

_REPEATED: Final = 2
"""So often each simulated collision passes the detector: its resolution makes most of the peak's width."""


def make(draws: RandomParameters) -> Instance:
    """The data of an instance."""
    mass = draws.away("mass", KNOWN_MASS, 8.0, 13.0)
    detector = Detector(jet=draws.uniform("jet_resolution", 0.06, 0.09))
    number = draws.count("pairs", draws.uniform("pairs", 10_000.0, 13_000.0))
    samples = [Sample("data", "data", _events(draws, "data", detector, number, mass))]
    for name, simulated in SIMULATED.items():
        events = _events(draws, name, detector, _SIMULATED, simulated, _REPEATED)
        samples.append(Sample(name, "signal_mc", events, {"top_mass_gev": simulated}))
    return Instance(tuple(samples), {"mass": mass}, analysis=ANALYSIS)


def _events(
    draws: RandomParameters, what: str, detector: Detector, number: int, mass: float, repeated: int = 1
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
    particles = collide(settings, number, draws.seed(what))
    generator = draws.generator(what)
    seen = joined([observe(generator, detector, particles, ("lep", "jet")) for _ in range(repeated)])
    # The lepton of every collision is positive; what is seen does not depend on it, so half of them are turned over.
    leptons = seen.collections["lep"]
    sign = generator.choice([-1, 1], seen.number)[leptons.event].astype(np.int32)
    turned = Objects(leptons.event, {**leptons.fields, "charge": sign * leptons.fields["charge"]})
    events = Events(seen.number, seen.columns, {**seen.collections, "lep": turned})
    return events.where(events.columns["trigE"] | events.columns["trigM"]).shuffled(generator)
