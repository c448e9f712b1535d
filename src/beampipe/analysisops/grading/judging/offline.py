"""A judge without a language model: it looks which fields of the method are told, and whether they name what matters.

It is the same every time, needs no network and cannot be talked to, and it understands nothing: a check of the
machinery, and a lower bound for an essay. Whoever wants reasoning judged asks a language model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from beampipe.analysisops.grading.judging.judge import Reply
from beampipe.analysisops.grading.judging.question import Question
from beampipe.analysisops.grading.judging.screening import REMOVED

__all__ = ["OfflineJudge"]

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
