"""How the supervisor asks a server about its models: through its own ports, never longer than a second.

Only canaries may take longer: they wait in threads of their own, and the supervisor looks at how long they wait.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Final

from beampipe.errors import ConfigError, ServiceError
from beampipe.triton.model.contract import PYTHON_BACKEND, instance_count
from beampipe.triton.server import control
from beampipe.triton.server.canary import check_served
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.supervision.watched import Home, Load

__all__ = ["ServedModels"]

_SHORT: Final = 1.0
"""Longest wait [s] for what a server says without work."""
_CANARY: Final = 30.0
"""Longest wait for a canary, in units of the supervisor's patience; a model that hangs is ended before."""
_LINE: Final = re.compile(
    r'^nv_inference_(request_success|pending_request_count)\{[^}]*model="([^"]*)"[^}]*\} (\S+)', re.M
)
"""The two numbers of a model that the supervisor needs, in Triton's metrics: the whole takes longer to read."""


class ServedModels:
    """The models of a running server.

    Args:
        settings: what the server is.
        http_url: address of the server for HTTP, ``host:port``.
        metrics_url: address of the server's metrics, ``host:port``.
    """

    def __init__(self, settings: ServerSettings, http_url: str, metrics_url: str) -> None:
        self._settings = settings
        self._http_url = http_url
        self._metrics_url = metrics_url

    def states(self) -> dict[str, str]:
        """State of each model that is or was loaded, as Triton names it."""
        return control.model_states(self._http_url, timeout=_SHORT)

    def home(self, model: str) -> Home:
        """Where a loaded model runs: only Triton's Python backend has processes of its own."""
        config = control.model_config(self._http_url, model, timeout=_SHORT)
        steps = config.get("ensemble_scheduling", {}).get("step", ())
        stubs = instance_count(config) if config.get("backend") == PYTHON_BACKEND else 0
        return Home(stubs, tuple(step["model_name"] for step in steps))

    def loads(self) -> dict[str, Load]:
        """What there is to do for each loaded model."""
        status, body = control.ask(self._metrics_url, "GET", "/metrics", timeout=_SHORT)
        if status != 200:
            raise ServiceError(f"{self._metrics_url}: got status {status} for /metrics", url=self._metrics_url)
        sums: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
        for name, model, value in _LINE.findall(body.decode(errors="replace")):
            sums[model][name] += float(value)
        return {model: Load(one["request_success"], one["pending_request_count"]) for model, one in sums.items()}

    def ask_canary(self, model: str) -> bool:
        """Ask a model for its stored answer, and wait for it; False if it has none.

        Raises:
            ConfigError: the answer is an error or another one, and the settings have canaries compared.
        """
        versions = sorted((self._settings.repository / model).glob("[0-9]*"))
        batched = control.model_config(self._http_url, model).get("max_batch_size", 0) > 0
        timeout = _CANARY * self._settings.patience
        try:
            asked = [check_served(self._http_url, path, model, batched=batched, timeout=timeout) for path in versions]
        except ConfigError:
            if self._settings.canary:
                raise
            return True
        return any(asked)

    def load(self, model: str) -> None:
        """Load a model."""
        control.load_model(self._http_url, model, timeout=self._settings.start_timeout)

    def reload(self, model: str) -> None:
        """Put fresh instances in the place of a model's."""
        control.reload_model(self._http_url, model, timeout=self._settings.start_timeout)
