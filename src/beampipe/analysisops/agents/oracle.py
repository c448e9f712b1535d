"""The agent that knows what is hidden: names, units, and the best method. What it finds is the reference.

It works with the same tools as everybody, so its numbers are those that the data give, fluctuations and all.
"""

from __future__ import annotations

from typing import Any

from beampipe.analysisops.agents.agent import Tools
from beampipe.analysisops.agents.analyses.layout import Layout
from beampipe.analysisops.agents.scripted import run_method
from beampipe.analysisops.contract import TaskRequest
from beampipe.analysisops.samples.hidden import Hidden

__all__ = ["OracleAgent"]


class OracleAgent:
    """Runs the program for the kind of task on files whose layout it need not find out.

    Args:
        hidden: the hidden side of the instance.
    """

    def __init__(self, hidden: Hidden) -> None:
        self._layout = Layout(hidden.tree, hidden.columns, hidden.energy_unit)

    def solve(self, request: TaskRequest, tools: Tools) -> dict[str, Any]:
        """The submission of the reference analysis."""
        return run_method(request, tools, self._layout)
