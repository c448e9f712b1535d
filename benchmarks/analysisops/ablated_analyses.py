"""Ablated analyses: the reference analysis of each task with a mistake, ordered by how much physics it spoils.

`Severity` is the expected order, stated before anything is graded: an analysis without a mistake earns more than one
that misjudges its uncertainty, that one more than one with a wrong answer beside a right one, and that one more than
one whose answers are all wrong, or that selects other events than those of the question.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, Final

from sound_analyses import (
    FITS_OF,
    SIGNAL_MET,
    Change,
    VariedAgent,
    arguments,
    background,
    binning,
    expression,
    missing_momentum,
    requested_spectrum,
    separated,
)

from beampipe.analysisops.agents.agent import Tools, stated_answer
from beampipe.analysisops.contract import TaskRequest
from beampipe.analysisops.instances import PreparedInstance, oracle_of
from beampipe.analysisops.references import Referenced


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


def part_of_window(low: float, high: float) -> Change:
    """Fits in a part of their window, from one share of its width to another."""

    def change(name: str, given: dict[str, Any]) -> dict[str, Any]:
        if name not in FITS_OF:
            return given
        first, last = given["window"]
        return {**given, "window": [first + low * (last - first), first + high * (last - first)]}

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


def _part(*changes: Change) -> Ablation:
    return Ablation(Severity.A_PART, changes)


def _all(*changes: Change) -> Ablation:
    return Ablation(Severity.EVERYTHING, changes)


_NOTHING: Final = {"no mistake": Ablation(Severity.NOTHING)}
_ALL_OF: Final = {**_NOTHING, **_STATED, **_UNIT}

ABLATIONS: Final[Mapping[str, Mapping[str, Ablation]]] = {
    "zmumu": {
        **_ALL_OF,
        "other binning": Ablation(Severity.NOTHING, (binning,)),
        "no isolation": _all(NO_ISOLATION),
        "no identification": _all(NO_IDENTIFICATION),
        "any charge": _all(ANY_CHARGE),
        "electrons too": _all(ELECTRONS_TOO),
        "high threshold": _all(expression(r"lep_pt > 15", "lep_pt > 45")),
        "Gaussian in one half": _all(model("gauss", "none"), part_of_window(0.0, 0.65)),
        "window above the peak": _all(part_of_window(0.7, 1.0)),
    },
    "width": {
        **_ALL_OF,
        "other binning": Ablation(Severity.NOTHING, (arguments("fit_peak_tool", bins=100),)),
        "no isolation": _all(NO_ISOLATION),
        "no identification": _all(NO_IDENTIFICATION),
        "any charge": _all(ANY_CHARGE),
        "no background": _all(model("", "none")),
        "no resolution": _all(no_resolution),
        "window above the peak": _all(part_of_window(0.65, 1.0)),
    },
    "hyy": {
        **_ALL_OF,
        "curved background": Ablation(Severity.NOTHING, (background("exponential_curved"),)),
        "no isolation": _part(NO_ISOLATION),
        "no identification": _part(NO_IDENTIFICATION),
        "no relative thresholds": _part(expression(r"photon_pt\[\d\] > [\d.]+ \* mass", "mass > 0")),
        "no background": _all(model("", "none")),
        "constant background": _all(background("const")),
        "window above the peak": _all(part_of_window(0.75, 1.0)),
    },
    "hmumu": {
        **_ALL_OF,
        "curved background": Ablation(Severity.NOTHING, (background("exponential_curved"),)),
        "no isolation": _part(NO_ISOLATION),
        "no identification": _part(NO_IDENTIFICATION),
        "any charge": _part(ANY_CHARGE),
        "no background": _all(model("", "none")),
        "constant background": _all(background("const")),
        "window above the peak": _all(part_of_window(0.75, 1.0)),
    },
    "hbb": {
        **_ALL_OF,
        "other binning": Ablation(Severity.NOTHING, (binning,)),
        "no tag": _all(expression(r"jet_btag_quantile >= 4", "jet_btag_quantile >= 1")),
        "loose tag": _part(expression(r"jet_btag_quantile >= 4", "jet_btag_quantile >= 3")),
        "no missing momentum": _all(expression(r"met > 80", "met > 0")),
        "too much missing momentum": _all(expression(r"met > 80", "met > 150")),
        "no background": _all(model("", "none")),
        "constant background": _all(background("const")),
        "window above the peak": _all(part_of_window(0.6, 1.0)),
    },
    "hzz4l": {
        **_ALL_OF,
        "other binning": Ablation(Severity.NOTHING, (binning,)),
        "no isolation": _part(NO_ISOLATION),
        "no identification": _part(NO_IDENTIFICATION),
        "high threshold": _all(expression(r"lep_pt > 7", "lep_pt > 15")),
        "muons alone": _all(expression(r"lep_isTightID", "lep_isTightID and lep_type == 13")),
        "no background": _all(model("", "none")),
        "window above the peak": _all(part_of_window(0.7, 1.0)),
    },
    "ttbar": {
        **_ALL_OF,
        "other binning": Ablation(Severity.NOTHING, (arguments("fit_peak_tool", bins=80),)),
        "no tag": _all(
            expression(r" and count\(tagged\) == 2", ""), arguments("calc_combination_mass_tool", must=None)
        ),
        "closest combination": _part(arguments("calc_combination_mass_tool", choose="closest", target=172.5)),
        "swapped masses": _all(expression(r"m1 \+ (.*) \* \(m2 - m1\)", r"m2 + \1 * (m1 - m2)", "calculate_tool")),
        "four jets": _all(arguments("calc_combination_mass_tool", number=4)),
        "no calibration": _all(expression(r"m1 \+ .*", "p", "calculate_tool")),
        "window above the peak": _all(part_of_window(0.65, 1.0)),
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
        "signal region in 8 bins": Ablation(Severity.NOTHING, (missing_momentum(SIGNAL_MET, (8, 80.0, 400.0)),)),
        "luminosity exact": Ablation(Severity.UNCERTAINTY, (fixing("luminosity"),)),
        "statistical uncertainty alone": Ablation(Severity.UNCERTAINTY, (fixing("luminosity", "muon_efficiency"),)),
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
        "other binning": Ablation(Severity.NOTHING, (arguments("fit_peak_tool", bins=60),)),
        "no background": _all(model("", "none")),
        "any charge": _all(ANY_CHARGE),
        "tags counted once": _all(expression(r"2 \* both / \(2 \* both \+ one\)", "both / (both + one)")),
        "failing over passing": _all(expression(r"2 \* both / \(2 \* both \+ one\)", "one / (2 * both + one)")),
        "high threshold": _all(expression(r"lep_pt > 20", "lep_pt > 45")),
        "window above the peak": _all(part_of_window(0.6, 1.0)),
    },
    "search": {
        **_ALL_OF,
        "other binning": Ablation(Severity.NOTHING, (arguments("fit_background_tool", bins=55),)),
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
        "shower ignored": Ablation(
            Severity.UNCERTAINTY,
            (expression(r" \+ shower\*\*2| \+ \(shifted - value\)\*\*2", "", "calculate_tool"),),
        ),
        "statistical uncertainty alone": Ablation(
            Severity.UNCERTAINTY,
            (expression(r" \+ tracking.*(?=\))| \+ \(shifted - value\)\*\*2", "", "calculate_tool"),),
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
        "another finder": Ablation(Severity.NOTHING, (arguments("connect_hits_tool", pipeline="exatrkx_walk"),)),
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
        "uncertainty of the whole interval": Ablation(
            Severity.UNCERTAINTY, (expression(r"\(last - first\) / sqrt\(12\)", "last - first", "calculate_tool"),)
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
