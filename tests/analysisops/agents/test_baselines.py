from __future__ import annotations

from beampipe.analysisops.agents.agent import NoTools
from beampipe.analysisops.agents.analysis import NopAgent
from beampipe.analysisops.agents.serving import solve
from beampipe.analysisops.contract import TaskRequest
from beampipe.analysisops.registry import make_agent


def test_what_is_remembered_is_that_of_the_tables() -> None:
    answers = make_agent("recall").solve(TaskRequest("t1", "zmumu", 1, "?"), NoTools())["answers"]
    assert answers == {"mass": {"value": 91.1880, "uncertainty": 0.0020}}
    search = make_agent("recall").solve(TaskRequest("t1", "search", 1, "?"), NoTools())
    assert search["words"] == {"signal": "no"}


def test_tools_that_do_not_open_are_an_error_of_the_submission() -> None:
    answer = solve(NopAgent(), TaskRequest("t1", "hyy", 1, "?", "http://127.0.0.1:1/mcp"))
    assert answer["status"] == "error"
    assert answer["comments"].startswith("tools at http://127.0.0.1:1: got no answer")
