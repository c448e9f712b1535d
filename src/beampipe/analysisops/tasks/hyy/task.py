"""H -> gamma gamma over a diphoton continuum: hidden mass, 6 to 13 GeV away from that of the Higgs boson, and yield.

Physics: Higgs bosons by Pythia; a continuum with an exponential mass, and pairs of jets that look like photons, by laws
of their own (see `beampipe.analysisops.samples.collisions`): the masses of these jets lie around the peak. Photons have
a relative resolution of 1.4 to 2.2 %, the peak one of 1.0 to 1.6 %.
"""

from __future__ import annotations

from beampipe.analysisops.samples.collisions import HIGGS_MASS, Detector, continuum, higgs_events
from beampipe.analysisops.samples.dataset import Instance, RandomParameters, Sample, joined


def make(random: RandomParameters) -> Instance:
    """The data of an instance."""
    mass = random.away("mass", HIGGS_MASS, 6.0, 13.0)
    detector = Detector(photon=random.uniform("photon_resolution", 0.014, 0.022))
    background = random.uniform("background", 26_000.0, 34_000.0)
    signal, expected = higgs_events(random, detector, mass, random.uniform("signal", 1_300.0, 2_200.0))
    events = joined([signal, continuum(random, detector, background, mass)]).shuffled(random.generator("order"))
    recorded = events.where(events.columns["trigP"])
    return Instance(
        (Sample("data", "data", recorded),),
        {"mass": mass, "signal_yield": expected},
        {"signal": "yes"},
    )
