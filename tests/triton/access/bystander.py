"""A client that goes on asking while others attack, and holds its server to the right answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from beampipe.triton.server.server import TritonServer
from tests.triton.access.attacks import INFER, asked, post, raw_answer, status_of

__all__ = ["Watched", "request_without_secret", "unharmed"]


class Watched(NamedTuple):
    """What the bystander has seen: one entry per question, True for the right answer."""

    right: list[bool]


def request_without_secret(port: int, *values: float) -> bool:
    """Whether the public port gives doubled values."""
    tensor = {"name": "X", "datatype": "FP32", "shape": [len(values)], "data": list(values)}
    answer = raw_answer(port, post(asked(inputs=[tensor]), INFER))
    doubled = ",".join(f"{2 * value}" for value in values)
    return status_of(answer) == 200 and f'"data":[{doubled}]'.encode() in answer


@contextmanager
def unharmed(server: TritonServer) -> Iterator[Watched]:
    """A block after which the server is the same process, and has answered another client rightly all the time."""
    before, incidents = server.pid, len(server.incidents)
    ended = threading.Event()
    watched = Watched([])

    def go_on() -> None:
        while True:
            number = len(watched.right)
            watched.right.append(request_without_secret(server.ports.http, 0.0, number + 0.5))
            if ended.wait(0.02):
                return

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield watched
    finally:
        ended.set()
        thread.join()
    assert watched.right
    assert all(watched.right)
    assert server.pid == before
    assert request_without_secret(server.ports.http, 0.0, 1.5)
    assert not server.incidents[incidents:]
