"""Analyses other than the reference's: sound ones, and ones with a mistake, ordered by how much physics it spoils.

Sound are other backgrounds, windows and bins of fits, cuts, regions and finders. A change maps the arguments of a tool
to others, so that it applies to the analysis of any task.

`Severity` is the expected order of the mistakes, stated before anything is graded: an analysis without a mistake earns
more than one that misjudges its uncertainty, that one more than one with a wrong answer beside a right one, and that
one more than one whose answers are all wrong, or that selects other events than those of the question.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, Final

from beampipe.analysisops.agents.agent import Agent, Tools, stated_answer
from beampipe.analysisops.contract import TaskRequest
from beampipe.analysisops.instances import PreparedInstance, oracle_of
from beampipe.analysisops.references import Referenced

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


# Mistakes


class Severity(IntEnum):
    """What a mistake spoils."""

    NOTHING = 0
    UNCERTAINTY = 1
    A_PART = 2
    EVERYTHING = 3


@dataclass(frozen=True)
class Ablation:
    """One mistake.

    Attributes:
        severity: what it spoils.
        changes: changes of the arguments of tools.
        stated: expressions of what is stated in place of the value ``v`` and the uncertainty ``u`` of each answer.
        wrong_unit: whether GeV are taken for MeV, and MeV for GeV.
        hits: column of the hits -> expression by which it is replaced before tracks are found.
        wrong_words: words in whose place another choice is answered.
    """

    severity: Severity
    changes: tuple[Change, ...] = ()
    stated: tuple[str, str] = ("v", "u")
    wrong_unit: bool = False
    hits: Mapping[str, str] = field(default_factory=dict)
    wrong_words: tuple[str, ...] = ()


class AblatedAgent:
    """The reference analysis of an instance with a mistake."""

    def __init__(self, prepared: PreparedInstance, ablation: Ablation) -> None:
        hidden, self._words = prepared.hidden, prepared.task.spec.words
        if ablation.wrong_unit:
            hidden = replace(hidden, energy_unit=1e-3 if hidden.energy_unit == 1.0 else 1.0)
        self._oracle = oracle_of(prepared.task, hidden)
        self._ablation = ablation

    def solve(self, request: TaskRequest, tools: Tools) -> dict[str, Any]:
        def displaced(name: str, given: dict[str, Any]) -> dict[str, Any]:
            events = given.get("events")
            if name == "connect_hits_tool":
                for column, text in self._ablation.hits.items():
                    events = tools.call("derive_tool", events=events, name=column, expression=text)["handle"]
                return {**given, "events": events}
            return given

        submission = VariedAgent(self._oracle, (*self._ablation.changes, displaced)).solve(request, tools)
        stated = self._ablation.stated
        words = dict(submission["words"])
        for name in self._ablation.wrong_words:
            words[name] = next(choice for choice in self._words[name].choices if choice != words[name])
        answers = dict(submission["answers"])
        if stated == ("v", "u"):
            return {**submission, "words": words}
        for name, answer in submission["answers"].items():
            numbers = {
                "v": Referenced(answer["value"], answer["from"]),
                "u": Referenced(answer["uncertainty"], answer["uncertainty_from"]),
            }
            answers[name] = stated_answer(
                *(
                    tools.call(
                        "calculate_tool",
                        expression=text,
                        values={letter: number for letter, number in numbers.items() if letter in text},
                    )["value"]
                    for text in stated
                )
            )
        return {**submission, "answers": answers, "words": words}


def model(signal: str, background_model: str = "") -> Change:
    """Another line shape; the background is kept unless another is given, ``"none"`` for no background."""

    def change(name: str, given: dict[str, Any]) -> dict[str, Any]:
        if name != "fit_peak_tool":
            return given
        first, _, second = given["model"].partition("_plus_")
        chosen = background_model or second
        suffix = "" if chosen in ("", "none") else f"_plus_{chosen}"
        return {**given, "model": (signal or first) + suffix}

    return change


def swapped(first: str, second: str, among: str = "") -> Change:
    """Two texts of expressions in each other's place, in expressions that also hold a third."""

    def change(name: str, given: dict[str, Any]) -> dict[str, Any]:
        text = given.get("expression", "")
        if among not in text:
            return given
        pieces = [piece.replace(second, first) for piece in text.split(first)]
        return {**given, "expression": second.join(pieces)} if text else given

    return change


def fixing(*names: str) -> Change:
    """Parameters of a workspace that are fixed in every fit."""

    def change(name: str, given: dict[str, Any]) -> dict[str, Any]:
        return {**given, "fixed": sorted({*given["fixed"], *names})} if name == "fit_workspace_tool" else given

    return change


def stated_backgrounds(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Backgrounds with their stated cross sections in place of free ones."""
    if name != "build_workspace_tool":
        return given
    kept = {parameter: names for parameter, names in given["parameters"].items() if "scale_of" not in parameter}
    return {**given, "parameters": kept}


def data_and_measured_swapped(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """The sample of the measurement in place of that of the calibration, and the reverse."""
    other = {"data.root": "measured.root", "measured.root": "data.root"}.get(given.get("file_path", ""))
    return {**given, "file_path": other} if other and name == "load_kinematics_tool" else given


def no_resolution(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """A tenth of the resolution in fits that fix it."""
    return {**given, "fixed": {"sigma": given["fixed"]["sigma"] / 10}} if given.get("fixed") else given


NO_ISOLATION: Final = expression(r" and (lep|photon)_ptcone20 < [\d.]+ \* (lep|photon)_pt", "")
NO_IDENTIFICATION: Final = expression(r" and (lep|photon)_isTightID", "")
ANY_CHARGE: Final = arguments("calc_dilepton_mass_tool", pairing="leading", charge=None)
ELECTRONS_TOO: Final = expression(r" and lep_type == 13|lep_type == 13 and ", "")

_STATED: Final = {
    "uncertainty too small": Ablation(Severity.UNCERTAINTY, stated=("v", "u / 3")),
    "uncertainty too large": Ablation(Severity.UNCERTAINTY, stated=("v", "3 * u")),
}
_UNIT: Final = {"wrong unit": Ablation(Severity.EVERYTHING, wrong_unit=True)}


def _same(*changes: Change) -> Ablation:
    return Ablation(Severity.NOTHING, changes)


def _uncertainty(*changes: Change) -> Ablation:
    return Ablation(Severity.UNCERTAINTY, changes)


def _part(*changes: Change) -> Ablation:
    return Ablation(Severity.A_PART, changes)


def _all(*changes: Change) -> Ablation:
    return Ablation(Severity.EVERYTHING, changes)


_NOTHING: Final = {"no mistake": Ablation(Severity.NOTHING)}
_ALL_OF: Final = {**_NOTHING, **_STATED, **_UNIT}

ABLATIONS: Final[Mapping[str, Mapping[str, Ablation]]] = {
    "zmumu": {
        **_ALL_OF,
        "other binning": _same(binning),
        "no isolation": _all(NO_ISOLATION),
        "no identification": _all(NO_IDENTIFICATION),
        "any charge": _all(ANY_CHARGE),
        "electrons too": _all(ELECTRONS_TOO),
        "high threshold": _all(expression(r"lep_pt > 15", "lep_pt > 45")),
        "Gaussian in one half": _all(model("gauss", "none"), window(0.0, 0.35)),
        "window above the peak": _all(window(0.7, 0.0)),
    },
    "width": {
        **_ALL_OF,
        "other binning": _same(arguments("fit_peak_tool", bins=100)),
        "no isolation": _all(NO_ISOLATION),
        "no identification": _all(NO_IDENTIFICATION),
        "any charge": _all(ANY_CHARGE),
        "no background": _all(model("", "none")),
        "no resolution": _all(no_resolution),
        "window above the peak": _all(window(0.65, 0.0)),
    },
    "hyy": {
        **_ALL_OF,
        "curved background": _same(background("exponential_curved")),
        "no isolation": _part(NO_ISOLATION),
        "no identification": _part(NO_IDENTIFICATION),
        "no relative thresholds": _part(expression(r"photon_pt\[\d\] > [\d.]+ \* mass", "mass > 0")),
        "no background": _all(model("", "none")),
        "constant background": _all(background("const")),
        "window above the peak": _all(window(0.75, 0.0)),
    },
    "hmumu": {
        **_ALL_OF,
        "curved background": _same(background("exponential_curved")),
        "no isolation": _part(NO_ISOLATION),
        "no identification": _part(NO_IDENTIFICATION),
        "any charge": _part(ANY_CHARGE),
        "no background": _all(model("", "none")),
        "constant background": _all(background("const")),
        "window above the peak": _all(window(0.75, 0.0)),
    },
    "hbb": {
        **_ALL_OF,
        "other binning": _same(binning),
        "no tag": _all(expression(r"jet_btag_quantile >= 4", "jet_btag_quantile >= 1")),
        "loose tag": _part(expression(r"jet_btag_quantile >= 4", "jet_btag_quantile >= 3")),
        "no missing momentum": _all(expression(r"met > 80", "met > 0")),
        "too much missing momentum": _all(expression(r"met > 80", "met > 150")),
        "no background": _all(model("", "none")),
        "constant background": _all(background("const")),
        "window above the peak": _all(window(0.6, 0.0)),
    },
    "hzz4l": {
        **_ALL_OF,
        "other binning": _same(binning),
        "no isolation": _part(NO_ISOLATION),
        "no identification": _part(NO_IDENTIFICATION),
        "high threshold": _all(expression(r"lep_pt > 7", "lep_pt > 15")),
        "muons alone": _all(expression(r"lep_isTightID", "lep_isTightID and lep_type == 13")),
        "no background": _all(model("", "none")),
        "window above the peak": _all(window(0.7, 0.0)),
    },
    "ttbar": {
        **_ALL_OF,
        "other binning": _same(arguments("fit_peak_tool", bins=80)),
        "no tag": _all(
            expression(r" and count\(tagged\) == 2", ""), arguments("calc_combination_mass_tool", must=None)
        ),
        "closest combination": _part(arguments("calc_combination_mass_tool", choose="closest", target=172.5)),
        "swapped masses": _all(expression(r"m1 \+ (.*) \* \(m2 - m1\)", r"m2 + \1 * (m1 - m2)", "calculate_tool")),
        "four jets": _all(arguments("calc_combination_mass_tool", number=4)),
        "no calibration": _all(expression(r"m1 \+ .*", "p", "calculate_tool")),
        "window above the peak": _all(window(0.65, 0.0)),
        "two jets": _all(arguments("calc_combination_mass_tool", number=2)),
    },
    "wz3l": {
        **_ALL_OF,
        "no background": _all(expression(r"data( - background\d+)+", "data", "calculate_tool")),
        "unweighted simulation": _all(arguments("count_tool", weight=None)),
        "unweighted normalisation": _all(expression(r" / all", "", "calculate_tool")),
        "no missing momentum": _all(expression(r" and met > 25", "")),
        "one lepton more": _all(expression(r"count\(lep_pt\) == 3", "count(lep_pt) >= 2")),
        "no luminosity": _all(expression(r" \* luminosity", "", "calculate_tool")),
        "femtobarn for picobarn": _all(expression(r"1000 \* stated", "stated", "calculate_tool")),
    },
    "zz2mu2nu": {
        **_ALL_OF,
        "signal region in 8 bins": _same(missing_momentum(SIGNAL_MET, (8, 80.0, 400.0))),
        "luminosity exact": _uncertainty(fixing("luminosity")),
        "statistical uncertainty alone": _uncertainty(fixing("luminosity", "muon_efficiency")),
        "no efficiency correction": _part(expression(r"correction \* ", "", "calculate_tool")),
        "correction of one muon": _part(expression(r"\(data / simulated\)\*\*2", "data / simulated", "calculate_tool")),
        "tags counted once": _part(expression(r"2 \* both / \(2 \* both \+ one\)", "both / (both + one)")),
        "fakes as probes": _part(model("", "none")),
        "any charge": _part(ANY_CHARGE),
        "stated backgrounds": _part(stated_backgrounds),
        "no luminosity": _part(expression(r" \* luminosity", "", "calculate_tool")),
        "femtobarn for picobarn": _part(expression(r"1000 \* stated", "stated", "calculate_tool")),
        "no identification": _all(NO_IDENTIFICATION),
        "high threshold": _all(expression(r"lep_pt > 20", "lep_pt > 45")),
    },
    "tagprobe": {
        **_ALL_OF,
        "other binning": _same(arguments("fit_peak_tool", bins=60)),
        "no background": _all(model("", "none")),
        "any charge": _all(ANY_CHARGE),
        "tags counted once": _all(expression(r"2 \* both / \(2 \* both \+ one\)", "both / (both + one)")),
        "failing over passing": _all(expression(r"2 \* both / \(2 \* both \+ one\)", "one / (2 * both + one)")),
        "high threshold": _all(expression(r"lep_pt > 20", "lep_pt > 45")),
        "window above the peak": _all(window(0.6, 0.0)),
    },
    "search": {
        **_ALL_OF,
        "other binning": _same(arguments("fit_background_tool", bins=55)),
        "no isolation": _all(NO_ISOLATION),
        "no identification": _all(NO_IDENTIFICATION),
        "no relative thresholds": _part(expression(r"photon_pt\[\d\] > [\d.]+ \* mass", "mass > 0")),
        "constant background": _all(arguments("fit_background_tool", model="const")),
        "no background": _all(arguments("limit_tool", background=0, background_error=0)),
        "level of 99 %": _all(arguments("limit_tool", level=0.99)),
    },
    "counting": {
        **_ALL_OF,
        "no background uncertainty": _part(expression(r"\(share \* background\)\*\*2 \+ ", "", "calculate_tool")),
        "no background": _all(arguments("limit_tool", background=0, background_error=0)),
        "unweighted simulation": _all(arguments("count_tool", weight=None)),
        "unweighted normalisation": _all(expression(r" / all", "", "calculate_tool")),
        "low missing momentum": _all(expression(r"met > 150", "met > 60")),
        "no luminosity": _all(expression(r" \* luminosity", "", "calculate_tool")),
        "no identification": _part(NO_IDENTIFICATION),
        "level of 99 %": _all(arguments("limit_tool", level=0.99)),
    },
    "jets": {
        **_NOTHING,
        **_STATED,
        "swapped flavours": _all(swapped("jet_label != 21", "jet_label == 21")),
        "swapped regions": _all(swapped("> 1.0", "<= 1.0", among="jet_label")),
        "pure regions": _all(arguments("solve_linear_tool", matrix=[[1, 0], [0, 1]], matrix_errors=[[0, 0], [0, 0]])),
        "no simulated efficiency": _all(expression("data / simulation", "data", "calculate_tool")),
        "inverse": _all(expression("data / simulation", "simulation / data", "calculate_tool")),
        "b quarks as gluons": _all(
            expression("jet_label != 21", "jet_label < 5"), expression("jet_label == 21", "jet_label >= 5")
        ),
    },
    "gluon_fraction": {
        **_NOTHING,
        **_STATED,
        "regions apart": Ablation(Severity.NOTHING, (requested_spectrum, separated(0.1))),
        "shower ignored": _uncertainty(
            expression(r" \+ shower\*\*2| \+ \(shifted - value\)\*\*2", "", "calculate_tool")
        ),
        "statistical uncertainty alone": _uncertainty(
            expression(r" \+ tracking.*(?=\))| \+ \(shifted - value\)\*\*2", "", "calculate_tool")
        ),
        "no efficiency correction": _part(expression(r" \+ \(\w1 \+ \w2\) \* \(1 - r\) / x", "", "calculate_tool")),
        "correction the wrong way": _part(expression(r"\(1 - r\)", "(r - 1)", "calculate_tool")),
        "particles of any pt": _part(expression(r"particle_pt > 0\.5", "particle_pt > 0", "count_tool")),
        "efficiency the wrong way": _part(expression("measured / data", "data / measured", "calculate_tool")),
        "no scale factors": _part(
            expression(r"\(F \* g2 - C \* g1\)|\(C \* q1 - F \* q2\)", "(q1 * g2 - q2 * g1) / n", "calculate_tool")
        ),
        "one region alone": _part(
            expression(
                r"\(F \* g2 - C \* g1\)|\(C \* q1 - F \* q2\)",
                "F * (q1 * g2 - q2 * g1) / (q1 + g1)",
                "calculate_tool",
            )
        ),
        "regions swapped in simulation": _part(swapped("forward", "central", among="_label")),
        "no weights": _part(arguments("count_tool", weight=None)),
        "one track less in data": _part(
            expression(r"^((forward|central) >= 0 and \2) <=(?=[^_]*$)", r"\1 <", "count_tool")
        ),
        "leading jet as forward": _part(
            expression(r"where\(abs\(jet_eta\[0\]\) > abs\(jet_eta\[1\]\)", "where(jet_pt[0] > 0", "derive_tool")
        ),
        "harder jets": _all(expression(r"jet_pt\[1\] > 500", "jet_pt[1] > 700", "select_tool")),
        "all jets in both spectra": _all(arguments("histogram_tool", column="jet_n_trk")),
        "data and measured sample swapped": _all(data_and_measured_swapped),
    },
    "tracks": {
        **_NOTHING,
        **_STATED,
        "another finder": _same(arguments("connect_hits_tool", pipeline="exatrkx_walk")),
        "r and z swapped": _all(arguments("connect_hits_tool", r="hit_z", z="hit_r")),
        "z shifted by 20 mm": Ablation(Severity.EVERYTHING, hits={"hit_z": "hit_z + 20"}),
        "z shifted by 100 mm": Ablation(Severity.EVERYTHING, hits={"hit_z": "hit_z + 100"}),
        "z ten times too small": Ablation(Severity.EVERYTHING, hits={"hit_z": "hit_z / 10"}),
        "lengths ten times too small": Ablation(
            Severity.EVERYTHING, hits={"hit_r": "hit_r / 10", "hit_z": "hit_z / 10"}
        ),
        "azimuth in degrees": Ablation(Severity.EVERYTHING, hits={"hit_phi": "hit_phi * 57.29578"}),
    },
    "operations": {
        **_NOTHING,
        **_STATED,
        "uncertainty of the whole interval": _uncertainty(
            expression(r"\(last - first\) / sqrt\(12\)", "last - first", "calculate_tool")
        ),
        "wrong server": Ablation(Severity.EVERYTHING, wrong_words=("server",)),
        "wrong cause": Ablation(Severity.EVERYTHING, wrong_words=("cause",)),
        "wrong server and cause": Ablation(Severity.EVERYTHING, wrong_words=("server", "cause")),
        "time of the next point": _part(expression(r"\(first \+ last\) / 2", "last", "calculate_tool")),
        "two points later": _all(expression(r"\(first \+ last\) / 2", "last + 2 * (last - first)", "calculate_tool")),
        "half the time": _all(expression(r"\(first \+ last\) / 2", "last / 2", "calculate_tool")),
    },
}
"""Mistakes by task and name."""
