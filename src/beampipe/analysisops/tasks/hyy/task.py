"""H -> gamma gamma over a diphoton continuum: hidden mass, 6 to 13 GeV away from that of the Higgs boson, and yield.

Physics: Higgs bosons by Pythia; a continuum with an exponential mass, and pairs of jets that look like photons, by
laws of their own (see `beampipe.analysisops.samples.pairs`): the masses of these jets lie around the peak. Photons have
a relative resolution of 1.4 to 2.2 %, the peak one of 1.0 to 1.6 %.
"""

from __future__ import annotations

from typing import Final

from beampipe.analysisops.agents.analysis import (
    DIPHOTON_SELECTION,
    RECALLED_HIGGS,
    Analysis,
    AnalysisResult,
    diphotons,
    fit_peak,
    is_signal,
    peak_result,
)
from beampipe.analysisops.samples.dataset import Instance, Sample
from beampipe.analysisops.samples.detector import Detector
from beampipe.analysisops.samples.events import joined
from beampipe.analysisops.samples.kinematics import HIGGS_MASS
from beampipe.analysisops.samples.pairs import PHOTON_CUTS, continuum, higgs_events
from beampipe.analysisops.samples.random_parameters import RandomParameters

RECALLED: Final = AnalysisResult(RECALLED_HIGGS, {"signal": "yes"})
"""Published values of the answers."""


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
        analysis=PHOTON_CUTS,
    )


def analyse(analysis: Analysis) -> AnalysisResult:
    """Fit a Gaussian over an exponential to the masses of photon pairs.

    Photons that are tight and isolated (ptcone20 < 0.1 pt); the two of highest pt of at least two; the first above 0.35
    and the second above 0.25 of the mass of the two. All parameters are free, starting at the highest excess over the
    sidebands. Mass to about 0.15 GeV; signal_yield: the Gaussian's number of events after these cuts, to about 10 %.
    Word ``signal``: yes. Histogram ``mass``: 55 bins from 105 to 160 GeV.
    """
    events = diphotons(analysis, PHOTON_CUTS)
    peak = fit_peak(analysis, events, "mass", PHOTON_CUTS["window"], PHOTON_CUTS["model"], unbinned=True)
    return peak_result(
        analysis,
        events,
        peak,
        selection=DIPHOTON_SELECTION,
        model="a Gaussian, since the resolution is far broader than the natural width, over an exponential continuum",
        window=PHOTON_CUTS["window"],
        words={"signal": "yes" if is_signal(peak) else "no"},
    )
