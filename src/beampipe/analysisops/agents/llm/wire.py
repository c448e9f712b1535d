"""One answer of a server of OpenAI's protocol, read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from beampipe.errors import ServiceError

__all__ = ["Call", "Reply", "Usage", "read_reply"]

_CHARACTERS_PER_TOKEN: Final = 4
"""About so many characters make a token, where a server does not count them."""

_SHOWN: Final = 200


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer.

    Attributes:
        prompt: number that was read.
        answer: number that was written.
        estimated: the server did not count them, and they are an estimate from the length of the text.
    """

    prompt: int
    answer: int
    estimated: bool = False


@dataclass(frozen=True)
class Call:
    """A tool that the model wants called.

    Attributes:
        id: by which the model knows the call again.
        name: of the tool.
        arguments: as the text that it wrote.
    """

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Reply:
    """What a model answered.

    Attributes:
        text: its words.
        calls: tools that it wants called.
        usage: its tokens.
        finish: why it stopped, such as ``"stop"``, ``"length"``, ``"tool_calls"`` or ``"content_filter"``.
        refusal: its words if it refused; empty if it did not.
        cached: it was answered before, and nobody was asked.
    """

    text: str
    calls: tuple[Call, ...]
    usage: Usage
    finish: str
    refusal: str
    cached: bool = False


def read_reply(answer: Any, asked: Mapping[str, Any], *, url: str, cached: bool = False) -> Reply:
    """A reply from the JSON that a server sent.

    Args:
        answer: the JSON.
        asked: the request, for an estimate of tokens where the server counts none.
        url: of the server, for messages.
        cached: nobody was asked for it.

    Raises:
        ServiceError: it is none.
    """
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        text = message.get("content") or ""
        if isinstance(text, list):  # text in parts
            text = "".join(part.get("text", "") for part in text)
        calls = tuple(
            Call(
                str(call.get("id") or f"call_{number}"),
                str(call["function"]["name"]),
                _arguments(call["function"].get("arguments")),
            )
            for number, call in enumerate(message.get("tool_calls") or ())
        )
        usage = _usage(answer.get("usage"), asked, text + "".join(call.arguments for call in calls))
        return Reply(
            str(text), calls, usage, str(choice.get("finish_reason") or ""), str(message.get("refusal") or ""), cached
        )
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise ServiceError(
            f"{url}: got {str(answer)[:_SHOWN]!r}, expected a chat completion with choices", url=url
        ) from error


def _arguments(found: Any) -> str:
    """Arguments as text; some servers send the object itself."""
    return found if isinstance(found, str) else json.dumps(found or {})


def _usage(found: Any, asked: Mapping[str, Any], text: str) -> Usage:
    if isinstance(found, Mapping) and "prompt_tokens" in found:
        return Usage(max(0, int(found["prompt_tokens"])), max(0, int(found.get("completion_tokens") or 0)))
    read = len(json.dumps(asked.get("messages", "")))
    return Usage(ceil(read / _CHARACTERS_PER_TOKEN), ceil(len(text) / _CHARACTERS_PER_TOKEN), estimated=True)
