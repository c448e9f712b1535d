"""The baseline that needs the recipe: it carries out the steps that a prompt spells out, and understands nothing.

Prompts of level 1 end with a fenced block ``steps``: one JSON object per line, each a call of a tool, the last one the
answer.

    {"tool": "load_kinematics_tool", "arguments": {"file_path": "@role:data", ...}, "as": "loaded"}
    {"tool": "fit_peak_tool", "arguments": {"events": "$loaded", ...}, "as": "fit"}
    {"answer": {"answers": {"mass": {"value": "$fit.mu", "uncertainty": "$fit.mu_error"}}}}

In a text, these stand for values; a text that is nothing else becomes the value itself, of whatever type:

======================== =========================================================================================
in a text                value
======================== =========================================================================================
``$LABEL``               the handle in the result of an earlier step, or the value that it chose
``$LABEL.path.to.it``    what stands there in that result; places in lists count from 0
``@role:ROLE``           names of the files of a role
``@file:ROLE.KEY``       what is stated of the first file of a role, such as its ``name`` or ``cross_section_pb``;
                         ``@file:ROLE.1.KEY`` of the second
``@public:KEY``          what is stated of the data as a whole
``@histogram:NAME.KEY``  ``bins``, ``low`` or ``high`` of a histogram that the task asks for
``@tree``                the tree of the file that was inspected last
``@branch:NAME``         the branch of that file which goes by this standard name, such as ``lep_pt``
``@GeV``                 the factor that makes GeV of energies in that file
``@fullest:LABEL``       the middle of the fullest bin of a histogram
======================== =========================================================================================

Where something depends on numbers, ``{"largest": [[NUMBER, VALUE], ...]}`` is the value beside the largest number. A
step ``{"choose": VALUE, "as": LABEL}`` keeps such a value for later steps.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from beampipe.analysisops.agents.agent import Tools, failed, submission
from beampipe.analysisops.agents.analysis import Layout, recognise
from beampipe.analysisops.contract import TaskRequest
from beampipe.errors import BeampipeError, InputError, nearest

_BLOCK: Final = re.compile(r"^```steps[ \t]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
_REFERENCE: Final = re.compile(r"\$(\w+)((?:\.\w+)*)|@(\w+)(?::(\w+)((?:\.\w+)*))?", re.ASCII)
_LISTS: Final = "list_local_root_files_tool"
_INSPECTS: Final = "inspect_root_schema_tool"


class FollowerAgent:
    """Does what the steps of a prompt say; without them it cannot do anything."""

    def solve(self, request: TaskRequest, tools: Tools) -> dict[str, Any]:
        """The submission, of status "error" if the prompt has no steps, they make no sense, or a tool refused."""
        try:
            calls, answer = steps_of(request.prompt)
            known = _Known(request.data.get("histograms") or {})
            for place, step in enumerate(calls, 1):
                known.keep(step, _done(step, known, tools, where := f"steps, line {place}"), where)
            return {**submission(request.task_id), **known.filled(answer, "answer")}
        except BeampipeError as error:
            return failed(request.task_id, str(error))


def steps_of(prompt: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The calls that a prompt spells out, and the answer after them.

    Raises:
        InputError: there are none, or a line is neither a call nor an answer.
    """
    found = _BLOCK.findall(prompt)
    if len(found) != 1:
        raise InputError(f"prompt: got {len(found)} blocks of steps, expected one; nothing else is understood here")
    lines = [line for line in found[0].splitlines() if line.strip()]
    steps = [_step(line, f"steps, line {place}") for place, line in enumerate(lines, 1)]
    if not steps or [place for place, step in enumerate(steps, 1) if "answer" in step] != [len(steps)]:
        raise InputError('steps: expected calls of tools, and {"answer": {...}} as the last line alone')
    return steps[:-1], steps[-1]["answer"]


def _done(step: Mapping[str, Any], known: _Known, tools: Tools, where: str) -> Any:
    """What a step gives."""
    if "choose" in step:
        return known.filled(step["choose"], where)
    return tools.call(step["tool"], **known.filled(step.get("arguments", {}), where))


def _step(line: str, where: str) -> dict[str, Any]:
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


class _Known:
    """What the steps so far have found, and the values of references to it.

    Args:
        histograms: those that the task asks for, by name.
    """

    def __init__(self, histograms: Mapping[str, Any]) -> None:
        self._results: dict[str, Any] = {}
        self._histograms = histograms
        self._files: dict[str, list[Mapping[str, Any]]] = {}
        self._public: Mapping[str, Any] = {}
        self._layout: Layout | None = None

    def keep(self, step: Mapping[str, Any], result: Any, where: str) -> None:
        """Remember a result under its label, and what it tells of the files.

        Raises:
            InputError: the label was taken.
        """
        label = step.get("as", "")
        if label in self._results:
            raise InputError(f"{where}: got the label {label!r} twice, expected each step to have its own")
        if label:
            self._results[label] = result
        tool = step.get("tool")
        if tool == _LISTS:
            self._public, self._files = result.get("public") or {}, {}
            for file in result["files"]:
                self._files.setdefault(str(file.get("role") or "data"), []).append(file)
        elif tool == _INSPECTS:
            self._layout = recognise(result)

    def filled(self, value: Any, where: str) -> Any:
        """A value, its references replaced by what they stand for."""
        if isinstance(value, str):
            whole = _REFERENCE.fullmatch(value)
            if whole:
                return self._value(whole, where)
            return _REFERENCE.sub(lambda found: _text(self._value(found, where), found[0], where), value)
        if isinstance(value, list):
            return [self.filled(one, where) for one in value]
        if isinstance(value, dict):
            if value.keys() == {"largest"}:
                return self._largest(value["largest"], where)
            return {key: self.filled(one, where) for key, one in value.items()}
        return value

    def _value(self, reference: re.Match[str], where: str) -> Any:
        label, inside, kind, name, rest = reference.groups()
        where = f"{where}: {reference[0]}"
        if label is not None:
            result = _inside(self._results, label, f"{where}: label")
            return _at(result, ".handle" if isinstance(result, Mapping) and not inside else inside, where)
        rest = rest or ""
        if kind == "role" and not rest:
            return [file["name"] for file in self._of_role(name, where)]
        if kind == "file":
            place = "" if rest[1:].partition(".")[0].isdigit() else ".0"
            return _at(self._of_role(name, where), place + rest, where)
        if kind == "public":
            return _at(_inside(self._public, name, where), rest, where)
        if kind == "histogram":
            return _at(_inside(self._histograms, name, where), rest, where)
        if kind == "fullest" and not rest:
            return _fullest(_inside(self._results, name, f"{where}: label"), where)
        if kind in ("tree", "branch", "GeV") and not rest:
            return self._of_layout(kind, name, where)
        raise InputError(
            f"{where}: got no reference that is known, expected @role:, @file:, @public:, @histogram:, @tree, @branch:,"
            " @GeV or @fullest:"
        )

    def _largest(self, pairs: Any, where: str) -> Any:
        """The value beside the largest number; values beside others are not looked at."""
        if (
            not isinstance(pairs, list)
            or not pairs
            or not all(isinstance(one, list) and len(one) == 2 for one in pairs)
        ):
            raise InputError(f"{where}: largest: got {str(pairs)[:60]}, expected a list of [number, value]")
        numbers = [self.filled(number, where) for number, _ in pairs]
        if not all(type(number) in (int, float) for number in numbers):
            raise InputError(f"{where}: largest: got {str(numbers)[:60]}, expected numbers")
        return self.filled(pairs[max(range(len(pairs)), key=numbers.__getitem__)][1], where)

    def _of_role(self, role: str | None, where: str) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = _inside(self._files, role, f"{where}: role of files that were listed")
        return found

    def _of_layout(self, kind: str, name: str | None, where: str) -> str | float:
        if self._layout is None:
            raise InputError(f"{where}: no file was inspected yet, expected a step with {_INSPECTS} before")
        if kind == "branch":
            return str(_inside(self._layout.columns, name, where))
        return self._layout.tree if kind == "tree" else self._layout.energy


def _at(value: Any, path: str, where: str) -> Any:
    """What stands at a path that begins with a point; the value itself for an empty one."""
    for key in path.split(".")[1:]:
        if isinstance(value, list):
            if not key.isdigit() or int(key) >= len(value):
                raise InputError(f"{where}: got place {key}, expected a number below {len(value)}")
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


def _fullest(histogram: Any, where: str) -> float:
    values, edges = _at(histogram, ".values", where), _at(histogram, ".edges", where)
    place = max(range(len(values)), key=values.__getitem__)
    return float(edges[place] + edges[place + 1]) / 2


def _text(value: Any, reference: str, where: str) -> str:
    """A value inside a text."""
    if type(value) in (int, float, str):
        return str(value)
    raise InputError(f"{where}: {reference}: got {type(value).__name__} inside a text, expected a number or a text")
