"""The mass of the top quark in lepton + jets: hidden, 8 to 13 GeV away from the known one, calibrated by simulation.

Physics: pairs of top quarks by Pythia, one W boson to e or mu and a neutrino, the other to quarks; jets of the incoming
showers make wrong combinations. There is no other background. The two files in the role ``signal_mc`` are the same
process through the same detector, with the masses that ``top_mass_gev`` states for each in the manifest. Wrong
combinations and thresholds pull the peak, so that it moves by less than the mass: one simulated mass is not enough.
Energies of jets are measured 5 % too low.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from beampipe.analysisops.agents.analysis import (
    JETS,
    LEPTONS,
    Analysis,
    AnalysisResult,
    Binning,
    fit_peak,
    four_vectors,
    fullest_bin,
    stated,
)
from beampipe.analysisops.samples.dataset import Instance, Sample
from beampipe.analysisops.samples.detector import ISOLATION, TIGHT_TAG, Detector, observe, triggered
from beampipe.analysisops.samples.events import Events, Objects, joined
from beampipe.analysisops.samples.kinematics import collide
from beampipe.analysisops.samples.random_parameters import RandomParameters

KNOWN_MASS: Final = 172.57
"""Mass of the top quark [GeV], S. Navas et al. (Particle Data Group), Phys. Rev. D 110 (2024) 030001."""

SIMULATED: Final = {"simulation_1": 160.0, "simulation_2": 185.0}
"""Simulated file -> its mass of the top quark [GeV]."""

CUTS: Final[dict[str, Any]] = {
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
"""Cuts [GeV], window relative to the highest bin, and model of the reference analysis."""

RECALLED: Final = AnalysisResult({"mass": (172.57, 0.29)})
"""What the Review of Particle Physics (2024) says [GeV]."""

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
    return Instance(tuple(samples), {"mass": mass}, analysis=CUTS)


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


def analyse(analysis: Analysis) -> AnalysisResult:
    """The position of the peak in the data, between those of the two simulated masses.

    In each file: exactly one tight, isolated (ptcone20 < 0.1 pt) lepton with pt > 25 GeV; met > 20 GeV; at least four
    jets with pt > 25 GeV, exactly two of them with btag_quantile >= 4. Of all three jets among these of which exactly
    one is b-tagged, take those whose summed momentum has the highest pt. Fit a Gaussian over a straight line to their
    mass, from 0.78 to 1.22 of the highest of 50 bins between 100 and 250 GeV. With the positions p of the data and p1,
    p2 of the simulated masses m1, m2: mass = m1 + (p - p1) (m2 - m1) / (p2 - p1), to about 0.7 GeV, by propagation of
    the three errors. Histogram ``mass``: 50 bins from 100 to 250 GeV of the data.
    """
    events = _three_jets(analysis, "data", 0)
    peak = _fit(analysis, events)
    simulated = [_fit(analysis, _three_jets(analysis, "signal_mc", number)) for number in range(2)]
    masses = [stated(file, "top_mass_gev") for file in analysis.files["signal_mc"][:2]]
    mass = analysis.call(
        "calculate_tool",
        expression="m1 + (p - p1) * (m2 - m1) / (p2 - p1)",
        values={
            "m1": masses[0],
            "m2": masses[1],
            "p": peak["mu"],
            "p1": simulated[0]["mu"],
            "p2": simulated[1]["mu"],
        },
        errors={"p": peak["mu_error"], "p1": simulated[0]["mu_error"], "p2": simulated[1]["mu_error"]},
    )
    low, high = CUTS["window_relative"]
    return AnalysisResult(
        {"mass": (mass["value"], mass["uncertainty"])},
        histograms=analysis.requested_histogram("mass", events, "mass"),
        method={
            "selection": "one tight, isolated lepton above 25 GeV, missing momentum above 20 GeV, at least four jets"
            " above 25 GeV of which exactly two are b-tagged; the three jets with one b tag of highest summed momentum",
            "model": "a Gaussian over a straight line of wrong combinations; the position is turned into a mass by the"
            " straight line through the positions of two simulated masses",
            "window": f"{low:g} to {high:g} of the fullest bin",
            "uncertainty": "those of the three positions, propagated",
        },
    )


def _three_jets(analysis: Analysis, role: str, number: int) -> str:
    """Events of one file with the mass of three jets."""
    lepton_cuts = f"lep_pt > {CUTS['lepton_pt_min']:g} and lep_isTightID and lep_ptcone20 < {ISOLATION:g} * lep_pt"
    event_cuts = (
        f"count(lep_pt) == 1 and met > {CUTS['met_min']:g} and count(jet_pt) >= {CUTS['jets_min']}"
        f" and count(tagged) == {CUTS['b_jets']}"
    )
    columns = [f"lep_{name}" for name in LEPTONS] + [f"jet_{name}" for name in JETS] + ["met"]
    events = analysis.load(role, columns, file=number)
    events = analysis.select_objects(events, "lep", LEPTONS, lepton_cuts)
    events = analysis.select_objects(events, "jet", JETS, f"jet_pt > {CUTS['jet_pt_min']:g}")
    events = analysis.derive(events, "tagged", f"jet_btag_quantile >= {CUTS['btag_quantile_min']}")
    return analysis.handle(
        "calc_combination_mass_tool",
        events=analysis.select(events, event_cuts),
        **four_vectors("jet"),
        number=3,
        choose="highest_pt",
        must="tagged",
    )


def _fit(analysis: Analysis, events: str) -> dict[str, Any]:
    """The peak of three-jet masses, fitted around its fullest bin."""
    top = fullest_bin(analysis, events, "mass", Binning(50, 100.0, 250.0))
    low, high = CUTS["window_relative"]
    window = (round(low * top, 2), round(high * top, 2))
    return fit_peak(analysis, events, "mass", window, CUTS["model"], bins=100)
