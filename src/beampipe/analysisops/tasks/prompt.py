"""Prompts of a task: what may stand in double braces, and what fills it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from beampipe.analysisops.contract import Level
from beampipe.analysisops.tasks.spec import TaskSpec
from beampipe.errors import ConfigError, nearest

__all__ = ["answer_form", "check_placeholders", "fill", "known_values"]

_PLACEHOLDER: Final = re.compile(r"\{\{\s*([A-Za-z_][\w.]*)\s*\}\}")


def known_values(spec: TaskSpec, level: Level = 1, method_fields: Iterable[str] = ()) -> dict[str, str]:
    """What a task fills in by itself, by name: its identity, its limits, the bins and the form of the answer."""
    return {
        "TASK_ID": spec.id,
        "TASK_TYPE": spec.type,
        "DESCRIPTION": spec.description,
        "LEVEL": str(level),
        "RELEASE": spec.release,
        "DATASET": spec.dataset,
        "SKIM": spec.skim,
        "PROTOCOL": spec.protocol,
        "MAX_FILES": str(spec.constraints.max_files or spec.max_files),
        "TIME_LIMIT": f"{spec.time_limit:g}",
        "MAX_TOOL_CALLS": str(spec.max_tool_calls),
        "ANSWERS": answer_form(spec, method_fields),
        **{f"HISTOGRAM_{name.upper()}": one.words for name, one in spec.histograms.items()},
    }


def check_placeholders(prompt: str, spec: TaskSpec, where: str) -> None:
    """Refuse a prompt with a placeholder that neither the task nor its facts fill.

    Raises:
        ConfigError: with the nearest name there is.
    """
    known = [*known_values(spec), *(name.upper() for name in spec.facts)]
    for name in _PLACEHOLDER.findall(prompt):
        if name not in known:
            raise ConfigError(
                f"{where}: got the placeholder {{{{{name}}}}}, expected some of"
                f" {', '.join(known)}{nearest(name, known)}"
                "; name facts of an instance under `facts` in task_spec.yaml"
            )


def fill(prompt: str, values: Mapping[str, str], where: str) -> str:
    """A prompt with its placeholders filled, in one pass: what is filled in is not searched again.

    Raises:
        ConfigError: a placeholder has no value.
    """
    for name in _PLACEHOLDER.findall(prompt):
        if name not in values:
            raise ConfigError(
                f"{where}: got no value for {{{{{name}}}}}{nearest(name, values)}; expected it from the data"
            )
    return _PLACEHOLDER.sub(lambda found: values[found[1]], prompt)


def answer_form(spec: TaskSpec, method_fields: Iterable[str] = ()) -> str:
    """The form of a submission with no number in it that could be echoed, and what each answer is."""
    shape: dict[str, Any] = {"task_id": spec.id, "status": "ok"}
    lines = []
    if spec.answers:
        shape["answers"] = {name: {"value": "NUMBER", "uncertainty": "NUMBER"} for name in spec.answers}
        for name, number in spec.answers.items():
            lines.append(f"- `answers.{name}`{f' [{number.unit}]' if number.unit else ''}: {number.description}")
    if spec.words:
        shape["words"] = dict.fromkeys(spec.words, "WORD")
        lines += [f"- `words.{name}`: {one.description}; one of {', '.join(map(json.dumps, one.choices))}"
                  for name, one in spec.words.items()]  # fmt: skip
    if spec.histograms:
        shape["histograms"] = dict.fromkeys(spec.histograms, "HANDLE")
        lines += [f"- `histograms.{name}`: handle of a histogram with {one.words}; {one.description}"
                  for name, one in spec.histograms.items()]  # fmt: skip
    if spec.artifacts:
        shape["artifacts"] = dict.fromkeys(spec.artifacts, "HANDLE")
        lines += [f"- `artifacts.{name}`: handle; {one.description}" for name, one in spec.artifacts.items()]
    shape |= {"method": dict.fromkeys(method_fields, "TEXT"), "comments": "TEXT"}
    text = re.sub(r'"(NUMBER|TEXT|WORD|HANDLE)"', r"\1", json.dumps(shape, indent=2))
    if spec.answers:
        lines.append(
            "- Numbers: plain JSON numbers as the tools gave them, at least three significant digits, each with its"
            " standard uncertainty. A number that no tool gave from the data makes the whole answer void."
        )
    return f"```\n{text}\n```\n\n" + "\n".join(lines)
