"""An agent without a language model: it looks at the files, and runs the program for the kind of task.

It gets what every agent gets, a request and tools. It knows methods; of an instance it knows nothing.
"""

from __future__ import annotations

from typing import Any

from beampipe.analysisops.agents.agent import Tools, failed, submission
from beampipe.analysisops.agents.analyses.layout import Layout
from beampipe.analysisops.agents.analyses.methods import METHODS
from beampipe.analysisops.agents.analyses.opened import open_files
from beampipe.analysisops.contract import TaskRequest
from beampipe.errors import BeampipeError, nearest

__all__ = ["ScriptedAgent", "run_method"]


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
