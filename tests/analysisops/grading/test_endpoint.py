"""A judge behind OpenAI's protocol: what is sent, and what every odd reply becomes."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest

from beampipe.analysisops.chat import ChatClient, Model
from beampipe.analysisops.grading.judge import EndpointJudge, ask_judge, build_question
from beampipe.errors import ServiceError, ServiceUnavailableError
from tests.analysisops.grading.examples import example_task, right_submission

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


def judge(handler: Callable[[httpx.Request], httpx.Response], samples: int = 1, key: str = "") -> EndpointJudge:
    model = Model("http://127.0.0.1:1/v1/", "small", temperature=0.7, retries=0, api_key_variable=key)
    return EndpointJudge(model, samples, partial(ChatClient, transport=httpx.MockTransport(handler)))


def completion(content: object, **more: Any) -> httpx.Response:
    return httpx.Response(200, json={"choices": [{"message": {"content": content}}], **more})


def test_a_verdict_with_its_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "secret")
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return completion(json.dumps(VERDICT), usage={"prompt_tokens": 321, "completion_tokens": 45})

    result = ask_judge(judge(answer, samples=3, key="JUDGE_KEY"), QUESTION)
    assert (result.status, result.score) == ("scored", 15.0)
    assert result.meta["judge"]["prompt_tokens"] == 3 * 321
    body = json.loads(seen[0].content)
    assert (seen[0].url.path, seen[0].headers["Authorization"]) == ("/v1/chat/completions", "Bearer secret")
    assert body["response_format"]["json_schema"]["schema"] == QUESTION.schema
    assert [json.loads(item.content)["seed"] for item in seen] == [0, 1, 2]
    assert (body["temperature"], body["messages"][0]["content"]) == (0.7, QUESTION.prompt)


def test_one_sample_is_drawn_without_temperature() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert json.loads(request.content)["temperature"] == 0.0
        assert "Authorization" not in request.headers
        return completion(json.dumps(VERDICT))

    assert ask_judge(judge(answer), QUESTION).status == "scored"


@pytest.mark.parametrize(
    "response",
    [
        completion("not JSON"),
        completion("[15]"),
        completion(None),
        completion({"canary": "x"}),
        completion("Sure! " + json.dumps(VERDICT)),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"choices": []}),
        httpx.Response(200, text="[" * 100_000),
        httpx.Response(429, text="too many requests"),
        httpx.Response(500),
    ],
)
def test_odd_replies_leave_a_submission_unscored(response: httpx.Response) -> None:
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1") as caught:
        judge(lambda request: response).ask(QUESTION, 0)
    assert caught.value.model == "small"
    assert ask_judge(judge(lambda request: response), QUESTION).status == "unscored"


@pytest.mark.parametrize("fault", [httpx.ReadTimeout("slow"), httpx.ConnectError("refused")])
def test_faults_of_the_network(fault: Exception) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise fault

    with pytest.raises(ServiceUnavailableError):
        judge(fail).ask(QUESTION, 0)
