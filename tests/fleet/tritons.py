"""Real Tritons, started by the script of our containers."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from beampipe.fleet import Fleet
from beampipe.fleet.deploy.containers import GRPC, HTTP, METRICS, server_script
from beampipe.triton.engine import Engine, prepare_backends, this_interpreter
from beampipe.triton.server import management
from beampipe.triton.server.launch import Ports, ServerSettings, free_ports, server_environment
from tests.triton.waiting import wait_until

__all__ = ["Contained", "contained"]


@dataclass(frozen=True)
class Contained:
    """A Triton as in a container.

    Attributes:
        ports: where it listens; in a container these numbers are always the same.
        process: the shell, leader of a group of its own.
        folder: what ``/tmp`` is in the container.
    """

    ports: Ports
    process: subprocess.Popen[bytes]
    folder: Path

    def kill(self) -> None:
        """End all of it at once, as a node that loses its power."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def contained(engine: Engine, fleet: Fleet, folder: Path, *, drains: bool = True) -> Iterator[Contained]:
    """A server of the first group of a fleet, whose repository is a real one, killed at the end."""
    folder.mkdir()
    python = this_interpreter()
    backends = prepare_backends(engine, python, engine.folder)
    settings = ServerSettings(fleet.repository)
    ports = free_ports(settings)
    program = f"{engine.binary} --backend-directory={backends}"
    group = next(iter(fleet.servers.values()))
    script = server_script(fleet, group, str(fleet.repository), drains=drains, program=program)
    for flag, ours, theirs in zip(("http", "grpc", "metrics"), ports, (HTTP, GRPC, METRICS), strict=True):
        assert f"--{flag}-port={theirs}" in script
        script = script.replace(f"--{flag}-port={theirs}", f"--{flag}-port={ours}")
    # Outside of a container `folder` is its /tmp, and it goes on for a second only.
    script = re.sub(r"/tmp/(?=models\b|shutdown\b)", f"{folder}/", script).replace("sleep 10;", "sleep 1;")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["/bin/sh", "-c", script],
            env=server_environment(settings, engine, python, backends),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Contained(ports, process, folder)
    try:
        wait_until(lambda: management.is_ready(f"127.0.0.1:{ports.http}"))
        yield server
    finally:
        server.kill()
