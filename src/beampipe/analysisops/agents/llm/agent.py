"""The agent: a model is asked, its tools are called, until it submits or something is spent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from beampipe.analysisops.agents.agent import Tools, failed
from beampipe.analysisops.agents.llm.client import ChatClient
from beampipe.analysisops.agents.llm.offer import SUBMIT, offered, step_format
from beampipe.analysisops.agents.llm.prompts import LAST_TURN, nudge, system_prompt, task_prompt
from beampipe.analysisops.agents.llm.settings import Budget
from beampipe.analysisops.agents.llm.spending import Spending
from beampipe.analysisops.agents.llm.steps import (
    Step,
    asked_steps,
    outcome_message,
    read_submission,
    reply_message,
)
from beampipe.analysisops.agents.llm.wire import Reply
from beampipe.analysisops.contract import TaskRequest
from beampipe.errors import BeampipeError, InputError

__all__ = ["LlmAgent", "budget_for"]

_PATIENCE: Final = 3
"""So many answers in a row that cannot be used end a task."""

_SHARE_OF_TIME: Final = 0.9
"""Of the time that a request allows, the rest is for the answer's way."""


class LlmAgent:
    """A language model with tools.

    Args:
        client: asks the model.
        budget: what each task may use; a request may allow less.
        plan: of a colleague, for its prompt.
        notes: of a reviewer, for its prompt.
    """

    def __init__(self, client: ChatClient, budget: Budget | None = None, *, plan: str = "", notes: str = "") -> None:
        self._client, self._budget = client, budget or Budget()
        self._plan, self._notes = plan, notes

    def solve(self, request: TaskRequest, tools: Tools) -> dict[str, Any]:
        spending = Spending(budget_for(request, self._budget))
        try:
            found = self._converse(request, tools, spending)
        except BeampipeError as error:
            found = failed(request.task_id, str(error))
        except Exception as error:  # such as tools whose server is gone
            found = failed(request.task_id, f"{type(error).__name__}: {error}")
        return {**found, "usage": {"model": self._client.model.model, **spending.spent.to_json()}}

    def _converse(self, request: TaskRequest, tools: Tools, spending: Spending) -> dict[str, Any]:
        """The submission at the end of a conversation."""
        written = self._client.model.mode == "json"
        offer = offered(tools)
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": system_prompt(offer, written=written)},
            {"role": "user", "content": task_prompt(request, self._plan, self._notes)},
        ]
        unusable = 0
        while True:
            reply = self._ask(messages, offer, spending)
            if reply.refusal or reply.finish == "content_filter":
                return failed(request.task_id, f"the model refused: {(reply.refusal or reply.text)[:300]}")
            messages.append(reply_message(reply))
            try:
                steps = asked_steps(reply, self._client.model.mode)
            except InputError as error:
                unusable += 1
                if unusable >= _PATIENCE:
                    raise
                messages.append({"role": "user", "content": nudge(str(error))})
                continue
            for step in steps:
                try:
                    if step.tool == SUBMIT and not step.fault:
                        return read_submission(request.task_id, step.arguments)
                    outcome = _call(step, tools, spending)
                except BeampipeError as error:
                    outcome = {"error": str(error)}
                unusable = unusable + 1 if step.fault or step.tool == SUBMIT else 0
                messages.append(outcome_message(step, outcome))
            if unusable >= _PATIENCE:
                raise InputError(f"model: got {unusable} calls in a row that are none, expected a tool or {SUBMIT}")

    def _ask(self, messages: list[dict[str, Any]], offer: tuple[dict[str, Any], ...], spending: Spending) -> Reply:
        spending.check()
        last = spending.last_turn
        if last:
            messages.append({"role": "user", "content": LAST_TURN})
        if self._client.model.mode == "json":
            left = [one for one in offer if one["name"] == SUBMIT] if last else offer
            reply = self._client.ask(messages, response_format=step_format(left), seconds=spending.seconds_left)
        else:
            must = SUBMIT if last else ""
            reply = self._client.ask(messages, tools=offer, must_call=must, seconds=spending.seconds_left)
        spending.add_reply(reply, self._client.model)
        return reply


def budget_for(request: TaskRequest, budget: Budget) -> Budget:
    """A budget with what a request allows, if that is less."""
    seconds, calls = request.constraints.get("time_limit_sec"), request.constraints.get("max_tool_calls")
    if isinstance(seconds, int | float) and seconds > 0:
        budget = replace(budget, seconds=min(budget.seconds, _SHARE_OF_TIME * seconds))
    if isinstance(calls, int) and calls > 0:
        budget = replace(budget, tool_calls=min(budget.tool_calls, calls))
    return budget


def _call(step: Step, tools: Tools, spending: Spending) -> Mapping[str, Any]:
    if step.fault:
        raise InputError(step.fault)
    spending.add_call()
    return tools.call(step.tool, **step.arguments)
