"""A run of made-up agents: one is good, one needs the recipe, one recites, one does nothing, one is hostile."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from beampipe.analysisops.contract import Level, Quantity, Reference, TaskRequest
from beampipe.analysisops.grading.result import ungraded
from beampipe.analysisops.ledger import Ledger
from beampipe.analysisops.runs.engine import AgentChoice, Assessment, Record, RunPlan, TaskChoice, run
from beampipe.analysisops.seeds import Seeds

HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=2</script></script><b>bold</b>{{rows}}'
"""What an agent may write anywhere, and be called."""

_HOSTILE = ("hostile", HOSTILE)

MASSES = {"zmumu": 91.2, "hyy": 125.0, "ttbar": 172.5, "hzz4l": 124.9, "width": 2.5, "counting": 1.3}


def make_run(
    folder: Path,
    agents: Sequence[str] = ("scripted", "llm", "recall", "nop"),
    *,
    families: Sequence[str] = ("zmumu", "hyy", "ttbar"),
    seeds: Seeds | None = None,
    levels: tuple[Level, ...] = (1, 2, 3),
    epochs: int = 1,
) -> Path:
    tasks = tuple(TaskChoice(f"{family}_mass", family, "0" * 40) for family in families)
    plan = RunPlan(tasks, tuple(map(AgentChoice, agents)), seeds or Seeds.first(2), levels, epochs)
    run(plan, assess, folder, code="made up")
    return folder


def assess(assessment: Assessment, folder: Path) -> Record:
    agent, level = assessment.agent.name, assessment.level
    seed = int(hashlib.sha256(f"{assessment.task.task_id} {assessment.seed.label}".encode()).hexdigest()[:8], 16)
    data = np.random.default_rng(seed)
    luck = np.random.default_rng(int(assessment.key[:8], 16))
    truth = MASSES.get(assessment.task.family, 100.0) + float(data.normal(0, 1))
    sigma = float(data.uniform(0.02, 0.2))
    best = truth + float(data.normal(0, sigma))
    reference = Reference({"mass": Quantity(best, sigma, "GeV")}, {"mass": truth})
    request = TaskRequest(
        assessment.task.task_id,
        assessment.task.family,
        level,
        f"Measure the mass of the peak, in GeV. Level {level}.\nAnswer with JSON.",
        "http://127.0.0.1:4567/mcp?token=hush",
        ("data.root",),
    )
    offset = {"scripted": 0.3, "llm": 0.5 * level**1.5, "recall": 8.0}.get(agent, 0.6) * sigma
    value = best + float(luck.normal(0, 1)) * offset
    quoted = sigma * {"scripted": 1.04, "llm": 0.55}.get(agent, 1.0)
    ledger = Ledger(folder / "ledger.jsonl", b"key")
    if agent not in ("recall", "nop"):
        ledger.append("fit_peak_tool", {"events": "events_1"}, {"mu": value, "mu_error": quoted}, sources=["data.root"])
    submission = _submission(assessment, value, quoted)
    failed = agent == "llm" and level == 3 and seed % 3 == 0
    known = {"instance": reference.to_json()}
    result = (
        ungraded(
            "no answer within 600 s",
            task_id=assessment.task.task_id,
            type=assessment.task.family,
            level=level,
            seed=assessment.seed.label,
        )
        if failed
        else _grade(assessment, submission, value, quoted, best, sigma)
    )
    free = agent in ("scripted", "recall", "nop")
    spent = int(luck.integers(8_000, 60_000)) * level
    return Record(
        request,
        None if failed else submission,
        result,
        known,
        {"version": 2},
        ledger.entries,
        tokens={} if agent in _HOSTILE else {"input": 0 if free else spent, "output": 0 if free else spent // 9},
        cost=0.0 if free else None if agent in _HOSTILE else spent * 2e-6,
        seconds=float(luck.uniform(0.3, 2) if free else luck.uniform(40, 300)),
        error="no answer within 600 s" if failed else "",
    )


def _submission(assessment: Assessment, value: float, quoted: float) -> dict[str, Any]:
    agent = assessment.agent.name
    if agent == "nop":
        return {"task_id": assessment.task.task_id, "status": "ok"}
    hostile = HOSTILE if agent in _HOSTILE else ""
    return {
        "task_id": assessment.task.task_id,
        "status": "ok",
        "answers": {"mass": {"value": round(value, 5), "uncertainty": round(quoted, 5)}},
        "comments": hostile or "The window leaves 3 widths on each side.",
        **({hostile: [hostile, "nan"]} if hostile else {}),
    }


def _checks(gate: bool, reason: str, value: float, quoted: float, best: float, sigma: float) -> list[dict[str, Any]]:
    """One gate and three rules."""
    pull = (value - best) / sigma
    share, honest = math.exp(-0.12 * pull * pull), math.exp(-(math.log(quoted / sigma) ** 2))
    output = {"quoted": quoted, "reference": sigma}
    about = f"quoted {quoted:.3g}, expected about {sigma:.3g}"
    rules: list[tuple[str, str, float, float, dict[str, float], str]] = [
        ("mass", "pull", 60.0 * share, 60.0, {"reference": best, "value": value, "pull": pull}, f"pull {pull:.2f}"),
        ("mass_uncertainty", "uncertainty", 25.0 * honest * share, 25.0, output, about),
        ("spectrum", "histogram_l2", 15.0, 15.0, {"shape_distance": 0.02}, "shape off by 0.02 of an even spread"),
    ]
    result: list[dict[str, Any]] = [
        {"id": name, "type": kind, "points": points if gate else 0.0, "max_points": most,
         "passed": gate and 2 * points > most, "evidence": {**evidence, "reason": why}}
        for name, kind, points, most, evidence, why in rules
    ]  # fmt: skip
    first = {"id": "traceable", "type": "traceable", "points": 0.0, "max_points": 0.0}
    return [{**first, "passed": gate, "evidence": {"reason": reason}}, *result]


def _grade(
    assessment: Assessment, submission: dict[str, Any], value: float, quoted: float, best: float, sigma: float
) -> dict[str, Any]:
    agent = assessment.agent.name
    gate = agent not in ("recall", "nop")
    label = "traceable" if gate else "no_reference"
    reason = "every number is in the ledger" if gate else "mass: no tool gave this number"
    checks = _checks(gate, reason, value, quoted, best, sigma)
    score = math.fsum(check["points"] for check in checks)
    judged = agent in ("scripted", *_HOSTILE)
    issues = [] if gate else [{"severity": "error", "code": "gate_failed", "message": f"traceable: {reason}"}]
    issues += [{"severity": "warn", "code": "left_out", "message": HOSTILE}] if agent in _HOSTILE else []
    return {
        "status": "ok" if gate else "fail",
        "hard_checks_passed": gate,
        "hard_failures": [] if gate else ["traceable"],
        "final": {"total_score": score, "max_score": 100.0, "normalized_score": score / 100},
        "rule": {"score": score, "max": 100.0},
        "llm": {
            "status": "scored" if judged else "unscored",
            "score": 7.0 if judged else 0.0,
            "max": 10.0,
            "meta": {},
        },
        "issues": issues,
        "signals": {},
        "provenance": {"mass": {"label": label}} if "answers" in submission else {},
        "checks": checks,
        "task_id": assessment.task.task_id,
        "type": assessment.task.family,
        "level": assessment.level,
        "seed": assessment.seed.index,
    }
