"""What happens to a server in the course of its life."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Incident", "IncidentKind"]

IncidentKind = Literal[
    "started",
    "hangs",
    "stub died",
    "model back",
    "model lost",
    "server died",
    "restarting",
    "backing off",
    "server back",
    "canary",
    "cleaned",
    "watching",
    "shield",
    "stopped",
]
"""What sort of thing has happened.

``hangs`` is a process that lives and does not answer, and is killed for it. ``restarting`` is a living server that is
started again on purpose, ``backing off`` the pause before something is started that keeps dying. ``canary`` is a model
that answers its canary with an error, or wrongly. ``shield`` is an end of the program before the parsers of
requests, which is started again. ``watching`` is a fault of the watching itself, which goes on.
"""


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
