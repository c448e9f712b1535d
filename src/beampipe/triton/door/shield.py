"""HAProxy while it runs: started, kept alive, ended."""

from __future__ import annotations

import contextlib
import http.client
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from beampipe.errors import ServiceError
from beampipe.triton.door.haproxy import ShieldPlan, configuration
from beampipe.triton.pausing import Backoff

__all__ = ["Shield"]

_UP: Final = 5.0
"""Time [s] that the program gets to read its configuration and to listen."""
_POLL: Final = 0.01
_AGAIN: Final = Backoff(longest=5.0, first=0.1)
"""Time [s] from the end of the program to its next start, after so many ends that came sooner than the longest."""
_GRACE: Final = 2.0
"""Time [s] that requests in progress get when the shield ends."""


class Shield:
    """HAProxy in front of one server; if it ends by itself it is started again.

    Args:
        program: path of HAProxy.
        plan: what it stands before.
        folder: folder of the server, which only its user can read; its name marks what belongs to the server.
        note: function that is told when the program has ended by itself.
    """

    def __init__(self, program: Path, plan: ShieldPlan, folder: Path, note: Callable[[str], None]) -> None:
        self._program = program
        self._address = plan.http
        self._log = folder / "haproxy.log"
        self._file = folder / "haproxy.cfg"
        self._file.unlink(missing_ok=True)
        self._file.touch(mode=0o600)  # it holds the secret
        self._file.write_text(configuration(plan), encoding="utf-8")
        self._note = note
        self._ended = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher = threading.Thread(target=self._watch, name="triton-shield", daemon=True)

    @property
    def pid(self) -> int | None:
        """Process id of HAProxy, None if it does not run."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start the program and wait until it listens.

        Raises:
            ServiceError: it refuses its configuration, or a port is taken.
        """
        self._launch()
        self._watcher.start()

    def retire(self) -> None:
        """Take no new connections; requests in progress go on for as long as the server answers."""
        self._ended.set()
        if (process := self._process) is not None:
            with contextlib.suppress(OSError):
                process.send_signal(signal.SIGUSR1)

    def stop(self, grace: float = 0.0) -> None:
        """End the program; may be called twice.

        Args:
            grace: time [s] that requests in progress get.
        """
        self.retire()
        if (process := self._process) is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(grace or _POLL)
            process.kill()
            process.wait()
        if self._watcher.is_alive():
            self._watcher.join()

    def _launch(self) -> None:
        with self._log.open("wb") as log:
            self._process = process = subprocess.Popen(
                [self._program, "-db", "-f", self._file],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C in the terminal is not meant for it
            )
        deadline = time.monotonic() + _UP
        while not self._answers():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                process.wait()
                said = self._log.read_text(errors="replace").strip().splitlines()[-4:]
                raise ServiceError("shield: HAProxy did not start, expected it to listen:\n    " + "\n    ".join(said))
            time.sleep(_POLL)

    def _answers(self) -> bool:
        """Whether the program listens: it refuses what is not for everybody, whatever becomes of the server."""
        connection = http.client.HTTPConnection(self._address, timeout=1.0)
        try:
            connection.request("GET", "/")
            return b"shield" in connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _watch(self) -> None:
        """Wait for the end of the program, and start it again."""
        failures = 0
        while True:
            begun = time.monotonic()
            process = self._process
            assert process is not None
            code = process.wait()
            if self._ended.wait(_AGAIN.pause(failures)):
                return
            failures = 0 if time.monotonic() - begun > _AGAIN.longest else failures + 1
            with contextlib.suppress(ServiceError, OSError):
                self._launch()
            if self._ended.is_set() and (late := self._process) is not None:
                late.kill()  # whoever ends the shield may not have seen it
            self._note(
                f"HAProxy ended with code {code}" + ("" if self.pid else " and does not start again") + "; goes on"
            )
