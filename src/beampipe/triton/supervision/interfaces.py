"""What the supervision needs: a server as a process, a probe of its models, and the incidents it reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from beampipe.triton.supervision.stubs import Stub

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


@runtime_checkable
class WatchedServer(Protocol):
    """A server as its supervisor sees it: a process that can be restarted."""

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models that are loaded at its start."""

    @property
    def pid(self) -> int | None:
        """Process id of the server, None if it does not run."""

    @property
    def log(self) -> Path:
        """File to which the server writes, and into which stacks are written."""

    def stubs(self) -> tuple[Stub, ...]:
        """The processes of the models."""

    def restart(self, models: tuple[str, ...]) -> None:
        """Kill what is left of the server and start it again with these models."""

    def ensure_watchdog(self) -> None:
        """Make sure that the cleanup process runs, in case the owner is killed."""

    def note(self, kind: IncidentKind, text: str) -> None:
        """Record an incident."""


@runtime_checkable
class ModelProbe(Protocol):
    """Requests of the supervisor about a server's models, through the server's own ports; each may fail."""

    def states(self) -> Mapping[str, str]:
        """State of each model that is or was loaded, as Triton names it."""

    def placement(self, model: str) -> Placement:
        """Where a loaded model runs."""

    def loads(self) -> Mapping[str, Load]:
        """Answered and waiting requests of each loaded model."""

    def probe_canary(self, model: str) -> bool:
        """Send a model its canary and wait for the answer; False if it has none."""

    def probe_check(self, model: str) -> bool:
        """Check a model as its owner says; False if there is nothing to judge."""

    @property
    def reloads(self) -> bool:
        """Whether the server lets models be loaded one by one; otherwise a dead model needs a restart of the server."""

    def load(self, model: str) -> None:
        """Load a model."""

    def reload(self, model: str) -> None:
        """Replace the instances of a model."""
