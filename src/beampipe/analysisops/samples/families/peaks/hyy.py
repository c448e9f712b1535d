"""H -> gamma gamma over a diphoton continuum: hidden mass, 6 to 13 GeV away from that of the Higgs boson, and yield.

Physics: Higgs bosons by Pythia; a continuum with an exponential mass, and pairs of jets that look like photons, by
laws of their own (see `families.diphotons`). Photons have a relative resolution of 1.4 to 2.2 %, the peak one of 1.0
to 1.6 %.

Best analysis: photons that are tight and isolated (ptcone20 < 0.1 pt); the two of highest pt of at least two; the
first above 0.35 and the second above 0.25 of the mass of the two. Fit a Gaussian over an exponential to the masses
from 105 to 160 GeV, all parameters free, starting at the highest excess over the sidebands. Mass to about 0.15 GeV;
signal_yield: the Gaussian's number of events after these cuts, to about 10 %. Word ``signal``: yes. Histogram
``mass``: 55 bins from 105 to 160 GeV.
"""

from __future__ import annotations

from typing import Final

from beampipe.analysisops.samples.dataset import Instance, Sample
from beampipe.analysisops.samples.detector import Detector
from beampipe.analysisops.samples.events import joined
from beampipe.analysisops.samples.pairs import PHOTON_CUTS, continuum, higgs_events
from beampipe.analysisops.samples.random_parameters import RandomParameters

__all__ = ["make"]

KNOWN_MASS: Final = 125.2
"""Mass of the Higgs boson [GeV], S. Navas et al. (Particle Data Group), Phys. Rev. D 110 (2024) 030001."""


def make(draws: RandomParameters) -> Instance:
    """The data of an instance."""
    mass = draws.away("mass", KNOWN_MASS, 6.0, 13.0)
    detector = Detector(photon=draws.uniform("photon_resolution", 0.014, 0.022))
    background = draws.uniform("background", 26_000.0, 34_000.0)
    signal, expected = higgs_events(draws, detector, mass, draws.uniform("signal", 1_300.0, 2_200.0))
    events = joined([signal, continuum(draws, detector, background)]).shuffled(draws.generator("order"))
    recorded = events.where(events.columns["trigP"])
    return Instance(
        (Sample("data", "data", recorded),),
        {"mass": mass, "signal_yield": expected},
        {"signal": "yes"},
        analysis=PHOTON_CUTS,
    )
