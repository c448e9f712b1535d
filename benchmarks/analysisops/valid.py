"""What sound and what ablated analyses score: `python benchmarks/analysisops/valid.py`

Sound analyses: the reference analysis of each task with a fit is repeated with another background, line shape, window
or binning, and for `zmumu`, whose question names no cut, with other cuts. It is sound if each fit is valid and agrees
with the data (p of at least 0.01). The lowest score of sound analyses should be at least 0.90, and 95 % of them should
score 0.95. The spread of an answer is the standard deviation of its distances to the reference, in units of the
reference's uncertainty.

Ablated analyses: the reference analysis of each task with one mistake of `tests/analysisops/tasks/ablated_analyses.py`.
The order of their mean scores should be that of the mistakes' severity: the rank correlation (Spearman) should be at
least 0.9. Difficulty is 1 - the mean score of all agents; discrimination is the point-biserial correlation of an
agent's score with whether its answers are right (an uncertainty may be wrong).

The result of each analysis is kept in a file beside the output (`.jsonl`) until all are done, so that a run that was
stopped continues. Remove the file if the code has changed since.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

from scipy.stats import pointbiserialr, spearmanr

from beampipe.analysisops.assessment import ask_here, assess
from beampipe.analysisops.instances import InstanceStore
from beampipe.analysisops.tasks.load import shipped_task
from beampipe.terminal import make_table

sys.path.insert(0, str(Path(__file__).parents[1] / "calibration"))  # both areas report in the same form
from measuring import CONSOLE, conditions, report

sys.path.insert(0, str(Path(__file__).parents[2]))  # the tests are no package that is installed
from tests.analysisops.tasks.ablated_analyses import ABLATIONS, AblatedAgent, Ablation, Severity
from tests.analysisops.tasks.sound_analyses import FITS_OF, SOUND

SMALLEST_P: Final = 0.01
"""Smallest p value of the fits of a sound analysis."""


def measured(folder: Path, name: str, seed: int, kind: str, variation: str) -> dict[str, Any]:
    """Score and pulls to the reference of one sound or ablated analysis."""
    prepared = InstanceStore(folder).get(shipped_task(name), seed)
    ablation = Ablation(Severity.NOTHING, SOUND[name][variation]) if kind == "sound" else ABLATIONS[name][variation]
    agent = AblatedAgent(prepared, ablation)
    with tempfile.TemporaryDirectory() as ledger:
        record = assess(prepared, 3, seed, ask_here(agent), Path(ledger))
    grade = record.grade
    fits = [call.result for call in record.ledger if call.tool in FITS_OF and call.result]
    quantities = prepared.reference.quantities
    return {
        "task": name,
        "seed": seed,
        "kind": kind,
        "variation": variation,
        "score": grade["final"]["normalized_score"],
        "status": grade["status"],
        "p_value": min((fit["p_value"] for fit in fits if fit.get("p_value") is not None), default=None),
        "valid": all(fit.get("valid", True) for fit in fits),
        "issues": [issue["message"] for issue in grade["issues"]],
        "shares": {check["id"]: check["evidence"]["fraction"] for check in grade["checks"]},
        "pulls": {
            answer: (origin["number"] - quantities[answer].value) / quantities[answer].uncertainty
            for answer, origin in grade["provenance"].items()
            if origin["number"] is not None and answer in quantities
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=5, help="of each task")
    parser.add_argument("--first", type=int, default=7001, help="first seed")
    parser.add_argument("--task", action="append", default=[], help="only these")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("runs/bench/analysisops/instances"))
    parser.add_argument("--output", type=Path, default=Path("runs/bench/analysisops/valid.json"))
    options = parser.parse_args()
    begun = conditions("sound and ablated analyses")
    seeds = range(options.first, options.first + options.instances)
    names = options.task or list(ABLATIONS)
    work = [
        (name, seed, kind, variation)
        for name in names
        for seed in seeds
        for kind, variations in (("sound", SOUND), ("ablated", ABLATIONS))
        for variation in variations[name]
    ]
    kept = options.output.with_suffix(".jsonl")
    kept.parent.mkdir(parents=True, exist_ok=True)
    rows = map(json.loads, kept.read_text().splitlines()) if kept.exists() else ()
    done = {(row["task"], row["seed"], row["kind"], row["variation"]): row for row in rows}
    with ProcessPoolExecutor(options.workers) as pool, kept.open("a") as file:
        left = [one for one in work if one not in done]
        for one, row in zip(left, pool.map(partial(measured, options.folder), *zip(*left, strict=True)), strict=True):
            done[one] = row
            print(json.dumps(row), file=file, flush=True)
    results = [done[one] for one in work]
    CONSOLE.print(sound_table([row for row in results if row["kind"] == "sound"]))
    ladders = {
        name: ladder([row for row in results if row["task"] == name and row["kind"] == "ablated"]) for name in names
    }
    table = make_table("Ablated analyses", ["task"], ["agents", "rank correlation", "difficulty", "discrimination"])
    for name, steps in ladders.items():
        table.add_row(
            name,
            str(len(steps["scores"])),
            *(f"{steps[figure]:.2f}" for figure in ("rank_correlation", "difficulty", "discrimination")),
        )
    CONSOLE.print(table)
    mistakes = make_table("Mean scores of ablated analyses", ["task", "mistake", "spoils"], ["score"])
    for name, steps in ladders.items():
        for mistake, score in sorted(steps["scores"].items(), key=lambda item: -item[1]):
            spoils = ABLATIONS[name][mistake].severity.name.lower().replace("_", " ")
            mistakes.add_row(name, mistake, spoils, f"{score:.3f}")
    CONSOLE.print(mistakes)
    report(options.output, begun, {"results": results, "ladders": ladders})
    kept.unlink()


def sound_table(results: list[dict[str, Any]]) -> Any:
    """Lowest scores and spreads of sound analyses."""
    table = make_table("Sound analyses", ["task"], ["analyses", "lowest", "by", "from 0.95 on", "spread [u]"])
    for name in dict.fromkeys(row["task"] for row in results):
        rows = [
            row
            for row in results
            if row["task"] == name and row["valid"] and (row["p_value"] is None or row["p_value"] >= SMALLEST_P)
        ]
        lowest = min(rows, key=lambda row: row["score"])
        spread = {
            answer: pstdev(row["pulls"][answer] for row in rows if answer in row["pulls"]) for answer in lowest["pulls"]
        }
        table.add_row(
            name,
            str(len(rows)),
            f"{lowest['score']:.3f}",
            lowest["variation"],
            f"{sum(row['score'] >= 0.95 for row in rows) / len(rows):.0%}",
            ", ".join(f"{answer} {value:.2f}" for answer, value in spread.items()),
        )
    return table


def ladder(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean scores of the ablated agents of a task, and how they order."""
    mistakes = ABLATIONS[rows[0]["task"]]
    scores = {mistake: fmean(row["score"] for row in rows if row["variation"] == mistake) for mistake in mistakes}
    severities = [mistakes[mistake].severity for mistake in scores]
    right = [mistakes[row["variation"]].severity <= Severity.UNCERTAINTY for row in rows]
    means = [max(round(score, 2), 0.05) for score in scores.values()]  # 0.05 are the points for the spectrum
    return {
        "scores": scores,
        "rank_correlation": -float(spearmanr(severities, means).statistic),
        "difficulty": 1.0 - fmean(scores.values()),
        "discrimination": float(pointbiserialr(right, [row["score"] for row in rows]).statistic),
    }


if __name__ == "__main__":
    main()
