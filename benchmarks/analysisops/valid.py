"""What sound analyses other than the reference's score: `python benchmarks/analysisops/valid.py`

The reference analysis of each task with a fit is repeated with another background, line shape, window or binning, and
for `zmumu`, whose question names no cut, with other cuts. All of them are sound, so the lowest score should be at least
0.90, and 95 % of them should score 0.95. The spread of an answer is the standard deviation of its distances to the
reference, in units of the reference's uncertainty.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import pstdev
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

from beampipe.analysisops.agents.agent import Agent, Tools
from beampipe.analysisops.assessment import ask_here, assess
from beampipe.analysisops.contract import TaskRequest
from beampipe.analysisops.instances import InstanceStore, oracle_of
from beampipe.analysisops.tasks.load import shipped_task
from beampipe.terminal import make_table

sys.path.insert(0, str(Path(__file__).parents[1] / "calibration"))  # both areas report in the same form
from measuring import CONSOLE, conditions, report

FITTED: Final = ("zmumu", "width", "hyy", "hmumu", "hbb", "hzz4l", "ttbar", "tagprobe", "search")
"""Tasks whose analysis has a fit."""

Change = Callable[[str, dict[str, Any]], dict[str, Any]]
"""Changes the arguments of a tool, by its name."""


def background(kind: str) -> Change:
    """Another background in all fits."""

    def change(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if tool == "fit_peak_tool" and "_plus_" in arguments["model"]:
            return {**arguments, "model": f"{arguments['model'].partition('_plus_')[0]}_plus_{kind}"}
        return {**arguments, "model": kind} if tool == "fit_background_tool" else arguments

    return change


def line_shape(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """A double Gaussian for a Gaussian."""
    if tool == "fit_peak_tool" and arguments["model"].startswith("gauss_plus"):
        return {**arguments, "model": f"double_{arguments['model']}"}
    return arguments


def window(low: float, high: float) -> Change:
    """A window that is narrower by these shares of its width."""

    def change(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if tool not in ("fit_peak_tool", "fit_background_tool"):
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
    "linear background": (background("linear"),),
    "quadratic background": (background("quadratic"),),
    "exponential background": (background("exponential"),),
    "curved background": (background("exponential_curved"),),
    "narrower window": (window(0.1, 0.1),),
    "window from later on": (window(0.12, 0.0),),
    "window to earlier on": (window(0.0, 0.12),),
    "other binning": (binning,),
    "double Gaussian": (line_shape,),
    "quadratic, narrower": (background("quadratic"), window(0.08, 0.08)),
    "curved, other binning": (background("exponential_curved"), binning),
    "narrower, other binning": (window(0.1, 0.05), binning),
}
"""Sound changes of a fit, by name."""

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


def measured(folder: Path, name: str, seed: int, variation: str) -> dict[str, Any]:
    """Score and pulls to the reference of one analysis."""
    prepared = InstanceStore(folder).get(shipped_task(name), seed)
    agent = VariedAgent(oracle_of(prepared.task, prepared.hidden), {**FITS, **CUTS}[variation])
    with tempfile.TemporaryDirectory() as ledger:
        grade = assess(prepared, 3, seed, ask_here(agent), Path(ledger)).grade
    quantities = prepared.reference.quantities
    return {
        "task": name,
        "seed": seed,
        "variation": variation,
        "score": grade["final"]["normalized_score"],
        "status": grade["status"],
        "issues": [issue["message"] for issue in grade["issues"]],
        "shares": {check["id"]: check["evidence"]["fraction"] for check in grade["checks"]},
        "pulls": {
            answer: (origin["number"] - quantities[answer].value) / quantities[answer].uncertainty
            for answer, origin in grade["provenance"].items()
            if origin["number"] is not None
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=5, help="of each task")
    parser.add_argument("--first", type=int, default=7001, help="first seed")
    parser.add_argument("--task", action="append", default=[], help="only these")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("runs/bench/analysisops/instances"))
    parser.add_argument("--output", type=Path, default=Path("runs/bench/analysisops/valid.json"))
    options = parser.parse_args()
    begun = conditions("sound analyses")
    work = [
        (name, options.first + instance, variation)
        for name in options.task or FITTED
        for instance in range(options.instances)
        for variation in ({**FITS, **CUTS} if name == "zmumu" else FITS)
    ]
    with ProcessPoolExecutor(options.workers) as pool:
        results = list(pool.map(partial(measured, options.folder), *zip(*work, strict=True)))
    table = make_table("Sound analyses", ["task"], ["analyses", "lowest", "by", "from 0.95 on", "spread [u]"])
    for name in options.task or FITTED:
        rows = [row for row in results if row["task"] == name]
        lowest = min(rows, key=lambda row: row["score"])
        spread = {
            answer: pstdev(row["pulls"][answer] for row in rows if answer in row["pulls"]) for answer in lowest["pulls"]
        }
        table.add_row(
            name,
            str(len(rows)),
            f"{lowest['score']:.3f}",
            lowest["variation"],
            f"{sum(row['score'] >= 0.95 for row in rows) / len(rows):.0%}",
            ", ".join(f"{answer} {value:.2f}" for answer, value in spread.items()),
        )
    CONSOLE.print(table)
    report(options.output, begun, {"results": results})


if __name__ == "__main__":
    main()
