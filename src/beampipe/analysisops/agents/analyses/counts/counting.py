"""A limit on the strength of a signal, from a count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from beampipe.analysisops.agents.analysis import AnalysisFiles, AnalysisResult, leptons, opposite_pairs
from beampipe.errors import InputError

__all__ = ["analyse", "expected", "fact", "pairs"]

_MASSES: Final = (76.0, 106.0)
_MET: Final = 150.0


def analyse(opened: AnalysisFiles) -> AnalysisResult:
    """Count pairs of leptons with much missing momentum, and compare with what is expected."""
    data = pairs(opened, "data", ["met"], _MASSES)
    tight = f"met > {_MET:g}"
    observed = opened.call("count_tool", events=data, expression=tight)
    background, signal = (_expected(opened, role, tight) for role in ("background_mc", "signal_mc"))
    total = opened.call(
        "calculate_tool",
        expression="sqrt((share * background)**2 + error**2)",
        values={
            "share": fact(opened.public, "background_uncertainty"),
            "background": background["value"],
            "error": background["uncertainty"],
        },
    )
    limit = opened.call(
        "limit_tool",
        observed=observed["n"],
        background=background["value"],
        background_error=total["value"],
        signal=signal["value"],
        signal_error=signal["uncertainty"],
    )
    band = opened.call(
        "calculate_tool",
        expression="(high - low) / 2",
        values={"high": limit["expected_plus_1"], "low": limit["expected_minus_1"]},
    )
    return AnalysisResult(
        {"limit": (limit["limit"], band["value"])},
        histograms=opened.answer("met", data, "met"),
        method={
            "selection": "two tight, isolated leptons of opposite charge and one kind, of a mass from"
            f" {_MASSES[0]:g} to {_MASSES[1]:g} GeV, and missing momentum above {_MET:g} GeV, where the signal is",
            "model": "a Poisson count over the simulated background, scaled to the luminosity; CLs for the limit",
            "window": f"missing momentum above {_MET:g} GeV",
            "uncertainty": "half the width of the band of expected limits; the background has its stated uncertainty"
            " and that of the simulated sample",
        },
    )


def pairs(
    opened: AnalysisFiles, role: str, more: list[str], masses: tuple[float, float], file: int | None = None
) -> str:
    """Events with exactly two good leptons of opposite charge and one kind within a range of masses [GeV]."""
    events = opened.select(leptons(opened, role, pt=20.0, more=more, file=file), "count(lep_pt) == 2")
    events = opposite_pairs(opened, events, lepton_type="lep_type")
    return opened.select(events, f"mass > {masses[0]:g} and mass < {masses[1]:g}")


def fact(known: Any, name: str) -> float:
    """A number that the data state.

    Raises:
        InputError: they do not.
    """
    value = known.get(name)
    if not isinstance(value, int | float):
        raise InputError(f"data: got no {name}, expected a number among what is stated of the files")
    return float(value)


def _expected(opened: AnalysisFiles, role: str, expression: str) -> dict[str, Any]:
    """Expected number of events of a simulated sample after the cuts, with its statistical uncertainty."""
    return expected(opened, pairs(opened, role, ["met", "mcWeight"], _MASSES), expression, opened.files[role][0])


def expected(opened: AnalysisFiles, events: str, expression: str, file: Mapping[str, Any]) -> dict[str, Any]:
    """What a simulated file expects in data of the events that fulfil a condition, with the statistical uncertainty.

    Args:
        opened: the files.
        events: selected events of the file, with ``mcWeight``.
        expression: what is left of the selection.
        file: what is stated of the file.
    """
    counted = opened.call("count_tool", events=events, expression=expression, weight="mcWeight")
    return opened.call(
        "calculate_tool",
        expression="passed * cross_section * 1000 * luminosity / all",
        values={
            "passed": counted["sum_weights"],
            "cross_section": fact(file, "cross_section_pb"),
            "luminosity": fact(opened.public, "luminosity_fb"),
            "all": fact(file, "sum_of_weights"),
        },
        errors={"passed": counted["error"]},
    )
