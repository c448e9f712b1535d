"""Natural width of a broad resonance, with the resolution of a narrow one."""

from __future__ import annotations

from beampipe.analysisops.agents.analyses.peaks.zmumu import dimuons
from beampipe.analysisops.agents.analysis import AnalysisFiles, AnalysisResult, Binning, around, fit, highest

__all__ = ["analyse"]

_SEARCH = Binning(100, 100.0, 400.0)
_HALF_NARROW = 15.0
_HALF_BROAD = 70.0


def analyse(opened: AnalysisFiles) -> AnalysisResult:
    """Fit the narrow line for the resolution, then the broad one with that resolution."""
    narrow = dimuons(opened, "calibration_mc")
    near = around(highest(opened, narrow, "mass", _SEARCH), _HALF_NARROW)
    resolution = fit(opened, narrow, "mass", near, "gauss", unbinned=True)
    sigma, error = resolution["sigma"], resolution["sigma_error"]
    broad = dimuons(opened, "data")
    window = around(highest(opened, broad, "mass", _SEARCH), _HALF_BROAD)
    widths = [
        fit(opened, broad, "mass", window, "voigt_plus_exponential", bins=140, fixed={"sigma": value})
        for value in (sigma, sigma + error)
    ]
    total = opened.call(
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
        histograms=opened.answer("mass", broad, "mass"),
        method={
            "selection": "exactly two tight, isolated muons of opposite charge above 15 GeV",
            "model": "a Voigt profile over an exponential, its resolution fixed to that of the narrow simulated line",
            "window": f"{window[0]:g} to {window[1]:g} GeV, around the fullest bin, wide enough for both tails",
            "uncertainty": "statistical, and the change of the width when the resolution is moved by its error",
        },
    )
