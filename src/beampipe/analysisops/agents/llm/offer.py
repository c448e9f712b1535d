"""The tools as a model is told of them, and the one more by which it submits."""

from __future__ import annotations

from collections.abc import Mapping
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


def step_format(names: tuple[str, ...]) -> dict[str, Any]:
    """What the text of a model without calls of its own must look like: one step, as JSON.

    Args:
        names: of the tools that it may take.
    """
    schema = {
        "type": "object",
        "properties": {"tool": {"type": "string", "enum": list(names)}, "arguments": {"type": "object"}},
        "required": ["tool", "arguments"],
    }
    return {"type": "json_schema", "json_schema": {"name": "step", "schema": schema}}


def _known() -> dict[str, dict[str, Any]]:
    from beampipe.analysisops.tools.catalogue import tools

    return {name: {"description": one.description, "parameters": one.schema} for name, one in tools().items()}
