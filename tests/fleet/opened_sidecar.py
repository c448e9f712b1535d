"""A sidecar as users start it, in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from beampipe.triton.server.launch import free_port
from tests.fleet.conftest import until

__all__ = ["listens", "sidecar"]


@contextmanager
def sidecar(port: int, *options: str | Path) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A sidecar to a port of this machine: its own port, and its process."""
    here = free_port()
    command = [
        sys.executable,
        "-m",
        "beampipe",
        "fleet",
        "sidecar",
        "--url",
        f"grpcs://localhost:{port}",
        "--port",
        str(here),
    ]
    with subprocess.Popen(
        [*command, *map(str, options)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            until(lambda: listens(here) or process.poll() is not None)
            yield here, process
        finally:
            process.kill()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
