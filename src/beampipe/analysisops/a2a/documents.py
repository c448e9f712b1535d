"""Strict JSON for messages: one object, finite numbers, no duplicate keys, nothing around it but a code fence."""

from __future__ import annotations

import json
from math import isfinite
from typing import Any, Final, cast

from beampipe.errors import InputError

LARGEST_ANSWER: Final = 512 * 1024
"""Maximum size of an agent's answer [bytes]."""

_FENCE: Final = "```"
_SHOWN: Final = 80


def parse_object(text: str, what: str, *, largest: int = LARGEST_ANSWER) -> dict[str, Any]:
    """Parse a text that consists of one JSON object.

    Nothing but one code fence may surround the object; an object inside other text is refused.

    Args:
        text: the text.
        what: description of the text for error messages, e.g. ``"answer of http://..."``.
        largest: maximum size [bytes].

    Raises:
        InputError: the text is larger, is no JSON object, or holds NaN, an infinity or a duplicate key.
    """
    size = len(text.encode(errors="surrogatepass"))
    if size > largest:
        raise InputError(f"{what}: got {size} bytes, expected at most {largest}; hand in handles, not data")
    body = text.strip()
    first, newline, rest = body.partition("\n")
    if newline and first.startswith(_FENCE) and rest.endswith(_FENCE):
        body = rest.removesuffix(_FENCE)
    try:
        document = json.loads(body, parse_constant=_finite, parse_float=_finite, object_pairs_hook=_unique)
        json.dumps(document, ensure_ascii=False).encode()  # a lone surrogate cannot be encoded
    except (ValueError, RecursionError) as error:
        why = "nested too deep" if isinstance(error, RecursionError) else str(error)[:_SHOWN]
        raise InputError(f"{what}: got no JSON ({why}): {body[:_SHOWN]!r}, expected one JSON object") from error
    if not isinstance(document, dict):
        raise InputError(f"{what}: got JSON that is no object: {body[:_SHOWN]!r}, expected one JSON object")
    return cast("dict[str, Any]", document)


def dump_object(document: dict[str, Any]) -> str:
    """Serialise an object to JSON text.

    Raises:
        InputError: it holds NaN, an infinity, or a value that is not a JSON type.
    """
    try:
        return json.dumps(document, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"document: got what JSON has not ({error}), expected JSON types and finite numbers"
        ) from error


def _finite(digits: str) -> float:
    number = float(digits)
    if not isfinite(number):
        raise ValueError(f"{digits} is no finite number")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise ValueError("a key stands there twice")
    return mapping
