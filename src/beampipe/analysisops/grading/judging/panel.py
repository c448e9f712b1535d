"""Ask a judge several times, and say how far it agrees with itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from beampipe.analysisops.grading.judging.judge import Judge, Reply
from beampipe.analysisops.grading.judging.question import Question
from beampipe.analysisops.grading.result import JudgeResult
from beampipe.analysisops.grading.rubric import Check
from beampipe.analysisops.grading.submission import look_up, number_of, read_submission

__all__ = ["ask_judge"]


def ask_judge(judge: Judge, question: Question) -> JudgeResult:
    """The median of a judge's replies.

    A reply without the canary, or without a number that was asked for, does not count. Unless more than half of the
    replies count, the submission is unscored: a failed judge is no zero.
    """
    best = math.fsum(check.points for check in question.checks)
    replies, failures = [], []
    for sample in range(judge.samples):
        try:
            reply = judge.ask(question, sample)
            fault = _fault(reply, question)
        except Exception as error:  # a judge is somebody else's program: whatever it does, no assessment is lost
            fault = f"{type(error).__name__}: {error}"[:300]
        if fault:
            failures.append(fault)
        else:
            replies.append(reply)
    about: dict[str, Any] = {
        "name": judge.name,
        "samples": judge.samples,
        "counted": len(replies),
        "failures": failures,
        "prompt_tokens": sum(reply.prompt_tokens for reply in replies),
        "completion_tokens": sum(reply.completion_tokens for reply in replies),
    }
    if 2 * len(replies) <= judge.samples:
        reason = failures[0] if failures else "it was never asked"
        return JudgeResult(max_score=best, meta={"judge": {**about, "reason": reason}})
    contents = [read_submission(reply.content).content for reply in replies]
    meta = {check.id: _summary(check, contents) for check in question.checks}
    score = math.fsum(one["contrib"] for one in meta.values())
    return JudgeResult("scored", score, best, {**meta, "judge": about})


def _fault(reply: Reply, question: Question) -> str:
    """Why a reply does not count; empty if it does."""
    content: object = reply.content  # a judge is somebody else's program
    if not isinstance(content, Mapping):
        return f"got {type(content).__name__}, expected an object"
    if content.get("canary") != question.canary:
        return "the canary is missing: the judge was led astray, or does not follow the schema"
    lacking = [check.kind.output_key for check in question.checks if check.kind.fraction(content) is None]
    return f"no number for {', '.join(lacking)}" if lacking else ""


def _summary(check: Check, contents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    fractions = [check.kind.fraction(content) for content in contents]
    middle = median(fractions)
    nearest = min(range(len(contents)), key=lambda place: abs(fractions[place] - middle))
    explanation = contents[nearest].get("explanation")
    return {
        "raw": [look_up(content, check.kind.output_key) for content in contents],
        "cap": check.points,
        "contrib": middle * check.points,
        "agreement": 1.0 - (max(fractions) - min(fractions)),
        "confidence": number_of(look_up(contents[nearest], check.kind.confidence_key)),
        "explanation": explanation[:2000] if isinstance(explanation, str) else "",
    }
