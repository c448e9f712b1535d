"""Triton's own HTTP interface for readiness and for loading and unloading models: no client library needed."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote

from beampipe.errors import BeampipeError, ConfigError

__all__ = [
    "ask",
    "connected",
    "has_metrics",
    "instance_count",
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


def ask(url: str, method: str, path: str, body: Any = None, timeout: float = _TIMEOUT) -> tuple[int, bytes]:
    """One request to a server.

    Args:
        url: ``host:port``, with or without ``http://``.
        method: of HTTP.
        path: of HTTP.
        body: what is sent as JSON.
        timeout: for each step of the connection [s].

    Returns:
        Status and body of the answer.

    Raises:
        OSError: nobody answers.
        ConfigError: `url` is none.
    """
    address = url.removeprefix("http://").rstrip("/")
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdigit()):
        raise ConfigError(f"url: got {url!r}, expected host:port such as 127.0.0.1:8000")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=timeout)
    try:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, body=content, headers={"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read()
    except http.client.HTTPException as error:
        raise ConnectionError(f"{address}: {error!r}") from error
    finally:
        connection.close()


def is_ready(url: str, timeout: float = 1.0) -> bool:
    """Whether the server answers and all its models are loaded; one whose stub has died still counts as loaded."""
    try:
        return ask(url, "GET", "/v2/health/ready", timeout=timeout)[0] == 200
    except OSError:
        return False


def has_metrics(url: str, timeout: float = 1.0) -> bool:
    """Whether a Triton's metrics are at that address."""
    try:
        status, body = ask(url, "GET", "/metrics", timeout=timeout)
    except OSError:
        return False
    return status == 200 and b"nv_" in body


def is_live(url: str, timeout: float = 5.0) -> bool:
    """Whether the server answers at all."""
    try:
        return ask(url, "GET", "/v2/health/live", timeout=timeout)[0] == 200
    except OSError:
        return False


def model_states(url: str, timeout: float = _TIMEOUT) -> dict[str, str]:
    """State of each model that is or was loaded: ``READY``, ``LOADING``, ``UNLOADING``, ``UNAVAILABLE``."""
    rows = json.loads(_checked(url, "POST", "/v2/repository/index", {}, timeout))
    states: dict[str, str] = {}
    for row in rows:
        if row.get("state") and states.get(row["name"]) != "READY":  # of several versions one will do
            states[row["name"]] = row["state"]
    return states


def model_config(url: str, model: str) -> dict[str, Any]:
    """The configuration of a loaded model, as Triton has completed it."""
    config: dict[str, Any] = json.loads(_checked(url, "GET", f"/v2/models/{quote(model)}/config"))
    return config


def instance_count(config: Mapping[str, Any]) -> int:
    """Instances of a model on its devices; an ensemble has none of its own."""
    groups = config.get("instance_group", ())
    return sum(int(group.get("count", 1)) * max(1, len(group.get("gpus", ()))) for group in groups)


def load_model(url: str, model: str, config: Mapping[str, Any] | None = None, timeout: float = 600.0) -> None:
    """Load a model of the repository, or load it again if its files have changed.

    Args:
        url: of the server.
        model: its name.
        config: instead of the configuration in the repository.
        timeout: how long it may take [s].

    Raises:
        BeampipeError: the server cannot load it; the message has its reason.
    """
    body = {} if config is None else {"parameters": {"config": json.dumps(config)}}
    _checked(url, "POST", f"/v2/repository/models/{quote(model)}/load", body, timeout)


def reload_model(url: str, model: str, timeout: float = 600.0) -> None:
    """Put fresh instances in the place of a loaded model's; requests meanwhile go to the old ones, none is refused.

    Triton does not load unchanged files again, so the configuration is handed over with a counter in it.

    Raises:
        BeampipeError: the server cannot load it; the old instances stay.
    """
    config = model_config(url, model)
    parameters = config.setdefault("parameters", {})
    count = int(parameters.get(_RELOADS, {}).get("string_value", 0)) + 1
    parameters[_RELOADS] = {"string_value": str(count)}
    load_model(url, model, config, timeout)


def unload_model(url: str, model: str, timeout: float = 60.0) -> None:
    """Take a model out of service; what it is working on is finished.

    Raises:
        BeampipeError: the server refuses.
    """
    _checked(url, "POST", f"/v2/repository/models/{quote(model)}/unload", {}, timeout)


@contextmanager
def connected(url: str, timeout: float = _TIMEOUT) -> Iterator[Callable[[], None]]:
    """A connection that is kept open, and a function that unloads all models over it.

    A server that is told to end takes no new connections, and then waits for idle ones of others before it lets go of
    its models: those need not wait.

    Raises:
        OSError: nobody answers, here or in the function.
    """
    connection = http.client.HTTPConnection(url, timeout=timeout)

    def unload_all() -> None:
        for row in rows:
            if row.get("state") == "READY":
                _exchange(connection, f"/v2/repository/models/{quote(row['name'])}/unload")

    try:
        # A connection that was opened but not used yet may not have been accepted, and then never is.
        rows = json.loads(_exchange(connection, "/v2/repository/index"))
        yield unload_all
    except (http.client.HTTPException, ValueError) as error:
        raise ConnectionError(f"{url}: {error!r}") from error
    finally:
        connection.close()


def _exchange(connection: http.client.HTTPConnection, path: str) -> bytes:
    connection.request("POST", path, body="{}", headers={"Content-Type": "application/json"})
    return connection.getresponse().read()


def _checked(url: str, method: str, path: str, body: Any = None, timeout: float = _TIMEOUT) -> bytes:
    try:
        status, answer = ask(url, method, path, body, timeout)
    except OSError as error:
        raise BeampipeError(f"{url}: got no answer ({error}), expected a Triton there; is it running?") from error
    if status != 200:
        try:
            reason = json.loads(answer)["error"]
        except (ValueError, KeyError, TypeError):
            reason = answer.decode(errors="replace") or f"status {status}"
        raise BeampipeError(f"{url}: {method} {path} was refused: {reason}")
    return answer
