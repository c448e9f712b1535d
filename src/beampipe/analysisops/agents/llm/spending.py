"""Tokens, calls, money and time of one task, and the end of what may be spent."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from beampipe.analysisops.agents.llm.settings import Budget, Model
from beampipe.analysisops.agents.llm.wire import Reply
from beampipe.errors import BeampipeError

__all__ = ["BudgetSpentError", "Spending", "Spent"]

_MILLION = 1_000_000


class BudgetSpentError(BeampipeError):
    """All of something that a task may use is used."""


@dataclass(frozen=True)
class Spent:
    """What was used.

    Attributes:
        turns: number of answers.
        tool_calls: number of calls of tools.
        prompt_tokens: number of tokens read.
        answer_tokens: number of tokens written.
        cost: money [USD], at the prices of the model.
        seconds: time [s].
        cached: number of answers that were replayed; their tokens and cost count all the same.
        estimated: some tokens were estimated, since the server did not count them.
    """

    turns: int = 0
    tool_calls: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    cost: float = 0.0
    seconds: float = 0.0
    cached: int = 0
    estimated: bool = False

    @property
    def tokens(self) -> int:
        """Number of tokens read and written."""
        return self.prompt_tokens + self.answer_tokens

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.turns + other.turns,
            self.tool_calls + other.tool_calls,
            self.prompt_tokens + other.prompt_tokens,
            self.answer_tokens + other.answer_tokens,
            self.cost + other.cost,
            self.seconds + other.seconds,
            self.cached + other.cached,
            self.estimated or other.estimated,
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON types."""
        return {**asdict(self), "cost": round(self.cost, 9), "seconds": round(self.seconds, 3)}


class Spending:
    """What one task uses, against what it may use.

    Args:
        budget: what it may use.
        clock: gives the time [s].
    """

    def __init__(self, budget: Budget, clock: Callable[[], float] = time.monotonic) -> None:
        self.budget = budget
        self._clock, self._started = clock, clock()
        self._spent = Spent()

    @property
    def spent(self) -> Spent:
        """What was used so far."""
        return replace(self._spent, seconds=self._clock() - self._started)

    @property
    def last_turn(self) -> bool:
        """The next answer is the last that may be had, as far as turns and calls of tools say."""
        return self._spent.turns + 1 >= self.budget.turns or self._spent.tool_calls >= self.budget.tool_calls

    @property
    def seconds_left(self) -> float:
        """Time that is left [s]."""
        return self.budget.seconds - (self._clock() - self._started)

    def check(self) -> None:
        """Whether the model may be asked once more.

        Raises:
            BudgetSpentError: not so.
        """
        spent, budget = self.spent, self.budget
        for what, used, most in (
            ("turns", spent.turns, budget.turns),
            ("tokens", spent.tokens, budget.tokens),
            ("seconds", spent.seconds, budget.seconds),
        ):
            if used >= most:
                raise BudgetSpentError(f"{what}: got {used:g} used, expected at most {most:g}")
        if spent.cost > 0 and spent.cost >= budget.cost:
            raise BudgetSpentError(f"cost: got {spent.cost:g} USD used, expected at most {budget.cost:g}")

    def add_reply(self, reply: Reply, model: Model) -> None:
        """Count an answer."""
        usage = reply.usage
        cost = (usage.prompt * model.price_prompt + usage.answer * model.price_answer) / _MILLION
        self._spent += Spent(1, 0, usage.prompt, usage.answer, cost, 0.0, int(reply.cached), usage.estimated)

    def add_call(self) -> None:
        """Count a call of a tool.

        Raises:
            BudgetSpentError: there is none left.
        """
        if self._spent.tool_calls >= self.budget.tool_calls:
            raise BudgetSpentError(f"tool calls: got {self.budget.tool_calls} used, expected no more; submit now")
        self._spent += Spent(tool_calls=1)
