"""A model on a server with OpenAI's protocol, as agent and as judge: against a stand-in, no physics."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from beampipe.analysisops.agents.model import ModelAgent, ModelFile
from beampipe.analysisops.contract import TaskRequest
from beampipe.analysisops.grading.judge import ModelJudge, ask_judge, build_question
from beampipe.errors import InputError
from tests.analysisops.agents.stand_in import completed, completion, stand_in
from tests.analysisops.grading.examples import example_task, right_submission

REQUEST = TaskRequest("t1", "zmumu", 1, "What is the mass?")
FIT = ("fit_peak_tool", {"events": "events_1"})
WRONG = ("fit_peak_tool", {"events": "events_9"})
ANSWERS = {"mass": {"value": 90.5, "from": "call_1.mu", "uncertainty": 0.1, "uncertainty_from": "call_1.mu_error"}}
SUBMIT = ("submit", {"answers": ANSWERS, "words": {"signal": "yes"}})


class Toy:
    """A tool that describes itself, and remembers what it was called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def names(self) -> tuple[str, ...]:
        return ("fit_peak_tool",)

    def schemas(self) -> tuple[dict[str, Any], ...]:
        schema = {"type": "object", "properties": {"events": {"type": "string"}}, "required": ["events"]}
        return ({"name": "fit_peak_tool", "description": "Fit a peak", "parameters": schema},)

    def call(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        self.calls.append((name, arguments))
        if arguments.get("events") == "events_9":
            raise InputError("events: got 'events_9', expected one of events_1")
        return {"mu": 90.5, "mu_error": 0.1}


def described(base_url: str, **more: Any) -> ModelFile:
    return replace(ModelFile(base_url, "stand-in", retries=0, price_prompt=1.0, price_answer=10.0), **more)


def test_calls_of_the_protocol_lead_to_a_submission(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "s3cr3t")
    tools = Toy()
    with stand_in([completion("", WRONG), completion("", FIT), completion("", SUBMIT)]) as server:
        result = ModelAgent(described(server.base_url, api_key_variable="A_KEY")).solve(REQUEST, tools)
    assert (result["status"], result["answers"], result["words"]) == ("ok", ANSWERS, {"signal": "yes"})
    assert tools.calls == [WRONG, FIT]
    assert [tool["function"]["name"] for tool in server.asked[0]["tools"]] == ["fit_peak_tool", "submit"]
    assert "expected one of events_1" in server.asked[1]["messages"][-1]["content"]
    assert json.loads(server.asked[2]["messages"][-1]["content"]) == {"mu": 90.5, "mu_error": 0.1}
    usage = result["usage"]
    assert (usage["prompt_tokens"], usage["answer_tokens"]) == (300, 30)
    assert usage["cost"] == pytest.approx(3 * (100 * 1.0 + 10 * 10.0) / 1e6)
    assert server.headers[0]["Authorization"] == "Bearer s3cr3t"
    assert "s3cr3t" not in json.dumps(result)


def test_calls_as_text_lead_to_a_submission() -> None:
    tools = Toy()
    steps = [
        completion(f"<tool_call>{json.dumps({'name': name, 'arguments': call})}</tool_call>")
        for name, call in (FIT, SUBMIT)
    ]
    with stand_in(steps) as server:
        result = ModelAgent(described(server.base_url, mode="json")).solve(REQUEST, tools)
    assert (result["answers"], tools.calls) == (ANSWERS, [FIT])
    assert "tools" not in server.asked[0]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (completion("I think it is 91.2."), "3 replies in a row without a call"),
        (completed({"index": 0, "message": {"role": "assistant", "content": "So"}, "finish_reason": "length"}),
         "cut at the limit of tokens"),
        (completion("", FIT), "60 replies without a submission"),
        (completion("", WRONG), "the same refused call 5 times"),
        (completion("", ("submit", {"answers": {"mass": {"value": True, "uncertainty": 1}}})), "expected {"),
        (completion("", ("submit", {"answers": {}, "reward": 1})), "'reward'"),
        (400, "BadRequest"),
        ("<html>", ""),
    ],
    ids=["words", "cut", "no end", "loop", "no numbers", "unknown key", "refused", "no JSON"],
)  # fmt: skip
def test_what_cannot_be_used_ends_in_a_submission_with_an_error(answer: Any, why: str) -> None:
    with stand_in(lambda _: answer) as server:
        result = ModelAgent(described(server.base_url)).solve(REQUEST, Toy())
    assert (result["status"], result["answers"]) == ("error", {})
    assert why in result["comments"]


def test_a_key_that_is_missing_is_an_error() -> None:
    model = described("http://127.0.0.1:1/v1", api_key_variable="NO_SUCH_KEY")
    assert "NO_SUCH_KEY" in ModelAgent(model).solve(REQUEST, Toy())["comments"]


TASK = example_task()
QUESTION = build_question(
    TASK.rubric.judged, TASK.judge_prompt, right_submission(), seed=1, task_id="example", reference={}
)
VERDICT = {
    "canary": QUESTION.canary,
    "confidence": 0.9,
    "explanation": "clear",
    "dimension_scores": {"reasoning": 15},
}


def judge(base_url: str, samples: int = 1) -> ModelJudge:
    return ModelJudge("small", described(base_url, temperature=0.7).make, samples)


@pytest.mark.parametrize(("samples", "temperature"), [(1, 0.0), (3, 0.7)])
def test_a_model_judges_with_several_samples(samples: int, temperature: float) -> None:
    with stand_in([completion(json.dumps(VERDICT))]) as server:
        result = ask_judge(judge(server.base_url, samples), QUESTION)
    assert (result.status, result.score) == ("scored", 15.0)
    assert result.meta["judge"]["prompt_tokens"] == samples * 100
    assert [asked["seed"] for asked in server.asked] == list(range(samples))
    assert server.asked[0]["temperature"] == temperature
    assert server.asked[0]["messages"][0]["content"] == QUESTION.prompt
    required = server.asked[0]["response_format"]["json_schema"]["schema"]["required"]
    assert set(required) == set(QUESTION.schema["required"])


@pytest.mark.parametrize("answer", [completion("not JSON"), completion("[15]"), {"choices": []}, "<html>", 400])
def test_odd_replies_leave_a_submission_unscored(answer: Any) -> None:
    with stand_in([answer]) as server:
        result = ask_judge(judge(server.base_url), QUESTION)
    assert result.status == "unscored"
    assert result.meta["judge"]["failures"]
