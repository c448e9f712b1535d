"""The loop of the agent, against a stand-in for a model: protocol, budgets and faults, no physics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from beampipe.analysisops.agents.llm import Budget, LlmAgent, budget_for
from beampipe.analysisops.chat import ChatClient, Model, ReplayCache
from beampipe.analysisops.contract import TaskRequest
from beampipe.errors import InputError
from tests.analysisops.agents.stand_in import Answer, StandIn, completion, stand_in

REQUEST = TaskRequest("t1", "zmumu", 1, "What is the mass?")
FIT = ("fit_peak_tool", {"events": "events_1"})
ANSWERS = {"mass": {"value": 90.5, "from": "call_1.mu", "uncertainty": 0.1, "uncertainty_from": "call_1.mu_error"}}
SUBMIT = ("submit", {"answers": ANSWERS, "words": {"signal": "yes"}})


class Toy:
    """Two tools that describe themselves, and remember what they were called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def names(self) -> tuple[str, ...]:
        return ("fit_peak_tool", "export_tool")

    def schemas(self) -> tuple[dict[str, Any], ...]:
        return tuple({"name": name, "description": "d", "parameters": {"type": "object"}} for name in self.names())

    def call(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        self.calls.append((name, arguments))
        if arguments.get("events") == "events_9":
            raise InputError("events: got 'events_9', expected one of events_1")
        return {"mu": 90.5, "mu_error": 0.1}


def agent(server: StandIn, *, mode: str = "native", cache: ReplayCache | None = None, **budget: Any) -> LlmAgent:
    model = Model(server.base_url, "stand-in", mode, price_prompt=1.0, price_answer=10.0, retries=2)  # type: ignore[arg-type]
    return LlmAgent(ChatClient(model, cache, sleep=lambda seconds: None), Budget(**budget))


def test_native_calls_lead_to_a_submission() -> None:
    tools = Toy()
    with stand_in([completion("", FIT), completion("", SUBMIT)]) as server:
        results = agent(server).solve(REQUEST, tools)
    assert results["status"] == "ok"
    assert results["answers"] == ANSWERS
    assert results["words"] == {"signal": "yes"}
    assert tools.calls == [(FIT[0], FIT[1])]
    assert [request["function"]["name"] for request in server.asked[0]["tools"]] == [
        "fit_peak_tool",
        "export_tool",
        "submit",
    ]
    call, result = server.asked[1]["messages"][-2:]
    assert call["tool_calls"][0]["id"] == result["tool_call_id"]
    assert json.loads(result["content"]) == {"mu": 90.5, "mu_error": 0.1}


def test_tokens_and_cost_are_counted() -> None:
    with stand_in([completion("", FIT), completion("", SUBMIT)]) as server:
        usage = agent(server).solve(REQUEST, Toy())["usage"]
    assert (usage["turns"], usage["tool_calls"], usage["prompt_tokens"], usage["answer_tokens"]) == (2, 1, 200, 20)
    assert usage["cost"] == pytest.approx(2 * (100 * 1.0 + 10 * 10.0) / 1e6)
    assert usage["estimated"] is False


def test_written_steps_lead_to_a_submission() -> None:
    tools = Toy()
    steps: list[Answer] = [completion(json.dumps({"tool": name, "arguments": item})) for name, item in (FIT, SUBMIT)]
    with stand_in(steps) as server:
        result = agent(server, mode="json").solve(REQUEST, tools)
    assert result["answers"] == ANSWERS
    assert tools.calls == [(FIT[0], FIT[1])]
    assert "tools" not in server.asked[0]
    schema = server.asked[0]["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["tool"]["enum"] == ["fit_peak_tool", "export_tool", "submit"]
    assert server.asked[1]["messages"][-1]["content"].startswith("Result of fit_peak_tool: {")


def test_a_tool_that_refuses_is_told_and_can_be_mended() -> None:
    wrong = ("fit_peak_tool", {"events": "events_9"})
    with stand_in([completion("", wrong), completion("", FIT), completion("", SUBMIT)]) as server:
        assert agent(server).solve(REQUEST, Toy())["status"] == "ok"
    assert "expected one of events_1" in server.asked[1]["messages"][-1]["content"]


def test_arguments_that_are_no_json_are_told() -> None:
    tools = Toy()
    with stand_in([completion("", ("fit_peak_tool", "{events")), completion("", SUBMIT)]) as server:
        assert agent(server).solve(REQUEST, tools)["status"] == "ok"
    assert tools.calls == []
    assert "no JSON" in server.asked[1]["messages"][-1]["content"]


def test_a_submission_that_is_none_is_told_and_can_be_mended() -> None:
    wrong = ("submit", {"answers": {"mass": 90.5}})
    with stand_in([completion("", wrong), completion("", SUBMIT)]) as server:
        assert agent(server).solve(REQUEST, Toy())["answers"] == ANSWERS
    assert "expected {" in json.loads(server.asked[1]["messages"][-1]["content"])["error"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (completion("I think it is 91.2."), "no JSON"),
        (completion("", refusal="I cannot help with that."), "refused"),
        ({"choices": [{"message": {"content": "no"}, "finish_reason": "content_filter"}]}, "refused"),
        ({"choices": []}, "chat completion"),
        ({"error": "no"}, "chat completion"),
        ([], "chat completion"),
        ("<html>", "JSON"),
        ("[" * 100_000, "JSON"),
        (400, "status 400"),
        (503, "after 3 tries"),
        (completion("", ("submit", "{")), "none"),
        (completion("", ("submit", {"answers": {"mass": {"value": True, "uncertainty": 1}}})), "none"),
        (completion("", ("submit", {"reward": 1})), "none"),
    ],
)
def test_what_cannot_be_used_ends_in_a_submission_with_an_error(answer: Any, why: str) -> None:
    with stand_in(lambda item: answer) as server:
        result = agent(server).solve(REQUEST, Toy())
    assert result["status"] == "error"
    assert result["answers"] == {}
    assert why in result["comments"]


def test_a_busy_server_is_asked_again() -> None:
    with stand_in([503, 429, completion("", SUBMIT)]) as server:
        assert agent(server).solve(REQUEST, Toy())["status"] == "ok"
    assert len(server.asked) == 3


def test_the_last_turn_must_submit() -> None:
    def submits_when_it_must(asked: dict[str, Any]) -> Answer:
        return completion("", SUBMIT if isinstance(asked["tool_choice"], dict) else FIT)

    with stand_in(submits_when_it_must) as server:
        result = agent(server, turns=5).solve(REQUEST, Toy())
    assert result["status"] == "ok"
    assert result["usage"]["turns"] == 5


@pytest.mark.parametrize(
    ("budget", "why"),
    [({"turns": 4}, "turns"), ({"tokens": 300}, "tokens"), ({"cost": 0.0005}, "cost"), ({"seconds": 0.0}, "seconds")],
)
def test_a_spent_budget_ends_the_task(budget: dict[str, Any], why: str) -> None:
    with stand_in([completion("", FIT)]) as server:
        result = agent(server, **budget).solve(REQUEST, Toy())
    assert result["status"] == "error"
    assert result["comments"].startswith(why)
    assert len(server.asked) <= 4


def test_spent_calls_of_tools_are_refused_and_a_submission_asked_for() -> None:
    tools = Toy()
    with stand_in([completion("", FIT, FIT, FIT), completion("", SUBMIT)]) as server:
        assert agent(server, tool_calls=2).solve(REQUEST, tools)["status"] == "ok"
    assert len(tools.calls) == 2
    assert server.asked[1]["tool_choice"]["function"]["name"] == "submit"


def test_a_request_can_allow_less() -> None:
    request = TaskRequest("t", "zmumu", 1, "?", constraints={"time_limit_sec": 100, "max_tool_calls": 7})
    assert budget_for(request, Budget()) == Budget(tool_calls=7, seconds=90.0)


def test_a_run_is_replayed_without_a_model(tmp_path: Path) -> None:
    with stand_in([completion("", FIT), completion("", SUBMIT)]) as server:
        first = agent(server, cache=ReplayCache(tmp_path)).solve(REQUEST, Toy())
        base_url = server.base_url
    gone = StandIn()
    gone.base_url = base_url
    again = agent(gone, cache=ReplayCache(tmp_path)).solve(REQUEST, Toy())
    assert again["usage"].pop("cached") == 2
    assert first["usage"].pop("cached") == 0
    for item in (first, again):
        del item["usage"]["seconds"]
    assert again == first


def test_the_key_is_sent_and_kept_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "s3cr3t")
    with stand_in([completion("", SUBMIT)]) as server:
        model = Model(server.base_url, "stand-in", api_key_variable="A_KEY")
        result = LlmAgent(ChatClient(model, ReplayCache(tmp_path))).solve(REQUEST, Toy())
    assert server.headers[0]["Authorization"] == "Bearer s3cr3t"
    assert "s3cr3t" not in json.dumps(result) + "".join(path.read_text() for path in tmp_path.iterdir())


def test_a_key_that_is_missing_is_an_error() -> None:
    model = Model("http://127.0.0.1:1/v1", "stand-in", api_key_variable="NO_SUCH_KEY")
    assert "NO_SUCH_KEY" in LlmAgent(ChatClient(model)).solve(REQUEST, Toy())["comments"]


def test_a_model_that_is_out_of_reach_is_an_error() -> None:
    server = StandIn()
    server.base_url = "http://127.0.0.1:1/v1"
    result = agent(server).solve(REQUEST, Toy())
    assert result["status"] == "error"
    assert "after 3 tries" in result["comments"]
