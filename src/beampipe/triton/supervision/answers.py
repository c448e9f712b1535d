"""The canaries of all models, asked again and again through the server's own door.

A model that hangs keeps whoever asks it waiting. So each question waits in a thread of its own, and the supervisor only
looks since when.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from beampipe.errors import BeampipeError

__all__ = ["Answers"]

_PERIOD: Final = 1.0
"""Time [s] from an answer to the next question."""
_FAULTS: Final = 3
"""Number of bad answers in a row after which they are told: one may come from a model that is just being unloaded."""


@dataclass(eq=False)
class _Question:
    """The canary of one model on its way.

    Attributes:
        since: time [s] at which it was asked.
        ended: time [s] at which the answer came, None while it is waited for.
        fault: what was wrong with the answer, empty if it was the stored one.
    """

    since: float = field(default_factory=time.monotonic)
    ended: float | None = None
    fault: str = ""


class Answers:
    """Keeps one question to each model on its way.

    Args:
        ask: asks a model for its canary, waits, and raises if the answer is not the stored one.
        tell: told the text of the fault if a model keeps giving bad answers.
        period: time [s] from an answer to the next question.
    """

    def __init__(
        self, ask: Callable[[str], bool], tell: Callable[[str], None] = lambda fault: None, period: float = _PERIOD
    ) -> None:
        self._ask = ask
        self._tell = tell
        self._period = period
        self._questions: dict[str, _Question] = {}
        self._faults: dict[str, int] = {}

    def ask(self, models: Collection[str]) -> None:
        """Ask those models that no question waits for, and forget the others."""
        for model in self._questions.keys() - set(models):
            self.forget(model)
        now = time.monotonic()
        for model in models:
            last = self._questions.get(model)
            if last is not None and last.ended is None:
                continue
            if last is not None and last.ended is not None:
                if now - last.ended < self._period:
                    continue
                self._count(model, last.fault)
            question = self._questions[model] = _Question()
            # A daemon: a program must be able to end while a model hangs.
            threading.Thread(target=self._wait, args=(model, question), name=f"canary-{model}", daemon=True).start()

    def waiting(self) -> dict[str, float]:
        """Since when [s] the answers that have not come have been waited for, by name of the model."""
        return {model: one.since for model, one in list(self._questions.items()) if one.ended is None}

    def forget(self, model: str | None = None) -> None:
        """Wait no longer for the answer of a model, or of all, because whoever had the question is gone."""
        for name in [model] if model is not None else list(self._questions):
            self._questions.pop(name, None)
            self._faults.pop(name, None)

    def _wait(self, model: str, question: _Question) -> None:
        try:
            self._ask(model)
        except (BeampipeError, OSError, ValueError) as error:
            question.fault = str(error)
        question.ended = time.monotonic()

    def _count(self, model: str, fault: str) -> None:
        self._faults[model] = self._faults.get(model, 0) + 1 if fault else 0
        if self._faults[model] == _FAULTS:
            self._tell(fault)
