"""Whatever an agent does, its assessment ends as completed with a result that says what happened."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from beampipe.analysisops.a2a.client import send_document
from beampipe.analysisops.agents.agent import Tools
from beampipe.analysisops.agents.serving import serving_agent
from beampipe.analysisops.contract import Level, TaskRequest
from beampipe.analysisops.host import HostSettings, serving_host
from beampipe.analysisops.http_server import listen, serving
from beampipe.analysisops.seeds import Seeds
from beampipe.errors import ServiceError

from .test_assessment import call, old_message, request_text, toy_assess


@contextmanager
def stranger(text: str | None, *, state: str = "completed", **headers: str) -> Iterator[str]:
    """A server that speaks as little of A2A 0.3 as an agent must, and answers that text; None never answers."""
    listener = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"

    async def card(request: Request) -> Response:
        result = {"name": "stranger", "url": url, "protocolVersion": "0.3.0", "version": "1", "description": "",
                 "capabilities": {}, "skills": [], "defaultInputModes": [], "defaultOutputModes": []}  # fmt: skip
        return JSONResponse(result)

    async def answer(request: Request) -> Response:
        if text is None:
            await asyncio.sleep(3600)
        artifact = {"artifactId": "a", "parts": [{"kind": "text", "text": text}]}
        task = {"kind": "task", "id": "t", "contextId": "c", "status": {"state": state}, "artifacts": [artifact]}
        return JSONResponse({"jsonrpc": "2.0", "id": (await request.json())["id"], "result": task}, headers=headers)

    routes = [Route("/.well-known/agent-card.json", card), Route("/", answer, methods=["POST"])]
    with serving(Starlette(routes=routes), listener):
        yield url


def assess(url: str, task_id: str, level: Level, seeds: Seeds) -> dict[str, Any]:
    (seed,) = seeds.indices
    if seed == 13:
        raise RuntimeError("the reference is 90.123")
    result = toy_assess(url, task_id, level, seeds)
    if seed == 14:
        result["final"]["normalized_score"] = float("nan")
    if seed == 15:
        time.sleep(30)
    return result


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    with serving_host(assess, HostSettings(("zmumu",), seconds=3.5)) as url:
        yield url


def assessed(host: str, agent: str, seed: int = 1) -> dict[str, Any]:
    """The one result of an assessment that was completed."""
    task = call(host, "message/send", old_message(request_text(agent, seeds=[seed])))["result"]
    assert task["status"]["state"] == "completed"
    first, last = task["artifacts"]
    assert json.loads(last["parts"][0]["text"])["participants"]["agent"]["errors"] == 1
    result: dict[str, Any] = json.loads(first["parts"][0]["text"])
    assert result["status"] == "error"
    assert result["final"]["normalized_score"] == 0.0
    return result


@pytest.mark.parametrize(
    "text",
    [
        "The mass is 91.2 GeV.",
        'The answer is {"answers": {"mass": 91.2}}',
        '{"answers": {"mass": {"value": NaN, "uncertainty": 1}}}',
        '{"answers": {"mass": {"value": 1e999, "uncertainty": 1}}}',
        '{"answers": {}, "answers": {"mass": 1}}',
        '[{"answers": {}}]',
        "[" * 100_000,
        '{"answers": {"mass": "' + "9" * 600_000 + '"}}',
        '{"answers": ' + "9" * 5000 + "}",
        "9" * 9_000_000,
        "",
    ],
    ids=["words", "fished", "nan", "inf", "twice", "list", "deep", "large", "digits", "huge", "empty"],
)
def test_an_answer_that_is_none(host: str, text: str) -> None:
    with stranger(text) as url:
        assert assessed(host, url)["issues"][0]["code"] == "agent_error"


def test_nobody_is_there(host: str) -> None:
    assert assessed(host, "http://127.0.0.1:1/")["issues"][0]["code"] == "agent_unavailable"


@pytest.mark.parametrize("state", ["failed", "rejected", "canceled", "input-required", "auth-required", "nonsense"])
def test_a_task_that_ends_in_another_way(host: str, state: str) -> None:
    with stranger("{}", state=state) as url:
        assert assessed(host, url)["issues"][0]["code"] == "agent_error"


def test_compressed_answers_are_not_unpacked() -> None:
    with stranger("{}", **{"Content-Encoding": "gzip"}) as url, pytest.raises(ServiceError, match="coded"):
        send_document(url, {})


def test_a_server_that_is_no_agent(host: str) -> None:
    async def other(request: Request) -> Response:
        return Response("<html>", status_code=200)

    listener = listen("127.0.0.1", 0)
    with serving(Starlette(routes=[Route("/{path:path}", other, methods=["GET", "POST"])]), listener) as url:
        assert assessed(host, url)["issues"][0]["code"] == "agent_error"


def test_a_stream_without_end_is_cut() -> None:
    listener = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"

    async def card(request: Request) -> Response:
        result = {"name": "endless", "version": "1", "description": "", "capabilities": {"streaming": True},
                 "supportedInterfaces": [{"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}],
                 "skills": []}  # fmt: skip
        return JSONResponse(result)

    async def answer(request: Request) -> Response:
        async def chatter() -> Any:
            while True:
                yield b": " + b"x" * 65536 + b"\n\n"
                await asyncio.sleep(0)

        return StreamingResponse(chatter(), media_type="text/event-stream")

    routes = [Route("/.well-known/agent-card.json", card), Route("/", answer, methods=["POST"])]
    with serving(Starlette(routes=routes), listener), pytest.raises(ServiceError, match="more than 2000000 bytes"):
        send_document(url, {}, 20.0, 2_000_000)


class _Breaks:
    def solve(self, request: TaskRequest, tools: Tools) -> dict[str, Any]:
        raise ZeroDivisionError("division")


class _NotFinite:
    def solve(self, request: TaskRequest, tools: Tools) -> dict[str, Any]:
        return {"answers": {"mass": {"value": float("inf")}}}


class _Sleeps:
    def solve(self, request: TaskRequest, tools: Tools) -> dict[str, Any]:
        threading.Event().wait(60)
        return {}


def test_an_agent_that_gives_no_json_fails() -> None:
    with serving_agent(_NotFinite()) as url, pytest.raises(ServiceError, match="failed"):
        send_document(url, TaskRequest("t", "zmumu", 1, "?").to_json())


def test_the_hosts_own_faults_are_results_and_tell_nothing(host: str) -> None:
    result = assessed(host, "http://127.0.0.1:1/", seed=13)
    assert result["issues"][0]["code"] == "host_error"
    assert "90.123" not in json.dumps(result)


def test_a_result_that_is_no_json_is_an_error(host: str) -> None:
    with stranger('{"answers": {"mass": 1}}') as url:
        assert assessed(host, url, seed=14)["issues"][0]["code"] == "submission_error"


def test_an_assessment_that_takes_too_long_is_an_error(host: str) -> None:
    with stranger('{"answers": {"mass": 1}}') as url:
        assert assessed(host, url, seed=15)["issues"][0]["code"] == "assessment_timeout"


def test_a_second_request_waits_for_no_first(host: str) -> None:
    """An agent that is being assessed, and does not answer, cannot have itself assessed beside that."""
    answers: list[dict[str, Any]] = []
    with stranger(None) as url:
        first = threading.Thread(target=lambda: answers.append(assessed(host, url)))
        first.start()
        time.sleep(0.5)
        second = call(host, "message/send", old_message(request_text(url)))["result"]
        first.join()
    assert second["status"]["state"] == "rejected"
    assert answers[0]["issues"][0]["code"] == "agent_timeout"


def test_the_environments_proxy_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "http_proxy", "http://127.0.0.1:1/")
    with stranger('{"answers": {}}') as url:
        assert send_document(url, {}) == {"answers": {}}
