"""Fingerprints of AnalysisOps: data, hidden truth, reference and grades of three instances of every shipped task.

Each task is solved by the oracle and four baselines at level 1; then the run is graded again from its records. Times,
signatures, and sizes and checksums of ROOT files, which hold a date, are left out; the contents of the files count.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from beampipe.analysisops import Seeds, evaluate, load_task, rescore, shipped_tasks
from beampipe.analysisops.tasks.load import render_prompt

AGENTS: Final = ("oracle", "scripted", "follower", "recall", "nop")
SEEDS: Final = 3
VARIES: Final = frozenset({"seconds", "code", "sha256", "bytes", "key", "task"})
"""Keys whose values differ between runs of one tree, or are digests of the tree itself."""

PARTS: Final = ("grade", "submission", "ledger", "contents", "reference", "rubric", "request")


def items(folder: Path) -> Iterator[tuple[str, str]]:
    """Pairs of name and sha256."""
    for name, path in shipped_tasks().items():
        task = load_task(path)
        for level in task.levels:
            prompt = render_prompt(task, level, dict.fromkeys(task.spec.facts, "17"))
            yield f"analysisops/prompt/{name}/{level}", digest(prompt)
    records = evaluate(list(shipped_tasks()), AGENTS, Seeds.first(SEEDS), folder, levels=(1,))
    for path in sorted((folder / "instances").glob("*/hidden.json")):
        instance = json.loads(path.read_text())
        name = f"{instance['hidden']['family']}/{instance['hidden']['seed']}"
        yield f"analysisops/data/{name}", digest(json.loads((path.parent / "data" / "manifest.json").read_text()))
        for part, content in instance.items():
            yield f"analysisops/{part}/{name}", digest(content)
    for record in records:
        assessment = record["assessment"]
        name = f"{assessment['task_id']}/{assessment['seed']}/{assessment['agent']}"
        for part in PARTS:
            yield f"analysisops/{part}/{name}", digest(record[part])
    yield "analysisops/results", digest(results(folder))
    rescore(folder)
    yield "analysisops/rescored", digest(results(folder))


def results(folder: Path) -> list[Any]:
    """The lines of the results of a run."""
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def digest(value: object) -> str:
    """sha256 of JSON, without what varies."""
    return sha256(json.dumps(stable(value), sort_keys=True).encode()).hexdigest()


def stable(value: Any) -> Any:
    """JSON types without what varies."""
    if isinstance(value, dict):
        return {key: stable(item) for key, item in value.items() if key not in VARIES}
    return [stable(item) for item in value] if isinstance(value, list | tuple) else value
