"""What a model wants to do next, in either mode, and how it is told what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from beampipe.analysisops.agents.agent import submission
from beampipe.analysisops.agents.llm.offer import SUBMIT
from beampipe.analysisops.agents.llm.settings import Mode
from beampipe.analysisops.agents.llm.wire import Reply
from beampipe.analysisops.agents.wire.documents import parse_object
from beampipe.errors import InputError

__all__ = ["Step", "asked_steps", "outcome_message", "read_submission", "reply_message"]

_LONGEST_RESULT: Final = 20_000
_TEXTS: Final = ("words", "histograms", "artifacts")
_KEYS: Final = ("answers", *_TEXTS, "method", "comments")


@dataclass(frozen=True)
class Step:
    """One tool that is to be called.

    Attributes:
        id: by which the model knows it again; empty in the mode that is written.
        tool: its name.
        arguments: what to call it with.
        fault: why it cannot be called; empty if it can.
    """

    id: str
    tool: str
    arguments: Mapping[str, Any]
    fault: str = ""


def asked_steps(reply: Reply, mode: Mode) -> tuple[Step, ...]:
    """The tools that a reply asks for.

    Raises:
        InputError: it asks for none, and is no submission either.
    """
    if mode == "native" and reply.calls:
        return tuple(_called(call.id, call.name, call.arguments) for call in reply.calls)
    found = parse_object(reply.text, "answer")
    if "tool" in found:
        arguments = found.get("arguments", {})
        if not isinstance(found["tool"], str) or not isinstance(arguments, dict):
            raise InputError(f"answer: got {str(found)[:80]}, expected the name of a tool and an object of arguments")
        return (Step("", found["tool"], arguments),)
    if "answers" in found:
        return (Step("", SUBMIT, found),)
    raise InputError(f"answer: got the keys {sorted(found)[:10]}, expected tool and arguments")


def reply_message(reply: Reply) -> dict[str, Any]:
    """A reply as part of the conversation."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.calls:
        message["tool_calls"] = [
            {"id": one.id, "type": "function", "function": {"name": one.name, "arguments": one.arguments}}
            for one in reply.calls
        ]
    return message


def outcome_message(step: Step, outcome: Mapping[str, Any]) -> dict[str, Any]:
    """What came of a step, as part of the conversation."""
    text = json.dumps(outcome)
    if len(text) > _LONGEST_RESULT:
        text = json.dumps({"cut_after": _LONGEST_RESULT, "text": text[:_LONGEST_RESULT]})
    if step.id:
        return {"role": "tool", "tool_call_id": step.id, "content": text}
    return {"role": "user", "content": f"Result of {step.tool}: {text}"}


def read_submission(task_id: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The submission from the arguments of `SUBMIT`.

    Raises:
        InputError: an answer is no pair of numbers, or something else is not as it must be.
    """
    unknown = [key for key in arguments if key not in (*_KEYS, "task_id", "status")]
    if unknown:
        raise InputError(f"submit: got {', '.join(map(repr, unknown))}, expected some of {', '.join(_KEYS)}")
    answers = {}
    for name, pair in _object(arguments, "answers").items():
        if not isinstance(pair, dict) or set(pair) != {"value", "uncertainty"} or not all(map(_number, pair.values())):
            raise InputError(
                f'submit: answers: {name}: got {str(pair)[:80]}, expected {{"value": NUMBER, "uncertainty": NUMBER}}'
            )
        answers[name] = (float(pair["value"]), float(pair["uncertainty"]))
    texts = {key: _object(arguments, key) for key in _TEXTS}
    for key, found in texts.items():
        for name, text in found.items():
            if not isinstance(text, str):
                raise InputError(f"submit: {key}: {name}: got {str(text)[:80]}, expected text")
    return submission(
        task_id,
        answers=answers,
        words=texts["words"],
        histograms=texts["histograms"],
        artifacts=texts["artifacts"],
        method=_object(arguments, "method"),
        comments=str(arguments.get("comments") or ""),
    )


def _called(identity: str, name: str, text: str) -> Step:
    try:
        return Step(identity, name, parse_object(text or "{}", "arguments"))
    except InputError as error:
        return Step(identity, name, {}, str(error))


def _object(arguments: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = arguments.get(key) or {}
    if not isinstance(found, dict):
        raise InputError(f"submit: {key}: got {str(found)[:80]}, expected an object")
    return found


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
