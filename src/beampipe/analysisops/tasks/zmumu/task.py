"""Z -> mu mu at a hidden mass, 1 to 5 GeV away from that of the Z boson.

Physics: Z bosons by Pythia with a Breit-Wigner line of 2.4952 GeV; 3 to 10 % of prompt pairs from other sources with
an exponential mass, by a law of their own; soft third leptons. Three kinds of pairs have masses beside the peak, so
that the cuts against them decide on the result: muons in jets 5 GeV below it, rarely tight and isolated; muons of which
one has a wrong charge, and so a wrong momentum, 5 GeV above it; electrons, whose energies are not calibrated, 3 GeV
below it. A muon has a relative resolution of 1.2 to 2.5 %, so the peak is smeared by 0.8 to 1.6 GeV.
"""

from __future__ import annotations

from typing import Any, Final

from beampipe.analysisops.agents.analysis import STATISTICAL, Analysis, AnalysisResult, dimuons, fit_peak
from beampipe.analysisops.samples.dataset import Instance, Sample
from beampipe.analysisops.samples.detector import ISOLATION, Detector, triggered
from beampipe.analysisops.samples.events import joined
from beampipe.analysisops.samples.kinematics import Z_MASS
from beampipe.analysisops.samples.pairs import continuum_pairs, pair_events, resonance_pairs, shoulder_pairs
from beampipe.analysisops.samples.random_parameters import RandomParameters

CUTS: Final[dict[str, Any]] = {
    "lepton_type": 13,
    "pt_min": 15.0,
    "isolation_max": ISOLATION,
    "window": [75.0, 107.0],
    "model": "voigt_plus_exponential",
    "histogram": {"name": "mass", "bins": 80, "low": 70.0, "high": 110.0},
}
"""Cuts [GeV], window [GeV] and model of the reference analysis."""

RECALLED: Final = AnalysisResult({"mass": (91.1880, 0.0020)})
"""What the Review of Particle Physics (2024) says [GeV]."""


def make(random: RandomParameters) -> Instance:
    """The data of an instance."""
    mass = random.away("mass", Z_MASS, 1.0, 5.0)
    detector = Detector(
        muon=random.uniform("muon_resolution", 0.012, 0.025),
        electron=random.uniform("electron_resolution", 0.015, 0.03),
    )
    number = random.uniform("resonances", 9_000.0, 14_000.0)
    share = random.uniform("background_share", 0.03, 0.10)
    scale = random.uniform("background_scale", 25.0, 45.0)
    generator = random.generator("detector")
    muons = resonance_pairs(random, "muons", random.count("resonances", number), mass=mass)
    electrons = resonance_pairs(random, "electrons", random.count("electrons", 0.13 * number), mass=mass - 3)
    prompt = continuum_pairs(
        random, "prompt", random.count("prompt", share * number), scale=scale, low=40.0, high=250.0
    )
    fakes = shoulder_pairs(random, "fakes", random.count("fakes", 2 * number), mass=mass - 5, width=3.0)
    wrong = shoulder_pairs(
        random, "wrong charge", random.count("wrong charge", 0.08 * number), mass=mass + 5, width=3.0
    )
    events = joined(
        [
            pair_events(generator, detector, muons, soft=0.06),
            pair_events(generator, detector, electrons, (11, -11), soft=0.06),
            pair_events(generator, detector, prompt, soft=0.1),
            pair_events(generator, detector, fakes, prompt=False),
            pair_events(generator, detector, wrong, (13, 13)),
        ]
    )
    recorded = triggered(events).shuffled(random.generator("order"))
    return Instance((Sample("data", "data", recorded),), {"mass": mass}, analysis=CUTS)


def analyse(analysis: Analysis) -> AnalysisResult:
    """Fit a Voigt line over an exponential to the masses of muon pairs.

    Keep tight, isolated (ptcone20 < 0.1 pt) muons with pt > 15 GeV; exactly two of them with opposite charge. Mass: the
    position of the line, to about 0.03 GeV. Histogram ``mass``: 80 bins from 70 to 110 GeV after these cuts.
    """
    low, high = CUTS["window"]
    events = dimuons(analysis, "data", pt=CUTS["pt_min"])
    peak = fit_peak(analysis, events, "mass", (low, high), CUTS["model"], unbinned=True)
    return AnalysisResult(
        {"mass": (peak["mu"], peak["mu_error"])},
        histograms=analysis.requested_histogram("mass", events, "mass"),
        method={
            "selection": "exactly two tight, isolated muons of opposite charge above 15 GeV; a higher threshold takes"
            " away low masses more than high ones, and moves the peak",
            "model": "a Voigt profile, since the line has a natural width and a resolution, over an exponential"
            " background of pairs from other sources",
            "window": f"{low:g} to {high:g} GeV, wide enough to fix the background beside the peak",
            "uncertainty": STATISTICAL,
        },
    )
