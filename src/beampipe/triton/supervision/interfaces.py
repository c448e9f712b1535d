"""What the supervision knows of a server's models, and the incidents that it reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
    "check",
    "cleaned",
    "watching",
    "proxy",
    "stopped",
]
"""Kind of an incident.

``hangs`` is a process that lives and does not answer, and is killed. ``restarting`` is a living server that is
restarted on purpose, ``backing off`` the pause before the restart of something that keeps dying. ``canary`` is a model
with an error or a wrong answer to its canary, ``check`` one that its owner's check finds wrong. ``proxy`` is an end of
the reverse proxy, which is restarted.
``watching`` is an error of the supervision itself, which continues.
"""


@dataclass(frozen=True)
class Incident:
    """An event in the life of a server.

    Attributes:
        time: time of the incident [s since 1970].
        kind: kind of the incident.
        text: description.
    """

    time: float
    kind: IncidentKind
    text: str


@dataclass(frozen=True)
class Placement:
    """Where a loaded model runs.

    Attributes:
        stubs: number of processes of its own that the model should have; 0 for one that runs inside the server.
        steps: names of the models that an ensemble hands its requests to; none for a model that is no ensemble.
    """

    stubs: int
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Load:
    """Requests of one model, by the server's metrics.

    Attributes:
        answered: number of requests answered successfully since the server was started.
        waiting: number of requests that no instance has taken yet.
    """

    answered: float
    waiting: float
