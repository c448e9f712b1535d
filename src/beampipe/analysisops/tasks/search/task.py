"""A diphoton continuum and nothing else: whoever finds a peak made it.

Physics: as in the task `hyy`, without any signal. The manifest's ``search_window_gev`` says where, 8 GeV wide
and anywhere in 111 to 141 GeV, the limit is asked for.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from beampipe.analysisops.agents.analysis import (
    DIPHOTON_SELECTION,
    Analysis,
    AnalysisResult,
    diphotons,
    fit_peak,
    half_band,
    is_signal,
)
from beampipe.analysisops.samples.dataset import Instance, Sample
from beampipe.analysisops.samples.detector import Detector
from beampipe.analysisops.samples.pairs import PHOTON_CUTS, continuum, counting_limit, selected_pairs
from beampipe.analysisops.samples.random_parameters import RandomParameters
from beampipe.errors import InputError

HALF_WINDOW: Final = 4.0
"""Half the width of the search window [GeV]."""

_SIDEBAND_ERROR: Final = 0.017
"""Relative error of the background in the window from the fit of its sidebands."""

RECALLED: Final = AnalysisResult({"limit": (1.0, 0.3)}, {"signal": "no"})
"""Guesses of the usual size, as no table has these."""


def make(random: RandomParameters) -> Instance:
    """The data of an instance."""
    centre = round(random.uniform("centre", 115.0, 137.0), 1)
    detector = Detector(photon=random.uniform("photon_resolution", 0.014, 0.022))
    background = random.uniform("background", 26_000.0, 34_000.0)
    events = continuum(random, detector, background, centre).shuffled(random.generator("order"))
    recorded = events.where(events.columns["trigP"])
    kept, mass = selected_pairs(recorded)
    window = [round(centre - HALF_WINDOW, 1), round(centre + HALF_WINDOW, 1)]
    inside = kept & (mass > window[0]) & (mass < window[1])
    # A window around the window tells the background to better than the fit of an analysis does.
    low, high = PHOTON_CUTS["window"]
    all_inside = kept & (mass > low) & (mass < high)
    scale = random.drawn["background_scale"]
    share = (np.exp(-window[0] / scale) - np.exp(-window[1] / scale)) / (np.exp(-low / scale) - np.exp(-high / scale))
    expected = float(np.sum(all_inside) * share)
    limit = counting_limit(int(np.sum(inside)), expected, _SIDEBAND_ERROR * expected)
    return Instance(
        (Sample("data", "data", recorded),),
        {"limit": limit, "signal_yield": 0.0},
        {"signal": "no"},
        public={"search_window_gev": window},
        analysis={**PHOTON_CUTS, "search_window": window},
        hidden={"expected_background": expected},
    )


def analyse(analysis: Analysis) -> AnalysisResult:
    """Whether there is a peak, and the limit on one in the window that the data name.

    Photons are selected as in `hyy`. Observed: the number of events in the window. Background: the integral in the
    window of an exponential that is fitted to the masses from 105 to 160 GeV without the window, to about 2 %. Limit:
    95 % CLs upper limit on a number of signal events in the window; its uncertainty is the half-width of the expected
    +-1 sigma band. Word ``signal``: no. Histogram ``mass``: 55 bins from 105 to 160 GeV.
    """
    window = analysis.public.get("search_window_gev")
    if not window:
        raise InputError("data: got no search_window_gev, expected the window of the limit among what is public")
    low, high = map(float, window)
    events = diphotons(analysis, PHOTON_CUTS)
    peak = fit_peak(analysis, events, "mass", PHOTON_CUTS["window"], PHOTON_CUTS["model"], bins=110)
    inside = analysis.call("count_tool", events=events, expression=f"mass > {low} and mass < {high}")
    background = analysis.call(
        "fit_background_tool",
        events=events,
        column="mass",
        window=PHOTON_CUTS["window"],
        exclude=[low, high],
        model="exponential",
        bins=110,
    )
    limit = analysis.call(
        "limit_tool",
        observed=inside["n"],
        background=background["expected"],
        background_error=background["expected_error"],
        signal=1.0,
    )
    first, last = PHOTON_CUTS["window"]
    return AnalysisResult(
        {"limit": (limit["limit"], half_band(analysis, limit))},
        {"signal": "yes" if is_signal(peak) else "no"},
        analysis.requested_histogram("mass", events, "mass"),
        method={
            "selection": DIPHOTON_SELECTION,
            "model": "an exponential from both sidebands gives the background in the window; CLs for the limit",
            "window": f"{first:g} to {last:g} GeV, whose sidebands fix the background",
            "uncertainty": "half the width of the band of expected limits",
        },
    )
