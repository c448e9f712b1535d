"""Any Triton under supervision: a ``tritonserver`` command of the user, with any repository and any models.

The command is run as it is, with two arguments more: a prefix for the shared memory of Python models, by which their
processes are recognised and cleaned up, and a trace file, from which canaries are learnt.

A canary is a request that is repeated every second; a model that leaves it without an answer hangs. It is read from
``FOLDER/MODEL/canary.safetensors`` (see `beampipe.triton.model.canary`), or else learnt: Triton writes the tensors of
the first request of each model into a trace file. A learnt canary has no expected outputs: any answer is one.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np
from numpy import ndarray

from beampipe.errors import BeampipeError, ConfigError
from beampipe.processes import ManagedProcess
from beampipe.triton.client.endpoint import LOOPBACK
from beampipe.triton.client.signature import NUMPY_TYPES
from beampipe.triton.model.canary import CANARY, write_canary
from beampipe.triton.server import management
from beampipe.triton.server.launch import Ports, ServerSettings
from beampipe.triton.server.management import HttpModelProbe
from beampipe.triton.server.server import TritonServer

_WILDCARDS: Final = ("0.0.0.0", "::")
_LARGEST: Final = 16 << 20
"""Largest trace [bytes] that is read: tensors are written as text."""
_INPUT: Final = "TENSOR_QUEUE_INPUT"
_OUTPUT: Final = "TENSOR_BACKEND_OUTPUT"
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
        canary=False,  # a wrong answer is an incident, not a reason to refuse to start
    )


_PORTS: Final = {"http": "8000", "grpc": "8001", "metrics": "8002"}
"""Triton's ports by default."""


class CommandServer(TritonServer):
    """A Triton that is started by a command of the user.

    Args:
        command: program and arguments.
        settings: from `command_settings`.
        canaries: folder of the canaries, into which learnt ones are written; None for a temporary one.
        learn: whether models without canary get one from their first request.
        on_incident: see `TritonServer`.
    """

    def __init__(
        self,
        command: Sequence[str],
        settings: ServerSettings,
        canaries: Path | None = None,
        *,
        learn: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(settings, **options)
        self._command = tuple(command)
        self._canaries = canaries
        self._explicit = option(command, "model-control-mode", "none") == "explicit"
        self._learn = learn and not option(command, "trace-config", "")

    def _prepare(self, folder: Path) -> None:
        command = list(self._command)
        if not any(_PREFIX in word for word in command):
            command.append(f"--backend-config=python,{_PREFIX}={self.prefix}")
        if self._learn:
            command += [f"--trace-config=triton,file={folder / 'trace'}", "--trace-config=level=OFF"]

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
        assert self._folder is not None
        trace = self._folder / "trace" if self._learn else None
        return LearningProbe(
            self.settings,
            self.http_url,
            self.metrics_url,
            self._canaries or self._folder / "canaries",
            trace,
            reloads=self._explicit,
        )


class LearningProbe(HttpModelProbe):
    """The models of a server with any repository.

    Args:
        settings: settings of the server.
        http_url: address of the server for HTTP, ``host:port``.
        metrics_url: address of the server's metrics, ``host:port``.
        canaries: folder of the canaries.
        trace: the server's trace file; None if no canary is learnt.
        reloads: whether the server lets models be loaded one by one.
    """

    def __init__(
        self,
        settings: ServerSettings,
        http_url: str,
        metrics_url: str,
        canaries: Path,
        trace: Path | None,
        *,
        reloads: bool,
    ) -> None:
        super().__init__(settings, http_url, metrics_url)
        self._canaries, self._trace, self.reloads = canaries, trace, reloads
        self._lock = threading.Lock()

    def probe_canary(self, model: str) -> bool:
        """Send a model its canary and wait for the answer; without one, learn it, and return False.

        Raises:
            ConfigError: the answer is an error, or differs from the one in the file.
        """
        folder = self._canaries / model
        if not (folder / CANARY).exists():
            if self._trace is not None:
                with self._lock:
                    self._learn(model, self._trace)
            return False
        timeout = self._canary_timeout()
        return management.check_canary(self._http_url, folder, model, timeout=timeout)

    def _learn(self, model: str, trace: Path) -> None:
        """Write the canaries of all models in the trace; without one of this model, let Triton trace its next request.

        A request of a sequence, or to a model with any number of answers, cannot be repeated.
        """
        for traced, inputs in _first_requests(trace).items():
            folder = self._canaries / traced
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / CANARY).exists():
                write_canary(folder, inputs, {})
            self._set_trace(traced, {"trace_level": ["OFF"]})
        if (self._canaries / model / CANARY).exists():
            return
        config = management.model_config(self._http_url, model)
        if "sequence_batching" in config or config.get("model_transaction_policy", {}).get("decoupled"):
            return
        path = f"/v2/models/{quote(model)}/trace/setting"
        status, body = management.request(self._http_url, "GET", path)
        setting = json.loads(body) if status == 200 else {}
        if "TENSORS" not in setting.get("trace_level", ()) or setting.get("trace_count") == "0":
            self._set_trace(model, {"trace_level": ["TIMESTAMPS", "TENSORS"], "trace_rate": "1", "trace_count": "1"})

    def _set_trace(self, model: str, setting: dict[str, Any]) -> None:
        management.request(self._http_url, "POST", f"/v2/models/{quote(model)}/trace/setting", setting)


def _first_requests(trace: Path) -> dict[str, dict[str, ndarray]]:
    """Inputs of traced requests that were answered, by model; those with text or too many values are left out."""
    requests: dict[str, dict[str, ndarray]] = {}
    for path in trace.parent.glob(f"{trace.name}*"):
        with suppress(OSError, ValueError, BeampipeError):
            if path.stat().st_size > _LARGEST:
                continue
            models: dict[int, str] = {}
            inputs: defaultdict[int, dict[str, ndarray]] = defaultdict(dict)
            answered = set()
            for entry in json.loads(path.read_text(encoding="utf-8")):
                if "model_name" in entry:
                    models[entry["id"]] = entry["model_name"]
                if entry.get("activity") == _OUTPUT:
                    answered.add(entry["id"])
                if entry.get("activity") == _INPUT:
                    tensor = entry["tensor"]
                    values = np.array(tensor["data"].split(","), NUMPY_TYPES[tensor["dtype"]])
                    shape = [int(size) for size in tensor["shape"].split(",")]
                    inputs[entry["id"]][tensor["name"]] = values.reshape(shape)
            requests |= {models[request]: inputs[request] for request in answered & inputs.keys() & models.keys()}
            path.unlink()
    return requests
