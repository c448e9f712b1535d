"""Mass of the top quark from three jets, calibrated by two simulated masses."""

from __future__ import annotations

from typing import Any, Final

from beampipe.analysisops.agents.analyses.counts.counting import fact
from beampipe.analysisops.agents.analysis import (
    JETS,
    LEPTONS,
    AnalysisFiles,
    AnalysisResult,
    Binning,
    fit,
    four_vectors,
    highest,
)

__all__ = ["analyse"]

_SEARCH: Final = Binning(50, 100.0, 250.0)
_RELATIVE: Final = (0.78, 1.22)


def analyse(opened: AnalysisFiles) -> AnalysisResult:
    """The peak's position in the data, between those of the simulated masses."""
    events = _three_jets(opened, "data", 0)
    peak = _peak(opened, events)
    simulated = [_peak(opened, _three_jets(opened, "signal_mc", place)) for place in range(2)]
    stated = [fact(file, "top_mass_gev") for file in opened.files["signal_mc"][:2]]
    mass = opened.call(
        "calculate_tool",
        expression="m1 + (p - p1) * (m2 - m1) / (p2 - p1)",
        values={
            "m1": stated[0],
            "m2": stated[1],
            "p": peak["mu"],
            "p1": simulated[0]["mu"],
            "p2": simulated[1]["mu"],
        },
        errors={"p": peak["mu_error"], "p1": simulated[0]["mu_error"], "p2": simulated[1]["mu_error"]},
    )
    return AnalysisResult(
        {"mass": (mass["value"], mass["uncertainty"])},
        histograms=opened.answer("mass", events, "mass"),
        method={
            "selection": "one tight, isolated lepton above 25 GeV, missing momentum above 20 GeV, at least four jets"
            " above 25 GeV of which exactly two are b-tagged; the three jets with one b tag of highest summed momentum",
            "model": "a Gaussian over a straight line of wrong combinations; the position is turned into a mass by the"
            " straight line through the positions of two simulated masses",
            "window": f"{_RELATIVE[0]:g} to {_RELATIVE[1]:g} of the fullest bin",
            "uncertainty": "those of the three positions, propagated",
        },
    )


def _three_jets(opened: AnalysisFiles, role: str, place: int) -> str:
    """Events of one file with the mass of three jets."""
    columns = [f"lep_{name}" for name in LEPTONS] + [f"jet_{name}" for name in JETS] + ["met"]
    events = opened.load(role, columns, file=place)
    events = opened.thin(events, "lep", LEPTONS, "lep_pt > 25 and lep_isTightID and lep_ptcone20 < 0.1 * lep_pt")
    events = opened.thin(events, "jet", JETS, "jet_pt > 25")
    events = opened.derive(events, "tagged", "jet_btag_quantile >= 4")
    events = opened.select(events, "count(lep_pt) == 1 and met > 20 and count(jet_pt) >= 4 and count(tagged) == 2")
    return opened.made(
        "calc_combination_mass_tool",
        events=events,
        **four_vectors("jet"),
        number=3,
        choose="highest_pt",
        must="tagged",
    )


def _peak(opened: AnalysisFiles, events: str) -> dict[str, Any]:
    top = highest(opened, events, "mass", _SEARCH)
    window = (round(_RELATIVE[0] * top, 2), round(_RELATIVE[1] * top, 2))
    return fit(opened, events, "mass", window, "gauss_plus_linear", bins=100)
