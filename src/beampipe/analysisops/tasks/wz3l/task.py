"""The cross section of W Z -> three leptons and a neutrino, from data and simulated samples with weights.

Physics: W Z and Z Z by Pythia, Z bosons with a fake lepton by Pythia's Z and a lepton of its own law. The cross
section in the data is 0.4 to 0.65 or 1.35 to 1.6 of the one that the manifest states for the simulated signal.
Backgrounds are as stated. Simulated events carry weights, some negative.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from beampipe.analysisops.agents.analysis import (
    Analysis,
    AnalysisResult,
    expected_events,
    leptons,
    opposite_pairs,
    stated,
)
from beampipe.analysisops.samples.dataset import Instance, Sample
from beampipe.analysisops.samples.detector import ISOLATION, Detector, leptons_of, observe, triggered
from beampipe.analysisops.samples.events import Events, joined, joined_objects
from beampipe.analysisops.samples.kinematics import collide, parents
from beampipe.analysisops.samples.pairs import event_weights, pair_events, resonance_pairs
from beampipe.analysisops.samples.random_parameters import RandomParameters

CUTS: Final[dict[str, Any]] = {
    "pt_min": 15.0,
    "leading_pt_min": 25.0,
    "isolation_max": ISOLATION,
    "target": 91.19,
    "half_window": 10.0,
    "met_min": 25.0,
    "histogram": {"name": "mass", "bins": 40, "low": 71.0, "high": 111.0},
}
"""Cuts [GeV] of the reference analysis."""

RECALLED: Final = AnalysisResult({"cross_section": (63.7, 2.5)})
"""A guess of the usual size, as no table has it [fb]."""

_DECAYS: Final = ("23:onMode = off", "23:onIfAny = 11 13", "24:onMode = off", "24:onIfAny = 11 13")
_PROCESSES: Final = {
    "wz": ("WeakDoubleBoson:ffbar2ZW = on", *_DECAYS),
    "zz": ("WeakDoubleBoson:ffbar2gmZgmZ = on", "23:mMin = 12", *_DECAYS),
}
_SIMULATED: Final = {"wz": 6_000, "zz": 2_500, "zjets": 4_000}
_MOST: Final = 6_000
"""So many events of a process are there for the data at most."""


def make(random: RandomParameters) -> Instance:
    """The data of an instance."""
    factor = random.away("strength", 1.0, 0.35, 0.6)
    means = {
        "wz": random.uniform("wz", 2_600.0, 3_200.0),
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
        weights = event_weights(random, name, rest.number, spread=0.1, negative=0.03)
        rest = rest.with_columns({"mcWeight": weights})
        recorded = triggered(rest)
        facts = {"cross_section_pb": stated, "sum_of_weights": float(np.sum(weights))}
        samples.append(Sample(name, "signal_mc" if name == "wz" else "background_mc", recorded, facts))
    data = triggered(joined(chosen)).shuffled(random.generator("order"))
    return Instance(
        (Sample("data", "data", data), *samples),
        {"cross_section": cross_section},
        public={"luminosity_fb": luminosity},
        analysis=CUTS,
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


def analyse(analysis: Analysis) -> AnalysisResult:
    """Count, subtract what is not W Z, and compare with what simulation expects of a stated cross section.

    Tight, isolated (ptcone20 < 0.1 pt) leptons with pt > 15 GeV; exactly three, the first above 25 GeV; a pair of the
    same kind and opposite charge, the closest one to 91.19 GeV, within 10 GeV of it; met > 25 GeV. Expected events of a
    simulated file: its sum of weights after the cuts times cross_section_pb * 1000 * luminosity_fb / sum_of_weights.
    Cross section [fb], of all W Z with electrons and muons and not only of those that are selected: 1000
    cross_section_pb of the signal times (data - backgrounds) / signal, to about 4 %, with the statistical errors of the
    data and of all samples. Histogram ``mass``: 40 bins from 71 to 111 GeV of the pair's mass, after all cuts but that
    on it.
    """
    low, high = CUTS["target"] - CUTS["half_window"], CUTS["target"] + CUTS["half_window"]
    inside = f"mass > {low:g} and mass < {high:g}"
    data = _three_leptons(analysis, "data", ["met"], None)
    observed = analysis.call("count_tool", events=data, expression=inside)
    signal, *backgrounds = (
        expected_events(analysis, _three_leptons(analysis, role, ["met", "mcWeight"], number), inside, file)
        for role in ("signal_mc", "background_mc")
        for number, file in enumerate(analysis.files[role])
    )
    names = [f"background{number}" for number in range(len(backgrounds))]
    cross_section = analysis.call(
        "calculate_tool",
        expression=f"1000 * stated * (data - {' - '.join(names)}) / signal",
        values={
            "stated": stated(analysis.files["signal_mc"][0], "cross_section_pb"),
            "data": observed["sum_weights"],
            "signal": signal["value"],
            **{name: expected["value"] for name, expected in zip(names, backgrounds, strict=True)},
        },
        errors={
            "data": observed["error"],
            "signal": signal["uncertainty"],
            **{name: expected["uncertainty"] for name, expected in zip(names, backgrounds, strict=True)},
        },
    )
    half, met = CUTS["half_window"], CUTS["met_min"]
    return AnalysisResult(
        {"cross_section": (cross_section["value"], cross_section["uncertainty"])},
        histograms=analysis.requested_histogram("mass", data, "mass"),
        method={
            "selection": "exactly three tight, isolated leptons above 15 GeV, the first above 25 GeV; a pair of one"
            f" kind and opposite charge within {half:g} GeV of the Z boson; missing momentum above {met:g} GeV of the"
            " neutrino",
            "model": "a count less simulated backgrounds, over what the simulated signal gives for its cross section",
            "window": f"{low:g} to {high:g} GeV for the pair",
            "uncertainty": "statistical, of the data and of all simulated samples, propagated",
        },
    )


def _three_leptons(analysis: Analysis, role: str, more: list[str], file: int | None) -> str:
    """Events with three leptons, missing momentum, and the mass of the pair that is most like a Z boson."""
    good = leptons(analysis, role, pt=CUTS["pt_min"], more=more, file=file)
    cuts = f"count(lep_pt) == 3 and lep_pt[0] > {CUTS['leading_pt_min']:g} and met > {CUTS['met_min']:g}"
    events = analysis.select(good, cuts)
    return opposite_pairs(analysis, events, "closest", lepton_type="lep_type", target=CUTS["target"])
