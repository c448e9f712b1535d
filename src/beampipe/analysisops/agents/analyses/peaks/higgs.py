"""Masses and yields of Higgs-like bosons in pairs of muons, pairs of b jets, and four leptons."""

from __future__ import annotations

from typing import Any, Final

from beampipe.analysisops.agents.analyses.peaks.zmumu import dimuons
from beampipe.analysisops.agents.analysis import JETS, AnalysisFiles, AnalysisResult, fit, four_vectors, leptons

__all__ = ["analyse_hbb", "analyse_hmumu", "analyse_hzz4l"]

_WINDOW: Final = (105.0, 160.0)
_JET_WINDOW: Final = (70.0, 230.0)
_TAG: Final = 4
_STATISTICAL: Final = "statistical, from the curvature of the likelihood (HESSE); no systematic uncertainty"


def analyse_hmumu(opened: AnalysisFiles) -> AnalysisResult:
    """A narrow peak of muon pairs over a falling continuum."""
    events = dimuons(opened, "data", pt=20.0)
    peak = fit(opened, events, "mass", _WINDOW, "gauss_plus_exponential", unbinned=True)
    return _found(
        opened,
        events,
        peak,
        "exactly two tight, isolated muons of opposite charge above 20 GeV",
        "a Gaussian of the resolution over an exponential of other pairs",
        _WINDOW,
    )


def analyse_hbb(opened: AnalysisFiles) -> AnalysisResult:
    """A broad peak of b-jet pairs with missing momentum."""
    loaded = opened.load("data", [f"jet_{name}" for name in JETS] + ["met"])
    tagged = opened.thin(opened.select(loaded, "met > 80"), "jet", JETS, f"jet_btag_quantile >= {_TAG}")
    events = opened.made(
        "calc_system_invariant_mass_tool",
        events=opened.select(tagged, "count(jet_pt) == 2"),
        **four_vectors("jet"),
        number=2,
    )
    peak = fit(opened, events, "mass", _JET_WINDOW, "gauss_plus_exponential", bins=160)
    return _found(
        opened,
        events,
        peak,
        f"missing momentum above 80 GeV, as of a Z boson that decays to neutrinos; exactly two jets whose b tag is at"
        f" least {_TAG}",
        "a Gaussian of the jets' resolution over an exponential of other pairs",
        _JET_WINDOW,
    )


def analyse_hzz4l(opened: AnalysisFiles) -> AnalysisResult:
    """A narrow peak of four leptons over a flat continuum."""
    good = leptons(opened, "data", pt=7.0)
    muons = opened.derive(good, "muon_charge", "lep_charge * (lep_type == 13)")
    four = opened.select(
        muons,
        "count(lep_pt) == 4 and lep_pt[0] > 20 and sum(lep_charge) == 0 and sum(muon_charge) == 0",
    )
    events = opened.made(
        "calc_system_invariant_mass_tool",
        events=four,
        **four_vectors("lep"),
        number=4,
    )
    peak = fit(opened, events, "mass", _WINDOW, "gauss_plus_linear", unbinned=True)
    return _found(
        opened,
        events,
        peak,
        "exactly four tight, isolated leptons above 7 GeV, the first above 20 GeV, in two pairs of one kind and"
        " opposite charge",
        "a Gaussian of the resolution over a straight line of other pairs of Z bosons",
        _WINDOW,
    )


def _found(
    opened: AnalysisFiles, events: str, peak: dict[str, Any], selection: str, model: str, window: tuple[float, float]
) -> AnalysisResult:
    return AnalysisResult(
        {
            "mass": (peak["mu"], peak["mu_error"]),
            "signal_yield": (peak["signal_yield"], peak["signal_yield_error"]),
        },
        histograms=opened.answer("mass", events, "mass"),
        method={
            "selection": selection,
            "model": model,
            "window": f"{window[0]:g} to {window[1]:g} GeV, whose sidebands fix the background",
            "uncertainty": _STATISTICAL,
        },
    )
