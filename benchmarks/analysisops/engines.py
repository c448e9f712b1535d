"""Whether inspect_ai and the host give equal scores: `python benchmarks/analysisops/engines.py`

Agents without a model solve one instance of every task on files at every level, once as a task of inspect_ai, with
several samples at once, and once by the host's own function. The log of inspect_ai is then scored again. All three
scores must be equal.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import beampipe.terminal.scripts  # noqa: F401

from inspect_ai import eval as inspect_eval
from inspect_ai import score as score_again
from inspect_ai.log import EvalLog

from beampipe.analysisops import open_instance
from beampipe.analysisops.assessment import ask_here
from beampipe.analysisops.inspect_tasks import agent, grade, practice
from beampipe.analysisops.instances import oracle_of
from beampipe.analysisops.registry import ORACLE, make_agent
from beampipe.analysisops.tasks.load import shipped_task, shipped_tasks

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share
from recording import CONSOLE, Figure, begin, parser_of, write_result

AGENTS = ("scripted", "follower", "recall", "nop", ORACLE)
LEVELS = (1, 2, 3)


def scores_in(log: EvalLog, name: str) -> dict[str, float]:
    """Scores by task, level and agent."""
    assert log.status == "success", log.error
    return {
        f"{sample.metadata['task']} {sample.metadata['level']} {name}": sample.scores["grade"].value
        for sample in log.samples
    }


def by_host(task: str, level: int, name: str) -> float:
    """The score of an agent by the host's own function."""
    instance = open_instance(task, level)
    hidden = instance.prepared.hidden
    solver = oracle_of(shipped_task(task), hidden) if name == ORACLE else make_agent(name)
    with instance.attempt() as attempt:
        record = attempt.finish(ask_here(solver)(attempt.request, attempt.session))
    return record.grade["final"]["normalized_score"]


def main() -> None:
    parser = parser_of(__doc__, "analysisops/engines")
    parser.add_argument("--at-once", type=int, default=4, help="samples at once")
    options = parser.parse_args()
    begun = begin("equal scores by inspect_ai and by the host")
    ways: dict[str, dict[str, float]] = {"inspect_ai": {}, "scored again": {}}
    for level in LEVELS:
        for name in AGENTS:
            with tempfile.TemporaryDirectory() as logs:
                (log,) = inspect_eval(
                    practice(level=level),
                    solver=agent(name),
                    model=None,
                    display="none",
                    log_dir=logs,
                    max_samples=options.at_once,
                )
                ways["inspect_ai"] |= scores_in(log, name)
                ways["scored again"] |= scores_in(score_again(log, grade(), display="none"), name)
            CONSOLE.print(f"level {level}, {name}: {len(log.samples)} samples")
    cells = sorted(ways["inspect_ai"])
    assert len(cells) == len(AGENTS) * len(LEVELS) * len(shipped_tasks())
    ways["host"] = {cell: by_host(task, int(level), name) for cell in cells for task, level, name in [cell.split()]}
    different = {cell: row for cell in cells if len(set(row := [ways[way].get(cell) for way in ways])) > 1}
    for cell, row in different.items():
        CONSOLE.print(f"{cell}: {dict(zip(ways, row, strict=True))}")
    figures = [
        Figure("scores compared", len(cells), "", "equal"),
        Figure("scores that differ", len(different), "", "equal"),
    ]
    write_result(options.output, begun, figures, scores=ways["inspect_ai"], ways=list(ways))


if __name__ == "__main__":
    main()
