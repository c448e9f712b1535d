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
    "cleaned",
    "watching",
    "proxy",
    "stopped",
]
"""What sort of thing has happened.

``hangs`` is a process that lives and does not answer, and is killed for it. ``restarting`` is a living server that is
started again on purpose, ``backing off`` the pause before something is started that keeps dying. ``canary`` is a model
that answers its canary with an error, or wrongly. ``proxy`` is an end of the reverse proxy,
which is restarted. ``watching`` is a fault of the watching itself, which goes on.
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
    """What a server says of one model's requests.

    Attributes:
        answered: number of requests answered well since the server was started.
        waiting: number of requests that no instance has taken yet.
    """

    answered: float
    waiting: float


@runtime_checkable
class WatchedServer(Protocol):
    """A server as its supervisor sees it: a process, which can be started again."""

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

    def keep_watchdog(self) -> None:
        """See to it that somebody cleans up if the owner is killed."""

    def note(self, kind: IncidentKind, text: str) -> None:
        """Keep an incident."""


@runtime_checkable
class ModelProbe(Protocol):
    """A server's models as its supervisor asks them, through the server's own ports; each question may fail."""

    def states(self) -> Mapping[str, str]:
        """State of each model that is or was loaded, as Triton names it."""

    def home(self, model: str) -> Placement:
        """Where a loaded model runs."""

    def loads(self) -> Mapping[str, Load]:
        """What there is to do for each loaded model."""

    def ask_canary(self, model: str) -> bool:
        """Ask a model for its stored answer, and wait for it; False if it has none."""

    def load(self, model: str) -> None:
        """Load a model."""

    def reload(self, model: str) -> None:
        """Put fresh instances in the place of a model's."""
