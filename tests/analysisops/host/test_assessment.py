from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from beampipe.analysisops.a2a.server import agent_card, serving_a2a
from beampipe.analysisops.agents.serving import serving_agent
from beampipe.analysisops.assessment import ask_agent
from beampipe.analysisops.contract import Level, TaskRequest
from beampipe.analysisops.evaluation import attempts_in
from beampipe.analysisops.host import AssessmentExecutor, HostSettings, parse_request, serving_host
from beampipe.analysisops.registry import make_agent
from beampipe.analysisops.runs.engine import AgentChoice, RunFolder, RunPlan, TaskChoice
from beampipe.analysisops.seeds import Seeds

REFERENCE = 90.123456
BIG = 2**53 + 1
V1 = {"A2A-Version": "1.0"}


def toy_assess(url: str, task_id: str, level: Level, seeds: Seeds) -> dict[str, Any]:
    """Asks, and grades by whether there is an answer."""
    request = TaskRequest(task_id, "zmumu", level, "What is the mass?", constraints={"time_limit_sec": 2})
    score = float(bool(ask_agent(url, request)["answers"]))
    return {
        "status": "ok",
        "final": {"total_score": score, "max_score": 1.0, "normalized_score": score},
        "checks": [{"id": "mass", "passed": True, "evidence": {"reference": REFERENCE}}],
        "big": BIG,
        "task_id": task_id,
        "level": level,
        "seed": seeds.of(task_id, level)[0].value,
    }


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Seeds:
    """The seeds of a host with a secret."""
    file = tmp_path_factory.mktemp("secret") / "secret"
    file.write_text("a secret of more than thirty-two bytes, of this test")
    return Seeds.first(1, file)


@pytest.fixture(scope="module")
def host(secret: Seeds) -> Iterator[str]:
    with serving_host(toy_assess, HostSettings(("zmumu", "width"), seeds=secret)) as url:
        yield url


@pytest.fixture(scope="module")
def agent() -> Iterator[str]:
    with serving_agent(make_agent("recall")) as url:
        yield url


def request_text(url: str, **config: Any) -> str:
    return json.dumps({"participants": {"agent": url}, "config": config})


def body(method: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}


def call(url: str, method: str, params: dict[str, Any], **headers: str) -> dict[str, Any]:
    result: dict[str, Any] = httpx.post(url, json=body(method, params), headers=headers, timeout=120).json()
    return result


def stream(url: str, method: str, params: dict[str, Any], **headers: str) -> list[dict[str, Any]]:
    with httpx.stream("POST", url, json=body(method, params), headers=headers, timeout=120) as answer:
        lines = [line for line in answer.iter_lines() if line.startswith("data:")]
    return [json.loads(line.removeprefix("data:"))["result"] for line in lines]


def old_message(text: str, **more: str) -> dict[str, Any]:
    parts = [{"kind": "text", "text": text}]
    return {"message": {"role": "user", "parts": parts, "messageId": "1", "kind": "message", **more}}


def new_message(text: str, **more: str) -> dict[str, Any]:
    return {"message": {"role": "ROLE_USER", "parts": [{"text": text}], "messageId": "1", **more}}


def test_the_card_lists_both_versions(host: str) -> None:
    card = httpx.get(f"{host}.well-known/agent-card.json").json()
    assert {(item["url"], item["protocolVersion"]) for item in card["supportedInterfaces"]} == {
        (host, "1.0"),
        (host, "0.3"),
    }
    assert card["url"] == host


def test_an_assessment_by_the_old_version(host: str, agent: str) -> None:
    text = request_text(agent, tasks=["zmumu"], levels=[3], seeds=[7])
    task = call(host, "message/send", old_message(text))["result"]
    assert task["status"]["state"] == "completed"
    assert [item["name"] for item in task["artifacts"]] == ["Result-zmumu", "Summary"]
    [text] = task["artifacts"][0]["parts"]
    exact = json.loads(text["text"])
    assert (exact["seed"], exact["big"]) == (7, BIG), "JSON as text is exact"
    assert exact["checks"][0]["evidence"] == {"reference": REFERENCE}, "whoever names a seed may know all of it"
    assert exact["final"]["normalized_score"] == 1
    assert json.loads(task["artifacts"][1]["parts"][0]["text"])["score_total"] == 1.0


def test_a_stream_of_the_new_version_reports_and_ends_once(host: str, agent: str) -> None:
    events = stream(host, "SendStreamingMessage", new_message(request_text(agent)), **V1)
    assert [next(iter(event)) for event in events] == [
        "task",
        "statusUpdate",
        "artifactUpdate",
        "statusUpdate",
        "artifactUpdate",
        "artifactUpdate",
        "statusUpdate",
    ]
    assert events[-1]["statusUpdate"]["status"]["state"] == "TASK_STATE_COMPLETED"


def test_a_new_message_without_its_version_is_refused(host: str, agent: str) -> None:
    assert call(host, "SendMessage", new_message(request_text(agent)))["error"]["code"] == -32009


def test_nothing_that_is_sent_holds_a_secret_seed_or_its_reference(host: str, agent: str, secret: Seeds) -> None:
    events = json.dumps(stream(host, "message/stream", old_message(request_text(agent))))
    assert not any(str(secret.of(task, 1)[0].value) in events for task in ("zmumu", "width"))
    assert str(REFERENCE) not in events
    assert "Result-width" in events


def test_a_request_without_levels_gets_those_of_the_host() -> None:
    host = HostSettings(("zmumu", "t900_jpsi"), levels={"zmumu": 3})
    text = request_text("http://127.0.0.1:1/")
    assert [assessment.level for assessment in parse_request(text, host).assessments] == [3, 1]
    text = request_text("http://127.0.0.1:1/", levels=[1, 2])
    levels = [assessment.level for assessment in parse_request(text, host).assessments]
    assert levels == [2, 2, 1, 1], "what a prompt says must not help at a higher level"


def test_scores_of_secret_instances_are_rounded_and_attempts_are_counted(agent: str, secret: Seeds) -> None:
    def graded(url: str, task_id: str, level: Level, seeds: Seeds) -> dict[str, Any]:
        share = 0.93456
        return {
            **toy_assess(url, task_id, level, seeds),
            "final": {"total_score": 120 * share, "max_score": 120.0, "normalized_score": share},
            "rule": {"score": 120 * share, "max": 120.0},
            "checks": [{"id": "mass", "points": 40 * share, "max_points": 40.0, "passed": True}],
        }

    with serving_host(graded, HostSettings(("zmumu",), seeds=secret)) as url:
        first, again, named = (
            json.loads(task["artifacts"][0]["parts"][0]["text"])
            for task in (
                call(url, "message/send", old_message(request_text(agent, **config)))["result"]
                for config in ({}, {}, {"seeds": [1]})
            )
        )
    assert first["final"] == {"total_score": 111.6, "max_score": 120.0, "normalized_score": 0.93}
    assert first["rule"]["score"] == 111.6
    assert first["checks"][0]["points"] == 37.2
    assert [result["attempt"] for result in (first, again, named)] == [1, 2, 1]
    assert named["final"]["normalized_score"] == 0.93456


def test_attempts_at_a_secret_instance_are_limited(agent: str, secret: Seeds) -> None:
    settings = HostSettings(("zmumu", "width"), seeds=secret, attempts=3)
    (seed,) = secret.of("zmumu", 2)
    executor = AssessmentExecutor(toy_assess, settings, {("zmumu", "2", seed.label, seed.secret): 2})
    with serving_a2a(executor, partial(agent_card, "host", "", skill="assess agents", tags=())) as url:
        results = [
            [json.loads(part["parts"][0]["text"]) for part in task["artifacts"][:-1]]
            for task in (
                call(url, "message/send", old_message(request_text(agent, levels=[2])))["result"] for _ in (1, 2)
            )
        ]
    assert [[(result["attempt"], result["status"]) for result in request] for request in results] == [
        [(3, "ok"), (1, "ok")],
        [(4, "error"), (2, "ok")],
    ]
    assert results[1][0]["issues"][0]["code"] == "attempts_used"


def test_attempts_of_earlier_runs_are_counted(tmp_path: Path, secret: Seeds) -> None:
    assert attempts_in(tmp_path) == {}
    task = TaskChoice("zmumu", "zmumu", "0")
    for number, level in enumerate((1, 1, 3)):
        plan = RunPlan((task,), (AgentChoice(f"remote {number}"),), secret, (cast("Level", level),))
        RunFolder(tmp_path).write_plan(plan.assessments(), extend=True)
    mark = secret.of("zmumu", 1)[0].secret
    assert attempts_in(tmp_path) == {("zmumu", "1", "eval-1", mark): 2, ("zmumu", "3", "eval-1", mark): 1}


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "{}",
        "[]",
        '{"participants": {}, "config": {}}',
        '{"participants": {"agent": "file:///etc/passwd"}, "config": {}}',
        '{"participants": {"agent": "http://127.0.0.1:1/"}, "config": {"task": ["zmumu"]}}',
        '{"participants": {"agent": "http://127.0.0.1:1/"}, "config": {"tasks": ["zmumumu"]}}',
        '{"participants": {"agent": "http://127.0.0.1:1/"}, "config": {"seeds": [-1]}}',
        '{"participants": {"agent": "http://127.0.0.1:1/"}, "config": {"seeds": [0]}}',
        '{"participants": {"agent": "http://127.0.0.1:1/"}, "config": {"seeds": [918273645]}}',
        '{"participants": {"agent": "http://127.0.0.1:1/"}, "config": {"levels": [4]}}',
        '{"participants": {"agent": "http://127.0.0.1:1/"}, "config": NaN}',
    ],
)
def test_what_is_no_request_is_rejected(host: str, text: str) -> None:
    status = call(host, "message/send", old_message(text))["result"]["status"]
    assert status["state"] == "rejected"
    assert "expected" in status["message"]["parts"][0]["text"]


def test_a_request_as_data_is_read_too(host: str, agent: str) -> None:
    document = {"participants": {"agent": agent}, "config": {"tasks": ["zmumu"], "levels": [3], "seeds": [5]}}
    message = {"role": "user", "parts": [{"kind": "data", "data": document}], "messageId": "1", "kind": "message"}
    task = call(host, "message/send", {"message": message})["result"]
    assert task["status"]["state"] == "completed"
    assert json.loads(task["artifacts"][0]["parts"][0]["text"])["seed"] == 5


OWNER = {"Authorization": "Bearer mine"}
OTHER = {"Authorization": "Bearer theirs"}


@pytest.fixture(scope="module")
def task_id(host: str, agent: str) -> str:
    answer = call(host, "SendMessage", new_message(request_text(agent, tasks=["zmumu"])), **V1, **OWNER)
    return str(answer["result"]["task"]["id"])


def test_the_owner_gets_the_task(host: str, task_id: str) -> None:
    assert call(host, "GetTask", {"id": task_id}, **V1, **OWNER)["result"]["id"] == task_id
    assert call(host, "tasks/get", {"id": task_id}, **OWNER)["result"]["id"] == task_id
    listed = call(host, "ListTasks", {}, **V1, **OWNER)["result"]["tasks"]
    assert [item["id"] for item in listed] == [task_id]


@pytest.mark.parametrize("stranger", [{}, OTHER], ids=["nameless", "other"])
def test_a_stranger_gets_nothing(host: str, task_id: str, stranger: dict[str, str]) -> None:
    assert "error" in call(host, "GetTask", {"id": task_id}, **V1, **stranger)
    assert "error" in call(host, "tasks/get", {"id": task_id}, **stranger)
    assert "error" in call(host, "SubscribeToTask", {"id": task_id}, **V1, **stranger)
    assert "error" in call(host, "CancelTask", {"id": task_id}, **V1, **stranger)
    assert "error" in call(host, "SendMessage", new_message("{}", taskId=task_id), **V1, **stranger)
    assert call(host, "ListTasks", {}, **V1, **stranger)["result"]["tasks"] == []


def test_a_task_without_owner_is_in_no_list(host: str, agent: str) -> None:
    task = call(host, "message/send", old_message(request_text(agent, tasks=["zmumu"])))["result"]
    assert call(host, "ListTasks", {"includeArtifacts": True}, **V1)["result"]["tasks"] == []
    assert call(host, "tasks/get", {"id": task["id"]})["result"]["id"] == task["id"], "its number is the proof"


def test_the_request_is_not_kept(host: str, task_id: str) -> None:
    task = call(host, "GetTask", {"id": task_id}, **V1, **OWNER)["result"]
    assert "participants" not in json.dumps(task.get("history", []))
