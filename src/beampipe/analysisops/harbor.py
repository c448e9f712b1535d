"""Tasks as folders for Harbor, and the verifier that grades an answer there.

The agent works in a container with the data and Python, and leaves one file of the form of `own_code`. Harbor hands it
to a second container, which has the hidden truth and beampipe. It writes the score and the share of each check as
rewards: ``python -m beampipe.analysisops.harbor TESTS APP``.

The files of a task stand in ``harbor_task``, with fields of jinja2. They are written with the data of one instance, its
truth (without its seed) and the answer of the reference analysis.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from beampipe.analysisops.agents.agent import Answer
from beampipe.analysisops.assessment import assess
from beampipe.analysisops.contract import Level, TaskRequest
from beampipe.analysisops.instances import (
    InstanceStore,
    PreparedInstance,
    evidence_of,
    oracle_session,
    read_instance,
    request_of,
    write_instance,
)
from beampipe.analysisops.own_code import ANSWER, answer_form, read_answer, submission_from
from beampipe.analysisops.seeds import Seed
from beampipe.analysisops.tasks.load import Task, load_task
from beampipe.analysisops.tools.session import Session
from beampipe.errors import ConfigError

FILES: Final = Path(__file__).with_name("harbor_task")
"""The files of every exported task."""

MARK: Final = "# A task of beampipe for Harbor"
"""Begin of the settings of an exported task."""

_LEVEL: Final = "level.json"


def export_task(task: Task, seed: Seed, level: Level, output: Path, package: str) -> Path:
    """Write an instance of a task as a folder for Harbor.

    Args:
        task: the task, one with a family.
        seed: of the instance; its value is not written.
        level: level of the prompt.
        output: folder in which a folder for the instance is made, or replaced.
        package: what pip installs in the container of the verifier: a requirement, or the path of a wheel.

    Returns:
        The folder of the instance.

    Raises:
        ConfigError: the task has no data of its own, or not this level.
    """
    from jinja2 import Environment, StrictUndefined

    spec = task.spec
    if not spec.family:
        raise ConfigError(f"{task.id}: got a task on open data, expected one with data of its own")
    if task.is_live:
        raise ConfigError(
            f"{task.id}: got a running system, which no folder holds; use beampipe analysisops run or serve"
        )
    if level not in task.levels:
        raise ConfigError(f"level: got {level}, expected one of {', '.join(map(str, task.levels))} for {task.id}")
    name = f"{task.id}-{seed.label}"
    folder = output / name
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as temporary:
        prepared = InstanceStore(Path(temporary)).get(task, seed.value)
        fields = {
            "name": name,
            "description": spec.description,
            "family": spec.family,
            "level": level,
            "version": spec.version,
            "time_limit": float(spec.time_limit),
            "memory_mb": round(1024 * (spec.constraints.memory_gb or 4.0)),
            "prompt": request_of(prepared, level).prompt.rstrip(),
            "form": json.dumps(answer_form(spec)),
            "package": package,
        }
        if (wheel := Path(package)).suffix == ".whl":
            fields["package"] = f"beampipe[analysisops] @ file:///tests/{wheel.name}"
        templates = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
        for path in sorted(FILES.rglob("*.*")) + sorted(FILES.rglob("Dockerfile")):
            written = folder / path.relative_to(FILES)
            written.parent.mkdir(parents=True, exist_ok=True)
            written.write_text(templates.from_string(path.read_text(encoding="utf-8")).render(fields), encoding="utf-8")
            written.chmod(0o755 if path.suffix == ".sh" else 0o644)
        if wheel.suffix == ".whl":
            shutil.copy(wheel, folder / "tests")
        shutil.copytree(prepared.data, folder / "environment" / "data")
        write_instance(replace(prepared, hidden=replace(prepared.hidden, seed=0)), folder / "tests" / "instance")
        shutil.copytree(task.folder, folder / "tests" / "task", ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "tests" / _LEVEL).write_text(json.dumps(level), encoding="utf-8")
        (folder / "solution" / ANSWER).write_text(json.dumps(_answer(prepared, Path(temporary))), encoding="utf-8")
    return folder


def _answer(prepared: PreparedInstance, folder: Path) -> dict[str, Any]:
    """The answer of the reference analysis."""
    session, submission = oracle_session(prepared, folder / "ledger.jsonl")
    evidence = evidence_of(submission, session, prepared.hidden)
    return {
        "status": "ok",
        "answers": {
            name: {"value": answer["value"], "uncertainty": answer["uncertainty"]}
            for name, answer in submission["answers"].items()
        },
        "words": submission["words"],
        "histograms": {
            name: {"edges": list(histogram.edges), "values": list(histogram.values)}
            for name, histogram in evidence.histograms.items()
        },
        "artifacts": {name: list(labels) for name, labels in evidence.labels.items()},
        "method": submission["method"],
    }


def verify(tests: Path, app: Path) -> dict[str, float]:
    """The rewards for an answer: its score, and the share of each check by its name.

    Args:
        tests: folder ``tests`` of an exported task.
        app: folder in which the agent left its answer.
    """
    prepared = read_instance(load_task(tests / "task"), tests / "instance")
    level: Level = json.loads((tests / _LEVEL).read_text(encoding="utf-8"))

    def read(request: TaskRequest, session: Session) -> Answer:
        try:
            return Answer(submission_from(read_answer(app), prepared, session))
        except Exception as error:  # whatever an answer causes is the agent's failure
            return Answer(None, f"{type(error).__name__}: {error}")

    with tempfile.TemporaryDirectory() as temporary:
        grade = assess(prepared, level, 0, read, Path(temporary)).grade
    shares = {check["id"]: float(check["evidence"].get("fraction", 0.0)) for check in grade["checks"]}
    return {**shares, "reward": round(grade["final"]["normalized_score"], 2)}


if __name__ == "__main__":
    print(json.dumps(verify(Path(sys.argv[1]), Path(sys.argv[2]))))
