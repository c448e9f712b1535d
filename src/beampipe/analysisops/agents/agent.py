"""The protocol of agents: an agent receives a request and tools, and returns a submission."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from beampipe.analysisops.contract import TaskRequest
from beampipe.analysisops.grading.result import FAILED
from beampipe.analysisops.references import Referenced
from beampipe.errors import UnknownNameError


@runtime_checkable
class Tools(Protocol):
    """The tools of one assessment."""

    def names(self) -> tuple[str, ...]:
        """Names of the available tools."""

    def call(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """The result of a tool; `name` is positional only, since some tools have an argument of that name.

        Raises:
            BeampipeError: the tool refused the call; the message gives the reason and a remedy.
        """


@runtime_checkable
class DescribedTools(Tools, Protocol):
    """Tools that describe their arguments, as language models need it."""

    def schemas(self) -> Sequence[Mapping[str, Any]]:
        """For each tool its ``name``, ``description`` and ``parameters``, the JSON schema of its arguments."""


@runtime_checkable
class Agent(Protocol):
    """Solves tasks, one at a time."""

    def solve(self, request: TaskRequest, tools: Tools) -> dict[str, Any]:
        """The submission for a request, as JSON types; its status is "error" if the task cannot be solved."""


@dataclass(frozen=True)
class Answer:
    """The answer of an agent.

    Attributes:
        submission: the submission, of any type; None if there is none.
        error: why there is no submission; empty if there is one.
        tokens: number of tokens by kind, if the agent reports it.
        cost: cost [USD]; None if the agent does not report it.
        code: kind of the error, for the issue in the result.
    """

    submission: Any
    error: str = ""
    tokens: Mapping[str, int] = field(default_factory=dict)
    cost: float | None = None
    code: str = FAILED


class NoTools:
    """The tools of a request that offers none."""

    def names(self) -> tuple[str, ...]:
        return ()

    def call(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """Nothing can be called.

        Raises:
            UnknownNameError: always.
        """
        raise UnknownNameError("tool", name, ())


def stated_answer(value: float, uncertainty: float) -> dict[str, Any]:
    """An answer with the calls that its numbers come from, if they are `Referenced`."""
    answer: dict[str, Any] = {"value": float(value), "uncertainty": float(uncertainty)}
    for key, number in (("from", value), ("uncertainty_from", uncertainty)):
        if isinstance(number, Referenced):
            answer[key] = number.reference
    return answer


def submission(
    task_id: str,
    *,
    answers: Mapping[str, tuple[float, float]] | None = None,
    words: Mapping[str, str] | None = None,
    histograms: Mapping[str, str] | None = None,
    artifacts: Mapping[str, str] | None = None,
    method: Mapping[str, Any] | None = None,
    comments: str = "",
    status: str = "ok",
) -> dict[str, Any]:
    """A submission in full.

    Args:
        task_id: the task that it answers.
        answers: value and uncertainty by name, `Referenced` if they are results of tools.
        words: word answers, by name.
        histograms: handles of histograms, by name.
        artifacts: handles of other things, by name.
        method: description of the analysis, as free text.
        comments: any other remarks.
        status: ``"ok"``, or ``"error"`` if the task was not solved.
    """
    return {
        "task_id": task_id,
        "status": status,
        "answers": {name: stated_answer(*numbers) for name, numbers in (answers or {}).items()},
        "words": dict(words or {}),
        "histograms": dict(histograms or {}),
        "artifacts": dict(artifacts or {}),
        "method": dict(method or {}),
        "comments": comments,
    }


def failed(task_id: str, why: str) -> dict[str, Any]:
    """The submission of an agent that could not solve its task."""
    return submission(task_id, comments=why, status="error")
