"""Waits for what happens in other processes, and looks for what they left."""

from __future__ import annotations

import time
from collections.abc import Callable

from beampipe.triton.server.cleanup import folders_of, processes_of, shared_memory_of
from beampipe.triton.server.server import TritonServer


def wait_until(condition: Callable[[], bool], limit: float = 120.0) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def kinds(server: TritonServer) -> list[str]:
    """Kinds of the incidents of a server, in order, except that it removed what other servers had left."""
    return [incident.kind for incident in server.incidents if incident.kind != "cleaned"]


def assert_nothing_left(prefix: str) -> None:
    assert not processes_of(prefix)
    assert not shared_memory_of(prefix)
    assert not folders_of(prefix)
