"""A cross section from events to a HistFactory workspace: Z Z -> two muons and two neutrinos.

Physics: muon pairs of Z bosons by Pythia; lepton pairs of other sources ("top": of independent flavours) and fakes have
exponential masses. Missing momentum is exponential, with a scale of 90 GeV for Z Z and top, 25 GeV for Z bosons with
jets, and 20 GeV for fakes. In the data the cross section of Z Z is 0.4 to 0.65 or 1.35 to 1.6 of the stated one; those
of both backgrounds differ from the stated ones, too, so that control regions must fix them. Muons pass the tight
identification less often in data than in the simulated samples, whatever their pt and direction. Fakes, of which those
of equal charge have masses around the Z boson's, are in no sample; tight, isolated leptons reject them. The luminosity
of the data is Gaussian around the stated one, with the stated uncertainty, up to two of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import numpy as np
from numpy import ndarray

from beampipe.analysisops.agents.analysis import (
    LEPTONS,
    Analysis,
    AnalysisResult,
    Binning,
    muon_probes,
    opposite_pairs,
    probe_efficiency,
    stated,
    tag_and_probe,
    tight_leptons,
)
from beampipe.analysisops.samples.dataset import Instance, Sample
from beampipe.analysisops.samples.detector import ISOLATION, Detector, triggered
from beampipe.analysisops.samples.events import Events, joined
from beampipe.analysisops.samples.kinematics import Z_MASS, falling
from beampipe.analysisops.samples.pairs import (
    continuum_pairs,
    event_weights,
    pair_events,
    resonance_pairs,
    shoulder_pairs,
)
from beampipe.analysisops.samples.random_parameters import RandomParameters

CUTS: Final[dict[str, Any]] = {
    "pt_min": 20.0,
    "isolation_max": ISOLATION,
    "mass_window": [76.0, 106.0],
    "probe_window": [71.0, 111.0],
    "model": "voigt_plus_exponential",
    "signal_met": [80.0, 400.0],
    "control_met": [30.0, 60.0],
    "histogram": {"name": "met", "bins": 30, "low": 0.0, "high": 300.0},
}
"""Cuts [GeV], windows [GeV] and model of the reference analysis."""

RECALLED: Final = AnalysisResult(
    {
        "efficiency": (0.95, 0.01),
        "background": (200.0, 20.0),
        "cross_section": (25.0, 1.5),
        "cross_section_statistical": (25.0, 1.2),
        "cross_section_luminosity": (25.0, 0.6),
        "cross_section_efficiency": (25.0, 0.5),
    }
)
"""Guesses of the usual size, as no table has these [fb]."""

_PAIRS: Final = 16_000
_SIMULATED: Final = {"zz": 24_000, "zjets": 24_000, "top": 14_000}
_MET: Final = {"zz": 90.0, "zjets": 25.0, "top": 90.0, "fakes": 20.0}
_IN_SIMULATION: Final = 0.95
"""Identification efficiency of the simulated samples."""


def make(random: RandomParameters) -> Instance:
    """The data of an instance."""
    factor = random.away("strength", 1.0, 0.35, 0.6)
    efficiency = random.uniform("efficiency", 0.64, 0.78)
    uncertainty = round(random.uniform("luminosity_uncertainty", 0.025, 0.045), 4)
    means = {
        "zz": random.uniform("zz", 9_000.0, 11_000.0),
        "zjets": random.uniform("zjets", 9_000.0, 12_000.0),
        "top": random.uniform("top", 6_000.0, 8_000.0),
    }
    stated_over_true = {
        "zz": 1.0 / factor,
        "zjets": random.uniform("zjets_stated", 0.6, 0.8),
        "top": random.uniform("top_stated", 1.3, 1.6),
    }
    resolution = random.uniform("muon_resolution", 0.014, 0.022)
    data_detector = Detector(muon=resolution, efficiency=0.97, identified=efficiency)
    simulated_detector = Detector(muon=resolution, efficiency=0.97, identified=_IN_SIMULATION)
    cross_section = 1000 * float(f"{random.uniform('stated', 0.02, 0.04):.4g}") * factor
    stated_luminosity = round(means["zz"] / cross_section, 3)
    shift = float(np.clip(random.generator("luminosity").normal(), -2.0, 2.0))
    luminosity = stated_luminosity * (1 + uncertainty * shift)
    z_bosons = resonance_pairs(random, "z bosons", _PAIRS)
    data, samples = [], []
    for name, mean in means.items():
        number = random.count(f"{name} events", mean * luminosity / stated_luminosity)
        data.append(_events(random, f"{name} in data", name, data_detector, number, z_bosons))
        events = _events(random, f"{name} simulated", name, simulated_detector, _SIMULATED[name], z_bosons)
        weights = event_weights(random, name, events.number, spread=0.1, negative=0.03)
        recorded = triggered(events.with_columns({"mcWeight": weights}))
        predicted = mean / (1000 * stated_luminosity) * stated_over_true[name]
        facts = {"cross_section_pb": float(f"{predicted:.5g}"), "sum_of_weights": float(np.sum(weights))}
        samples.append(Sample(name, "signal_mc" if name == "zz" else "background_mc", recorded, facts))
    data.append(_fakes(random, data_detector, random.uniform("fakes", 3_000.0, 5_000.0)))
    return Instance(
        (Sample("data", "data", triggered(joined(data)).shuffled(random.generator("order"))), *samples),
        {"cross_section": cross_section, "efficiency": efficiency},
        public={"luminosity_fb": stated_luminosity, "luminosity_uncertainty": uncertainty},
        analysis=CUTS,
    )


def _events(
    random: RandomParameters,
    what: str,
    name: str,
    detector: Detector,
    number: int,
    z_bosons: tuple[ndarray, ndarray],
) -> Events:
    """Events of one process; only top has electrons."""
    generator = random.generator(f"{what} detector")
    if name == "top":
        kinds = generator.integers(4, size=number)
        parts = []
        for kind, pdg in enumerate(((13, -13), (11, -11), (13, -11), (11, -13))):
            number_of_kind = int(np.sum(kinds == kind))
            pairs = continuum_pairs(random, f"{what} {kind}", number_of_kind, scale=60.0, low=60.0, high=140.0)
            parts.append(pair_events(generator, detector, pairs, pdg, soft=0.05))
        events = joined(parts)
    else:
        chosen = generator.integers(len(z_bosons[0]), size=number)
        events = pair_events(generator, detector, (z_bosons[0][chosen], z_bosons[1][chosen]), soft=0.05)
    return _with_met(generator, events, _MET[name])


def _fakes(random: RandomParameters, detector: Detector, mean: float) -> Events:
    """Pairs of muons in jets, of opposite and of equal charge."""
    generator = random.generator("fakes detector")
    opposite = continuum_pairs(random, "fakes", random.count("fakes", mean), scale=45.0, low=40.0, high=250.0)
    equal = shoulder_pairs(random, "same sign", random.count("same sign", mean), mass=Z_MASS, width=3.0)
    events = joined(
        [
            pair_events(generator, detector, opposite, prompt=False),
            pair_events(generator, detector, equal, (13, 13), prompt=False),
        ]
    )
    return _with_met(generator, events, _MET["fakes"])


def _with_met(generator: np.random.Generator, events: Events, scale: float) -> Events:
    met = falling(generator, events.number, scale=scale, low=0.0, high=900.0)
    return events.with_columns({"met": met, "met_phi": generator.uniform(-np.pi, np.pi, events.number)})


def analyse(analysis: Analysis) -> AnalysisResult:
    """Measure the muon efficiency, fix the backgrounds in control regions, and fit all regions together.

    Efficiency: muons with pt > 20 GeV, exactly two of opposite charge, any missing momentum; 2 N_TT / (2 N_TT + N_TF)
    with N_TT and N_TF signal events of Voigt lines over exponentials from 71 to 111 GeV, as in the task `tagprobe`. In
    simulation without fakes, N_TT and N_TF are sums of weights.

    Regions: exactly two tight, isolated (ptcone20 < 0.1 pt) leptons with pt > 20 GeV, of opposite charge. Signal: two
    muons of a mass from 76 to 106 GeV, met from 80 to 400 GeV in 4 bins. Z with jets: the same pairs, met from 30 to 60
    GeV. Top: a muon and an electron of any mass, met from 80 to 400 GeV. Each sample is scaled by cross_section_pb *
    1000 * luminosity_fb / sum_of_weights, the signal also by (efficiency in data / efficiency in simulation)^2. Free:
    the strength of the signal and both backgrounds. Constrained: luminosity and the square of the efficiency ratio, on
    the signal. Cross section [fb]: 1000 cross_section_pb * strength, to 6 to 8 %.

    Table of uncertainties: a part is the root of the difference of squares of the whole uncertainty and of that with
    its parameter fixed; the statistical one that with both fixed. ``background``: expected events of both
    backgrounds in the signal region, from the fit. Histogram ``met``: 30 bins from 0 to 300 GeV, pairs of the signal
    region with any missing momentum.
    """
    columns = [*(f"lep_{name}" for name in LEPTONS), "met"]
    data = analysis.load("data", columns)
    simulated = {
        name: (analysis.load(role, [*columns, "mcWeight"], file=number), analysis.files[role][number])
        for name, role, number in (
            ("signal", "signal_mc", 0),
            ("first", "background_mc", 0),
            ("second", "background_mc", 1),
        )
    }
    passing, failing = tag_and_probe(
        analysis, muon_probes(analysis, data, CUTS["pt_min"]), CUTS["probe_window"], CUTS["model"]
    )
    yields = [peak[name] for name in ("signal_yield", "signal_yield_error") for peak in (passing, failing)]
    efficiency = probe_efficiency(analysis, *yields)
    correction, relative = _correction(analysis, efficiency, simulated["signal"][0])
    regions, pairs = _regions(analysis, data, None)
    channels = {region: {"data": handle} for region, handle in regions.items()}
    scales = {}
    for name, (events, file) in simulated.items():
        for region, handle in _regions(analysis, events, "mcWeight")[0].items():
            channels[region][name] = handle
        scales[name] = _scale(analysis, file, correction if name == "signal" else 1)
    workspace = analysis.handle(
        "build_workspace_tool",
        channels=channels,
        parameters={
            "strength": ["signal"],
            "scale_of_first": ["first"],
            "scale_of_second": ["second"],
            "luminosity": ["signal"],
            "muon_efficiency": ["signal"],
        },
        measured="strength",
        uncertainties={
            "luminosity": stated(analysis.public, "luminosity_uncertainty"),
            "muon_efficiency": relative,
        },
        scales=scales,
    )
    stated_cross_section = stated(simulated["signal"][1], "cross_section_pb")
    (cross_section, whole), fit = _measured(analysis, workspace, stated_cross_section, [])
    left = {
        name: _measured(analysis, workspace, stated_cross_section, fixed)[0][1]
        for name, fixed in (
            ("luminosity", ["luminosity"]),
            ("efficiency", ["muon_efficiency"]),
            ("statistical", ["luminosity", "muon_efficiency"]),
        )
    }
    parts = {"cross_section_statistical": left["statistical"]}
    for name in ("luminosity", "efficiency"):
        parts[f"cross_section_{name}"] = analysis.call(
            "calculate_tool",
            expression="sqrt(max(whole**2 - left**2, 0))",
            values={"whole": whole, "left": left[name]},
        )["value"]
    expected = fit["expected"]["signal_region"]
    background = analysis.call(
        "calculate_tool",
        expression="first + second",
        values={name: expected[name]["value"] for name in ("first", "second")},
        errors={name: expected[name]["error"] for name in ("first", "second")},
    )
    return AnalysisResult(
        {
            "efficiency": efficiency,
            "background": (background["value"], background["uncertainty"]),
            "cross_section": (cross_section, whole),
            **{name: (cross_section, part) for name, part in parts.items()},
        },
        histograms=analysis.requested_histogram("met", pairs, "met"),
        artifacts={"workspace": workspace},
        method={
            "selection": "two tight, isolated muons of opposite charge near the Z boson with much missing momentum; a"
            " muon and an electron for top, little missing momentum for Z with jets",
            "model": "one HistFactory workspace of the signal region and both control regions, whose fit scales the"
            " signal and both backgrounds",
            "window": "missing momentum from 80 to 400 GeV, muon pairs from 76 to 106 GeV",
            "uncertainty": "of the fit, with constraints on luminosity and muon efficiency; its parts by fixing these",
        },
    )


def _correction(analysis: Analysis, efficiency: tuple[float, float], signal: str) -> tuple[float, float]:
    """Square of the efficiency in data over that in the simulated signal, and its relative uncertainty."""
    probes = muon_probes(analysis, signal, CUTS["pt_min"])
    low, high = CUTS["probe_window"]
    both, one = (
        analysis.call(
            "count_tool",
            events=probes,
            expression=f"count(lep_isTightID) == {passing} and mass > {low:g} and mass < {high:g}",
            weight="mcWeight",
        )
        for passing in (2, 1)
    )
    simulated = probe_efficiency(analysis, both["sum_weights"], one["sum_weights"], both["error"], one["error"])
    ratio = analysis.call(
        "calculate_tool",
        expression="(data / simulated)**2",
        values={"data": efficiency[0], "simulated": simulated[0]},
        errors={"data": efficiency[1], "simulated": simulated[1]},
    )
    relative = analysis.call(
        "calculate_tool",
        expression="error / ratio",
        values={"error": ratio["uncertainty"], "ratio": ratio["value"]},
    )
    return ratio["value"], relative["value"]


def _regions(analysis: Analysis, events: str, weight: str | None) -> tuple[dict[str, str], str]:
    """Histograms of missing momentum in the signal region and both control regions, and the pairs of muons."""
    good = tight_leptons(analysis, events, CUTS["pt_min"])
    leptons = opposite_pairs(analysis, analysis.select(good, "count(lep_pt) == 2"))
    low, high = CUTS["mass_window"]
    muons = analysis.select(leptons, f"sum(lep_type) == 26 and mass > {low:g} and mass < {high:g}")
    mixed = analysis.select(leptons, "sum(lep_type) == 24")
    signal_met, control_met = CUTS["signal_met"], CUTS["control_met"]
    regions = {
        "signal_region": (muons, Binning(4, *signal_met)),
        "little_met": (muons, Binning(1, *control_met)),
        "muon_electron": (mixed, Binning(1, *signal_met)),
    }
    handles = {
        name: str(analysis.fill(selected, "met", binning, weight)["handle"])
        for name, (selected, binning) in regions.items()
    }
    return handles, muons


def _scale(analysis: Analysis, file: Mapping[str, Any], correction: float) -> float:
    """The factor by which a simulated sample describes the data."""
    scale = analysis.call(
        "calculate_tool",
        expression="correction * cross_section * 1000 * luminosity / all",
        values={
            "correction": correction,
            "cross_section": stated(file, "cross_section_pb"),
            "luminosity": stated(analysis.public, "luminosity_fb"),
            "all": stated(file, "sum_of_weights"),
        },
    )
    return cast("float", scale["value"])


def _measured(
    analysis: Analysis, workspace: str, stated_cross_section: float, fixed: list[str]
) -> tuple[tuple[float, float], dict[str, Any]]:
    """Cross section [fb] with its uncertainty, by a fit with some parameters fixed, and the fit."""
    fit = analysis.call("fit_workspace_tool", workspace=workspace, fixed=fixed)
    strength = fit["parameters"]["strength"]
    result = analysis.call(
        "calculate_tool",
        expression="1000 * stated * strength",
        values={"stated": stated_cross_section, "strength": strength["value"]},
        errors={"strength": strength["error"]},
    )
    return (result["value"], result["uncertainty"]), fit
