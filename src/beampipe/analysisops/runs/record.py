"""The record of one assessment: all that is needed to grade it again and to show it, as one JSON file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from beampipe.analysisops.contract import TaskRequest
from beampipe.analysisops.grading.result import ungraded
from beampipe.analysisops.ledger import Entry, entries_to_json
from beampipe.errors import FileError

__all__ = ["Record", "dump", "error_result", "load", "read_record"]

_FLOAT: Final = "$float"
"""Key that stands for a number which JSON cannot write."""


@dataclass(frozen=True)
class Record:
    """What an assessment gave.

    Attributes:
        request: what the agent was asked; the address of its tools is left out when it is written.
        submission: what it answered, as it came; None if nothing came that could be read.
        grade: the result.
        reference: content of the task's ``eval_ref.yaml`` with the instance's reference under ``instance``. Agents
            never see it, so a folder of records is nothing for them.
        rubric: the rubric that it was graded by.
        ledger: every call of a tool.
        contents: histograms and artifacts that the submission names, by handle, as the host has them.
        judge: what the judge said, as it came, so that it is not asked again when the record is graded again.
        tokens: tokens by kind, such as ``input`` and ``output``; empty if they are not known.
        cost: what the agent cost [USD]; None if it is not known.
        seconds: time from the request to the submission [s].
        error: why the agent gave no submission; empty if it did.
    """

    request: TaskRequest
    submission: Any
    grade: Mapping[str, Any]
    reference: Mapping[str, Any] = field(default_factory=dict)
    rubric: Mapping[str, Any] = field(default_factory=dict)
    ledger: Sequence[Entry] = ()
    contents: Mapping[str, Any] = field(default_factory=dict)
    judge: Any = None
    tokens: Mapping[str, int] = field(default_factory=dict)
    cost: float | None = None
    seconds: float = 0.0
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """As JSON types, with the number of tool calls."""
        plain = asdict(replace(self, request=replace(self.request, tools_url=None), ledger=()))
        return {
            **plain,
            "request": replace(self.request, tools_url=None).to_json(),
            "ledger": entries_to_json(self.ledger),
            "tool_calls": len(self.ledger),
        }


def error_result(
    task_id: str, family: str, level: int, seed: str, reason: str, max_score: float = 0.0
) -> dict[str, Any]:
    """The result of an agent that failed: an error and a score of 0, in the shape of every result.

    Args:
        task_id: name of the task.
        family: family of the task.
        level: level of the prompt.
        seed: label of the seed.
        reason: what went wrong.
        max_score: what could have been reached.
    """
    return ungraded(
        "agent",
        "agent_failed",
        reason,
        task_id=task_id,
        type=family,
        level=level,
        seed=seed,
        max_score=max_score,
        judged=None,
    )


def dump(value: object) -> str:
    """A value as the one JSON text that stands for it, in ASCII; an agent's NaN and infinities are kept.

    JSON has no NaN, so it is written as ``{"$float": "nan"}``; keys that begin with ``$`` get another one before them.
    """
    return json.dumps(_pack(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def load(text: str | bytes) -> Any:
    """What `dump` wrote.

    Raises:
        ValueError: it is no JSON.
    """
    return _unpack(json.loads(text))


def read_record(path: Path) -> dict[str, Any]:
    """A record from its file.

    Raises:
        FileError: it cannot be read, or is no record.
    """
    try:
        record = load(path.read_bytes())
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}), expected a record", path=path) from error
    except ValueError as error:
        raise FileError(f"{path}: got {error}, expected the JSON of a record", path=path) from error
    if not isinstance(record, dict) or not {"assessment", "grade", "submission"} <= record.keys():
        raise FileError(f"{path}: got other JSON, expected a record with assessment, submission and grade", path=path)
    return record


def _pack(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: repr(float(value))}
    if isinstance(value, Mapping):
        return {f"${key}" if str(key).startswith("$") else str(key): _pack(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_pack(one) for one in value]
    return value


def _unpack(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_FLOAT}:
            return float(value[_FLOAT])
        return {key[1:] if key.startswith("$") else key: _unpack(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_unpack(one) for one in value]
    return value
