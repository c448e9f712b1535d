"""Triton's own HTTP interface for readiness and for loading and unloading models: no client library needed.

A server of this machine and user is asked behind its shield and with its secret (`beampipe.triton.door`), which are
found by its port.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, Final
from urllib.parse import quote

from beampipe.errors import ServiceError, ServiceUnavailableError, UnknownNameError
from beampipe.triton.client.codec import ConfigRequest, HttpCall, HttpReply, reason_of
from beampipe.triton.client.endpoint import Security, parse_endpoint
from beampipe.triton.client.http_transport import HttpTransport

__all__ = [
    "ask",
    "connected",
    "has_metrics",
    "is_live",
    "is_ready",
    "load_model",
    "model_config",
    "model_states",
    "reload_model",
    "unload_model",
]

_TIMEOUT: Final = 10.0  # s
_RELOADS: Final = "BEAMPIPE_RELOADS"
_JSON: Final = {"Content-Type": "application/json"}


def ask(url: str, method: str, path: str, body: Any = None, timeout: float = _TIMEOUT) -> tuple[int, bytes]:
    """One request to a server, over a connection of its own: a server that is to end waits for those that stay open.

    Args:
        url: ``host:port`` of the server, with or without ``http://``.
        method: method of HTTP.
        path: path from the root of the server on.
        body: what is sent as JSON, None for nothing.
        timeout: longest wait [s].

    Returns:
        Status and body of the answer.

    Raises:
        ServiceUnavailableError: nobody answers.
        DeadlineError: no answer in time.
        ConfigError: `url` is none.
    """
    with closing(_transport(url)) as transport:
        reply = transport.exchange(_call(method, path, body), timeout)
    return reply.status, reply.data


def is_ready(url: str, timeout: float = 1.0) -> bool:
    """Whether the server answers and all its models are loaded; one whose stub has died still counts as loaded."""
    return _found(url, "/v2/health/ready", timeout) is not None


def has_metrics(url: str, timeout: float = 1.0) -> bool:
    """Whether a Triton's metrics are at that address."""
    return b"nv_" in (_found(url, "/metrics", timeout) or b"")


def is_live(url: str, timeout: float = 5.0) -> bool:
    """Whether the server answers at all."""
    return _found(url, "/v2/health/live", timeout) is not None


def model_states(url: str, timeout: float = _TIMEOUT) -> dict[str, str]:
    """State of each model that is or was loaded: ``READY``, ``LOADING``, ``UNLOADING``, ``UNAVAILABLE``."""
    rows = json.loads(_checked(url, "/v2/repository/index", {}, timeout))
    states: dict[str, str] = {}
    for row in rows:
        if row.get("state") and states.get(row["name"]) != "READY":  # of several versions one will do
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
    """Put fresh instances in the place of a loaded model's; requests meanwhile go to the old ones, none is refused.

    Triton does not load unchanged files again, so the configuration is handed over with a counter in it.

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
        UnknownNameError: no model of that name is or was loaded; Triton itself would say nothing.
        ServiceError: the server refuses.
    """
    if model not in (states := model_states(url, timeout)):
        raise UnknownNameError(f"loaded model of {url}", model, states)
    _checked(url, f"/v2/repository/models/{quote(model)}/unload", {}, timeout)


@contextmanager
def connected(url: str, timeout: float = _TIMEOUT) -> Iterator[Callable[[], None]]:
    """A connection that is kept open, and a function that unloads all models over it.

    A server that is told to end takes no new connections, and then waits for idle ones of others before it lets go of
    its models: those need not wait.

    Raises:
        ServiceUnavailableError: nobody answers, here or in the function, or not as a Triton does.
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


def _found(url: str, path: str, timeout: float) -> bytes | None:
    """What is at a path, None if nothing is or nobody answers."""
    try:
        status, data = ask(url, "GET", path, timeout=timeout)
    except OSError:
        return None
    return data if status == 200 else None


def _checked(url: str, path: str, body: Any, timeout: float) -> bytes:
    """The answer to a POST that the server must not refuse."""
    status, data = ask(url, "POST", path, body, timeout)
    if status != 200:
        raise ServiceError(f"{url}: POST {path} was refused: {reason_of(HttpReply(status, data))}", url=url)
    return data
