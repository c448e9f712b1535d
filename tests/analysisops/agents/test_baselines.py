from __future__ import annotations

from typing import Any

import pytest

from beampipe.analysisops.agents.agent import Agent, NoTools, submission
from beampipe.analysisops.agents.analysis import NopAgent
from beampipe.analysisops.agents.serving import solve
from beampipe.analysisops.contract import TaskRequest
from beampipe.analysisops.registry import make_agent
from beampipe.errors import UnknownNameError


class Untouched(NoTools):
    """Tools that nobody may even look at."""

    def names(self) -> tuple[str, ...]:
        raise AssertionError("looked at the tools")

    def call(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        raise AssertionError("called a tool")


@pytest.mark.parametrize("agent", [NopAgent(), make_agent("recall")])
def test_baselines_touch_no_data(agent: Agent) -> None:
    answer = agent.solve(TaskRequest("t1", "hyy", 1, "?"), Untouched())
    assert answer["task_id"] == "t1"
    assert answer["status"] == "ok"


def test_nothing_is_answered() -> None:
    assert NopAgent().solve(TaskRequest("t1", "hyy", 1, "?"), NoTools()) == submission("t1")


def test_what_is_remembered_is_that_of_the_tables() -> None:
    answers = make_agent("recall").solve(TaskRequest("t1", "zmumu", 1, "?"), NoTools())["answers"]
    assert answers == {"mass": {"value": 91.1880, "uncertainty": 0.0020}}
    search = make_agent("recall").solve(TaskRequest("t1", "search", 1, "?"), NoTools())
    assert search["words"] == {"signal": "no"}


def test_of_an_unknown_family_nothing_is_remembered() -> None:
    assert make_agent("recall").solve(TaskRequest("t1", "unheard", 1, "?"), NoTools())["answers"] == {}


def test_tools_with_an_argument_called_name_can_be_called() -> None:
    class Named(NoTools):
        def call(self, name: str, /, **arguments: Any) -> dict[str, Any]:
            return {"tool": name, **arguments}

    assert Named().call("export_tool", name="mass") == {"tool": "export_tool", "name": "mass"}


def test_without_tools_nothing_can_be_called() -> None:
    with pytest.raises(UnknownNameError):
        NoTools().call("fit_peak_tool")


def test_tools_that_do_not_open_are_an_error_of_the_submission() -> None:
    answer = solve(NopAgent(), TaskRequest("t1", "hyy", 1, "?", "http://127.0.0.1:1/mcp"))
    assert answer["status"] == "error"
    assert answer["comments"].startswith("tools at http://127.0.0.1:1: got no answer")
