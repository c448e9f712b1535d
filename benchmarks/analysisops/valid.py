"""What sound and what ablated analyses score: `python benchmarks/analysisops/valid.py`

Sound analyses: the reference analysis of each task with a fit is repeated with another background, line shape, window
or binning, and for `zmumu`, whose question names no cut, with other cuts. It is sound if each fit is valid and agrees
with the data (p of at least 0.01).

Ablated analyses: the reference analysis of each task with one mistake of `analyses.py`.
The order of their mean scores should be that of the mistakes' severity (rank correlation of Spearman). Difficulty is 1
- the mean score of all agents; discrimination is the point-biserial correlation of an agent's score with whether its
answers are right (an uncertainty may be wrong).

The pulls of the reference analysis, (what it finds - what the data were made with) / the uncertainty that it quotes,
should have mean 0 and width 1 over many instances.

With `--composed N`, composed tasks in place of these: see `composed.py`.

The result of each analysis is kept in a file beside the output (`.jsonl`) until all are done, so that a run that was
stopped continues. Remove the file if the code has changed since.
"""

from __future__ import annotations

import json
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

from scipy.stats import pointbiserialr, spearmanr

from beampipe.analysisops.assessment import ask_here, assess
from beampipe.analysisops.instances import InstanceStore
from beampipe.analysisops.tasks.load import shipped_task

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share
import composed
from analyses import ABLATIONS, FITS_OF, SOUND, AblatedAgent, Ablation, Severity
from recording import CONSOLE, Figure, begin, parser_of, write_result

SMALLEST_P: Final = 0.01
"""Smallest p value of the fits of a sound analysis."""
BANDS: Final = ("limit", "n_tracks")
"""Answers whose uncertainty is a band by agreement."""
FIGURES: Final = ("rank_correlation", "difficulty", "discrimination")


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
        "oracle": {
            f"{name} {answer}": (item.value - prepared.hidden.truth[answer]) / item.uncertainty
            for answer, item in quantities.items()
            if answer in prepared.hidden.truth and answer not in BANDS
        },
    }


def main() -> None:
    parser = parser_of(__doc__, "analysisops/valid")
    parser.add_argument("--instances", type=int, default=5, help="of each task")
    parser.add_argument("--first", type=int, default=7001, help="first seed")
    parser.add_argument("--task", action="append", default=[], help="only these")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("runs/bench/analysisops/instances"))
    parser.add_argument("--composed", type=int, default=0, help="number of composed tasks, in place of the others")
    options = parser.parse_args()
    if options.composed:
        begun = begin("composed tasks")
        rows = composed.measured(options.composed, options.workers, options.output.with_suffix(".jsonl"))
        write_result(options.output, begun, composed.figures_of(rows), rows=rows)
        return
    begun = begin("sound and ablated analyses")
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
    sound = [
        row
        for row in results
        if row["kind"] == "sound" and row["valid"] and (row["p_value"] is None or row["p_value"] >= SMALLEST_P)
    ]
    ladders = {
        name: ladder([row for row in results if row["task"] == name and row["kind"] == "ablated"]) for name in names
    }
    for name, steps in ladders.items():
        scores = sorted(steps["scores"].items(), key=lambda item: -item[1])
        CONSOLE.print(f"{name}: " + ", ".join(f"{mistake} {score:.3f}" for mistake, score in scores), markup=False)
    lowest = {name: min(steps[name] for steps in ladders.values()) for name in FIGURES}
    oracle = [row["oracle"] for row in results if row["variation"] == "no mistake"]
    pulls = [pull for row in oracle for pull in row.values()]
    figures = [
        *pull_figures(pulls),
        Figure("lowest score of a sound analysis", min(row["score"] for row in sound), "", "higher"),
        Figure("lowest rank correlation of mistakes", lowest["rank_correlation"], "", "higher"),
        Figure("lowest difficulty", lowest["difficulty"], "", "equal"),
        Figure("lowest discrimination", lowest["discrimination"], "", "higher"),
    ]
    write_result(options.output, begun, figures, results=results, ladders=ladders)
    kept.unlink()


def pull_figures(pulls: list[float]) -> list[Figure]:
    """Pulls of the reference analyses to the truth: should have mean 0 and width 1."""
    width = stdev(pulls) if len(pulls) > 1 else 0.0
    return [
        Figure("pulls of the oracle: mean", fmean(pulls), "", "equal", spread=width / len(pulls) ** 0.5),
        Figure("pulls of the oracle: width", width, "", "equal", spread=width / (2 * len(pulls)) ** 0.5),
        Figure("pulls of the oracle: largest", max(map(abs, pulls))),
    ]


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
