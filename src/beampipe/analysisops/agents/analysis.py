"""What analyses work with, and agents without a language model.

An `Analysis` has the tools, the files of an assessment, and their columns, recognised by their names.
Names of branches are split into words; a word denotes a collection (leptons, photons, jets, hits) or a quantity
(transverse momentum, charge). Leptons, photons and jets have energies of tens of GeV, so values in the thousands are in
MeV.

`FollowerAgent` executes the steps listed in a prompt, and nothing else. Prompts of level 1 end with a fenced block
``steps`` with one JSON object per line: calls of tools, and last the answer.

    {"tool": "load_kinematics_tool", "arguments": {"file_path": "@role:data", ...}, "as": "loaded"}
    {"tool": "fit_peak_tool", "arguments": {"events": "$loaded", ...}, "as": "fit"}
    {"answer": {"answers": {"mass": {"value": "$fit.mu", "uncertainty": "$fit.mu_error"}}}}

These references in a text are replaced by values. A text that consists of one reference becomes the value itself, with
its type:

======================== =========================================================================================
in a text                value
======================== =========================================================================================
``$LABEL``               the handle in the result of an earlier step, or the value that it chose
``$LABEL.path.to.it``    the value at that path in the result; list indices start at 0. In calculations it stands for
                         its reference, such as ``call_7.path.to.it``, and an answer names it, too
``@role:ROLE``           names of the files of a role
``@file:ROLE.KEY``       a public fact of the first file of a role, such as its ``name`` or ``cross_section_pb``;
                         ``@file:ROLE.1.KEY`` of the second
``@public:KEY``          a public fact of the data as a whole
``@histogram:NAME.KEY``  ``bins``, ``low`` or ``high`` of a histogram that the task requests
``@tree``                the tree of the file that was inspected last
``@branch:NAME``         the branch of that file for this standard name, such as ``lep_pt``
``@GeV``                 the factor that converts energies in that file to GeV
``@fullest:LABEL``       the centre of the bin with the largest content in a histogram
======================== =========================================================================================

``{"sum": [NUMBER, ...]}`` and ``{"product": [NUMBER, ...]}`` evaluate to a number to choose, such as an end of a
window. ``{"largest": [[NUMBER, VALUE], ...]}`` evaluates to the value paired with the largest number. A step
``{"choose": VALUE, "as": LABEL}`` stores such a value for later steps.

`ScriptedAgent` recognises the columns of the files and runs the reference analysis: the steps of the prompt of level 1,
or code of the task. The oracle is the same with the true names and units of the columns. It uses the same tools and
data as every agent, so its result includes statistical fluctuations; submissions are compared with it.

The caller supplies the analyses, since they are part of the tasks and this package does not depend on tasks.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from beampipe.analysisops.agents.agent import Tools, failed, stated_answer, submission
from beampipe.analysisops.contract import TaskRequest
from beampipe.analysisops.references import Referenced
from beampipe.errors import BeampipeError, InputError, UnknownNameError, nearest

_MEV_FROM: Final = 2000.0
"""A median transverse momentum or energy of at least this value is in MeV."""

_COLLECTIONS: Final[Mapping[str, frozenset[str]]] = {
    "lep": frozenset({"lep", "lepton", "leptons", "muon", "muons", "mu", "el mu", "el_mu"}),
    "photon": frozenset({"photon", "photons", "ph", "gamma", "gammas", "y"}),
    "jet": frozenset({"jet", "jets", "j"}),
    "hit": frozenset({"hit", "hits", "sp", "spacepoint", "spacepoints"}),
    "probe": frozenset({"probe", "probes"}),
    "tag": frozenset({"tag", "tags"}),
}

_FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "pt": frozenset({"pt"}),
    "eta": frozenset({"eta"}),
    "phi": frozenset({"phi"}),
    "e": frozenset({"e", "energy", "en"}),
    "charge": frozenset({"charge", "q"}),
    "type": frozenset({"type", "pdgid", "id", "flavour", "flavor"}),
    "ptcone20": frozenset({"ptcone20", "iso20", "trackiso", "iso"}),
    "isTightID": frozenset({"istightid", "passestight", "tightid", "tight"}),
    "btag_quantile": frozenset({"btagquantile", "btag"}),
    "n_trk": frozenset({"ntrk", "ntracks"}),
    "label": frozenset({"truth", "truthflavour", "partonflavour", "truthlabel", "label"}),
    "r": frozenset({"r"}),
    "z": frozenset({"z"}),
}

_EVENT: Final[Mapping[str, frozenset[str]]] = {
    "met": frozenset({"met", "metet", "missinget", "metpt", "etmiss"}),
    "met_phi": frozenset({"metphi", "missingphi", "etmissphi"}),
    "mcWeight": frozenset({"mcweight", "weightmc", "generatorweight", "genweight", "wgen"}),
}


@dataclass(frozen=True)
class Layout:
    """Names and units in data files.

    Attributes:
        tree: name of the tree.
        columns: standard name of a column, such as ``"lep_pt"`` -> its branch.
        energy: unit of energy in the files [GeV].
    """

    tree: str
    columns: Mapping[str, str]
    energy: float = 1.0


@dataclass(frozen=True)
class AnalysisResult:
    """The result of an analysis, with numbers as the tools returned them.

    Attributes:
        answers: value and uncertainty by name, each `beampipe.analysisops.references.Referenced`.
        words: word answers, by name.
        histograms: handles of histograms, by name.
        artifacts: handles of other things, by name.
        method: description of the analysis.
    """

    answers: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    histograms: Mapping[str, str] = field(default_factory=dict)
    artifacts: Mapping[str, str] = field(default_factory=dict)
    method: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Analysis:
    """The tools of one assessment and what is known of its files.

    Attributes:
        tools: the tools of the assessment.
        layout: names and units of the files; None if none holds a tree.
        files: role -> facts of each of its files, as `list_local_root_files_tool` lists them.
        public: public facts of the data, such as ``luminosity_fb``, and the requested ``histograms``.
    """

    tools: Tools
    layout: Layout | None
    files: Mapping[str, tuple[Mapping[str, Any], ...]]
    public: Mapping[str, Any] = field(default_factory=dict)

    def call(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """The result of a tool."""
        return self.tools.call(name, **arguments)


def open_files(request: TaskRequest, tools: Tools, layout: Layout | None = None) -> Analysis:
    """List the files of an assessment, and recognise the columns of the first ROOT file.

    Args:
        request: the task.
        tools: its tools.
        layout: names and units of the files if they are given; None to recognise them.
    """
    listed = tools.call("list_local_root_files_tool")
    files: dict[str, tuple[Mapping[str, Any], ...]] = {}
    for file in listed["files"]:
        role = str(file.get("role") or "data")
        files[role] = (*files.get(role, ()), file)
    trees = [file for role in sorted(files, key=lambda role: role != "data") for file in files[role]]
    root = next((file for file in trees if str(file["name"]).endswith(".root")), None)
    if root is not None and layout is None:
        layout = recognise(tools.call("inspect_root_schema_tool", file_path=root["name"]))
    public = {**request.data, **(listed.get("public") or {})}
    return Analysis(tools, layout, files, public)


def recognise(schema: Mapping[str, Any]) -> Layout:
    """Recognise the layout of a file.

    Args:
        schema: result of `inspect_root_schema_tool`.

    Raises:
        InputError: there is no tree.
    """
    trees = schema.get("trees") or {}
    if not trees:
        raise InputError("file: got no tree, expected one of events")
    tree = max(trees, key=lambda name: (len(trees[name]["branches"]), trees[name]["n_entries"]))
    branches = trees[tree]["branches"]
    columns: dict[str, str] = {}
    for branch in branches:
        name = _standard_name(branch)
        if name is not None:
            columns.setdefault(name, branch)
    energies = [columns[name] for name in ("lep_pt", "photon_pt", "jet_pt", "met") if name in columns]
    medians = [branches[branch].get("median") for branch in energies]
    mev = any(isinstance(median, int | float) and abs(median) > _MEV_FROM for median in medians)
    return Layout(tree, columns, 1e-3 if mev else 1.0)


def _standard_name(branch: str) -> str | None:
    """The standard name of a branch; None if it is not recognised."""
    plain = re.sub(r"[^a-z0-9]", "", branch.lower())
    for name, words in _EVENT.items():
        if plain in words:
            return name
    parts = branch.split("_")
    for cut in range(1, len(parts)):
        collection, quantity = "_".join(parts[:cut]).lower(), "".join(parts[cut:]).lower()
        for name, words in _COLLECTIONS.items():
            if collection in words:
                return next((f"{name}_{field}" for field, words in _FIELDS.items() if quantity in words), None)
    return None


_BLOCK: Final = re.compile(r"^```steps[ \t]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
_REFERENCE: Final = re.compile(r"\$(\w+)((?:\.\w+)*)|@(\w+)(?::(\w+)((?:\.\w+)*))?", re.ASCII)
_LIST_FILES: Final = "list_local_root_files_tool"
_INSPECT_FILE: Final = "inspect_root_schema_tool"


class FollowerAgent:
    """Executes the steps of a prompt.

    Args:
        layout: the true names and units of the files, for the oracle; None to recognise them.
    """

    def __init__(self, layout: Layout | None = None) -> None:
        self._layout = layout

    def solve(self, request: TaskRequest, tools: Tools) -> dict[str, Any]:
        """The submission, of status "error" if the prompt has no valid steps or a tool refused a call."""
        try:
            calls, answer = steps_of(request.prompt)
            results = _Results(request.data.get("histograms") or {}, self._layout)
            for number, step in enumerate(calls, 1):
                where = f"steps, line {number}"
                if "choose" in step:
                    result = results.resolve(step["choose"], where)
                else:
                    result = tools.call(step["tool"], **results.resolve(step.get("arguments", {}), where))
                results.keep(step, result, where)
            stated = results.resolve(answer, "answer")
            return {**submission(request.task_id), **stated, "answers": _answers(stated.get("answers", {}))}
        except BeampipeError as error:
            return failed(request.task_id, str(error))


def _answers(answers: Any) -> dict[str, Any]:
    """The answers of a submission; each names the calls of its numbers."""
    try:
        return {name: stated_answer(numbers["value"], numbers["uncertainty"]) for name, numbers in answers.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"answer: answers: got {str(answers)[:80]}, expected a value and an uncertainty for each"
        ) from error


def steps_of(prompt: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Parse the steps of a prompt: calls, then the answer.

    Raises:
        InputError: there are no steps, or a line is neither a call nor an answer.
    """
    blocks = _BLOCK.findall(prompt)
    if len(blocks) != 1:
        raise InputError(f"prompt: got {len(blocks)} blocks of steps, expected one; nothing else is understood here")
    lines = [line for line in blocks[0].splitlines() if line.strip()]
    steps = [_step(line, f"steps, line {number}") for number, line in enumerate(lines, 1)]
    if not steps or [number for number, step in enumerate(steps, 1) if "answer" in step] != [len(steps)]:
        raise InputError('steps: expected calls of tools, and {"answer": {...}} as the last line alone')
    return steps[:-1], steps[-1]["answer"]


def _step(line: str, where: str) -> dict[str, Any]:
    """Parse one line: a call, a choice or the answer."""
    try:
        step = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: got {line[:80]!r}, expected a JSON object ({error})") from error
    if isinstance(step, dict):
        is_call = isinstance(step.get("tool"), str) and step.keys() <= {"tool", "arguments", "as"}
        if is_call and isinstance(step.get("arguments", {}), dict) and isinstance(step.get("as", ""), str):
            return step
        if step.keys() == {"choose", "as"} and isinstance(step["as"], str):
            return step
        if step.keys() == {"answer"} and isinstance(step["answer"], dict):
            return step
    raise InputError(f"{where}: got {line[:80]!r}, expected tool with arguments and as, choose with as, or answer")


class _Results:
    """Results of the steps so far; resolves references to them.

    Args:
        histograms: histograms that the task requests, by name.
        layout: the true names and units of the files; None to recognise them.
    """

    def __init__(self, histograms: Mapping[str, Any], layout: Layout | None) -> None:
        self._results: dict[str, Any] = {}
        self._histograms = histograms
        self._files: dict[str, list[Mapping[str, Any]]] = {}
        self._public: Mapping[str, Any] = {}
        self._true_layout = self._layout = layout

    def keep(self, step: Mapping[str, Any], result: Any, where: str) -> None:
        """Store a result under its label, and any facts of files in it.

        Raises:
            InputError: the label is already in use.
        """
        label = step.get("as", "")
        if label in self._results:
            raise InputError(f"{where}: got the label {label!r} twice, expected each step to have its own")
        if label:
            self._results[label] = result
        tool = step.get("tool")
        if tool == _LIST_FILES:
            self._public, self._files = result.get("public") or {}, {}
            for file in result["files"]:
                self._files.setdefault(str(file.get("role") or "data"), []).append(file)
        elif tool == _INSPECT_FILE:
            self._layout = self._true_layout or recognise(result)

    def resolve(self, value: Any, where: str) -> Any:
        """A value with its references replaced by their values."""
        if isinstance(value, str):
            whole = _REFERENCE.fullmatch(value)
            if whole:
                return self._value(whole, where)
            return _REFERENCE.sub(lambda match: _as_text(self._value(match, where), match[0], where), value)
        if isinstance(value, list):
            return [self.resolve(inner, where) for inner in value]
        if isinstance(value, dict):
            if value.keys() == {"largest"}:
                return self._largest(value["largest"], where)
            for name, combine in (("sum", math.fsum), ("product", math.prod)):
                if value.keys() == {name}:
                    return float(combine(self._numbers(value[name], f"{where}: {name}")))
            return {key: self.resolve(inner, where) for key, inner in value.items()}
        return value

    def _value(self, reference: re.Match[str], where: str) -> Any:
        label, inside, kind, name, rest = reference.groups()
        where = f"{where}: {reference[0]}"
        if label is not None:
            result = _inside(self._results, label, f"{where}: label")
            return _at(result, ".handle" if isinstance(result, Mapping) and not inside else inside, where)
        rest = rest or ""
        if kind in ("role", "file") and not (kind == "role" and rest):
            files: list[Mapping[str, Any]] = _inside(self._files, name, f"{where}: role of files that were listed")
            if kind == "role":
                return [file["name"] for file in files]
            number = "" if rest[1:].partition(".")[0].isdigit() else ".0"
            return _at(files, number + rest, where)
        if kind == "public":
            return _at(_inside(self._public, name, where), rest, where)
        if kind == "histogram":
            return _at(_inside(self._histograms, name, where), rest, where)
        if kind == "fullest" and not rest:
            histogram = _inside(self._results, name, f"{where}: label")
            values, edges = _at(histogram, ".values", where), _at(histogram, ".edges", where)
            fullest = max(range(len(values)), key=values.__getitem__)
            return float(edges[fullest] + edges[fullest + 1]) / 2
        if kind in ("tree", "branch", "GeV") and not rest:
            return self._of_layout(kind, name, where)
        raise InputError(
            f"{where}: got an unknown reference, expected @role:, @file:, @public:, @histogram:, @tree, @branch:,"
            " @GeV or @fullest:"
        )

    def _largest(self, pairs: Any, where: str) -> Any:
        """The value paired with the largest number; the others are not resolved."""
        good = isinstance(pairs, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in pairs)
        if not good or not pairs:
            raise InputError(f"{where}: largest: got {str(pairs)[:60]}, expected a list of [number, value]")
        numbers = self._numbers([number for number, _ in pairs], f"{where}: largest")
        return self.resolve(pairs[max(range(len(pairs)), key=numbers.__getitem__)][1], where)

    def _numbers(self, values: Any, where: str) -> list[float]:
        """A list of numbers with its references replaced by their values."""
        numbers = self.resolve(values, where)
        if not isinstance(numbers, list) or not all(type(number) in (int, float, Referenced) for number in numbers):
            raise InputError(f"{where}: got {str(numbers)[:60]}, expected numbers")
        return list(map(float, numbers))

    def _of_layout(self, kind: str, name: str | None, where: str) -> str | float:
        if self._layout is None:
            raise InputError(f"{where}: no file was inspected yet, expected a step with {_INSPECT_FILE} before")
        if kind == "branch":
            return str(_inside(self._layout.columns, name, where))
        return self._layout.tree if kind == "tree" else self._layout.energy


def _at(value: Any, path: str, where: str) -> Any:
    """The value at a path that begins with a dot; the value itself for an empty path."""
    for key in path.split(".")[1:]:
        if isinstance(value, list):
            if not key.isdigit() or int(key) >= len(value):
                raise InputError(f"{where}: got index {key}, expected one below {len(value)}")
            value = value[int(key)]
        elif isinstance(value, Mapping):
            value = _inside(value, key, where)
        else:
            raise InputError(f"{where}: got {str(value)[:60]}, in which there is no {key}")
    return value


def _inside(table: Mapping[str, Any], key: str | None, where: str) -> Any:
    if key is None or key not in table:
        names = ", ".join(table) or "something, but there is nothing yet"
        raise InputError(f"{where}: got {key or 'no name'!r}, expected {names}{nearest(key or '', table)}")
    return table[key]


def _as_text(value: Any, reference: str, where: str) -> str:
    """Format a value for insertion into a text."""
    if type(value) in (int, float, str, Referenced):
        return str(value.plain if isinstance(value, Referenced) else value)
    raise InputError(f"{where}: {reference}: got {type(value).__name__} inside a text, expected a number or a text")


Analyse = Callable[[Analysis], AnalysisResult]
"""A reference analysis that is code."""


class NopAgent:
    """A baseline that submits nothing but status "ok"; its score shows what the grading awards without work."""

    def solve(self, request: TaskRequest, tools: Tools) -> dict[str, Any]:
        return submission(request.task_id)


class RecallAgent:
    """A baseline that answers with published values, without reading the data; its score needs no analysis.

    Args:
        recalled: the published values for a type of task (Review of Particle Physics), or guesses of the usual size.
    """

    def __init__(self, recalled: Callable[[str], AnalysisResult]) -> None:
        self._recalled = recalled

    def solve(self, request: TaskRequest, tools: Tools) -> dict[str, Any]:
        """The submission; it is empty for a type without published values."""
        try:
            values = self._recalled(request.task_type)
        except UnknownNameError:
            values = AnalysisResult()
        method = {"summary": "values of the tables, from memory"}
        return submission(request.task_id, answers=values.answers, words=values.words, method=method)


class ScriptedAgent:
    """Runs the reference analysis for the type of the task.

    Args:
        analyses: returns the analysis for a type of task, code or a prompt with steps; raises UnknownNameError if there
            is none.
        layout: the true names and units of the files, for the oracle; None to recognise them. Without it the agent
            receives, like every other, only a request and tools.
    """

    def __init__(self, analyses: Callable[[str], Analyse | str], layout: Layout | None = None) -> None:
        self._analyses, self._layout = analyses, layout

    def solve(self, request: TaskRequest, tools: Tools) -> dict[str, Any]:
        """The submission, of status "error" if there is no analysis or a tool refused."""
        try:
            analysis = self._analyses(request.task_type)
            if isinstance(analysis, str):
                return FollowerAgent(self._layout).solve(replace(request, prompt=analysis), tools)
            result = analysis(open_files(request, tools, self._layout))
        except BeampipeError as error:
            return failed(request.task_id, str(error))
        return submission(request.task_id, **vars(result))
