"""Agents without a language model: one that does nothing, one that answers from memory, and the reference analysis.

`ScriptedAgent` runs the analysis of the task on files that it has to recognise. `OracleAgent` runs the same analysis
with the true names and units of the columns; its result is the reference that submissions are compared with. Where the
analyses come from is up to the caller: they belong to the tasks, of which agents know nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beampipe.analysisops.agents.agent import Tools, failed, submission
from beampipe.analysisops.agents.analysis import Analysis, AnalysisResult, Layout, open_files
from beampipe.analysisops.contract import TaskRequest
from beampipe.analysisops.samples.dataset import HiddenTruth
from beampipe.errors import BeampipeError, UnknownNameError

Analyse = Callable[[Analysis], AnalysisResult]
"""The reference analysis of a task."""


class NopAgent:
    """The baseline that does nothing and claims that all went well: whatever it scores, the grading gives away."""

    def solve(self, request: TaskRequest, tools: Tools) -> dict[str, Any]:
        return submission(request.task_id)


class RecallAgent:
    """The baseline that answers from memory, without a look at the data.

    Args:
        recalled: the values that tables have for a type of tasks.
    """

    def __init__(self, recalled: Callable[[str], AnalysisResult]) -> None:
        self._recalled = recalled

    def solve(self, request: TaskRequest, tools: Tools) -> dict[str, Any]:
        """The submission; nothing is answered for a type that has no values."""
        try:
            values = self._recalled(request.task_type)
        except UnknownNameError:
            values = AnalysisResult()
        return submission(
            request.task_id,
            answers=values.answers,
            words=values.words,
            method={"summary": "values of the tables, from memory"},
        )


class ScriptedAgent:
    """Runs the analysis for the type of the task.

    It gets what every agent gets, a request and tools; it has a method, and no knowledge of the instance.

    Args:
        analyses: the analysis for a type of tasks; raises UnknownNameError if there is none.
    """

    def __init__(self, analyses: Callable[[str], Analyse]) -> None:
        self._analyses = analyses

    def solve(self, request: TaskRequest, tools: Tools) -> dict[str, Any]:
        """The submission, of status "error" if there is no analysis or a tool refused."""
        try:
            return _submission_of(self._analyses(request.task_type), request, tools)
        except BeampipeError as error:
            return failed(request.task_id, str(error))


class OracleAgent:
    """Runs the analysis of a task on files whose layout is given.

    Args:
        hidden: the hidden side of the instance.
        analyse: the analysis.
    """

    def __init__(self, hidden: HiddenTruth, analyse: Analyse) -> None:
        self._layout = Layout(hidden.tree, hidden.columns, hidden.energy_unit)
        self._analyse = analyse

    def solve(self, request: TaskRequest, tools: Tools) -> dict[str, Any]:
        """The submission of the reference analysis, of status "error" if a tool refused."""
        try:
            return _submission_of(self._analyse, request, tools, self._layout)
        except BeampipeError as error:
            return failed(request.task_id, str(error))


def _submission_of(
    analyse: Analyse, request: TaskRequest, tools: Tools, layout: Layout | None = None
) -> dict[str, Any]:
    """The result of an analysis as a submission; the layout of the files is recognised where it is not given."""
    result = analyse(open_files(request, tools, layout))
    return submission(
        request.task_id,
        answers=result.answers,
        words=result.words,
        histograms=result.histograms,
        artifacts=result.artifacts,
        method=result.method,
    )
