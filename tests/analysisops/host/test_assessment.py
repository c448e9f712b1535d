from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from beampipe.analysisops.agents.recall import RecallAgent
from beampipe.analysisops.agents.serving import serving_agent
from beampipe.analysisops.contract import Level, TaskRequest
from beampipe.analysisops.host.asking import ask_agent
from beampipe.analysisops.host.messages import HostSettings
from beampipe.analysisops.host.server import serving_host

SECRET_SEED = 918273645
BIG = 2**53 + 1


def toy_assess(url: str, task_id: str, level: Level, seed: int) -> dict[str, Any]:
    """Asks, and grades by whether there is an answer."""
    answer = ask_agent(
        url, TaskRequest(task_id, "zmumu", level, "What is the mass?", constraints={"time_limit_sec": 3})
    )
    score = float(bool(answer["answers"]))
    return {
        "status": answer["status"],
        "final": {"total_score": score, "max_score": 1.0, "normalized_score": score},
        "checks": [{"id": "mass", "passed": True, "evidence": {"reference": 90.123}}],
        "big": BIG,
        "task_id": task_id,
        "level": level,
        "seed": seed,
    }


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    with serving_host(toy_assess, HostSettings(("zmumu", "width"), seeds=(SECRET_SEED,))) as url:
        yield url


@pytest.fixture(scope="module")
def purple() -> Iterator[str]:
    with serving_agent(RecallAgent()) as url:
        yield url


def request_text(url: str, **config: Any) -> str:
    return json.dumps({"participants": {"agent": url}, "config": config})


def call(url: str, method: str, params: dict[str, Any], **headers: str) -> dict[str, Any]:
    answer = httpx.post(
        url, json={"jsonrpc": "2.0", "id": 7, "method": method, "params": params}, headers=headers, timeout=30
    )
    found: dict[str, Any] = answer.json()
    return found


def old_message(text: str) -> dict[str, Any]:
    return {"message": {"role": "user", "parts": [{"kind": "text", "text": text}], "messageId": "1", "kind": "message"}}


def new_message(text: str) -> dict[str, Any]:
    return {"message": {"role": "ROLE_USER", "parts": [{"text": text}], "messageId": "1"}}


V1 = {"A2A-Version": "1.0"}


def test_an_assessment_by_the_old_protocol(host: str, purple: str) -> None:
    task = call(host, "message/send", old_message(request_text(purple, tasks=["zmumu"], seeds=[BIG])))["result"]
    assert task["status"]["state"] == "completed"
    assert [one["name"] for one in task["artifacts"]] == ["Result-zmumu", "Summary"]
    text, data = task["artifacts"][0]["parts"]
    exact = json.loads(text["text"])
    assert exact["seed"] == exact["big"] == BIG
    assert data["data"]["final"]["normalized_score"] == 1
    assert json.loads(task["artifacts"][1]["parts"][0]["text"])["score_total"] == 1.0


def test_an_assessment_by_the_new_protocol(host: str, purple: str) -> None:
    task = call(host, "SendMessage", new_message(request_text(purple, tasks=["zmumu"])), **V1)["result"]["task"]
    assert task["status"]["state"] == "TASK_STATE_COMPLETED"
    assert [one["name"] for one in task["artifacts"]] == ["Result-zmumu", "Summary"]
