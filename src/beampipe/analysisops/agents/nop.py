"""The baseline that does nothing: whatever it scores, the grading gives away."""

from __future__ import annotations

from typing import Any

from beampipe.analysisops.agents.agent import Tools, submission
from beampipe.analysisops.contract import TaskRequest

__all__ = ["NopAgent"]


class NopAgent:
    """Submits nothing, and claims that all went well."""

    def solve(self, request: TaskRequest, tools: Tools) -> dict[str, Any]:
        return submission(request.task_id)
