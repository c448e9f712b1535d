"""Any Triton under supervision: a ``tritonserver`` command of the user, with any repository and any models.

The command is run as it is, with one argument more: a prefix for the shared memory of Python models, by which their
processes are recognised and cleaned up.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from beampipe.errors import ConfigError
from beampipe.processes import ManagedProcess
from beampipe.triton.client.endpoint import LOOPBACK
from beampipe.triton.server import management
from beampipe.triton.server.launch import Ports, ServerSettings
from beampipe.triton.server.management import HttpModelProbe
from beampipe.triton.server.server import TritonServer

_WILDCARDS: Final = ("0.0.0.0", "::")
_PREFIX: Final = "shm-region-prefix-name"


def option(command: Sequence[str], name: str, default: str) -> str:
    """Value of an option in a command line, as ``--NAME=VALUE`` or ``--NAME VALUE``; the last one counts."""
    value = default
    for word, following in zip(command, [*command[1:], ""], strict=True):
        if word == f"--{name}":
            value = following
        elif word.startswith(f"--{name}="):
            value = word.partition("=")[2]
    return value


def command_settings(
    command: Sequence[str], *, log: Path | None, start_timeout: float, patience: float
) -> ServerSettings:
    """Settings of a server, from its command line.

    Args:
        command: program and arguments.
        log: file to which its log is appended, by default one in a temporary folder.
        start_timeout: time [s] that loading the models may take.
        patience: time [s] without an answer and without use of the processor after which a model hangs.

    Raises:
        ConfigError: supervision needs what the command turns off.
    """
    if not command:
        raise ConfigError("command: got none, expected one such as: tritonserver --model-repository=models")
    for name in ("allow-http", "allow-metrics"):
        if option(command, name, "true").lower() in ("false", "0"):
            raise ConfigError(f"--{name}: got false, expected true: supervision asks the server over HTTP")
    try:
        ports = Ports(*(int(option(command, f"{name}-port", port)) for name, port in _PORTS.items()))
        exit_timeout = int(option(command, "exit-timeout-secs", "30"))
    except ValueError as error:
        raise ConfigError(f"command: got {error}, expected numbers for ports and --exit-timeout-secs") from None
    host = option(command, "http-address", LOOPBACK)
    return ServerSettings(
        Path(option(command, "model-repository", option(command, "model-store", "."))),
        host=LOOPBACK if host in _WILDCARDS else host,
        http_port=ports.http,
        grpc_port=ports.grpc,
        metrics_port=ports.metrics,
        log=log,
        start_timeout=start_timeout,
        exit_timeout=exit_timeout,
        patience=patience,
    )


_PORTS: Final = {"http": "8000", "grpc": "8001", "metrics": "8002"}
"""Triton's ports by default."""


class CommandServer(TritonServer):
    """A Triton that is started by a command of the user.

    Args:
        command: program and arguments.
        settings: from `command_settings`.
        on_incident: see `TritonServer`.
    """

    def __init__(self, command: Sequence[str], settings: ServerSettings, **options: Any) -> None:
        super().__init__(settings, **options)
        self._command = tuple(command)
        self._explicit = option(command, "model-control-mode", "none") == "explicit"

    def _prepare(self, folder: Path) -> None:
        command = list(self._command)
        if not any(_PREFIX in word for word in command):
            command.append(f"--backend-config=python,{_PREFIX}={self.prefix}")

        def start_process() -> None:
            started = [word for word in command if not (self.models and word.startswith("--load-model="))]
            models = [f"--load-model={model}" for model in self.models] if self._explicit else []
            self._process = ManagedProcess(self.log)
            try:
                self._process.start([*started, *models])
            except OSError as error:
                raise ConfigError(f"{command[0]}: {error.strerror}, expected the program of a Triton") from error

        self._start_process = start_process

    def _launch_on_free_ports(self) -> None:
        self._launch()
        states = management.model_states(self.http_url)
        self.models = tuple(sorted(model for model, state in states.items() if state == "READY"))

    def _probe(self) -> HttpModelProbe:
        probe = super()._probe()
        probe.reloads = self._explicit
        return probe
