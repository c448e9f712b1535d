"""Agents without a language model: one that does nothing, one that answers from memory, and the reference analysis.

`ScriptedAgent` recognises the columns of the files and runs the reference analysis: the steps of the prompt of level 1,
or code of the task. The oracle is the same with the true names and units of the columns. It uses the same tools and
data as every agent, so its result includes statistical fluctuations; submissions are compared with it.

The caller supplies the analyses, since they are part of the tasks and this package does not depend on tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from beampipe.analysisops.agents.agent import Tools, failed, submission
from beampipe.analysisops.agents.analysis import Analysis, AnalysisResult, Layout, open_files
from beampipe.analysisops.agents.follower import FollowerAgent
from beampipe.analysisops.contract import TaskRequest
from beampipe.errors import BeampipeError, UnknownNameError

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
        return submission(
            request.task_id,
            answers=values.answers,
            words=values.words,
            method={"summary": "values of the tables, from memory"},
        )


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
        return submission(
            request.task_id,
            answers=result.answers,
            words=result.words,
            histograms=result.histograms,
            artifacts=result.artifacts,
            method=result.method,
        )
