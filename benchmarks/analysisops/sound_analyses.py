"""Sound analyses other than the reference's: other backgrounds, windows and bins of fits, cuts, regions and finders.

A change maps the arguments of a tool to others, so that it applies to the analysis of any task.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from beampipe.analysisops.agents.agent import Agent, Tools
from beampipe.analysisops.contract import TaskRequest

FITS_OF: Final = ("fit_peak_tool", "fit_background_tool")

Change = Callable[[str, dict[str, Any]], dict[str, Any]]
"""Changes the arguments of a tool, by its name."""


def background(kind: str) -> Change:
    """Another background in all fits."""

    def change(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if tool == "fit_peak_tool" and "_plus_" in arguments["model"]:
            return {**arguments, "model": f"{arguments['model'].partition('_plus_')[0]}_plus_{kind}"}
        return {**arguments, "model": kind} if tool == "fit_background_tool" else arguments

    return change


def window(low: float, high: float) -> Change:
    """A window that is narrower by these shares of its width."""

    def change(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if tool not in FITS_OF:
            return arguments
        first, last = arguments["window"]
        return {**arguments, "window": [first + low * (last - first), last - high * (last - first)]}

    return change


def whole(low: float, high: float) -> Change:
    """A window of the Voigt profile that is the whole of a requested spectrum."""

    def change(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        is_line = tool == "fit_peak_tool" and arguments["model"].startswith("voigt")
        return {**arguments, "window": [low, high]} if is_line else arguments

    return change


def binning(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Bins in place of single events, or the reverse."""
    if tool != "fit_peak_tool":
        return arguments
    others = {key: value for key, value in arguments.items() if key not in ("bins", "unbinned")}
    return {**others, **({"bins": 120} if arguments.get("unbinned") else {"unbinned": True})}


def expression(pattern: str, replacement: str, tool: str = "") -> Change:
    """Another expression: that of one tool, or those of all."""

    def change(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if "expression" not in arguments or tool not in ("", name):
            return arguments
        return {**arguments, "expression": re.sub(pattern, replacement, arguments["expression"])}

    return change


def arguments(tool: str, **values: Any) -> Change:
    """Other arguments of a tool."""

    def change(name: str, given: dict[str, Any]) -> dict[str, Any]:
        return {**given, **values} if name == tool else given

    return change


def around_the_change(seconds: float) -> Change:
    """Metrics in a range that is wider on both sides by some seconds, or narrower."""

    def change(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if tool != "query_metrics_tool" or "start" not in arguments:
            return arguments
        return {**arguments, "start": arguments["start"] - seconds, "end": arguments["end"] + seconds}

    return change


def requested_spectrum(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Marks other cuts than those of the requested histogram, which is filled in a second pass without any change."""
    return arguments


def cuts(isolation: float = 0.1, threshold: float = 15.0, eta: float = 2.7) -> Change:
    """Other cuts on muons: isolation, transverse momentum [GeV] and pseudorapidity."""

    def change(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if tool != "select_objects_tool":
            return arguments
        expression = re.sub(r"ptcone20 < [\d.]+", f"ptcone20 < {isolation}", arguments["expression"])
        expression = re.sub(r"lep_pt > [\d.]+", f"lep_pt > {threshold}", expression)
        return {**arguments, "expression": f"{expression} and abs(lep_eta) < {eta}"}

    return change


FITS: Final[Mapping[str, tuple[Change, ...]]] = {
    "quadratic background": (background("quadratic"),),
    "curved background": (background("exponential_curved"),),
    "narrower window": (window(0.05, 0.05),),
    "window from later on": (window(0.06, 0.0),),
    "window to earlier on": (window(0.0, 0.12),),
    "other binning": (binning,),
    "quadratic, narrower": (background("quadratic"), window(0.04, 0.04)),
    "quadratic, from later on": (background("quadratic"), window(0.06, 0.0)),
    "quadratic, other binning": (background("quadratic"), binning),
    "curved, narrower": (background("exponential_curved"), window(0.0, 0.05)),
    "curved, other binning": (background("exponential_curved"), binning),
    "narrower, other binning": (window(0.05, 0.05), binning),
}
"""Sound changes of a fit, by name. A straight line is none: it cannot describe a spectrum that falls exponentially."""

CUTS: Final[Mapping[str, tuple[Change, ...]]] = {
    "pt > 10": (cuts(threshold=10.0),),
    "pt > 20": (cuts(threshold=20.0),),
    "pt > 25": (cuts(threshold=25.0),),
    "pt > 27, isolation 0.15": (cuts(threshold=27.0, isolation=0.15),),
    "isolation 0.05": (cuts(isolation=0.05),),
    "isolation 0.15": (cuts(isolation=0.15),),
    "|eta| < 2.1": (cuts(eta=2.1),),
    "pt > 20, quadratic": (cuts(threshold=20.0), background("quadratic")),
    "isolation 0.05, narrower": (cuts(isolation=0.05), window(0.1, 0.1)),
}
"""Sound cuts where a question names none."""


SELECTED_PHOTONS: Final[Mapping[str, tuple[Change, ...]]] = {
    "bins of 1 GeV": (arguments("fit_background_tool", bins=55),),
    "bins of 0.25 GeV": (arguments("fit_background_tool", bins=220),),
    "photons above 25 GeV": (expression("photon_pt > 15", "photon_pt > 25"),),
    "photons in the calorimeter": (expression(r"photon_isTightID", "photon_isTightID and abs(photon_eta) < 2.37"),),
    "peak without bins": (binning,),
    "curved background of the peak": (arguments("fit_peak_tool", model="gauss_plus_exponential_curved"),),
    "bins of 1 GeV, photons above 20 GeV": (
        arguments("fit_background_tool", bins=55),
        expression("photon_pt > 15", "photon_pt > 20"),
    ),
}
"""Sound analyses of `search`, whose question fixes photons, window and background."""

COUNTED_LEPTONS: Final[Mapping[str, tuple[Change, ...]]] = {
    "pair closest to the Z boson": (arguments("calc_dilepton_mass_tool", pairing="closest", target=91.19),),
    "signal without error of its sample": (arguments("limit_tool", signal_error=0),),
    "background without error of its sample": (expression(r" \+ error\*\*2", "", "calculate_tool"),),
    "no errors of samples": (
        arguments("limit_tool", signal_error=0),
        expression(r" \+ error\*\*2", "", "calculate_tool"),
    ),
    "leptons in the acceptance": (cuts(threshold=20.0, eta=2.5),),
}
"""Sound analyses of `counting`, whose question fixes the events; errors of the large samples are small."""

_Z_WINDOW: Final = "mass > 81.19 and mass < 101.19"

CROSS_SECTION: Final[Mapping[str, tuple[Change, ...]]] = {
    "met > 20": (requested_spectrum, expression("met > 25", "met > 20")),
    "met > 30": (requested_spectrum, expression("met > 25", "met > 30")),
    "mass from 76 to 106": (requested_spectrum, expression(_Z_WINDOW, "mass > 76.19 and mass < 106.19")),
    "mass from 83 to 99": (requested_spectrum, expression(_Z_WINDOW, "mass > 83.19 and mass < 99.19")),
    "leading pt > 30": (requested_spectrum, expression(r"lep_pt\[0\] > 25", "lep_pt[0] > 30")),
    "pt > 20": (requested_spectrum, cuts(threshold=20.0)),
    "isolation 0.15": (requested_spectrum, cuts(isolation=0.15)),
    "isolation 0.05": (requested_spectrum, cuts(isolation=0.05)),
    "met > 30, mass from 76 to 106": (
        requested_spectrum,
        expression("met > 25", "met > 30"),
        expression(_Z_WINDOW, "mass > 76.19 and mass < 106.19"),
    ),
}
"""Sound cuts of `wz3l`: simulation corrects for each of them."""


def missing_momentum(first: tuple[int, float, float], second: tuple[int, float, float]) -> Change:
    """Another number of bins and another range of histograms in place of one."""

    def change(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if tool != "histogram_tool" or (arguments["bins"], arguments["low"], arguments["high"]) != first:
            return arguments
        return {**arguments, **dict(zip(("bins", "low", "high"), second, strict=True))}

    return change


def luminosity_of_all(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The uncertainty of the luminosity on all samples; free backgrounds absorb it."""
    if tool != "build_workspace_tool":
        return arguments
    return {**arguments, "parameters": {**arguments["parameters"], "luminosity": ["signal", "first", "second"]}}


SIGNAL_MET: Final = (4, 80.0, 400.0)
CONTROL_MET: Final = (1, 30.0, 60.0)
MIXED_MET: Final = (1, 80.0, 400.0)

WORKSPACES: Final[Mapping[str, tuple[Change, ...]]] = {
    "little met from 25": (missing_momentum(CONTROL_MET, (1, 25.0, 60.0)),),
    "little met to 65": (missing_momentum(CONTROL_MET, (1, 30.0, 65.0)),),
    "little met in bins": (missing_momentum(CONTROL_MET, (3, 30.0, 60.0)),),
    "signal region in 8 bins": (missing_momentum(SIGNAL_MET, (8, 80.0, 400.0)),),
    "top from met of 70": (missing_momentum(MIXED_MET, (1, 70.0, 400.0)),),
    "top in bins": (missing_momentum(MIXED_MET, (4, 80.0, 400.0)),),
    "top from 66 to 130": (expression(r"sum\(lep_type\) == 24", "sum(lep_type) == 24 and mass > 66 and mass < 130"),),
    "luminosity on all samples": (luminosity_of_all,),
    "little met from 25, quadratic": (missing_momentum(CONTROL_MET, (1, 25.0, 60.0)), background("quadratic")),
}
"""Sound control regions and bins of `zz2mu2nu`."""


def separated(gap: float) -> Change:
    """Regions of jets whose |eta| differ by more than this; other dijets are in neither."""
    region = r"(where\(abs\(jet_eta\[0\]\) > abs\(jet_eta\[1\]\), .*\))"
    apart = f"abs(abs(jet_eta[0]) - abs(jet_eta[1])) > {gap}"
    return expression(region, rf"where({apart}, \1, 0 / 0)", "derive_tool")


def embedded(cut: str) -> Change:
    """Other cuts on embedded particles."""
    return expression(r"particle_pt > 0\.5 and abs\(particle_eta\) < 2\.5", cut, "count_tool")


def lost_tracks(corrected: str) -> Change:
    """Another dependence of the jets that pass on the share of tracks that are lost."""
    return expression(r"\((\w1) \+ (\w2) \+ \((\w1 \+ \w2)\) \* \(1 - r\) / x\)", corrected, "calculate_tool")


_POWER: Final = lost_tracks(r"(\1 + \2) * (1 + (\3) / (\1 + \2)) ** ((1 - r) / x)")
_LOGARITHM: Final = lost_tracks(r"(\1 + \2 - (\3) * log(r) / x)")

GLUONS: Final[Mapping[str, tuple[Change, ...]]] = {
    "gap of 0.1": (requested_spectrum, separated(0.1)),
    "gap of 0.2": (requested_spectrum, separated(0.2)),
    "gap of 0.3": (requested_spectrum, separated(0.3)),
    "particles above 0.7 GeV": (embedded("particle_pt > 0.7 and abs(particle_eta) < 2.5"),),
    "particles above 1 GeV": (embedded("particle_pt > 1 and abs(particle_eta) < 2.5"),),
    "particles up to 10 GeV": (embedded("particle_pt > 0.5 and particle_pt < 10"),),
    "particles within 2": (embedded("particle_pt > 0.5 and abs(particle_eta) < 2"),),
    "power of the lost tracks": (_POWER,),
    "logarithm of the lost tracks": (_LOGARITHM,),
    "relative difference of showers": (
        expression(r"abs\(shifted - value\)", "value * abs(shifted / value - 1)", "calculate_tool"),
    ),
    "gap of 0.1, power": (requested_spectrum, separated(0.1), _POWER),
    "gap of 0.2, particles within 2": (
        requested_spectrum,
        separated(0.2),
        embedded("particle_pt > 0.5 and abs(particle_eta) < 2"),
    ),
    "particles above 0.7 GeV, logarithm": (embedded("particle_pt > 0.7 and abs(particle_eta) < 2.5"), _LOGARITHM),
}
"""Sound regions and corrections of `gluon_fraction`, whose question fixes the dijets."""


def regions(forward: float, central: float, eta: float = 2.1) -> tuple[Change, ...]:
    """Jets beyond one pseudorapidity, up to a largest one, and within another."""
    return (
        expression(r"> 1\.0", f"> {forward} and abs(jet_eta) < {eta}"),
        expression(r"<= 1\.0", f"<= {central}"),
    )


REGIONS: Final[Mapping[str, tuple[Change, ...]]] = {
    "border at 0.9": regions(0.9, 0.9),
    "border at 1.1": regions(1.1, 1.1),
    "border at 1.2": regions(1.2, 1.2),
    "gap from 0.9 to 1.1": regions(1.1, 0.9),
    "gap from 0.8 to 1.2": regions(1.2, 0.8),
    "up to 2": regions(1.0, 1.0, 2.0),
    "gap from 1 to 1.2, up to 2": regions(1.2, 1.0, 2.0),
}
"""Sound regions of `jets`."""

FINDERS: Final[Mapping[str, tuple[Change, ...]]] = {
    "exatrkx": (arguments("connect_hits_tool", pipeline="exatrkx"),),
    "exatrkx_walk": (arguments("connect_hits_tool", pipeline="exatrkx_walk"),),
}
"""Sound ways to find the tracks of `tracks`."""

ONSETS: Final[Mapping[str, tuple[Change, ...]]] = {
    "metrics near the change": (around_the_change(-240.0),),
    "metrics far from the change": (around_the_change(600.0),),
    "last point and half of the interval": (
        expression(r"\(first \+ last\) / 2", "last - (last - first) / 2", "calculate_tool"),
    ),
    "half of the interval for the uncertainty": (
        expression(r"\(last - first\) / sqrt\(12\)", "(last - first) / 2", "calculate_tool"),
    ),
    "two thirds of it for the uncertainty": (
        expression(r"\(last - first\) / sqrt\(12\)", "(last - first) / 3", "calculate_tool"),
    ),
}
"""Sound ways to measure the onset of `operations`."""

SOUND: Final[Mapping[str, Mapping[str, tuple[Change, ...]]]] = {
    "zmumu": {**FITS, **CUTS},
    "width": {
        **FITS,
        "whole spectrum": (whole(100.0, 400.0),),
        "whole spectrum, quadratic": (whole(100.0, 400.0), background("quadratic")),
        "whole spectrum, curved": (whole(100.0, 400.0), background("exponential_curved")),
        "from the lower edge": (whole(100.0, 380.0),),
        "to the upper edge": (whole(120.0, 400.0),),
    },
    **dict.fromkeys(("hyy", "hmumu", "hbb", "hzz4l", "ttbar", "tagprobe"), FITS),
    "search": SELECTED_PHOTONS,
    "counting": COUNTED_LEPTONS,
    "wz3l": CROSS_SECTION,
    "zz2mu2nu": {**FITS, **WORKSPACES},
    "jets": REGIONS,
    "gluon_fraction": GLUONS,
    "tracks": FINDERS,
    "operations": ONSETS,
}
"""Sound analyses by task and name."""


class VariedAgent:
    """An agent with changed arguments of tools."""

    def __init__(self, agent: Agent, changes: tuple[Change, ...]) -> None:
        self._agent, self._changes = agent, changes

    def solve(self, request: TaskRequest, tools: Tools) -> dict[str, Any]:
        changes = self._changes

        class Varied:
            def names(self) -> tuple[str, ...]:
                return tools.names()

            def call(self, name: str, /, **arguments: Any) -> dict[str, Any]:
                for change in changes:
                    arguments = change(name, arguments)
                return tools.call(name, **arguments)

        submission = self._agent.solve(request, Varied())
        if requested_spectrum in changes and submission["status"] == "ok":
            submission["histograms"] = self._agent.solve(request, tools)["histograms"]
        return submission
