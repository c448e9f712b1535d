"""Which models a server has, and which processes these run in."""

from __future__ import annotations

import time
from contextlib import suppress

from beampipe.errors import BeampipeError
from beampipe.triton.supervision.stubs import Stub
from beampipe.triton.supervision.watched import AskedModels, Home, WatchedServer

__all__ = ["Census"]


class Census:
    """What was last known of a server's models and processes.

    Args:
        server: the server.
        models: its models as they are asked.

    Attributes:
        stubs: the processes of the models, by process id; without replaced ones.
        retired: ids of processes that were replaced.
        heard: whether the server has answered the last question for its models.
        taken: time [s] of the last look.
    """

    def __init__(self, server: WatchedServer, models: AskedModels) -> None:
        self._server = server
        self._models = models
        self._states: dict[str, str] = {}
        self._homes: dict[str, Home] = {}
        self.stubs: dict[int, Stub] = {}
        self.retired: set[int] = set()
        self.heard = False
        self.taken = float("-inf")

    def take(self) -> None:
        """Learn which processes and models there are. A server that does not answer is taken to have those it had."""
        found = self._server.stubs()
        self.stubs = {stub.pid: stub for stub in found if stub.pid not in self.retired and stub.alive}
        try:
            self._states = dict(self._models.states())
            self.heard = True
        except (BeampipeError, ValueError):  # it may have died just now
            self.heard = False
        for gone in self._homes.keys() - set(self.loaded()):
            del self._homes[gone]
        for model in self.loaded() if self.heard else ():
            if model not in self._homes:
                self._learn(model)
        self.taken = time.monotonic()

    def forget(self) -> None:
        """Forget all processes: there is another server. Its models are those that it had, until it says so itself."""
        self.stubs, self.retired, self._homes = {}, set(), {}

    def loaded(self) -> tuple[str, ...]:
        """The models that are loaded and not being unloaded."""
        return tuple(sorted(model for model, state in self._states.items() if state == "READY"))

    def loading(self) -> bool:
        """Whether a model is being loaded: the server says so, or processes run of one that it does not have yet."""
        loaded = self.loaded()
        return "LOADING" in self._states.values() or any(stub.model not in loaded for stub in self.stubs.values())

    def homes(self) -> dict[str, Home]:
        """Where each loaded model runs, as far as the server has said so."""
        return {model: self._homes[model] for model in self.loaded() if model in self._homes}

    def lacks_stubs(self, model: str) -> bool:
        """Whether fewer processes run than a loaded model should have; false while it is being unloaded."""
        if model not in self.loaded():
            return False
        self._homes.pop(model, None)  # it may have been loaded with another number of instances
        self._learn(model)
        home = self._homes.get(model)
        return home is not None and self.living(model) < home.stubs

    def living(self, model: str) -> int:
        """The number of living processes of a model."""
        return sum(stub.model == model and stub.alive for stub in self.stubs.values())

    def _learn(self, model: str) -> None:
        with suppress(BeampipeError):  # it is being unloaded just now; else the next look sees it
            self._homes[model] = self._models.home(model)
