"""`beampipe serve` as its users start it: processes of its own, which are started again when they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from served import wait_until

from beampipe import processes
from beampipe.errors import ServiceError
from beampipe.triton.server import management
from beampipe.triton.server.launch import ServerSettings, free_ports

__all__ = ["Service"]

SERVER: Final = "tritonserver"
STUB: Final = "triton_python_backend_stub"
PAUSE: Final = 0.1
"""Time [s] until an ended service is started again, as systemd has it."""
START: Final = 60.0
"""Time [s] that the first start may take."""


class Service:
    """The command, kept running as ``Restart=always`` of a systemd unit would; a context manager.

    Args:
        repository: folder of the models.
        log: file to which all output is appended.
        environment: variables beside those of this process.
    """

    def __init__(self, repository: Path, log: Path, environment: Mapping[str, str] | None = None) -> None:
        ports = free_ports(ServerSettings(repository))
        self.http_url, self.grpc_url = f"127.0.0.1:{ports.http}", f"127.0.0.1:{ports.grpc}"
        options = {"repository": repository, "http-port": ports.http, "grpc-port": ports.grpc}
        options |= {"metrics-port": ports.metrics, "log": log}
        self._command = [sys.executable, "-m", "beampipe", "serve"]
        self._command += [f"--{name}={value}" for name, value in options.items()]
        self._environment = {**os.environ, **(environment or {})}
        self._log = log
        self._ended = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper = threading.Thread(target=self._keep, name="systemd", daemon=True)

    @property
    def server(self) -> int | None:
        """Process id of Triton, None if there is none."""
        return self._found(SERVER)[1]

    @property
    def supervisor(self) -> int | None:
        """Process id of what started Triton and watches it, None if there is no Triton."""
        return self._found(SERVER)[0]

    @property
    def stub(self) -> int | None:
        """Process id of a process of a model, None if there is none."""
        return self._found(STUB)[1]

    def _found(self, program: str) -> tuple[int | None, int | None]:
        """The first process below the command that runs a program, after its parent."""
        assert self._process is not None, "not started"
        generation = [self._process.pid]
        while generation:
            children = [(pid, child) for pid in generation for child in processes.children(pid)]
            for parent, child in children:
                if _program(child) == program:
                    return parent, child
            generation = [child for _, child in children]
        return None, None

    def __enter__(self) -> Service:
        self._keeper.start()
        if wait_until(lambda: management.is_ready(self.http_url), START, pause=0.05) == float("inf"):
            self.__exit__()
            raise ServiceError(
                f"{self._log}: got no server within {START:g} s; it ends in {self._log.read_text()[-2000:]}"
            )
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGTERM)
        self._keeper.join(30)

    def _keep(self) -> None:
        while not self._ended.is_set():
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    self._command, env=self._environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
                )
            self._process.wait()
            self._ended.wait(PAUSE)


def _program(pid: int) -> str:
    arguments = processes.arguments(pid)
    return Path(arguments[0]).name if arguments else ""
