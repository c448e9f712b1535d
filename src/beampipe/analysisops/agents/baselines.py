"""Agents without a language model: one that does nothing, one that answers from memory, and the reference analysis.

`ScriptedAgent` runs the analysis of the task on files that it has to recognise. `OracleAgent` runs the same analysis
with the true names and units of the columns; its result is the reference that submissions are compared with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from beampipe.analysisops.agents.agent import Tools, failed, submission
from beampipe.analysisops.agents.analyses.methods import METHODS
from beampipe.analysisops.agents.analysis import Layout, open_files
from beampipe.analysisops.contract import TaskRequest
from beampipe.analysisops.samples.dataset import HiddenTruth
from beampipe.errors import BeampipeError, nearest

# The baseline that does nothing: whatever it scores, the grading gives away.


class NopAgent:
    """Submits nothing, and claims that all went well."""

    def solve(self, request: TaskRequest, tools: Tools) -> dict[str, Any]:
        return submission(request.task_id)


# The baseline that remembers: values of the tables with the usual uncertainties, and no look at the data.


_HIGGS_MASS: Final = (125.20, 0.11)

_YIELD: Final = (100.0, 20.0)

_LIMIT: Final = (1.0, 0.3)

_ANSWERS: Final[Mapping[str, Mapping[str, tuple[float, float]]]] = {
    "zmumu": {"mass": (91.1880, 0.0020)},
    "width": {"width": (2.4955, 0.0023)},
    "hyy": {"mass": _HIGGS_MASS, "signal_yield": _YIELD},
    "hmumu": {"mass": _HIGGS_MASS, "signal_yield": _YIELD},
    "hbb": {"mass": _HIGGS_MASS, "signal_yield": _YIELD},
    "hzz4l": {"mass": _HIGGS_MASS, "signal_yield": _YIELD},
    "ttbar": {"mass": (172.57, 0.29)},
    "wz3l": {"cross_section": (63.7, 2.5)},
    "counting": {"limit": _LIMIT},
    "tagprobe": {"efficiency": (0.95, 0.01)},
    "search": {"limit": _LIMIT},
    "tracks": {"n_tracks": (100.0, 10.0)},
    "jets": {"sf_quark": (1.0, 0.05), "sf_gluon": (1.0, 0.05)},
    "operations": {"onset": (0.0, 60.0)},
}
"""By family and name of the answer: value and uncertainty, in the units in which they are asked."""

_WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "hyy": {"signal": "yes"},
    "search": {"signal": "no"},
    "operations": {"cause": "overload", "server": "server-1"},
}
"""Answers that are words, by family and name."""


class RecallAgent:
    """Answers from memory."""

    def solve(self, request: TaskRequest, tools: Tools) -> dict[str, Any]:
        return submission(
            request.task_id,
            answers=_ANSWERS.get(request.task_type),
            words=_WORDS.get(request.task_type),
            method={"summary": "values of the tables, from memory"},
        )


# An agent without a language model: it looks at the files, and runs the program for the kind of task.


class ScriptedAgent:
    """Solves every family of tasks for which there is a program."""

    def solve(self, request: TaskRequest, tools: Tools) -> dict[str, Any]:
        """The submission, of status "error" if there is no program or a tool refused."""
        return run_method(request, tools)


def run_method(request: TaskRequest, tools: Tools, layout: Layout | None = None) -> dict[str, Any]:
    """The submission of the program for a kind of task.

    Args:
        request: the task.
        tools: its tools.
        layout: names and unit of the files, for whoever knows them; None to find out.
    """
    method = METHODS.get(request.task_type)
    if method is None:
        known = ", ".join(METHODS)
        hint = nearest(request.task_type, METHODS)
        return failed(request.task_id, f"got a task of type {request.task_type!r}, expected one of {known}{hint}")
    try:
        found = method(open_files(request, tools, layout))
    except BeampipeError as error:
        return failed(request.task_id, str(error))
    return submission(
        request.task_id,
        answers=found.answers,
        words=found.words,
        histograms=found.histograms,
        artifacts=found.artifacts,
        method=found.method,
    )


# The agent that knows what is hidden: names, units, and the best method. What it finds is the reference.


class OracleAgent:
    """Runs the program for the kind of task on files whose layout it need not find out.

    Args:
        hidden: the hidden side of the instance.
    """

    def __init__(self, hidden: HiddenTruth) -> None:
        self._layout = Layout(hidden.tree, hidden.columns, hidden.energy_unit)

    def solve(self, request: TaskRequest, tools: Tools) -> dict[str, Any]:
        """The submission of the reference analysis."""
        return run_method(request, tools, self._layout)
