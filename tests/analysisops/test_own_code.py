"""Programs that bring their own code: what they are given, what they may leave, and the second instance."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from beampipe.analysisops.agents.agent import Answer
from beampipe.analysisops.assessment import assess, regrade
from beampipe.analysisops.contract import Reference, TaskRequest
from beampipe.analysisops.instances import InstanceStore, PreparedInstance, oracle_session
from beampipe.analysisops.own_code import (
    ANSWER,
    LARGEST,
    ask_program,
    lower_of,
    read_answer,
    second_seed,
    submission_from,
)
from beampipe.analysisops.runs.engine import Record
from beampipe.analysisops.tasks.load import shipped_task, shipped_tasks
from beampipe.analysisops.tools.session import Session
from beampipe.analysisops.tools.workspaces import read_workspace
from beampipe.errors import FileError
from tests.analysisops.grading.examples import WORKSPACE
from tests.analysisops.redteam.target import SEED

Instance = Callable[[str], PreparedInstance]
PROGRAM = Path(__file__).with_name("zmumu_program.py")


def answer_of(reference: Reference, labels: Any = None) -> dict[str, Any]:
    """What a perfect program leaves."""
    answers = {
        name: {"value": number.value, "uncertainty": number.uncertainty}
        for name, number in reference.quantities.items()
    }
    if labels:
        n_tracks = len(set(labels) - {-1})
        answers["n_tracks"] = {"value": n_tracks, "uncertainty": n_tracks / 10}
    return {
        "answers": answers,
        "words": dict(reference.words),
        "histograms": {
            name: {"edges": list(histogram.edges), "values": list(histogram.values)}
            for name, histogram in reference.histograms.items()
        },
        "artifacts": {"labels": labels} if labels else {},
    }


def graded(prepared: PreparedInstance, answer: dict[str, Any], folder: Path, seed: int = SEED) -> Record:
    """The record of a program that leaves an answer."""

    def ask(request: TaskRequest, session: Session) -> Answer:
        return Answer(submission_from(answer, prepared, session))

    folder.mkdir()
    return assess(prepared, 3, seed, ask, folder)


def score(record: Record) -> float:
    return float(record.grade["final"]["normalized_score"])


@pytest.mark.parametrize("task", shipped_tasks())
def test_the_right_numbers_earn_all_in_every_task(instance: Instance, tmp_path: Path, task: str) -> None:
    prepared = instance(task)
    labels = [label if label > 0 else -1 for label in prepared.hidden.labels]
    answer = answer_of(prepared.reference, labels)
    if "workspace" in prepared.task.spec.artifacts:
        session, _ = oracle_session(prepared, tmp_path / "oracle.jsonl")
        built = next(entry.result for entry in session.ledger.entries if entry.tool == "build_workspace_tool")
        assert built is not None
        answer["artifacts"] = {"workspace": json.loads(json.dumps(built["workspace"]))}
    record = graded(prepared, answer, tmp_path / "1")
    assert score(record) >= 0.999, record.grade["issues"]
    assert regrade(record.to_json()) == record.grade
    wrong = answer_of(prepared.reference)
    for pair in wrong["answers"].values():
        pair["value"] *= 2
    assert score(graded(prepared, wrong, tmp_path / "2")) <= 0.06


@pytest.mark.parametrize(
    "change",
    [
        {"observations": [{"name": "signal_region", "data": [1.0]}]},
        {"observations": None},
        {"channels": [{"name": "signal_region", "samples": [{"name": "signal", "data": [1.0, 2.0], "modifiers": []}]}]},
        {"channels": []},
        {"measurements": [{"config": {"poi": "luminosity"}}]},
        {"measurements": []},
    ],
)
def test_a_workspace_of_another_form_is_none(change: dict[str, Any]) -> None:
    assert read_workspace({**WORKSPACE, **change}) is None
    others: tuple[Any, ...] = (None, [], "workspace", 3.0, {})
    assert all(read_workspace(table) is None for table in others)


@pytest.mark.parametrize(
    "modifier",
    [
        {"name": "code", "type": "histosys", "data": None},
        {"name": "luminosity", "type": "normsys", "data": {"hi": 1.1, "lo": -1.0}},
        {"name": "luminosity", "type": "normsys", "data": {"hi": float("nan"), "lo": 0.9}},
        {"name": "statistics", "type": "staterror", "data": [1.0, 1.0]},
        {"name": "statistics", "type": "staterror", "data": [10**400]},
    ],
)
def test_a_workspace_holds_modifiers_of_the_tools_only(modifier: dict[str, Any]) -> None:
    table = json.loads(json.dumps(WORKSPACE))
    assert read_workspace(table) is not None
    table["channels"][0]["samples"][0]["modifiers"].append(modifier)
    assert read_workspace(table) is None


@pytest.fixture(scope="module")
def second(store: InstanceStore) -> PreparedInstance:
    return store.get(shipped_task("zmumu"), second_seed("zmumu", SEED))


def both(instance: Instance, second: PreparedInstance, program: Path, folder: Path) -> Record:
    """The record of a program's runs on both instances of `zmumu`."""
    records = []
    for number, prepared in enumerate((instance("zmumu"), second)):
        place = folder / str(number)
        place.mkdir()
        records.append(assess(prepared, 3, SEED, ask_program(program, prepared), place))
    return lower_of(*records)


def test_a_correct_program_solves_both_instances(instance: Instance, second: PreparedInstance, tmp_path: Path) -> None:
    record = both(instance, second, PROGRAM, tmp_path)
    assert score(record) >= 0.95, (record.error, record.grade["issues"])
    assert len(record.grade["instances"]) == 2
    assert regrade(record.to_json()) == record.grade


def test_numbers_that_stand_in_a_program_score_nothing(
    instance: Instance, second: PreparedInstance, tmp_path: Path
) -> None:
    answer = json.dumps(answer_of(instance("zmumu").reference))
    program = tmp_path / "hard_coded.py"
    program.write_text(f"open('answer.json', 'w').write({answer!r})\n")
    record = both(instance, second, program, tmp_path)
    assert record.grade["instances"][0] == 1.0
    assert score(record) == 0.0
    assert "equal numbers" in record.error


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("raise SystemExit(3)", "exit status 3"),
        ("print('done')", ANSWER),
        ("import socket; socket.create_connection(('127.0.0.1', 1))", "exit status"),
        ("import os; os.symlink(os.environ['BEAMPIPE_REQUEST'], 'answer.json')", "no such file"),
        ("import os; open(os.environ['BEAMPIPE_DATA'] + '/data.root', 'w')", "exit status 1"),
        ("import beampipe.analysisops.registry", "exit status 1"),
    ],
    ids=["fails", "leaves nothing", "wants the network", "leaves a link", "writes the data", "uses our analysis"],
)
def test_what_a_program_may_not_do(instance: Instance, tmp_path: Path, program: str, reason: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(program)
    record = assess(instance("zmumu"), 3, SEED, ask_program(file, instance("zmumu")), tmp_path)
    assert score(record) == 0.0
    assert reason in record.error


def test_a_program_is_given_the_question_and_nothing_hidden(instance: Instance, tmp_path: Path) -> None:
    file = tmp_path / "spy.py"
    file.write_text(
        "import os, json\n"
        "request = json.load(open(os.environ['BEAMPIPE_REQUEST']))\n"
        "files = sorted(os.listdir(os.environ['BEAMPIPE_DATA']))\n"
        "print(files, 'answer.json' in request['prompt'], sorted(os.environ))\n"
        "raise SystemExit(1)\n"
    )
    record = assess(instance("zmumu"), 2, SEED, ask_program(file, instance("zmumu")), tmp_path)
    assert "['data.root', 'manifest.json'] True" in record.error
    assert "USER" not in record.error


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b'"x"', b"[" * 100_000, b"\xff", b" " * (LARGEST + 1)])
def test_what_is_no_answer_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ANSWER).write_bytes(content)
    with pytest.raises(FileError, match=ANSWER):
        read_answer(tmp_path)


def test_pipes_and_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder" / ANSWER).mkdir(parents=True)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / ANSWER)
    for place in ("folder", "pipe", "nowhere"):
        with pytest.raises(FileError, match=ANSWER):
            read_answer(tmp_path / place)


@pytest.mark.parametrize(
    "answer",
    [
        {"answers": {"mass": {"value": 10**400, "uncertainty": 1}}},
        {"answers": {"mass": {"value": float("nan"), "uncertainty": 1}}},
        {"answers": {"mass": 91.0, "other": {"value": 1, "uncertainty": 1}}},
        {"answers": [1], "histograms": {"mass": {"edges": [1, 2], "values": ["x"]}}},
        {"histograms": {"mass": {"edges": [0, 1, 2], "values": [1e300, 1e308]}}, "words": 3, "method": [1]},
        {"artifacts": {"labels": [10**30, -5, True]}, "status": {"ok": 1}},
    ],
)
def test_hostile_answers_score_nothing(instance: Instance, tmp_path: Path, answer: dict[str, Any]) -> None:
    assert score(graded(instance("zmumu"), answer, tmp_path / "1")) == 0.0
