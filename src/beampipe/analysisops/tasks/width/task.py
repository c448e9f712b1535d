"""A broad dimuon resonance of a hidden natural width, and a narrow one to learn the resolution from.

Physics: muon pairs by Pythia (a Z boson moved to 180 to 320 GeV) with a Breit-Wigner line of 6 to 16 GeV; 8 to 14 % of
pairs from other sources with an exponential mass; two widths below the peak muons in jets, rarely tight and isolated,
and two widths above it muons of which one has a wrong charge. The file in the role ``calibration_mc`` holds a resonance
of the same mass without natural width, seen by the same detector: its peak is the resolution, 1.1 to 1.8 % of the mass.
"""

from __future__ import annotations

from typing import Any, Final

from beampipe.analysisops.agents.analysis import (
    Analysis,
    AnalysisResult,
    Binning,
    dimuons,
    fit_peak,
    fullest_bin,
    window_around,
)
from beampipe.analysisops.samples.dataset import Instance, Sample
from beampipe.analysisops.samples.detector import ISOLATION, Detector
from beampipe.analysisops.samples.events import joined
from beampipe.analysisops.samples.pairs import continuum_pairs, pair_events, resonance_pairs, shoulder_pairs
from beampipe.analysisops.samples.random_parameters import RandomParameters

CUTS: Final[dict[str, Any]] = {
    "lepton_type": 13,
    "pt_min": 15.0,
    "isolation_max": ISOLATION,
    "half_window": 70.0,
    "model": "voigt_plus_exponential",
    "calibration_half_window": 15.0,
    "calibration_model": "gauss",
    "histogram": {"name": "mass", "bins": 100, "low": 100.0, "high": 400.0},
}
"""Cuts [GeV], windows to either side of the highest bin [GeV] and models of the reference analysis."""

RECALLED: Final = AnalysisResult({"width": (2.4955, 0.0023)})
"""The width of the Z boson by the Review of Particle Physics (2024) [GeV]."""

_CALIBRATION_EVENTS: Final = 9_000


def make(random: RandomParameters) -> Instance:
    """The data of an instance."""
    mass = random.uniform("mass", 180.0, 320.0)
    width = random.uniform("width", 6.0, 16.0)
    detector = Detector(muon=random.uniform("muon_resolution", 0.016, 0.026))
    number = random.uniform("resonances", 9_000.0, 13_000.0)
    share = random.uniform("background_share", 0.08, 0.14)
    scale = random.uniform("background_scale", 60.0, 100.0)
    generator = random.generator("detector")
    broad = resonance_pairs(random, "broad", random.count("resonances", number), mass=mass, width=width)
    narrow = resonance_pairs(random, "narrow", _CALIBRATION_EVENTS, mass=mass, width=0.0)
    others = continuum_pairs(
        random, "others", random.count("others", share * number), scale=scale, low=mass - 110, high=700.0
    )
    fakes = shoulder_pairs(random, "fakes", random.count("fakes", 2 * number), mass=mass - 2 * width, width=width)
    wrong = shoulder_pairs(
        random, "wrong charge", random.count("wrong charge", 0.08 * number), mass=mass + 2 * width, width=width
    )
    events = joined(
        [
            pair_events(generator, detector, broad, soft=0.04),
            pair_events(generator, detector, others, soft=0.04),
            pair_events(generator, detector, fakes, prompt=False),
            pair_events(generator, detector, wrong, (13, 13)),
        ]
    )
    recorded = events.where(events.columns["trigM"]).shuffled(random.generator("order"))
    calibration = pair_events(generator, detector, narrow)
    return Instance(
        (
            Sample("data", "data", recorded),
            Sample("narrow", "calibration_mc", calibration, {"natural_width_gev": 0.0}),
        ),
        {"width": width},
        analysis=CUTS,
    )


def analyse(analysis: Analysis) -> AnalysisResult:
    """Fit the narrow line for the resolution, then the broad one with that resolution.

    Tight, isolated (ptcone20 < 0.1 pt) muons with pt > 15 GeV, exactly two, of opposite charge, in either file. Fit a
    Gaussian to the calibration within 15 GeV of its highest bin: its sigma, with its error. Fit a Voigt line over an
    exponential to the data within 70 GeV of the highest bin, with sigma fixed to that of the calibration. Width: the
    full width at half maximum of the Breit-Wigner part, to about 0.4 GeV; the error of sigma adds a tenth of it.
    Histogram ``mass``: 100 bins from 100 to 400 GeV.
    """
    search = Binning(100, 100.0, 400.0)
    narrow = dimuons(analysis, "calibration_mc", pt=CUTS["pt_min"])
    near = window_around(fullest_bin(analysis, narrow, "mass", search), CUTS["calibration_half_window"])
    resolution = fit_peak(analysis, narrow, "mass", near, CUTS["calibration_model"], unbinned=True)
    sigma, error = resolution["sigma"], resolution["sigma_error"]
    broad = dimuons(analysis, "data", pt=CUTS["pt_min"])
    window = window_around(fullest_bin(analysis, broad, "mass", search), CUTS["half_window"])
    widths = [
        fit_peak(analysis, broad, "mass", window, CUTS["model"], bins=140, fixed={"sigma": value})
        for value in (sigma, sigma + error)
    ]
    total = analysis.call(
        "calculate_tool",
        expression="sqrt(statistical**2 + (shifted - width)**2)",
        values={
            "statistical": widths[0]["width_error"],
            "shifted": widths[1]["width"],
            "width": widths[0]["width"],
        },
    )
    return AnalysisResult(
        {"width": (widths[0]["width"], total["value"])},
        histograms=analysis.requested_histogram("mass", broad, "mass"),
        method={
            "selection": "exactly two tight, isolated muons of opposite charge above 15 GeV",
            "model": "a Voigt profile over an exponential, its resolution fixed to that of the narrow simulated line",
            "window": f"{window[0]:g} to {window[1]:g} GeV, around the fullest bin, wide enough for both tails",
            "uncertainty": "statistical, and the change of the width when the resolution is moved by its error",
        },
    )
