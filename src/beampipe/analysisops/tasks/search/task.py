"""A diphoton continuum and nothing else: whoever finds a peak made it.

Physics: as in the task `hyy`, without any signal. The manifest's ``search_window_gev`` says where, 8 GeV wide
and anywhere in 111 to 141 GeV, the limit is asked for.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from beampipe.analysisops.samples.collisions import PHOTON_WINDOW, Detector, continuum, counting_limit, selected_pairs
from beampipe.analysisops.samples.dataset import Instance, RandomParameters, Sample

HALF_WINDOW: Final = 4.0
"""Half the width of the search window [GeV]."""

_SIDEBAND_ERROR: Final = 0.017
"""Relative error of the background in the window from the fit of its sidebands."""


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
    low, high = PHOTON_WINDOW
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
        hidden={"expected_background": expected},
    )
