"""Triton's HTTP API for readiness, loads and unloads; model states and the canary through the server's own port.

No client library is needed. A server of this machine and user is reached behind its reverse proxy and with its secret,
which are found by its port (`beampipe.triton.connection_file`).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np
from numpy import ndarray

from beampipe.errors import ConfigError, ServiceError, ServiceUnavailableError, UnknownNameError
from beampipe.triton.client.codec import ConfigRequest, HttpCall, HttpReply, InferRequest, Tensor, reason_of
from beampipe.triton.client.endpoint import Security, parse_endpoint
from beampipe.triton.client.transports import HttpTransport
from beampipe.triton.model.canary import compare_answers, read_canary, read_request
from beampipe.triton.model.contract import PYTHON_BACKEND, TensorSpec, instance_count, triton_type
from beampipe.triton.server.launch import CheckSettings, ServerSettings
from beampipe.triton.supervision.interfaces import Load, Placement

_TIMEOUT: Final = 10.0  # s

_RELOADS: Final = "BEAMPIPE_RELOADS"

_JSON: Final = {"Content-Type": "application/json"}


def request(url: str, method: str, path: str, body: Any = None, timeout: float = _TIMEOUT) -> tuple[int, bytes]:
    """Send one request, over a new connection: a server that is about to end waits for open ones.

    Args:
        url: ``host:port`` of the server, with or without ``http://``.
        method: method of HTTP.
        path: path from the root of the server on.
        body: sent as JSON, None for no body.
        timeout: longest wait [s].

    Returns:
        Status and body of the answer.

    Raises:
        ServiceUnavailableError: no server answers.
        DeadlineError: no answer in time.
        ConfigError: `url` is not valid.
    """
    with closing(_transport(url)) as transport:
        reply = transport.exchange(_call(method, path, body), timeout)
    return reply.status, reply.data


def is_ready(url: str, timeout: float = 1.0) -> bool:
    """Whether the server answers and all its models are loaded; one whose stub has died still counts as loaded."""
    return _get(url, "/v2/health/ready", timeout) is not None


def has_metrics(url: str, timeout: float = 1.0) -> bool:
    """Whether a Triton's metrics are at that address."""
    return b"nv_" in (_get(url, "/metrics", timeout) or b"")


def model_states(url: str, timeout: float = _TIMEOUT) -> dict[str, str]:
    """State of each model that is or was loaded: ``READY``, ``LOADING``, ``UNLOADING``, ``UNAVAILABLE``."""
    rows = json.loads(_checked(url, "/v2/repository/index", {}, timeout))
    states: dict[str, str] = {}
    for row in rows:
        if row.get("state") and states.get(row["name"]) != "READY":  # READY if any version is
            states[row["name"]] = row["state"]
    return states


def model_config(url: str, model: str, timeout: float = _TIMEOUT) -> dict[str, Any]:
    """The configuration of a loaded model, as Triton has completed it."""
    with closing(_transport(url)) as transport:
        return transport.send(ConfigRequest(model), timeout)


def load_model(url: str, model: str, config: Mapping[str, Any] | None = None, timeout: float = 600.0) -> None:
    """Load a model of the repository, or load it again if its files have changed.

    Args:
        url: ``host:port`` of the server's HTTP endpoint.
        model: name of the model.
        config: configuration to use instead of the one in the repository, None for that one.
        timeout: longest time that loading may take [s].

    Raises:
        ServiceError: the server cannot load it; the message has its reason.
    """
    body = {} if config is None else {"parameters": {"config": json.dumps(config)}}
    _checked(url, f"/v2/repository/models/{quote(model)}/load", body, timeout)


def reload_model(url: str, model: str, timeout: float = 600.0) -> None:
    """Replace the instances of a loaded model; requests meanwhile go to the old ones, none is refused.

    Triton does not load unchanged files again, so the configuration is sent with a counter in it.

    Raises:
        ServiceError: the server cannot load it; the old instances stay.
    """
    config = model_config(url, model)
    parameters = config.setdefault("parameters", {})
    count = int(parameters.get(_RELOADS, {}).get("string_value", 0)) + 1
    parameters[_RELOADS] = {"string_value": str(count)}
    load_model(url, model, config, timeout)


def unload_model(url: str, model: str, timeout: float = 60.0) -> None:
    """Take a model out of service; what it is working on is finished.

    Raises:
        UnknownNameError: no model of that name is or was loaded; Triton itself would not report that.
        ServiceError: the server refuses.
    """
    if model not in (states := model_states(url, timeout)):
        raise UnknownNameError(f"loaded model of {url}", model, states)
    _checked(url, f"/v2/repository/models/{quote(model)}/unload", {}, timeout)


@contextmanager
def connected(url: str, timeout: float = _TIMEOUT) -> Iterator[Callable[[], None]]:
    """A connection that is kept open, and a function that unloads all models over it.

    A server that is about to end accepts no new connections, and then waits for idle ones of other clients before it
    unloads its models: this unloads them at once.

    Raises:
        ServiceUnavailableError: no server answers, here or in the function, or no Triton.
        DeadlineError: no answer in time.
    """
    with closing(_transport(url)) as transport:
        # A connection that was opened but not used yet may not have been accepted, and then never is.
        index = transport.exchange(_call("POST", "/v2/repository/index", {}), timeout)

        def unload_all() -> None:
            for row in rows:
                if row.get("state") == "READY":
                    unload = _call("POST", f"/v2/repository/models/{quote(row['name'])}/unload", {})
                    transport.exchange(unload, timeout)

        try:
            rows = json.loads(index.data)
        except ValueError:
            message = f"{url}: got {index.data[:40]!r}, expected a list of models"
            raise ServiceUnavailableError(message, url=url) from None
        yield unload_all


def _transport(url: str) -> HttpTransport:
    return HttpTransport(parse_endpoint(url.rstrip("/"), "http"), Security())


def _call(method: str, path: str, body: Any) -> HttpCall:
    return HttpCall(method, path, () if body is None else (json.dumps(body).encode(),), _JSON)


def _get(url: str, path: str, timeout: float) -> bytes | None:
    """Body of an answer with status 200, None for any other or none."""
    try:
        status, data = request(url, "GET", path, timeout=timeout)
    except OSError:
        return None
    return data if status == 200 else None


def _checked(url: str, path: str, body: Any, timeout: float) -> bytes:
    """The answer to a POST; an error if the server refuses it."""
    status, data = request(url, "POST", path, body, timeout)
    if status != 200:
        raise ServiceError(f"{url}: POST {path} was refused: {reason_of(HttpReply(status, data))}", url=url)
    return data


def check_canary(url: str, version: Path, name: str, *, batched: bool = False, timeout: float = 60.0) -> bool:
    """Compare a running server's answer over HTTP with the one that was stored at the export, byte for byte.

    `beampipe.triton.model.canary` checks the model alone. This check includes the exchange of arrays with Triton, which
    can lose data without an error.

    Args:
        url: address of the server for HTTP, ``host:port``.
        version: folder of the model's version, with the canary; without one nothing is sent.
        name: name of the model.
        batched: whether the model's tensors have one more axis in front.
        timeout: longest wait for the answer [s].

    Returns:
        Whether there was a canary.

    Raises:
        ConfigError: the answer is an error, or differs.
    """
    if (stored := read_canary(version)) is None:
        return False
    check_answer(url, name, stored, batched=batched, timeout=timeout)
    return True


def check_answer(
    url: str,
    name: str,
    stored: tuple[Mapping[str, ndarray], Mapping[str, ndarray]],
    *,
    batched: bool,
    timeout: float,
    tolerance: float = 0.0,
) -> None:
    """Compare a running server's answer over HTTP with the right one; arguments as for `check_canary`.

    Args:
        stored: request and right answer.
        tolerance: largest difference of a value, absolute or relative; 0 for none in any byte.
    """
    arrays, expected = stored
    sent = tuple(Tensor(_spec(key, array), array[None] if batched else array) for key, array in arrays.items())
    request = InferRequest(name, sent, tuple(_spec(key, array) for key, array in expected.items()))
    with closing(HttpTransport(parse_endpoint(url, "http"), Security())) as transport:
        reply = transport.exchange(request.to_http(), timeout)
    if reply.status != 200:
        raise ConfigError(f"{name}: the canary got status {reply.status}, expected 200: {reply.data[:300]!r}")
    outputs = request.from_http(reply, url)
    answer = {
        key: np.frombuffer(outputs[key].data or b"", array.dtype) for key, array in expected.items() if key in outputs
    }
    compare_answers(name, answer, expected, tolerance)


def _spec(name: str, array: ndarray) -> TensorSpec:
    return TensorSpec(name, triton_type(array.dtype), array.dtype.type, array.shape)


_SHORT: Final = 1.0
"""Timeout [s] of requests that take no work."""

_CANARY: Final = 30.0
"""Timeout of a canary, in units of the supervisor's patience; a model that hangs is killed before."""

_LINE: Final = re.compile(
    r'^nv_inference_(request_success|pending_request_count)\{[^}]*model="([^"]*)"[^}]*\} (\S+)', re.M
)
"""The two numbers of a model that the supervisor needs, in Triton's metrics; parsing all of them takes longer."""


class HttpModelProbe:
    """The models of a running server, requested through its own ports with a timeout of a second.

    Only canaries may take longer: the supervisor requests them in threads of their own.

    Args:
        settings: settings of the server.
        http_url: address of the server for HTTP, ``host:port``.
        metrics_url: address of the server's metrics, ``host:port``.

    Attributes:
        reloads: whether the server lets models be loaded one by one.
    """

    reloads: bool = True

    def __init__(self, settings: ServerSettings, http_url: str, metrics_url: str) -> None:
        self._settings = settings
        self._http_url = http_url
        self._metrics_url = metrics_url

    def states(self) -> dict[str, str]:
        """State of each model that is or was loaded, as Triton names it."""
        return model_states(self._http_url, timeout=_SHORT)

    def placement(self, model: str) -> Placement:
        """Where a loaded model runs: only Triton's Python backend has processes of its own."""
        config = model_config(self._http_url, model, timeout=_SHORT)
        steps = config.get("ensemble_scheduling", {}).get("step", ())
        stubs = instance_count(config) if config.get("backend") == PYTHON_BACKEND else 0
        return Placement(stubs, tuple(step["model_name"] for step in steps))

    def loads(self) -> dict[str, Load]:
        """Answered and waiting requests of each loaded model."""
        status, body = request(self._metrics_url, "GET", "/metrics", timeout=_SHORT)
        if status != 200:
            raise ServiceError(f"{self._metrics_url}: got status {status} for /metrics", url=self._metrics_url)
        sums: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
        for name, model, value in _LINE.findall(body.decode(errors="replace")):
            sums[model][name] += float(value)
        return {model: Load(load["request_success"], load["pending_request_count"]) for model, load in sums.items()}

    def probe_canary(self, model: str) -> bool:
        """Send a model its canary and wait for the answer; False if it has none.

        Raises:
            ConfigError: the answer is an error or differs, and the settings request the comparison.
        """
        versions = sorted((self._settings.repository / model).glob("[0-9]*"))
        batched = model_config(self._http_url, model).get("max_batch_size", 0) > 0
        timeout = self._canary_timeout()
        try:
            checked = [check_canary(self._http_url, path, model, batched=batched, timeout=timeout) for path in versions]
        except ConfigError:
            if self._settings.canary:
                raise
            return True
        return any(checked)

    def probe_check(self, model: str) -> bool:
        """Check a model as its owner and its canary say, and return whether there was an answer to judge.

        Raises:
            ConfigError: the answer is wrong, or the program of the check says so.
        """
        check = self._settings.checks.get(model)
        timeout = self._canary_timeout()
        if check is not None and check.program:
            self._run(model, check)
        with suppress(ServiceError):  # a busy server is not a wrong one
            judged = self._settings.canary and self.probe_canary(model)
            if check is None or check.request is None:
                return judged or (check is not None and bool(check.program))
            batched = model_config(self._http_url, model).get("max_batch_size", 0) > 0
            how: dict[str, Any] = {"batched": batched, "timeout": timeout, "tolerance": check.tolerance}
            check_answer(self._http_url, model, read_request(check.request), **how)
            return True
        return False

    def _run(self, model: str, check: CheckSettings) -> None:
        where = {"BEAMPIPE_URL": f"http://{self._http_url}", "BEAMPIPE_MODEL": model}
        try:
            done = subprocess.run(
                check.program,
                env={**os.environ, **where},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=check.timeout,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigError(f"{model}: its check: {error}") from None
        if done.returncode != 0:
            said = done.stdout.decode(errors="replace").strip().rpartition("\n")[2]
            raise ConfigError(f"{model}: its check {check.program[0]} ended with code {done.returncode}: {said[:300]}")

    def _canary_timeout(self) -> float:
        return _CANARY * self._settings.patience

    def load(self, model: str) -> None:
        """Load a model."""
        load_model(self._http_url, model, timeout=self._settings.start_timeout)

    def reload(self, model: str) -> None:
        """Replace the instances of a model."""
        reload_model(self._http_url, model, timeout=self._settings.start_timeout)
