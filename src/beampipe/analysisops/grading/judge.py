"""Judges score free-text answers: a language model on a server with OpenAI's protocol, and one without a language
model.

`OfflineJudge` checks which fields of the method are filled in and which terms they name. It is deterministic, needs no
network and ignores instructions in a text, but does not assess the content: use it for tests and as a lower bound.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from beampipe.analysisops.grading.question import REMOVED, Question
from beampipe.analysisops.grading.result import JudgeResult
from beampipe.analysisops.grading.rubric import Check
from beampipe.analysisops.grading.submission import look_up, number_of, read_submission
from beampipe.errors import ConfigError, ServiceError

if TYPE_CHECKING:
    from beampipe.analysisops.chat import ChatClient, Model


@dataclass(frozen=True)
class JudgeReply:
    """One reply of a judge.

    Attributes:
        content: an object of the question's schema.
        prompt_tokens: number of tokens read, 0 if unknown.
        completion_tokens: number of tokens written, 0 if unknown.
    """

    content: Mapping[str, Any]
    prompt_tokens: int = 0
    completion_tokens: int = 0


@runtime_checkable
class Judge(Protocol):
    """Scores free-text answers."""

    @property
    def name(self) -> str:
        """Name in results."""

    @property
    def samples(self) -> int:
        """Number of replies to each question."""

    def ask(self, question: Question, sample: int) -> JudgeReply:
        """One reply.

        Args:
            question: the question.
            sample: number of the reply, from 0 on.

        Raises:
            BeampipeError: there is no usable reply.
        """


def ask_judge(judge: Judge, question: Question) -> JudgeResult:
    """The median of a judge's replies.

    A reply without the canary or a requested number is invalid. Unless more than half of the replies are valid, the
    submission is unscored: a failed judge does not mean a score of 0.
    """
    best = math.fsum(check.points for check in question.checks)
    replies, failures = [], []
    for sample in range(judge.samples):
        try:
            reply = judge.ask(question, sample)
            fault = _fault(reply, question)
        except Exception as error:  # third-party code: its failure must not abort the assessment
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
    score = math.fsum(summary["contrib"] for summary in meta.values())
    return JudgeResult("scored", score, best, {**meta, "judge": about})


def _fault(reply: JudgeReply, question: Question) -> str:
    """Why a reply is invalid; empty if it is valid."""
    content: object = reply.content  # third-party code may return anything
    if not isinstance(content, Mapping):
        return f"got {type(content).__name__}, expected an object"
    if content.get("canary") != question.canary:
        return "the canary is missing: the judge was led astray, or does not follow the schema"
    lacking = [check.kind.output_key for check in question.checks if check.kind.fraction(content) is None]
    return f"no number for {', '.join(lacking)}" if lacking else ""


def _summary(check: Check, contents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    fractions = [check.kind.fraction(content) for content in contents]
    middle = median(fractions)
    nearest = min(range(len(contents)), key=lambda index: abs(fractions[index] - middle))
    explanation = contents[nearest].get("explanation")
    return {
        "raw": [look_up(content, check.kind.output_key) for content in contents],
        "cap": check.points,
        "contrib": middle * check.points,
        "agreement": 1.0 - (max(fractions) - min(fractions)),
        "confidence": number_of(look_up(contents[nearest], check.kind.confidence_key)),
        "explanation": explanation[:2000] if isinstance(explanation, str) else "",
    }


_WORDS_OF_A_FULL_FIELD: Final = 5
"""Different words from which on a field counts in full; with fewer it counts in part."""

_SECTIONS: Final = ("method", "fit_method")
"""Fields with the method: in our submissions, and in the public benchmark's."""


@dataclass(frozen=True)
class OfflineJudge:
    """One half of the points for filled-in fields, one half for the terms in them; less if words are repeated.

    eval_ref.yaml lists both: ``method: {required_fields: [...], terms: [[one, its synonym], ...]}``. The public
    benchmark's ``fit_expectations.method_required_fields`` are fields, too. Without terms, only fields count.

    Attributes:
        name: name in results.
        samples: number of replies; all are equal.
    """

    name: str = "offline"
    samples: int = 1

    def ask(self, question: Question, sample: int) -> JudgeReply:
        """The reply; it never fails."""
        share, explanation = _fields_and_terms(question.submission, question.reference)
        content: dict[str, Any] = {"canary": question.canary, "confidence": 1.0, "explanation": explanation}
        for check in question.checks:
            low, high = check.kind.clamp
            *path, last = check.kind.output_key.split(".")
            inside = content
            for key in path:
                inside = inside.setdefault(key, {})
            inside[last] = low + share * (high - low)
        return JudgeReply(content)


def _fields_and_terms(submission: Mapping[str, Any], reference: Mapping[str, Any]) -> tuple[float, str]:
    """Share of the points for a method, and why."""
    required: Sequence[str] = ()
    terms: list[list[str]] = []
    method, public = reference.get("method"), reference.get("fit_expectations")
    if isinstance(method, Mapping):
        required = method.get("required_fields", ())
        terms = [[group] if isinstance(group, str) else list(group) for group in method.get("terms", ())]
    elif isinstance(public, Mapping):
        required = public.get("method_required_fields", ())
    texts: dict[str, str] = {}
    for section in _SECTIONS:
        if isinstance(submission.get(section), Mapping):
            texts |= {key: _text(value) for key, value in submission[section].items()}
    filled = [
        min(1.0, len(set(texts.get(name, "").split())) / _WORDS_OF_A_FULL_FIELD) for name in required or sorted(texts)
    ]
    if not filled:
        return 0.0, "No method is described."
    whole = " ".join(texts.values())
    named = [any(term.lower() in whole for term in group) for group in terms]
    share = sum(filled) / len(filled)
    explanation = f"{sum(part == 1.0 for part in filled)} of {len(filled)} fields are complete"
    if named:
        share = 0.5 * share + 0.5 * sum(named) / len(named)
        explanation += f", {sum(named)} of {len(named)} terms are named"
    words = whole.split()
    variety = min(1.0, 2.0 * len(set(words)) / len(words)) if words else 0.0
    return share * variety, f"{explanation}."


def _text(value: object) -> str:
    if isinstance(value, str):
        return value.replace(REMOVED, " ").lower()
    if isinstance(value, Mapping):
        return " ".join(f"{key} {_text(inside)}" for key, inside in value.items()).lower()
    if isinstance(value, list | tuple):
        return " ".join(map(_text, value))
    return "" if value is None else str(value)


@dataclass(frozen=True)
class EndpointJudge:
    """A language model on a server with OpenAI's protocol; it must reply with one JSON object of the question's schema.

    Attributes:
        model: the model; with one sample its temperature is 0, with more that of the model, and each has its own seed.
        samples: number of replies to each question.
        client: makes the client of a model; None for `ChatClient`. Tests pass a substitute.
    """

    model: Model
    samples: int = 1
    client: Callable[[Model], ChatClient] | None = None

    def __post_init__(self) -> None:
        if self.samples < 1 or not self.model.request_seconds > 0.0:
            raise ConfigError(
                f"judge: got samples = {self.samples}, request_seconds = {self.model.request_seconds}, expected at"
                " least one sample and some time"
            )

    @property
    def name(self) -> str:
        """The model and its address."""
        return f"{self.model.model} at {self.model.base_url}"

    def ask(self, question: Question, sample: int) -> JudgeReply:
        """One reply.

        Raises:
            ServiceError: the server is unreachable or too slow, refused the request, or sent no JSON object.
        """
        from beampipe.analysisops.chat import ChatClient

        model = replace(self.model, seed=sample, temperature=0.0 if self.samples == 1 else self.model.temperature)
        schema = {"name": "verdict", "strict": True, "schema": question.schema}
        reply = (self.client or ChatClient)(model).ask(
            [{"role": "user", "content": question.prompt}],
            response_format={"type": "json_schema", "json_schema": schema},
            seconds=model.request_seconds,
        )
        try:
            verdict: Any = json.loads(reply.text)
        except (ValueError, RecursionError):
            verdict = None
        if not isinstance(verdict, Mapping):
            message = f"{model.base_url}: got {reply.text[:120]!r}, expected one JSON object"
            raise ServiceError(message, url=model.base_url, model=model.model)
        if reply.usage.estimated:
            return JudgeReply(verdict)
        return JudgeReply(verdict, reply.usage.prompt, reply.usage.answer)
