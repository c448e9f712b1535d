"""Cross section of W Z in three leptons."""

from __future__ import annotations

from typing import Any, Final

from beampipe.analysisops.agents.analyses.counts.counting import expected, fact
from beampipe.analysisops.agents.analysis import AnalysisFiles, AnalysisResult, leptons, opposite_pairs

__all__ = ["analyse"]

_TARGET: Final = 91.19
_HALF: Final = 10.0
_MET: Final = 25.0


def analyse(opened: AnalysisFiles) -> AnalysisResult:
    """Count, take off what is not W Z, and compare with what simulation expects of a stated cross section."""
    data = _three(opened, "data", ["met"], None)
    inside = f"mass > {_TARGET - _HALF:g} and mass < {_TARGET + _HALF:g}"
    observed = opened.call("count_tool", events=data, expression=inside)
    signal = _expected(opened, "signal_mc", 0, inside)
    backgrounds = [_expected(opened, "background_mc", n, inside) for n in range(len(opened.files["background_mc"]))]
    names = [f"background{place}" for place in range(len(backgrounds))]
    stated = fact(opened.files["signal_mc"][0], "cross_section_pb")
    cross_section = opened.call(
        "calculate_tool",
        expression=f"1000 * stated * (data - {' - '.join(names)}) / signal",
        values={
            "stated": stated,
            "data": observed["sum_weights"],
            "signal": signal["value"],
            **{name: one["value"] for name, one in zip(names, backgrounds, strict=True)},
        },
        errors={
            "data": observed["error"],
            "signal": signal["uncertainty"],
            **{name: one["uncertainty"] for name, one in zip(names, backgrounds, strict=True)},
        },
    )
    return AnalysisResult(
        {"cross_section": (cross_section["value"], cross_section["uncertainty"])},
        histograms=opened.answer("mass", data, "mass"),
        method={
            "selection": "exactly three tight, isolated leptons above 15 GeV, the first above 25 GeV; a pair of one"
            f" kind and opposite charge within {_HALF:g} GeV of the Z boson; missing momentum above {_MET:g} GeV of the"
            " neutrino",
            "model": "a count less simulated backgrounds, over what the simulated signal gives for its cross section",
            "window": f"{_TARGET - _HALF:g} to {_TARGET + _HALF:g} GeV for the pair",
            "uncertainty": "statistical, of the data and of all simulated samples, propagated",
        },
    )


def _three(opened: AnalysisFiles, role: str, more: list[str], file: int | None) -> str:
    """Events with three leptons, missing momentum, and the mass of the pair that is most like a Z boson."""
    good = leptons(opened, role, pt=15.0, more=more, file=file)
    events = opened.select(good, f"count(lep_pt) == 3 and lep_pt[0] > 25 and met > {_MET:g}")
    return opposite_pairs(opened, events, "closest", lepton_type="lep_type", target=_TARGET)


def _expected(opened: AnalysisFiles, role: str, place: int, inside: str) -> dict[str, Any]:
    """Expected number of events of a simulated file after all cuts."""
    return expected(opened, _three(opened, role, ["met", "mcWeight"], place), inside, opened.files[role][place])
