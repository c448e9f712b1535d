"""The program `tritonserver` while it runs: one process with its children and its part of a log."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["ServerProcess"]

_USEFUL: Final = re.compile(r"^E\d{4} |error|exception|failed|no module named|cannot open", re.I)
_HARMLESS: Final = re.compile("CudaDriverHelper")  # said wherever there is no GPU
_LINES: Final = 6
"""Number of lines of the log that go into a message."""


class ServerProcess:
    """A server from its start to its end; a restarted server is another one.

    Args:
        command: command line of the server.
        environ: environment of the server, which its stubs inherit.
        log: file to which the server's output is appended.
    """

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("ab") as stream:
            self._begin = stream.tell()
            self._process = subprocess.Popen(
                command,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a group of its own, so that all of it can be killed
            )

    @property
    def pid(self) -> int | None:
        """Process id of the server, None if it has ended."""
        return self._process.pid if self._process.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """Exit code of the server, None if it still runs."""
        return self._process.poll()

    def terminate(self) -> None:
        """Ask the server to end in order."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the server and its stubs at once, without waiting for it."""
        if (pid := self.pid) is not None:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def wait(self) -> None:
        """Wait until the server has ended."""
        self._process.wait()

    def complaints(self) -> list[str]:
        """The last lines of the log since the start that tell of an error, or the last ones at all."""
        with self._log.open("rb") as stream:
            stream.seek(self._begin)
            lines = [line.rstrip() for line in stream.read().decode(errors="replace").splitlines() if line.strip()]
        useful = [line for line in lines if _USEFUL.search(line) and not _HARMLESS.search(line)]
        return list(dict.fromkeys(useful or lines))[-_LINES:]
