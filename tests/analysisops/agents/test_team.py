"""A team against a stand-in for a model: who is asked what, and that all share one budget."""

from __future__ import annotations

import json
from typing import Any

import pytest

from beampipe.analysisops.agents.llm import Budget, TeamAgent
from beampipe.analysisops.chat import ChatClient, Model
from beampipe.analysisops.contract import TaskRequest
from tests.analysisops.agents.stand_in import Answer, completion, stand_in
from tests.analysisops.agents.test_llm import ANSWERS, FIT, SUBMIT, Toy

REQUEST = TaskRequest("t1", "zmumu", 1, "What is the mass?")


def part_of(asked: dict[str, Any]) -> str:
    system = asked["messages"][0]["content"]
    return "planner" if "You plan" in system else "reviewer" if "You review" in system else "analyst"


class Script:
    """Plays all members; the reviewer says the given verdicts, one after the other."""

    def __init__(self, *verdicts: str) -> None:
        self.verdicts, self.parts = list(verdicts), []  # type: ignore[var-annotated]

    def __call__(self, asked: dict[str, Any]) -> Answer:
        part = part_of(asked)
        self.parts.append(part)
        if part == "planner":
            return completion("Fit the peak.")
        if part == "reviewer":
            return completion(self.verdicts.pop(0))
        return completion("", SUBMIT if asked["messages"][-1]["role"] == "tool" else FIT)


def verdict(word: str) -> str:
    return json.dumps({"verdict": word, "notes": "give the width too"})


def solve(base_url: str, budget: Budget | None = None) -> dict[str, Any]:
    client = ChatClient(Model(base_url, "stand-in", retries=0))
    return TeamAgent(client, budget).solve(REQUEST, Toy())


def test_a_team_plans_analyses_and_reviews() -> None:
    script = Script(verdict("accept"))
    with stand_in(script) as server:
        result = solve(server.base_url)
    assert script.parts == ["planner", "analyst", "analyst", "reviewer"]
    assert result["answers"] == ANSWERS
    assert result["usage"]["turns"] == 4
    assert result["usage"]["tool_calls"] == 1
    assert (result["usage"]["prompt_tokens"], result["usage"]["answer_tokens"]) == (400, 40)
    assert "Fit the peak." in server.asked[1]["messages"][1]["content"]
    assert '"value": 90.5' in server.asked[3]["messages"][1]["content"]


def test_the_analyst_answers_again_when_the_reviewer_says_so() -> None:
    script = Script(verdict("revise"))
    with stand_in(script) as server:
        result = solve(server.base_url)
    assert script.parts == ["planner", "analyst", "analyst", "reviewer", "analyst", "analyst"]
    assert "give the width too" in server.asked[4]["messages"][1]["content"]
    assert result["method"]["team"] == ["review: revise: give the width too"]


def test_a_review_that_cannot_be_read_is_no_veto() -> None:
    with stand_in(Script("Looks great!")) as server:
        result = solve(server.base_url)
    assert result["status"] == "ok"
    assert result["method"]["team"][0].startswith("review: unreadable")


@pytest.mark.parametrize("tokens", [100, 700])
def test_all_share_one_budget_of_tokens(tokens: int) -> None:
    """A single agent may exceed its budget by the answer that spends it, and so may a team, once."""

    def never_done(asked: dict[str, Any]) -> Answer:
        return completion("Go on." if part_of(asked) == "planner" else "", FIT)

    with stand_in(never_done) as server:
        result = solve(server.base_url, Budget(tokens=tokens))
    assert result["usage"]["prompt_tokens"] + result["usage"]["answer_tokens"] <= tokens + 110
    assert result["status"] == "error"


@pytest.mark.parametrize("gone", ["planner", "reviewer", "analyst"])
def test_a_member_that_is_gone_is_done_without_if_it_can(gone: str) -> None:
    script = Script(verdict("accept"))
    with stand_in(lambda asked: 500 if part_of(asked) == gone else script(asked)) as server:
        result = solve(server.base_url)
    assert result["status"] == ("error" if gone == "analyst" else "ok")
    noted = {"planner": ["no plan", "review"], "reviewer": ["no review"], "analyst": []}[gone]
    assert [note.partition(":")[0] for note in result["method"]["team"]] == noted
