"""Attacks on the host of an assessment: its files, its ledger, its protocol."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from beampipe.analysisops.agents.agent import Answer, Tools
from beampipe.analysisops.agents.serving import serving_agent
from beampipe.analysisops.assessment import ask_agent, assess
from beampipe.analysisops.contract import Level, TaskRequest, ToolRefusedError
from beampipe.analysisops.host import HostSettings, serving_host
from beampipe.analysisops.ledger import Ledger
from beampipe.analysisops.seeds import Seeds
from beampipe.analysisops.tasks.load import shipped_tasks
from beampipe.analysisops.tools.session import Session
from tests.analysisops.redteam.desk import desk_of
from tests.analysisops.redteam.target import SEED, Attempt, Target

V1 = {"A2A-Version": "1.0"}
SOME = ("zmumu", "jets", "tracks", "operations")
"""Tasks with each kind of answer, for attacks on what is the same for all tasks."""
REWARDS = ("reward.json", "result.json", "score.txt", "judge_output.json", "record.json", "ledger.jsonl.bak")


@pytest.mark.parametrize("name", SOME)
def test_files_that_an_agent_leaves_are_read_by_nobody(
    target_of: Callable[[str], Target], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """V1 and V7: rewards, verdicts and records in the working folder and beside the ledger."""
    target = target_of(name)
    (tmp_path / "work").mkdir()
    (tmp_path / "host").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    forged = json.dumps({"final": {"normalized_score": 1.0}, "reward": 1.0, "score": 1.0, "status": "ok"})

    def ask(request: TaskRequest, session: Session) -> Answer:
        for folder in (Path.cwd(), tmp_path / "host"):
            for file in REWARDS:
                (folder / file).write_text(forged)
        return Answer(target.claim(target.known.mean()))

    record = assess(target.prepared, 1, SEED, ask, tmp_path / "host")
    assert record.grade["final"]["normalized_score"] == 0.0


@pytest.mark.parametrize("name", SOME)
def test_a_forged_ledger_scores_nothing(target_of: Callable[[str], Target], name: str, tmp_path: Path) -> None:
    """V7: entries by another key, changed entries, and a ledger in place of the host's."""
    target = target_of(name)
    forger = Ledger(tmp_path / "forged.jsonl", b"a key of somebody's own, long enough to be one")
    numbers = {name: value for name, (value, _) in target.numbers().items()}
    forger.append("fit_peak_tool", {}, numbers, sources=["data.root"])
    forged = (tmp_path / "forged.jsonl").read_text()

    def replaced(book: Path) -> None:
        book.write_text(forged)

    def appended(book: Path) -> None:
        book.write_text(book.read_text() + forged)

    def changed(book: Path) -> None:
        book.write_text(book.read_text().replace('"sources": []', '"sources": ["data.root"]', 1))

    for tamper in (replaced, appended, changed):
        folder = tmp_path / tamper.__name__
        folder.mkdir()

        def ask(request: TaskRequest, session: Session) -> Answer:
            session.call("list_local_root_files_tool")
            tamper(folder / "ledger.jsonl")  # noqa: B023 - it is called in this turn
            return Answer(target.honest())

        record = assess(target.prepared, 1, SEED, ask, folder)
        assert record.error == "FileError while the submission was graded"
        assert record.grade["final"]["normalized_score"] == 0.0


class Spy:
    """A purple agent that looks for answers at the host instead of in the data.

    Args:
        host: gives the address of the host, which is known only later.
    """

    def __init__(self, host: Callable[[], str]) -> None:
        self._host = host
        self.seen: list[str] = []

    def solve(self, request: TaskRequest, tools: Tools) -> dict[str, Any]:
        for method, params in (
            ("ListTasks", {"includeArtifacts": True, "historyLength": 100}),
            ("GetTask", {"id": request.task_id}),
            ("GetTask", {"id": "1"}),
        ):
            body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            for headers in (V1, {**V1, "Authorization": "Bearer mine"}):
                self.seen.append(httpx.post(self._host(), json=body, headers=headers, timeout=120).text)
        self.seen.append(httpx.get(f"{self._host()}.well-known/agent-card.json", timeout=120).text)
        self.seen.append(json.dumps(request.to_json()))
        return {"task_id": request.task_id, "status": "ok", "answers": {}}


@pytest.fixture(scope="module")
def seen(target_of: Callable[[str], Target]) -> dict[str, str]:
    """What a spy saw at a host that had graded these tasks before."""
    for name in SOME:  # data are not made while a request waits
        target_of(name)
    address: list[str] = []
    spy = Spy(lambda: address[0])

    def work(url: str, task_id: str, level: Level, seeds: Seeds) -> dict[str, Any]:
        target = target_of(task_id)
        ask_agent(url, target.request)
        # The result of somebody who was right, with the reference in its evidence.
        return target.grade(Attempt(target.honest(), target.work)).to_json()

    with (
        serving_agent(spy) as agent,
        serving_host(work, HostSettings(SOME, seeds=Seeds((SEED,)))) as host,
    ):
        address.append(host)
        text = json.dumps({"participants": {"agent": agent}, "config": {}})
        message = {"role": "ROLE_USER", "parts": [{"text": text}], "messageId": "1"}
        body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
        headers = {**V1, "Authorization": "Bearer owner"}
        # The second time there is a finished assessment for the spy to look for.
        answers = [httpx.post(host, json=body, headers=headers, timeout=120).text for _ in range(2)]
    assert all("TASK_STATE_COMPLETED" in answer for answer in answers)
    return {"stranger": "\n".join(spy.seen), "owner": "\n".join(answers)}


@pytest.mark.parametrize("name", SOME)
def test_a_host_tells_a_stranger_no_answer_and_nobody_a_secret_one(
    target_of: Callable[[str], Target], seen: dict[str, str], name: str
) -> None:
    """V2: ListTasks, GetTask, the card and the request itself; results of secret seeds come without their evidence."""
    target = target_of(name)
    secrets = [f"{number:.6g}" for pair in target.numbers().values() for number in pair]
    secrets += [repr(number) for pair in target.numbers().values() for number in pair]
    for text in seen.values():
        assert name in text or "tasks" in text
        assert str(SEED) not in text
    telling = [secret for secret in secrets if len(secret.replace(".", "")) >= 5]
    assert not [item for item in telling if item in seen["stranger"]]
    assert not [item for item in telling if item in seen["owner"]]


@pytest.mark.parametrize("name", shipped_tasks())
def test_tools_show_nothing_that_is_hidden(target_of: Callable[[str], Target], name: str) -> None:
    """V2: neither the folder of an instance nor what tools say of it holds the truth."""
    target = target_of(name)
    desk = desk_of(target)
    output = json.dumps([entry.result for entry in desk.done()])
    files = [path for path in target.prepared.data.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"manifest.json", *target.request.files}
    shown = (target.prepared.data / "manifest.json").read_text() + output + json.dumps(target.request.to_json())
    assert str(SEED) not in shown
    for name_, value in target.prepared.hidden.truth.items():
        assert name_ == "signal_yield" or repr(value) not in shown


def test_code_in_answers_and_arguments_is_never_run(target_of: Callable[[str], Target], tmp_path: Path) -> None:
    """V3: no eval, no pickle, no YAML tag, no shell, no path; in a submission, and in every text that tools read."""
    target, mark = target_of("zmumu"), tmp_path / "run"
    orders = (
        f"__import__('os').system('touch {mark}')",
        f"!!python/object/apply:os.system ['touch {mark}']",
        f"$(touch {mark})",
        f"`touch {mark}`",
        f"cos\nposix\nsystem\n(S'touch {mark}'\ntR.",
        f"../../../../../..{mark}",
    )
    desk = desk_of(target)
    for order in orders:
        submission = target.claim(
            {"mass": (1.0, 1.0)}, comments=order, histograms={"mass": order}, words={order: order}
        )
        assert target.grade(Attempt(submission, target.work)).normalized == 0.0
        for tool, arguments in (
            ("calculate_tool", {"expression": order, "values": {}}),
            ("derive_tool", {"events": desk.events, "name": "x", "expression": order}),
            ("select_tool", {"events": desk.events, "expression": order}),
            ("select_tool", {"events": order, "expression": "1 > 0"}),
            ("load_kinematics_tool", {"file_path": order, "tree_name": order, "branches": {"x": order}}),
            ("inspect_root_schema_tool", {"file_path": order}),
            ("read_log_tool", {"file": order}),
            ("export_tool", {"handle": desk.events, "name": order}),
        ):
            with pytest.raises(ToolRefusedError):
                desk.call(tool, **arguments)
    assert not mark.exists()
