"""Diphoton masses: a peak over a continuum, or a limit where there is none."""

from __future__ import annotations

from typing import Any, Final

from beampipe.analysisops.agents.analysis import AnalysisFiles, AnalysisResult, fit, four_vectors, photons
from beampipe.errors import InputError

__all__ = ["analyse_hyy", "analyse_search", "diphotons"]

_WINDOW: Final = (105.0, 160.0)
_MODEL: Final = "gauss_plus_exponential"
_EVIDENCE: Final = 5.0
"""A yield of so many of its errors is a signal."""

_METHOD: Final = {
    "selection": "the two leading tight, isolated photons, above 0.35 and 0.25 of their mass, so that the continuum"
    " stays smooth",
    "model": "a Gaussian, since the resolution is far broader than the natural width, over an exponential continuum",
    "window": f"{_WINDOW[0]:g} to {_WINDOW[1]:g} GeV, whose sidebands fix the background",
    "uncertainty": "statistical, from the curvature of the likelihood (HESSE); no systematic uncertainty",
}


def analyse_hyy(opened: AnalysisFiles) -> AnalysisResult:
    """Mass and number of events of the peak."""
    events = diphotons(opened)
    peak = fit(opened, events, "mass", _WINDOW, _MODEL, unbinned=True)
    return AnalysisResult(
        {
            "mass": (peak["mu"], peak["mu_error"]),
            "signal_yield": (peak["signal_yield"], peak["signal_yield_error"]),
        },
        {"signal": "yes" if _seen(peak) else "no"},
        opened.answer("mass", events, "mass"),
        method=_METHOD,
    )


def analyse_search(opened: AnalysisFiles) -> AnalysisResult:
    """Whether there is a peak, and the limit on one in the window that the data name."""
    window = opened.public.get("search_window_gev")
    if not window:
        raise InputError("data: got no search_window_gev, expected the window of the limit among what is public")
    low, high = map(float, window)
    events = diphotons(opened)
    peak = fit(opened, events, "mass", _WINDOW, _MODEL, bins=110)
    inside = opened.call("count_tool", events=events, expression=f"mass > {low} and mass < {high}")
    background = opened.call(
        "fit_background_tool",
        events=events,
        column="mass",
        window=list(_WINDOW),
        exclude=[low, high],
        model="exponential",
        bins=110,
    )
    limit = opened.call(
        "limit_tool",
        observed=inside["n"],
        background=background["expected"],
        background_error=background["expected_error"],
        signal=1.0,
    )
    band = opened.call(
        "calculate_tool",
        expression="(high - low) / 2",
        values={"high": limit["expected_plus_1"], "low": limit["expected_minus_1"]},
    )
    return AnalysisResult(
        {"limit": (limit["limit"], band["value"])},
        {"signal": "yes" if _seen(peak) else "no"},
        opened.answer("mass", events, "mass"),
        method={
            **_METHOD,
            "model": "an exponential from both sidebands gives the background in the window; CLs for the limit",
            "uncertainty": "half the width of the band of expected limits",
        },
    )


def diphotons(opened: AnalysisFiles) -> str:
    """Events with two good photons, and column ``mass`` [GeV]."""
    events = photons(opened, "data", pt=15.0)
    pairs = opened.made(
        "calc_dilepton_mass_tool",
        events=events,
        **four_vectors("photon"),
        pairing="leading",
    )
    return opened.select(pairs, "photon_pt[0] > 0.35 * mass and photon_pt[1] > 0.25 * mass")


def _seen(peak: dict[str, Any]) -> bool:
    error = peak["signal_yield_error"]
    return bool(peak["valid"] and error and peak["signal_yield"] > _EVIDENCE * error)
