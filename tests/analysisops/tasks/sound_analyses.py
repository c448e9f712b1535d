"""Sound analyses other than the reference's: other backgrounds, windows and bins of fits, and other cuts.

A change maps the arguments of a tool to others, so that it applies to the analysis of any task.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from beampipe.analysisops.agents.agent import Agent, Tools
from beampipe.analysisops.contract import TaskRequest

FITTED: Final = ("zmumu", "width", "hyy", "hmumu", "hbb", "hzz4l", "ttbar", "tagprobe")
"""Tasks whose analysis has a fit that the question leaves open."""

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


def binning(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Bins in place of single events, or the reverse."""
    if tool != "fit_peak_tool":
        return arguments
    others = {key: value for key, value in arguments.items() if key not in ("bins", "unbinned")}
    return {**others, **({"bins": 120} if arguments.get("unbinned") else {"unbinned": True})}


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

        return self._agent.solve(request, Varied())
