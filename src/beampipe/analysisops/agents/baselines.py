"""Agents without a language model: one that does nothing, one that answers from memory, and the reference analysis.

`ScriptedAgent` recognises the columns of the files and runs the analysis of the task. `OracleAgent` runs the same
analysis with the true names and units of the columns. It uses the same tools and data as every agent, so its result
includes statistical fluctuations; submissions are compared with it.

The caller supplies the analyses, since they are part of the tasks and this package does not depend on tasks.
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
        return submission(
            request.task_id,
            answers=values.answers,
            words=values.words,
            method={"summary": "values of the tables, from memory"},
        )


class ScriptedAgent:
    """Runs the analysis for the type of the task.

    Like every agent, it receives only a request and tools; nothing hidden of the instance is available to it.

    Args:
        analyses: returns the analysis for a type of task; raises UnknownNameError if there is none.
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
    """Runs the analysis of a task with the true layout of the files.

    Args:
        hidden: the hidden truth of the instance.
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
    """The result of an analysis as a submission; without `layout`, the layout of the files is recognised."""
    result = analyse(open_files(request, tools, layout))
    return submission(
        request.task_id,
        answers=result.answers,
        words=result.words,
        histograms=result.histograms,
        artifacts=result.artifacts,
        method=result.method,
    )
