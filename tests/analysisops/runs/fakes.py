"""An assessment that needs no agent and no data: what it gives follows from its key."""

from __future__ import annotations

import hashlib
import math
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from beampipe.analysisops.contract import TaskRequest
from beampipe.analysisops.grading.result import ungraded
from beampipe.analysisops.ledger import Ledger
from beampipe.analysisops.runs.engine import AgentChoice, Assessment, Record, RunPlan, TaskChoice, run
from beampipe.analysisops.seeds import Seeds
from beampipe.errors import FileError

KEY = b"of the host alone"
SECRET_URL = "http://127.0.0.1:40123/mcp?token=hush-hush"


def make_plan(tasks: int = 2, seeds: int = 2, epochs: int = 2, agents: tuple[str, ...] = ("good", "poor")) -> RunPlan:
    choices = tuple(TaskChoice(f"task{number}", f"family{number}", "0" * 40, (1, 2)) for number in range(tasks))
    return RunPlan(choices, tuple(map(AgentChoice, agents)), Seeds.first(seeds), epochs=epochs)


def grade(record: Mapping[str, Any]) -> dict[str, Any]:
    """A rubric of one rule: full points times what was answered, for an answer that is a number in 0 .. 1."""
    assessment, points = record["assessment"], record["rubric"]["points"]
    answer = (record["submission"] or {}).get("answer")
    good = isinstance(answer, float) and 0 <= answer <= 1
    if record["error"]:
        about = {"task_id": assessment["task_id"], "type": assessment["family"]}
        return ungraded(record["error"], **about, level=assessment["level"], seed=assessment["seed"])
    score = points * answer if good else 0.0
    return {
        "status": "ok",
        "hard_checks_passed": True,
        "hard_failures": [],
        "final": {"total_score": score, "max_score": points, "normalized_score": score / points},
        "rule": {"score": score, "max": points},
        "llm": {"status": "unscored", "score": None, "max": 10.0, "meta": {}},
        "issues": [],
        "signals": {"answer": answer},
        "provenance": {},
        "checks": [{"id": "answer", "points": score, "max_points": points, "passed": good, "evidence": {"is": answer}}],
        "task_id": assessment["task_id"],
        "type": assessment["family"],
        "level": assessment["level"],
        "seed": assessment["seed"],
    }


def answer_of(assessment: Assessment) -> float:
    """A number in 0.5 .. 1 for a good agent, in 0 .. 0.5 for any other."""
    number = int(hashlib.sha256(assessment.key.encode()).hexdigest()[:8], 16) / 2**33
    return number + 0.5 * (assessment.agent.name == "good")


def assess(
    assessment: Assessment,
    folder: Path,
    *,
    calls: Path | None = None,
    pause: float = 0.0,
    at_most: float = math.inf,
) -> Record:
    """The fake; each call is one line in `calls`. With more than `at_most` lines there, it waits to be killed."""
    assert not list(folder.iterdir()), "the folder of an assessment is its own"
    if calls is not None:
        with calls.open("a") as file:
            file.write(f"{assessment.key}\n")
        while len(calls.read_text().split()) > at_most:
            time.sleep(1.0)
    time.sleep(pause)
    ledger = Ledger(folder / "ledger.jsonl", KEY)
    ledger.append("count_tool", {"events": "events_1"}, {"n": 7}, sources=["data.root"])
    request = TaskRequest(assessment.task.task_id, assessment.task.family, assessment.level, "How many?", SECRET_URL)
    answer = {"nan": float("nan"), "silent": None}.get(assessment.agent.name, answer_of(assessment))
    submission = None if answer is None else {"answer": answer}
    error = "no answer came" if submission is None else ""
    rubric = {"points": 5.0}
    known = {"assessment": assessment.to_json(), "submission": submission, "rubric": rubric, "error": error}
    return Record(
        request,
        submission,
        grade(known),
        {"instance": {"truth": {"answer": 1.0}}},
        rubric,
        ledger.entries,
        tokens={"input": 100, "output": 10},
        cost=0.01,
        seconds=0.5,
        error=error,
    )


def assess_with_a_failing_host(assessment: Assessment, folder: Path, broken: Path) -> Record:
    """The host fails with one task for as long as a file is there."""
    if broken.exists() and assessment.task.task_id == "task1":
        raise FileError(f"{broken}: no space", path=broken)
    return assess(assessment, folder)


if __name__ == "__main__":  # a run for a test to kill: python -m tests.analysisops.runs.fakes FOLDER AT_MOST
    home, limit = Path(sys.argv[1]), int(sys.argv[2])
    from tests.analysisops.runs import fakes

    one_call = partial(fakes.assess, calls=home / "calls", pause=0.03, at_most=limit)
    run(make_plan(3, 4, 2), one_call, home / "run")
