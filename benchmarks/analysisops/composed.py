"""How fair and how hard composed tasks are: `python benchmarks/analysisops/valid.py --composed 300`

Three sound analyses by different methods and analyses with one mistake each are graded on tasks of secret seeds, at
level 3. They read the prompt and the files, as programs of agents do (`composed_solvers.py`). Wanted: sound ones at
least 0.95 in 95 % of the tasks, with pulls of mean 0 and width 1; what a mistake costs follows the shift that it makes;
agents that carry recipes of other tasks, and who guesses within the ranges of the grammar, at most 0.15.
"""

from __future__ import annotations

import json
import secrets
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from composed_solvers import METHODS, MISTAKES, solve
from recording import Figure
from scipy.stats import spearmanr

from beampipe.analysisops.agents.agent import Answer
from beampipe.analysisops.assessment import ask_here, assess
from beampipe.analysisops.instances import PreparedInstance, prepare_instance, request_of
from beampipe.analysisops.own_code import submission_from
from beampipe.analysisops.registry import make_agent
from beampipe.analysisops.samples.composed.generate import cross_section
from beampipe.analysisops.samples.composed.grammar import draw
from beampipe.analysisops.samples.dataset import RandomParameters
from beampipe.analysisops.tasks.load import COMPOSED, shipped_task

_GUESSES = 100
_LEAST_SHIFT = 0.5
_LEAST_LOSS = 0.01


def one_task(seed: int) -> list[dict[str, Any]]:
    """Rows of all analyses of a task."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared = prepare_instance(shipped_task(COMPOSED), seed, folder)
        prompt, best = request_of(prepared, 3).prompt, prepared.reference.quantities["result"]
        rows: list[dict[str, Any]] = []

        def add(kind: str, what: str, answer: Callable[[], dict[str, Any]]) -> dict[str, Any]:
            (folder / str(len(rows))).mkdir()
            try:
                given = answer()
                result = given["answers"]["result"]
            except Exception as error:  # a solver that fails answers nothing
                given, result = {"status": "error", "comments": repr(error)}, {"value": np.nan, "uncertainty": np.nan}
            record = assess(
                prepared, 3, seed, lambda _, session: Answer(submission_from(given, prepared, session)),
                folder / str(len(rows)),
            )  # fmt: skip
            row = {
                "task": seed,
                "question": question_of(prepared),
                "kind": kind,
                "what": what,
                "score": record.grade["final"]["normalized_score"],
                "distance": (result["value"] - best.value) / best.uncertainty,
                "ratio": result["uncertainty"] / best.uncertainty,
                "pull": (result["value"] - prepared.reference.truth["result"]) / result["uncertainty"],
            }
            rows.append(row)
            return row

        for method in METHODS:
            add("sound", method, lambda method=method: solve(prompt, prepared.data, method))
        sound = rows[0]
        drawn = prepared.hidden.parameters
        for mistake, (fault, questions) in MISTAKES.items():
            if (fault and not drawn[fault]) or question_of(prepared) not in questions:
                continue
            row = add("mistake", mistake, lambda mistake=mistake: solve(prompt, prepared.data, METHODS[0], mistake))
            row["shift"] = row["distance"] - sound["distance"]
            row["loss"] = sound["score"] - row["score"]
        for guess, values in guesses(prepared, seed).items():
            scores = [guessed(prepared, value) for value in values]
            rows.append({"task": seed, "kind": "guess", "what": guess, "score": fmean(scores), "best": max(scores)})
        for agent in ("scripted", "recall", "follower"):
            (folder / agent).mkdir()
            record = assess(prepared, 3, seed, ask_here(make_agent(agent)), folder / agent)
            rows.append(
                {"task": seed, "kind": "agent", "what": agent, "score": record.grade["final"]["normalized_score"]}
            )
        return rows


def question_of(prepared: PreparedInstance) -> str:
    """Name of the question."""
    return ("mass", "width", "cross_section", "efficiency", "limit")[int(prepared.hidden.parameters["question"])]


def guesses(prepared: PreparedInstance, seed: int) -> dict[str, list[float]]:
    """Answers within the ranges of the grammar, which only who reads the source knows."""
    question = prepared.hidden.parameters["question"]
    values = []
    for number in range(_GUESSES):
        one = draw(RandomParameters(COMPOSED, 10**6 * (seed % 10**6) + number, {"question": (question, question)}))
        of = {"mass": one.mass, "width": one.width, "efficiency": one.efficiency}
        values.append(of.get(one.question, cross_section(one)))
    return {"within the ranges": values}


def guessed(prepared: PreparedInstance, value: float) -> float:
    """Score of a guess whose spectrum, uncertainty and words are right: more than any guess has."""
    best = prepared.reference.quantities["result"]
    return 0.05 + 0.95 * float(2.0 ** -(min(abs(value - best.value) / best.uncertainty / 2, 30.0) ** 2))


def figures_of(rows: list[dict[str, Any]]) -> list[Figure]:
    """What was measured."""
    figures = []
    sound = [row for row in rows if row["kind"] == "sound"]
    for method in (*METHODS, ""):
        of = [row for row in sound if method in ("", row["what"])]
        scores = [row["score"] for row in of]
        name = f"sound, {method or 'all'}"
        figures.append(
            Figure(f"{name}: score of at least 0.95", fmean(score >= 0.95 for score in scores), "", "higher")
        )
        pulls = [row["pull"] for row in of if row["question"] != "limit" and np.isfinite(row["pull"])]
        error = stdev(pulls) / len(pulls) ** 0.5
        figures.append(Figure(f"{name}: mean pull to the truth", fmean(pulls), "", "equal", spread=error))
        figures.append(Figure(f"{name}: width of pulls", stdev(pulls), "", "equal", spread=error / 2**0.5))
    mistakes = [row for row in rows if row["kind"] == "mistake" and np.isfinite(row["shift"])]
    shifted = [row for row in mistakes if abs(row["shift"]) > 1e-3]
    correlation = spearmanr([abs(row["shift"]) for row in shifted], [row["loss"] for row in shifted]).statistic
    figures.append(Figure("mistakes: rank correlation of loss and shift", float(correlation), "", "higher"))
    unpunished = [row for row in shifted if abs(row["shift"]) > _LEAST_SHIFT and row["loss"] < _LEAST_LOSS]
    figures.append(
        Figure("mistakes: shifts of more than half of an uncertainty without a loss", len(unpunished), "", "lower")
    )
    for mistake in MISTAKES:
        losses = [row["loss"] for row in mistakes if row["what"] == mistake]
        if losses:
            figures.append(Figure(f"{mistake}: mean loss", fmean(losses), "", "equal"))
    for what in dict.fromkeys(row["what"] for row in rows if row["kind"] in ("agent", "guess")):
        of = [row for row in rows if row["what"] == what]
        figures.append(Figure(f"{what}: mean score", fmean(row["score"] for row in of), "", "lower"))
        if of[0]["kind"] == "guess":
            best = fmean(row["best"] for row in of)
            figures.append(Figure(f"{what}: best of {_GUESSES} if each score were told", best, "", "lower"))
    return figures


def measured(tasks: int, workers: int, log: Path) -> list[dict[str, Any]]:
    """Rows of all analyses of tasks of secret seeds.

    Args:
        tasks: number of tasks.
        workers: number of processes.
        log: file that has the rows of each task as soon as they are there.
    """
    rows: list[dict[str, Any]] = []
    log.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers) as pool, log.open("w") as file:
        for future in as_completed([pool.submit(one_task, secrets.randbits(40)) for _ in range(tasks)]):
            rows += future.result()
            file.write("".join(json.dumps(row) + "\n" for row in future.result()))
            file.flush()
    return rows
