"""The tools as a model is told of them, and the one more by which it submits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from beampipe.analysisops.agents.agent import DescribedTools, Tools

__all__ = ["SUBMIT", "offered", "step_format"]

SUBMIT: Final = "submit"
"""Name of the tool that ends a task."""

_SUBMIT: Final[Mapping[str, Any]] = {
    "name": SUBMIT,
    "description": "Hand in the answers; the task ends. Numbers must be results of the tools.",
    "parameters": {
        "type": "object",
        "properties": {
            "answers": {
                "type": "object",
                "description": "by name of the answer",
                "additionalProperties": {
                    "type": "object",
                    "properties": {"value": {"type": "number"}, "uncertainty": {"type": "number"}},
                    "required": ["value", "uncertainty"],
                },
            },
            "words": {"type": "object", "additionalProperties": {"type": "string"}},
            "histograms": {
                "type": "object",
                "description": "handle by name",
                "additionalProperties": {"type": "string"},
            },
            "artifacts": {
                "type": "object",
                "description": "handle by name",
                "additionalProperties": {"type": "string"},
            },
            "method": {"type": "object", "description": "how the answers were found, in words"},
            "comments": {"type": "string"},
        },
        "required": ["answers"],
    },
}

_FOR_READERS: Final = ("description", "title", "default", "examples")
_SIMPLE: Final = {"type", "properties", "required", "additionalProperties", "enum", "const", "items", "anyOf"}
"""Keys of schemas that servers make grammars of without fail."""

_ANYTHING: Final[Mapping[str, Any]] = {"type": "object"}


def offered(tools: Tools) -> tuple[dict[str, Any], ...]:
    """Name, description and schema of the arguments of each tool, and of `SUBMIT`.

    Tools that do not describe themselves are described by this package, if it knows their names.
    """
    if isinstance(tools, DescribedTools):
        found = [dict(one) for one in tools.schemas()]
    else:
        known = _known()
        found = [
            {"name": name, **known.get(name, {"description": "", "parameters": dict(_ANYTHING)})}
            for name in tools.names()
        ]
    return (*found, dict(_SUBMIT))


def step_format(offer: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the text of a model without calls of its own must look like: one step, as JSON.

    Servers hold a model to it by a grammar. The arguments may be those of any tool: the tool itself says what does not
    fit, and the schema of the whole stays an object, as some servers want it.

    Args:
        offer: name and parameters of the tools that it may take.
    """
    parameters = [_plain(one["parameters"]) for one in offer]
    arguments = {"anyOf": parameters} if all(map(_is_simple, parameters)) else dict(_ANYTHING)
    schema = {
        "type": "object",
        "properties": {"tool": {"type": "string", "enum": [one["name"] for one in offer]}, "arguments": arguments},
        "required": ["tool", "arguments"],
    }
    return {"type": "json_schema", "json_schema": {"name": "step", "schema": schema}}


def _plain(schema: Any) -> Any:
    """A schema without what is only for readers."""
    if isinstance(schema, Mapping):
        return {
            key: {name: _plain(one) for name, one in value.items()} if key == "properties" else _plain(value)
            for key, value in schema.items()
            if key not in _FOR_READERS
        }
    return [_plain(one) for one in schema] if isinstance(schema, list) else schema


def _is_simple(schema: Any) -> bool:
    """Whether a schema has only what every server can make a grammar of."""
    if not isinstance(schema, Mapping):
        return True
    inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", ()), schema.get("items")]
    return set(schema) <= _SIMPLE and all(map(_is_simple, [*inner, schema.get("additionalProperties")]))


def _known() -> dict[str, dict[str, Any]]:
    from beampipe.analysisops.tools.catalogue import tools

    return {name: {"description": one.description, "parameters": one.schema} for name, one in tools().items()}
