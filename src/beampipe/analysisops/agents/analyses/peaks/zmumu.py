"""Mass of a resonance that decays to two muons: a Voigt line over an exponential."""

from __future__ import annotations

from beampipe.analysisops.agents.analysis import AnalysisFiles, AnalysisResult, leptons, opposite_pairs

__all__ = ["analyse", "dimuons"]

WINDOW = (75.0, 107.0)
"""Masses that are fitted [GeV]."""


def analyse(opened: AnalysisFiles) -> AnalysisResult:
    """Fit the mass of muon pairs."""
    events = dimuons(opened, "data")
    fit = opened.call(
        "fit_peak_tool",
        events=events,
        column="mass",
        window=list(WINDOW),
        model="voigt_plus_exponential",
        unbinned=True,
    )
    return AnalysisResult(
        {"mass": (fit["mu"], fit["mu_error"])},
        histograms=opened.answer("mass", events, "mass"),
        method={
            "selection": "exactly two tight, isolated muons of opposite charge above 15 GeV; a higher threshold takes"
            " away low masses more than high ones, and moves the peak",
            "model": "a Voigt profile, since the line has a natural width and a resolution, over an exponential"
            " background of pairs from other sources",
            "window": f"{WINDOW[0]:g} to {WINDOW[1]:g} GeV, wide enough to fix the background beside the peak",
            "uncertainty": "statistical, from the curvature of the likelihood (HESSE); no systematic uncertainty",
        },
    )


def dimuons(opened: AnalysisFiles, role: str, pt: float = 15.0) -> str:
    """Events with exactly two good muons of opposite charge above a pt [GeV], and column ``mass`` [GeV]."""
    events = opened.select(leptons(opened, role, pt=pt, kind=13), "count(lep_pt) == 2")
    return opposite_pairs(opened, events)
