"""The agent worked with the data."""

from __future__ import annotations

from dataclasses import dataclass

from beampipe.analysisops.grading.checks.case import Case, Outcome
from beampipe.errors import ConfigError

__all__ = ["CallsMade"]


@dataclass(frozen=True)
class CallsMade:
    """Pass if the ledger holds enough calls that succeeded and whose results descend from data files.

    Attributes:
        minimum: so many such calls, at least 1.
        tools: each of these tools was called in that way.
    """

    minimum: int = 1
    tools: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.minimum < 1:
            raise ConfigError(f"calls_made: got minimum = {self.minimum}, expected at least 1")

    def __call__(self, case: Case) -> Outcome:
        """1 or 0."""
        called = [
            entry.tool for entry in case.entries if entry.result is not None and not entry.error and entry.sources
        ]
        lacking = [tool for tool in self.tools if tool not in called]
        evidence = {"calls": len(called), "lacking": lacking}
        if len(called) < self.minimum:
            return Outcome(0.0, f"{len(called)} calls gave something of the data, expected {self.minimum}", evidence)
        if lacking:
            return Outcome(0.0, f"never called with success: {', '.join(lacking)}", evidence)
        return Outcome(1.0, f"{len(called)} calls gave something of the data", evidence)
