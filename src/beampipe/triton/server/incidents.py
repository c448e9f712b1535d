"""What happens to a server in the course of its life."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Incident", "IncidentKind"]

IncidentKind = Literal[
    "started",
    "stub died",
    "model back",
    "model lost",
    "server died",
    "server back",
    "gave up",
    "cleaned",
    "watching",
    "shield",
    "stopped",
]
"""What sort of thing has happened. ``watching`` is a fault of the watching itself, which goes on; ``shield`` is an
end of the program before the parsers of requests, which is started again."""


@dataclass(frozen=True)
class Incident:
    """Something that happened to a server.

    Attributes:
        time: time at which it happened [s since 1970].
        kind: what sort of thing has happened.
        text: what has happened, in words.
    """

    time: float
    kind: IncidentKind
    text: str
