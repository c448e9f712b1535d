"""How a server introduces itself, so that clients of both versions of the protocol take it."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from a2a.types import AgentCard

__all__ = ["agent_card"]

_VERSIONS: Final = ("1.0", "0.3")
_JSON: Final = ("application/json", "text/plain")


def agent_card(name: str, description: str, url: str, *, skill: str, tags: tuple[str, ...]) -> AgentCard:
    """The card of a server that takes and gives JSON documents.

    The address is listed once for each version: a client of 0.3 refuses a card that does not name it so.

    Args:
        name: of the server.
        description: what it does, in a sentence.
        url: address under which clients reach it.
        skill: the one thing that it can do, in a few words.
        tags: keywords of the skill.
    """
    from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill

    return AgentCard(
        name=name,
        description=description,
        version=version("beampipe"),
        supported_interfaces=[
            AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version=one) for one in _VERSIONS
        ],
        capabilities=AgentCapabilities(streaming=True),
        default_input_modes=list(_JSON),
        default_output_modes=list(_JSON),
        skills=[AgentSkill(id=skill.replace(" ", "-"), name=skill, description=description, tags=list(tags))],
    )
