"""What the supervision asks for: a server as a process, and its models as they answer. It knows no more of either."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from beampipe.triton.supervision.incidents import IncidentKind
from beampipe.triton.supervision.stubs import Stub

__all__ = ["AskedModels", "Home", "Load", "WatchedServer"]


@dataclass(frozen=True)
class Home:
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
class AskedModels(Protocol):
    """A server's models as its supervisor asks them, through the server's own ports; each question may fail."""

    def states(self) -> Mapping[str, str]:
        """State of each model that is or was loaded, as Triton names it."""

    def home(self, model: str) -> Home:
        """Where a loaded model runs."""

    def loads(self) -> Mapping[str, Load]:
        """What there is to do for each loaded model."""

    def ask_canary(self, model: str) -> bool:
        """Ask a model for its stored answer, and wait for it; False if it has none."""

    def load(self, model: str) -> None:
        """Load a model."""

    def reload(self, model: str) -> None:
        """Put fresh instances in the place of a model's."""
