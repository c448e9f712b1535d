"""Efficiency of an identification, from pairs of muons of which one or both pass."""

from __future__ import annotations

from typing import Final

from beampipe.analysisops.agents.analysis import LEPTONS, AnalysisFiles, AnalysisResult, fit, opposite_pairs

__all__ = ["analyse"]

_WINDOW: Final = (71.0, 111.0)
_MODEL: Final = "voigt_plus_exponential"


def analyse(opened: AnalysisFiles) -> AnalysisResult:
    """Fit pairs where both pass, and pairs where one does."""
    loaded = opened.load("data", [f"lep_{name}" for name in LEPTONS])
    muons = opened.thin(loaded, "lep", LEPTONS, "lep_type == 13 and lep_pt > 20")
    events = opposite_pairs(opened, opened.select(muons, "count(lep_pt) == 2"))
    both = opened.select(events, "count(lep_isTightID) == 2")
    one = opened.select(events, "count(lep_isTightID) == 1")
    good = fit(opened, both, "mass", _WINDOW, _MODEL, bins=80)
    shape = {name: good[name] for name in ("mu", "width", "sigma")}
    other = fit(opened, one, "mass", _WINDOW, _MODEL, bins=80, fixed=shape)
    efficiency = opened.call(
        "calculate_tool",
        expression="2 * both / (2 * both + one)",
        values={"both": good["signal_yield"], "one": other["signal_yield"]},
        errors={"both": good["signal_yield_error"], "one": other["signal_yield_error"]},
    )
    return AnalysisResult(
        {"efficiency": (efficiency["value"], efficiency["uncertainty"])},
        histograms=opened.answer("mass", events, "mass"),
        method={
            "selection": "two muons of opposite charge above 20 GeV; each that passes is a tag, the other the probe",
            "model": "a Voigt profile over an exponential, of one shape for pairs of both kinds, so that fakes do not"
            " count as probes",
            "window": f"{_WINDOW[0]:g} to {_WINDOW[1]:g} GeV",
            "uncertainty": "those of both numbers of signal events, propagated",
        },
    )
