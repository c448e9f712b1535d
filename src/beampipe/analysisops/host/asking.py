"""A task goes to an agent, a submission comes back."""

from __future__ import annotations

from typing import Any, Final

from beampipe.analysisops.agents.wire.client import Limits, ask
from beampipe.analysisops.contract import TaskRequest

__all__ = ["ask_agent"]

_SECONDS: Final = 1800.0


def ask_agent(url: str, request: TaskRequest) -> dict[str, Any]:
    """The submission of an agent, of either version of A2A, as the JSON object that it is; nothing of it is checked.

    Args:
        url: address of the agent.
        request: what it is asked; its ``time_limit_sec`` is how long to wait.

    Raises:
        ServiceUnavailableError: nobody is there.
        DeadlineError: it took too long.
        ServiceError: it gave up, sent too much, or its answer is not one JSON object.
    """
    seconds = request.constraints.get("time_limit_sec", _SECONDS)
    good = isinstance(seconds, int | float) and seconds > 0
    return ask(url, request.to_json(), Limits(seconds=float(seconds) if good else _SECONDS))
