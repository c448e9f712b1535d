"""The efficiency of a muon identification, from Z -> mu mu with tags and probes.

Physics: Z bosons by Pythia with a Breit-Wigner line; each muon passes ``isTightID`` with the hidden efficiency,
whatever its pt and direction and whatever the other does. Pairs of fake muons, exponential in mass, pass with 25 %;
those of equal charge have masses around the peak. Events are recorded if at least one muon passes.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from beampipe.analysisops.agents.analysis import (
    LEPTONS,
    Analysis,
    AnalysisResult,
    muon_probes,
    probe_efficiency,
    tag_and_probe,
)
from beampipe.analysisops.samples.dataset import Instance, Sample
from beampipe.analysisops.samples.detector import Detector
from beampipe.analysisops.samples.events import joined
from beampipe.analysisops.samples.kinematics import Z_MASS
from beampipe.analysisops.samples.pairs import continuum_pairs, pair_events, resonance_pairs, shoulder_pairs
from beampipe.analysisops.samples.random_parameters import RandomParameters

CUTS: Final[dict[str, Any]] = {
    "pt_min": 20.0,
    "window": [71.0, 111.0],
    "model": "voigt_plus_exponential",
    "histogram": {"name": "mass", "bins": 40, "low": 71.0, "high": 111.0},
}
"""Cut [GeV], window [GeV] and model of the reference analysis."""

RECALLED: Final = AnalysisResult({"efficiency": (0.95, 0.01)})
"""A guess of the usual size, as no table has it."""


def make(random: RandomParameters) -> Instance:
    """The data of an instance."""
    efficiency = random.uniform("efficiency", 0.70, 0.95)
    detector = Detector(muon=random.uniform("muon_resolution", 0.014, 0.022), efficiency=0.97, identified=efficiency)
    number = random.uniform("resonances", 9_000.0, 13_000.0)
    fakes = random.uniform("fakes", 2_000.0, 4_000.0)
    scale = random.uniform("background_scale", 30.0, 60.0)
    generator = random.generator("detector")
    pairs = resonance_pairs(random, "muons", random.count("resonances", number))
    fake_pairs = continuum_pairs(random, "fakes", random.count("fakes", fakes), scale=scale, low=40.0, high=250.0)
    same_sign = shoulder_pairs(random, "same sign", random.count("same sign", fakes / 2), mass=Z_MASS, width=3.0)
    events = joined(
        [
            pair_events(generator, detector, pairs),
            pair_events(generator, detector, fake_pairs, prompt=False),
            pair_events(generator, detector, same_sign, (13, 13), prompt=False),
        ]
    )
    leptons = events.collections["lep"]
    tags = np.bincount(leptons.event[leptons.fields["isTightID"]], minlength=events.number)
    recorded = events.where(events.columns["trigM"] & (tags > 0)).shuffled(random.generator("order"))
    return Instance((Sample("data", "data", recorded),), {"efficiency": efficiency}, analysis=CUTS)


def analyse(analysis: Analysis) -> AnalysisResult:
    """Fit pairs where both muons pass, and pairs where one does.

    Muons with pt > 20 GeV; exactly two, of opposite charge. Each passing muon is a tag for the other one. Fit a Voigt
    line over an exponential to the masses from 71 to 111 GeV, once where both pass (TT) and once where one passes (TF),
    the latter with position, width and resolution fixed to those of the former: N_TT and N_TF signal events. A pair
    where both pass gives two passing probes: efficiency = 2 N_TT / (2 N_TT + N_TF), with an error of about 0.003 by
    propagation of both. Histogram ``mass``: 40 bins from 71 to 111 GeV, of all selected events.
    """
    low, high = CUTS["window"]
    events = muon_probes(analysis, analysis.load("data", [f"lep_{name}" for name in LEPTONS]), CUTS["pt_min"])
    passing, failing = tag_and_probe(analysis, events, (low, high), CUTS["model"])
    yields = [peak[name] for name in ("signal_yield", "signal_yield_error") for peak in (passing, failing)]
    return AnalysisResult(
        {"efficiency": probe_efficiency(analysis, *yields)},
        histograms=analysis.requested_histogram("mass", events, "mass"),
        method={
            "selection": "two muons of opposite charge above 20 GeV; each that passes is a tag, the other the probe",
            "model": "a Voigt profile over an exponential, of one shape for pairs of both kinds, so that fakes do not"
            " count as probes",
            "window": f"{low:g} to {high:g} GeV",
            "uncertainty": "those of both numbers of signal events, propagated",
        },
    )
