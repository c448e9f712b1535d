"""How the host introduces itself; nothing of its settings stands there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.analysisops.agents.wire.cards import agent_card

if TYPE_CHECKING:
    from a2a.types import AgentCard

__all__ = ["host_card"]


def host_card(url: str) -> AgentCard:
    """The card of a host.

    Args:
        url: address under which clients reach it.
    """
    return agent_card(
        "beampipe-analysisops",
        "Gives analysis tasks of particle physics to agents and grades what they find.",
        url,
        skill="assess agents",
        tags=("particle physics", "benchmark", "assessment"),
    )
