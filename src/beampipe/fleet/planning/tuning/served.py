"""Configurations measured on a Triton of our own: one server, whose model is loaded anew for each of them.

Requests come in a closed loop from threads of this process, which take processor time of their own: what is found is
the best for clients on the same machine.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from beampipe.errors import ConfigError, FileError
from beampipe.fleet.planning.tuning.choices import Configuration
from beampipe.fleet.planning.tuning.halving import Measurement
from beampipe.triton.client import ModelClient
from beampipe.triton.model.canary import read_canary
from beampipe.triton.model.contract import THREADS
from beampipe.triton.server.control import load_model, model_config
from beampipe.triton.server.server import ServerSettings, TritonServer

__all__ = ["ServedBench", "configured", "read_request"]

_WARM_UP: Final = 0.2
"""Share of a measurement whose answers do not count."""


class ServedBench:
    """Measures configurations of one model; a context manager that owns its server.

    Args:
        settings: what the server is to be; it gets the model alone, and no supervision.
        model: name of the model.
        requests: arrays of requests, by name of the tensor, sent in a cycle; the model's canary if there are none.
        clients: number of requests in flight.

    Raises:
        FileError: no requests are given, and the model has no canary.
    """

    def __init__(
        self, settings: ServerSettings, model: str, requests: Sequence[Mapping[str, ndarray]] = (), clients: int = 8
    ) -> None:
        if clients < 1:
            raise ConfigError(f"clients: got {clients}, expected 1 or more")
        self._server = TritonServer(replace(settings, models=(model,), supervise=False))
        self._model, self._clients = model, clients
        self._requests = list(requests) or [_canary(settings.repository / model)]
        self._config: dict[str, Any] = {}
        self._loaded: Configuration | None = None
        self._held = ExitStack()

    @property
    def http_url(self) -> str:
        """Address of its server for HTTP, ``host:port``."""
        return self._server.http_url

    def __enter__(self) -> ServedBench:
        with ExitStack() as held:
            held.enter_context(self._server)
            self._config = model_config(self._server.http_url, self._model)
            if "ensemble_scheduling" in self._config:
                raise ConfigError(f"{self._model}: got an ensemble, expected a model with instances, such as its steps")
            self._held = held.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.kill()  # nobody waits for an answer any more
        self._held.close()

    def __call__(self, configuration: Configuration, seconds: float) -> Measurement:
        """Run the model so, and measure it for a time [s], loading not counted.

        Raises:
            ServiceError: the model cannot be loaded so, or a request got no answer.
        """
        loaded = replace(configuration, protocol="grpc")
        if self._loaded != loaded:
            self._loaded = None
            load_model(self._server.http_url, self._model, configured(self._config, configuration))
            self._loaded = loaded
        http = configuration.protocol == "http"
        url = f"http://{self._server.http_url}" if http else f"grpc://{self._server.grpc_url}"
        with ModelClient(url, self._model, protocol=configuration.protocol) as client:
            client.infer(self._requests[0])  # reads the configuration
            return self._measured(client, seconds)

    def _measured(self, client: ModelClient, seconds: float) -> Measurement:
        begin = time.perf_counter()
        counted, end = begin + _WARM_UP * seconds, begin + seconds

        def ask(first: int) -> list[tuple[float, float]]:
            """Start and end of requests, one after the other, until the time is over."""
            found: list[tuple[float, float]] = []
            while (start := time.perf_counter()) < end:
                client.infer(self._requests[(first + len(found)) % len(self._requests)])
                found.append((start, time.perf_counter()))
            return found

        with ThreadPoolExecutor(self._clients) as threads:
            spans = [span for found in threads.map(ask, range(self._clients)) for span in found]
        latency = [stop - start for start, stop in spans if counted <= stop <= end]
        if not latency:
            return Measurement(0.0, float("inf"))
        return Measurement(len(latency) / (end - counted), float(np.percentile(latency, 95)))


def read_request(path: Path) -> dict[str, ndarray]:
    """The arrays of a request, by name of the tensor.

    Args:
        path: a safetensors file.

    Raises:
        FileError: it cannot be read, or holds something else.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise FileError(
            f"{path}: got {error}, expected a safetensors file with the tensors of a request", path=path
        ) from None


def configured(config: Mapping[str, Any], configuration: Configuration) -> dict[str, Any]:
    """A model's configuration as Triton takes it, changed to what is to be measured.

    Args:
        config: configuration of the loaded model; it stays as it is.
        configuration: what is to be measured; its protocol is the client's business.
    """
    batching = configuration.batch > 0
    changed = {key: value for key, value in config.items() if key not in ("dynamic_batching", "max_batch_size")}
    changed["instance_group"] = [
        {**group, "count": configuration.instances} for group in config.get("instance_group", [{"kind": "KIND_CPU"}])
    ]
    changed["max_batch_size"] = configuration.batch
    # Requests of any size share a call; without batches Triton refuses a model that says so.
    changed["input"] = [{**spec, "allow_ragged_batch": batching} for spec in config["input"]]
    changed["parameters"] = {**config.get("parameters", {}), THREADS: {"string_value": str(configuration.threads)}}
    if batching:
        changed["dynamic_batching"] = {}
    return changed


def _canary(folder: Path) -> dict[str, ndarray]:
    for version in sorted(folder.glob("[0-9]*")):
        if (found := read_canary(version)) is not None:
            return found[0]
    raise FileError(f"{folder}: got a model without a canary, expected requests to be given", path=folder)
