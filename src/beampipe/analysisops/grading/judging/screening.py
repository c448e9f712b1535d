"""What a judge should not read: markup that people do not see, and words that talk to the judge.

It looks for known patterns, so it cannot find every attack. It need not: the fence keeps a submission in its place, the
canary shows a judge that was led astray, and no judge can move the score of the rules.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["REMOVED", "screened", "suspicions"]

REMOVED: Final = "[removed: it speaks to the judge]"
"""Stands in place of a sentence that speaks to the judge."""

_LONGEST: Final = 4000
"""Characters of one text that a judge reads."""

_HIDDEN: Final = re.compile(
    r"<!--.*?(?:-->|\Z)|</?(?:html|head|body|div|span|script|style|img|iframe|svg|meta|template|details|font|template"
    r"|system|user|assistant|instructions?|prompt|submission|judge|rubric)\b[^<>]{0,500}>",
    re.IGNORECASE | re.DOTALL,
)

_ORDERS: Final = re.compile(
    r"\b(?:ignore|disregard|forget|override|bypass)\b[^.\n]{0,80}"
    r"\b(?:instructions?|previous|above|prior|rubric|criteria|system|rules?)\b"
    r"|\b(?:full|maximum|max|perfect|highest|top)\s+(?:score|marks?|points?|grade|credit)\b"
    r"|\b(?:give|award|assign|grant|return|output)\b[^.\n]{0,40}\b(?:score|marks|points|grade|credit)\b"
    r"|\b(?:you are|act as|dear|note to|attention)\b[^.\n]{0,40}\b(?:judge|grader|evaluator|assistant|examiner)\b"
    r"|\bsystem\s*(?:prompt|message|override)\b|\b(?:system|assistant)\s*:"
    r"|\bdimension_scores\b|\bcanary\b|\{\{\s*[A-Z_]+\s*\}\}|<\|[a-z_]+\|>",
    re.IGNORECASE,
)


def suspicions(content: Mapping[str, Any]) -> list[str]:
    """Where a submission hides text or speaks to the judge, one sentence each, at most ten."""
    found = []
    for where, text in _texts(content, ""):
        plain = _visible(text)
        if _HIDDEN.search(plain):
            found.append(f"{where}: markup that hides text")
        elif plain != unicodedata.normalize("NFKC", text):
            found.append(f"{where}: characters that nobody sees")
        if _ORDERS.search(plain):
            found.append(f"{where}: words that speak to the judge")
        if len(found) >= 10:
            break
    return found


def screened(value: Any) -> Any:
    """The same JSON for a judge: markup and unseen characters gone, texts cut, sentences that speak to it replaced."""
    if isinstance(value, str):
        return _screened_text(value)
    if isinstance(value, Mapping):
        return {_screened_text(str(key))[:200]: screened(inside) for key, inside in value.items()}
    if isinstance(value, list | tuple):
        return [screened(inside) for inside in value]
    return value


def _screened_text(text: str) -> str:
    text = _HIDDEN.sub(" ", _visible(text))[:_LONGEST]
    if _ORDERS.search(text):
        sentences = re.split(r"(?<=[.!?\n])", text)
        text = "".join(REMOVED if _ORDERS.search(one) else one for one in sentences)
        # An order that was spread over two sentences is still one.
        text = _ORDERS.sub(REMOVED, text.replace(REMOVED, "\0")).replace("\0", REMOVED)
    return text


def _visible(text: str) -> str:
    """Compatible letters as the plain ones, and no characters without a shape."""
    plain = unicodedata.normalize("NFKC", text)
    return "".join(one for one in plain if unicodedata.category(one) not in ("Cf", "Co", "Cn", "Cs") and one != "\0")


def _texts(value: object, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, Mapping):
        for key, inside in value.items():
            name = f"{where}.{key[:40]}".lstrip(".")
            yield f"{name} (a key)", key
            yield from _texts(inside, name)
    elif isinstance(value, list | tuple):
        for place, inside in enumerate(value):
            yield from _texts(inside, f"{where}[{place}]")
