"""Kill a run of assessments at random, again and again: `python benchmarks/analysisops/kills.py --kills 50`

Each round starts a run and kills (SIGKILL) its host or one of its workers at a random moment. The assessments are made
up and take a few hundredths of a second, so that a kill finds something under way. Then: the same results, byte for
byte, as of an undisturbed run; nothing that was committed is begun again; no more begun in vain than there were workers
at the kills; and the records graded again give one hash.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree
from typing import Any

import beampipe.terminal.scripts  # noqa: F401

import psutil

from beampipe.analysisops.contract import TaskRequest
from beampipe.analysisops.runs.engine import (
    AgentChoice,
    Assessment,
    Record,
    RunFolder,
    RunPlan,
    Seeds,
    TaskChoice,
    rescore,
    run,
)
from beampipe.terminal import make_table
from beampipe.workflow import EventLog, file_digest

sys.path.insert(0, str(Path(__file__).parents[1] / "calibration"))  # both areas report in the same form
from measuring import CONSOLE, conditions, report

SECONDS = 0.05
"""How long an assessment takes [s]."""


def plan_of(assessments: int) -> RunPlan:
    """So many assessments: two tasks, two agents, two epochs, and as many seeds as that takes."""
    tasks = tuple(TaskChoice(name, name, name, (1,)) for name in ("zmumu", "hyy"))
    agents = tuple(map(AgentChoice, ("scripted", "oracle")))
    return RunPlan(tasks, agents, Seeds.first(max(1, assessments // 8)), (1,), epochs=2)


def grade(record: Mapping[str, Any]) -> dict[str, Any]:
    """A score that follows from the answer."""
    value = float(record["submission"]["answer"])
    llm = {"status": "unscored", "score": None, "max": 0.0, "meta": {}}
    return {"status": "ok", "final": {"total_score": value, "max_score": 1.0, "normalized_score": value}, "llm": llm}


def assess(assessment: Assessment, folder: Path) -> Record:
    """An answer that follows from the key, after a while."""
    (folder / "scratch").write_bytes(os.urandom(1000))
    time.sleep(SECONDS)
    submission = {"answer": int(assessment.key[:8], 16) / 2**32}
    request = TaskRequest(assessment.task.task_id, assessment.task.family, assessment.level, "?")
    return Record(request, submission, grade({"submission": submission}))


def start(folder: Path, assessments: int, workers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, "--host", str(folder), "--assessments", str(assessments)]
    return subprocess.Popen([*command, "--workers", str(workers)], stderr=subprocess.PIPE)


def kill_one(host: subprocess.Popen[bytes], draw: random.Random) -> str:
    """Kill the host or a worker; gives the name of what was killed."""
    try:
        workers = [item for child in psutil.Process(host.pid).children() for item in child.children()]
        if workers and draw.random() < 0.4:
            draw.choice(workers).kill()
            return "worker"
    except psutil.NoSuchProcess:
        pass
    host.kill()
    return "host"


def survive(folder: Path, assessments: int, workers: int, kills: int, draw: random.Random) -> Counter[str]:
    """Start a run again and again until it is done; gives the number of kills, by what was killed."""
    spent = Counter[str]()
    while True:
        host = start(folder, assessments, workers)
        while host.poll() is None and spent.total() < kills:
            try:
                host.wait(timeout=draw.uniform(0.1, 2.5))
            except subprocess.TimeoutExpired:
                spent[kill_one(host, draw)] += 1
        output, code = host.communicate()[1], host.returncode
        if code == 0:
            return spent
        if code > 0:
            raise SystemExit(output.decode())


def begun_and_done(log: Path) -> tuple[int, int, int]:
    """Numbers of assessments that were done, begun again after they were done, and begun in vain."""
    done: set[str] = set()
    begun, again = 0, 0
    for event in EventLog(log).read():
        begun += event["event"] == "start"
        again += event["event"] == "start" and event["key"] in done
        if event["event"] in ("done", "cached"):  # a kill may come between a commit and its line in the log
            done.add(str(event["key"]))
    return len(done), again, begun - len(done)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--assessments", type=int, default=400, help="of each run")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rescores", type=int, default=100)
    parser.add_argument("--output", type=Path, default=Path("runs/bench/analysisops_kills.json"))
    parser.add_argument("--host", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.host is not None:
        import kills  # under its own name, so that workers find it

        run(plan_of(options.assessments), kills.assess, options.host, workers=options.workers, code="toy")
        return
    begun = conditions("killed runs")
    home = Path("runs/bench/analysisops_kills").absolute()
    rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    draw = random.Random(options.seed)
    survive(home / "calm", options.assessments, options.workers, 0, draw)
    wanted = file_digest(RunFolder(home / "calm").results)
    spent, hashes, numbers, runs = Counter[str](), set(), Counter[str](), 0
    while spent.total() < options.kills:
        folder = home / f"killed-{runs}"
        left = options.kills - spent.total()
        spent += survive(folder, options.assessments, options.workers, left, draw)
        hashes.add(file_digest(RunFolder(folder).results))
        done, again, vain = begun_and_done(folder / "events.jsonl")
        numbers.update(done=done, again=again, vain=vain)
        runs += 1
    graded = {rescore(home / "killed-0", grade).sha256 for _ in range(options.rescores)}
    body = {
        "killed": dict(spent),
        "runs": runs,
        "same_results": hashes == {wanted},
        "assessments": numbers["done"],
        "begun_again_after_done": numbers["again"],
        "begun_in_vain": numbers["vain"],
        "rescored": options.rescores,
        "hashes_of_rescored": len(graded | {wanted}),
        "workers": options.workers,
    }
    table = make_table("Killed runs", ["figure", "value"])
    for name, value in body.items():
        table.add_row(name, json.dumps(value))
    CONSOLE.print(table)
    report(options.output, begun, body)
    assert hashes == {wanted}
    assert graded == {wanted}
    assert numbers["again"] == 0, "a committed assessment was begun again"
    assert numbers["vain"] <= spent.total() * options.workers


if __name__ == "__main__":
    main()
