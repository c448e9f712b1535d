"""Search for the best configuration of a model by successive halving, measured on a live Triton.

With n configurations, a factor f and a longest measurement of T, there are R = 1 + ceil(log_f n) rounds. In round r
(from 0) the n / f^r best of the previous round are measured for T / f^(R - 1 - r) each: every round takes about n T /
f^(R - 1), all of them R / f^(R - 1) of the time that measuring each for T would take. For f = 3 and 24 configurations
that is 4 / 27. A configuration is dropped if a short measurement ranks it outside the best third. Noise rarely ranks a
poor one that high, and dropping a nearly best one costs little.

Requests come in a closed loop from threads of this process, which use processor time of the same machine: the result is
the best configuration for a server that shares its cores with its clients.

Source: K. Jamieson and A. Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization",
AISTATS 2016, arXiv:1502.07943.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import product
from math import ceil, inf
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy import ndarray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from beampipe.errors import BeampipeError, ConfigError, FileError, ServiceError
from beampipe.settings import build, read_toml
from beampipe.triton.client import ModelClient
from beampipe.triton.model.canary import read_canary
from beampipe.triton.model.contract import THREADS
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.management import load_model, model_config
from beampipe.triton.server.server import TritonServer

Protocol = Literal["grpc", "http", "shm"]
"""Protocol of a client's requests; `beampipe.triton.ModelClient` explains each."""


@dataclass(frozen=True, order=True)
class Configuration:
    """A configuration of a model and its clients.

    Attributes:
        instances: number of instances of the model.
        threads: number of threads of each instance.
        batch: largest number of requests in one call of the model; 0 for one at a time.
        protocol: protocol of the requests.
    """

    instances: int
    threads: int
    batch: int
    protocol: Protocol

    def __str__(self) -> str:
        return f"{self.instances} instance(s), {self.threads} thread(s), batch {self.batch}, {self.protocol}"


@dataclass(frozen=True)
class Choices:
    """The values of each setting; the configurations are all combinations.

    Attributes:
        instances: numbers of instances of the model.
        threads: numbers of threads of each instance.
        batch: largest numbers of requests in one call of the model; 0 for one at a time.
        protocol: names of protocols.
    """

    instances: tuple[int, ...] = (1,)
    threads: tuple[int, ...] = (1,)
    batch: tuple[int, ...] = (0,)
    protocol: tuple[Protocol, ...] = ("grpc", "http")

    def __post_init__(self) -> None:
        for name, least in (("instances", 1), ("threads", 1), ("batch", 0)):
            values = getattr(self, name)
            if not values or min(values) < least:
                raise ConfigError(f"{name}: got {list(values)}, expected one or more numbers from {least} on")
        if not self.protocol:
            raise ConfigError("protocol: got none, expected one or more of grpc, http, shm")

    def all(self) -> list[Configuration]:
        """The configurations, each once, in an order with the fewest reloads of the model."""
        return sorted(
            {Configuration(*values) for values in product(self.instances, self.threads, self.batch, self.protocol)}
        )


def choices_here() -> Choices:
    """Choices for the cores of this process: instances and threads in powers of two, with and without batches."""
    cores = len(os.sched_getaffinity(0))
    doubling = tuple(2**power for power in range(cores.bit_length()) if 2**power <= cores)
    return Choices(instances=(*doubling, 2 * doubling[-1]), threads=doubling, batch=(0, 8))


def read_choices(path: Path) -> Choices:
    """Read choices from a TOML file with the attributes of `Choices` as keys, such as ``instances = [1, 2, 4]``.

    Raises:
        FileError: the file cannot be read, or is no TOML.
        ConfigError: a key is unknown, or a value does not fit.
        UnknownNameError: no such protocol.
    """
    return build(Choices, read_toml(path, "choices of `beampipe fleet tune`"), str(path), path.resolve().parent)


FACTOR: Final = 3
"""Default factor between rounds: this many times fewer configurations, measured this many times longer."""


@dataclass(frozen=True)
class Measurement:
    """Performance of one configuration.

    Attributes:
        throughput: answers per second.
        p95: 95th percentile of the latency [s].
    """

    throughput: float
    p95: float


Measure = Callable[[Configuration, float], Measurement]
"""Measures a configuration for a time [s]; raises `BeampipeError` if it cannot be run."""


@dataclass(frozen=True)
class Trial:
    """One configuration, measured once.

    Attributes:
        configuration: the measured configuration.
        seconds: duration of the measurement [s].
        measurement: its performance; None if it could not be run.
        fault: why it could not be run; else empty.
    """

    configuration: Configuration
    seconds: float
    measurement: Measurement | None
    fault: str = ""

    def rank(self, bound: float) -> tuple[bool, float]:
        """Sort key, larger is better: configurations within the bound by throughput, above all others, by latency.

        Args:
            bound: largest 95th percentile of the latency [s].
        """
        if self.measurement is None:
            return False, -inf
        if self.measurement.p95 <= bound:
            return True, self.measurement.throughput
        return False, -self.measurement.p95


def tune(
    measure: Measure,
    configurations: Sequence[Configuration],
    bound: float,
    *,
    seconds: float = 10.0,
    factor: int = FACTOR,
    progress: Callable[[Trial], None] = lambda trial: None,
) -> list[Trial]:
    """Search for the configuration with the largest throughput within a bound on the latency.

    Args:
        measure: measures a configuration.
        configurations: the candidates.
        bound: largest 95th percentile of the latency [s].
        seconds: length of the longest measurement [s].
        factor: each round measures this many times fewer configurations, this many times longer.
        progress: called with each trial.

    Returns:
        The last trial of each configuration: later rounds first, within a round the best first.

    Raises:
        ConfigError: there are no configurations, or a setting is out of range.
        ServiceError: none of the configurations can be run.
    """
    left = list(configurations)
    result: list[Trial] = []
    for n_measured, length in rounds_of(len(configurations), seconds, factor):
        trials = measure_all(measure, left[:n_measured], bound, seconds=length, progress=progress)
        left = [trial.configuration for trial in trials]
        result = trials + [trial for trial in result if trial.configuration not in left]
    return result


def measure_all(
    measure: Measure,
    configurations: Sequence[Configuration],
    bound: float,
    *,
    seconds: float,
    progress: Callable[[Trial], None] = lambda trial: None,
) -> list[Trial]:
    """Measure every configuration for the same time; the best first. Arguments as for `tune`.

    Raises:
        ConfigError: the bound is out of range.
        ServiceError: none of the configurations can be run.
    """
    if not bound > 0:
        raise ConfigError(f"bound: got p95 <= {bound:g} s, expected more than 0")
    trials = []
    for configuration in sorted(configurations):
        try:
            trial = Trial(configuration, seconds, measure(configuration, seconds))
        except BeampipeError as error:
            trial = Trial(configuration, seconds, None, str(error))
        trials.append(trial)
        progress(trial)
    if all(trial.measurement is None for trial in trials):
        raise ServiceError(f"tune: got no configuration that can be run; the first said: {trials[0].fault}")
    return sorted(trials, key=lambda trial: trial.rank(bound), reverse=True)


def rounds_of(n: int, seconds: float, factor: int) -> list[tuple[int, float]]:
    """Number of configurations and length of each measurement [s], for each round.

    >>> [(n, round(seconds, 2)) for n, seconds in rounds_of(24, 9.0, 3)]
    [(24, 0.33), (8, 1.0), (3, 3.0), (1, 9.0)]

    Args:
        n: number of configurations.
        seconds: length of the longest measurement [s].
        factor: ratio between successive rounds.

    Raises:
        ConfigError: an argument is out of range.
    """
    if n < 1 or factor < 2 or not 0 < seconds < inf:
        raise ConfigError(
            f"tune: got {n} configurations, {seconds:g} s, factor {factor}, expected 1 or more, above 0, 2 or more"
        )
    numbers = [n]
    while numbers[-1] > 1:
        numbers.append(ceil(numbers[-1] / factor))
    return [(number, seconds / factor ** (len(numbers) - 1 - at)) for at, number in enumerate(numbers)]


_WARM_UP: Final = 0.2
"""Share of a measurement at its start that is not recorded."""


class LiveBenchmark:
    """Measures configurations of one model on a Triton of its own, which it starts and stops as a context manager.

    Args:
        settings: settings of the server; it serves this model only, without supervision.
        model: name of the model.
        requests: arrays of requests, by name of the tensor, sent in a cycle; if empty, the model's canary.
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

    def __enter__(self) -> LiveBenchmark:
        with ExitStack() as held:
            held.enter_context(self._server)
            self._config = model_config(self._server.http_url, self._model)
            if "ensemble_scheduling" in self._config:
                raise ConfigError(f"{self._model}: got an ensemble, expected a model with instances, such as its steps")
            self._held = held.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.kill()  # no request is in progress
        self._held.close()

    def __call__(self, configuration: Configuration, seconds: float) -> Measurement:
        """Load the model with a configuration if needed, and measure it for a time [s].

        Raises:
            ServiceError: the model cannot be loaded with it, or a request got no answer.
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
            """Start and end of successive requests until the time is over."""
            result: list[tuple[float, float]] = []
            while (start := time.perf_counter()) < end:
                client.infer(self._requests[(first + len(result)) % len(self._requests)])
                result.append((start, time.perf_counter()))
            return result

        with ThreadPoolExecutor(self._clients) as threads:
            spans = [span for result in threads.map(ask, range(self._clients)) for span in result]
        latency = [stop - start for start, stop in spans if counted <= stop <= end]
        if not latency:
            return Measurement(0.0, float("inf"))
        return Measurement(len(latency) / (end - counted), float(np.percentile(latency, 95)))


def read_request(path: Path) -> dict[str, ndarray]:
    """Read the arrays of a request, by name of the tensor.

    Args:
        path: a safetensors file.

    Raises:
        FileError: it cannot be read, or is no safetensors file.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise FileError(
            f"{path}: got {error}, expected a safetensors file with the tensors of a request", path=path
        ) from None


def configured(config: Mapping[str, Any], configuration: Configuration) -> dict[str, Any]:
    """A model's configuration for Triton, changed to a configuration to be measured.

    Args:
        config: configuration of the loaded model; not modified.
        configuration: configuration to be measured; its protocol concerns the client only.
    """
    batching = configuration.batch > 0
    changed = {key: value for key, value in config.items() if key not in ("dynamic_batching", "max_batch_size")}
    changed["instance_group"] = [
        {**group, "count": configuration.instances} for group in config.get("instance_group", [{"kind": "KIND_CPU"}])
    ]
    changed["max_batch_size"] = configuration.batch
    # Requests of different sizes share a call; without batching Triton refuses a model with this flag.
    changed["input"] = [{**spec, "allow_ragged_batch": batching} for spec in config["input"]]
    changed["parameters"] = {**config.get("parameters", {}), THREADS: {"string_value": str(configuration.threads)}}
    if batching:
        changed["dynamic_batching"] = {}
    return changed


def _canary(folder: Path) -> dict[str, ndarray]:
    for version in sorted(folder.glob("[0-9]*")):
        if (result := read_canary(version)) is not None:
            return result[0]
    raise FileError(f"{folder}: got a model without a canary, expected requests to be given", path=folder)
