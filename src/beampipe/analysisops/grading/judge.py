"""Judges score free-text answers: one behind OpenAI's protocol, and one that needs no language model.

`OfflineJudge` checks which fields of the method are filled in and which terms they name. It gives the same reply every
time, needs no network and cannot be persuaded, and it understands nothing: it tests the machinery and is a lower bound
for a text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from beampipe.analysisops.grading.question import REMOVED, Question
from beampipe.analysisops.grading.result import JudgeResult
from beampipe.analysisops.grading.rubric import Check
from beampipe.analysisops.grading.submission import look_up, number_of, read_submission
from beampipe.errors import ConfigError, DeadlineError, ServiceError, ServiceUnavailableError

if TYPE_CHECKING:
    import httpx


# What a judge is: somebody who gives numbers for words.


@dataclass(frozen=True)
class Reply:
    """What a judge says.

    Attributes:
        content: the object that the schema of the question asks for.
        prompt_tokens: tokens that were read, 0 if nobody counts.
        completion_tokens: tokens that were written, 0 if nobody counts.
    """

    content: Mapping[str, Any]
    prompt_tokens: int = 0
    completion_tokens: int = 0


@runtime_checkable
class Judge(Protocol):
    """A judge of words."""

    @property
    def name(self) -> str:
        """Who it is, for the result."""
        ...

    @property
    def samples(self) -> int:
        """How often it is asked the same."""
        ...

    def ask(self, question: Question, sample: int) -> Reply:
        """One reply.

        Args:
            question: what is asked.
            sample: 0 for the first time that it is asked, then 1 and so on.

        Raises:
            BeampipeError: there is no usable reply.
        """
        ...


# Ask a judge several times, and say how far it agrees with itself.


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


# A judge without a language model: it looks which fields of the method are told, and whether they name what
# matters.


_TOLD: Final = 5
"""Different words from which on a field counts as told in full; with fewer it counts in part."""

_SECTIONS: Final = ("method", "fit_method")
"""Where a method stands: in our submissions, and in the public benchmark's."""


@dataclass(frozen=True)
class OfflineJudge:
    """Half for the fields that are told, half for the terms that they name; less if a few words are said over and over.

    eval_ref.yaml says which: ``method: {required_fields: [...], terms: [[one, its synonym], ...]}``. The public
    benchmark's ``fit_expectations.method_required_fields`` are fields, too. Without terms, the fields are all.

    Attributes:
        name: for the result.
        samples: how often it is asked; it always says the same.
    """

    name: str = "offline"
    samples: int = 1

    def ask(self, question: Question, sample: int) -> Reply:
        """Its reply; it never fails."""
        share, words = _judged(question.submission, question.reference)
        content: dict[str, Any] = {"canary": question.canary, "confidence": 1.0, "explanation": words}
        for check in question.checks:
            low, high = check.kind.clamp
            inside, keys = content, check.kind.output_key.split(".")
            for key in keys[:-1]:
                inside = inside.setdefault(key, {})
            inside[keys[-1]] = low + share * (high - low)
        return Reply(content)


def _judged(submission: Mapping[str, Any], reference: Mapping[str, Any]) -> tuple[float, str]:
    fields, terms = _asked(reference)
    method: dict[str, Any] = {}
    for name in _SECTIONS:
        if isinstance(submission.get(name), Mapping):
            method.update(submission[name])
    texts = {key: _text(value) for key, value in method.items()}
    told = [min(1.0, len(set(texts.get(name, "").split())) / _TOLD) for name in fields or sorted(texts)]
    if not told:
        return 0.0, "No method is told."
    whole = " ".join(texts.values())
    named = [any(term.lower() in whole for term in group) for group in terms]
    share = sum(told) / len(told)
    if named:
        share = 0.5 * share + 0.5 * sum(named) / len(named)
    words = whole.split()
    variety = min(1.0, 2.0 * len(set(words)) / len(words)) if words else 0.0
    explanation = f"{sum(one == 1.0 for one in told)} of {len(told)} fields are told in full"
    if named:
        explanation += f", {sum(named)} of {len(named)} terms are named"
    return share * variety, f"{explanation}."


def _asked(reference: Mapping[str, Any]) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    method = reference.get("method")
    if isinstance(method, Mapping):
        terms = [[one] if isinstance(one, str) else list(one) for one in method.get("terms", ())]
        return list(method.get("required_fields", ())), terms
    public = reference.get("fit_expectations")
    return (list(public.get("method_required_fields", ())) if isinstance(public, Mapping) else []), []


def _text(value: object) -> str:
    if isinstance(value, str):
        return value.replace(REMOVED, " ").lower()
    if isinstance(value, Mapping):
        return " ".join(f"{key} {_text(inside)}" for key, inside in value.items()).lower()
    if isinstance(value, list | tuple):
        return " ".join(map(_text, value))
    return "" if value is None else str(value)


# A judge behind OpenAI's protocol, by any program that speaks it: a company's, or one on this machine.


@dataclass(frozen=True)
class EndpointJudge:
    """Asks ``POST {base_url}/chat/completions`` for a reply of the question's schema.

    Attributes:
        base_url: address up to and with the version, such as ``"http://127.0.0.1:8000/v1"``.
        model: name of the model there.
        samples: how often it is asked; more than once at the given temperature, once at 0.
        temperature: of more than one sample.
        timeout: for each reply [s].
        max_tokens: of a reply.
        api_key: sent as a bearer token; empty for none. It is not shown when a judge is printed.
        transport: how requests are sent; None for the network. Tests hand in a stand-in.
    """

    base_url: str
    model: str
    samples: int = 1
    temperature: float = 0.7
    timeout: float = 120.0
    max_tokens: int = 800
    api_key: str = field(default="", repr=False)
    transport: httpx.BaseTransport | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.samples < 1 or not self.timeout > 0.0 or not self.base_url.startswith(("http://", "https://")):
            raise ConfigError(
                f"judge: got base_url = {self.base_url!r}, samples = {self.samples}, timeout = {self.timeout}, expected"
                " http:// or https://, at least one sample and some time"
            )

    @property
    def name(self) -> str:
        """The model and where it is."""
        return f"{self.model} at {self.base_url}"

    def ask(self, question: Question, sample: int) -> Reply:
        """One reply.

        Raises:
            ServiceError: the endpoint is out of reach, refused, was too slow or gave no object.
        """
        import httpx

        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": question.prompt}],
            "temperature": 0.0 if self.samples == 1 else self.temperature,
            "seed": sample,
            "max_tokens": self.max_tokens,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "verdict", "strict": True, "schema": question.schema},
            },
        }
        headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        url = f"{self.base_url.rstrip('/')}/chat/completions"
        where: dict[str, str] = {"url": url, "model": self.model}
        try:
            with httpx.Client(timeout=self.timeout, transport=self.transport) as client:
                response = client.post(url, json=body, headers=headers)
        except httpx.TimeoutException as error:
            raise DeadlineError(f"{url}: no reply within {self.timeout:g} s", **where) from error
        except httpx.HTTPError as error:
            raise ServiceUnavailableError(f"{url}: out of reach ({error})", **where) from error
        if response.status_code != 200:
            raise ServiceError(
                f"{url}: got status {response.status_code}, expected 200: {response.text[:200]}", **where
            )
        return _reply(response.content, url, self.model)


def _reply(content: bytes, url: str, model: str) -> Reply:
    try:
        whole: Any = json.loads(content)
        text = whole["choices"][0]["message"]["content"]
        verdict: Any = json.loads(text)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        message = f"{url}: got {content[:120]!r}, expected a completion whose content is one JSON object"
        raise ServiceError(message, url=url, model=model) from error
    if not isinstance(verdict, Mapping):
        raise ServiceError(f"{url}: got {text[:80]!r}, expected a JSON object", url=url, model=model)
    usage = whole.get("usage")
    counts = usage if isinstance(usage, Mapping) else {}
    return Reply(verdict, _count(counts.get("prompt_tokens")), _count(counts.get("completion_tokens")))


def _count(value: object) -> int:
    return value if type(value) is int and value >= 0 else 0
