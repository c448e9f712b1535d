"""Prometheus while it runs: found, started, asked whether it is ready, ended."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import subprocess
import time
from collections import deque
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from beampipe import processes
from beampipe.errors import ConfigError, ServiceError
from beampipe.fleet.specification import Fleet, MonitoringSettings
from beampipe.fleet.watching.settings import write_settings
from beampipe.triton.hosts import LOOPBACK
from beampipe.triton.server.launch import free_port

__all__ = ["Prometheus", "find_prometheus", "prometheus_pids", "wanted_prometheus"]

_UP: Final = 30.0
"""Time [s] that the program gets to read what it kept, and to answer."""
_GRACE: Final = 10.0
"""Time [s] that the program gets to put its memory onto the disk when it ends."""
_POLL: Final = 0.05
_LINES: Final = 4
"""Number of lines of the log that go into a message."""


def find_prometheus() -> Path | None:
    """The system's program `prometheus`, None if it is not installed."""
    found = shutil.which("prometheus", path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/local/bin")
    return None if found is None else Path(found)


def wanted_prometheus(settings: MonitoringSettings) -> Path | None:
    """The program, None if it shall not run or is not installed.

    Raises:
        ConfigError: it was asked for, and is not installed.
    """
    program = None if settings.prometheus is False else find_prometheus()
    if program is None and settings.prometheus:
        raise ConfigError(
            "monitoring.prometheus: got true, but no program prometheus is installed; on Debian and Ubuntu:"
            " apt-get install prometheus. Without it the fleet runs unwatched: monitoring.prometheus = false"
        )
    return program


class Prometheus:
    """Prometheus for one fleet, on loopback. After its end it may be started again, and goes on with what it kept.

    Args:
        program: path of Prometheus.
        fleet: the fleet that is watched.
        folder: folder for settings, rules, log and what is kept; the servers' file of `write_targets` belongs there.
        status_port: port on loopback for the gateway's metrics; None if there is no gateway.
        page_port: port on loopback of the page; None for no page.
    """

    def __init__(
        self,
        program: Path,
        fleet: Fleet,
        folder: Path,
        *,
        status_port: int | None = None,
        page_port: int | None = None,
    ) -> None:
        self._program = program
        self._fleet = fleet
        self._folder = folder
        self._status_port = status_port
        self._page_port = page_port
        self._port = fleet.monitoring.prometheus_port or free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._begin = 0

    @property
    def port(self) -> int:
        """Its port on loopback; the same after a restart."""
        return self._port

    @property
    def url(self) -> str:
        """Its address, ``http://127.0.0.1:PORT``."""
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def pid(self) -> int | None:
        """Its process id, None if it does not run."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start it unless it runs, and wait until it answers.

        Raises:
            FileError: the settings cannot be written.
            ServiceError: it refuses its settings, its port is taken, or it does not answer in time.
        """
        self.launch()
        deadline = time.monotonic() + _UP
        while not self.is_ready():
            if self.pid is None or time.monotonic() > deadline:
                self.stop()
                said = "".join(f"\n    {line}" for line in self.last_words())
                raise ServiceError(
                    f"prometheus: it did not start, expected it to answer at {self.url}{said}", url=self.url
                )
            time.sleep(_POLL)

    def launch(self) -> None:
        """Write its settings and start it unless it runs, without waiting until it answers.

        One that an earlier process has left over the same folder is ended first: two cannot share it.

        Raises:
            FileError: the settings cannot be written.
        """
        if self.pid is not None:
            return
        settings = write_settings(self._fleet, self._folder, status_port=self._status_port, page_port=self._page_port)
        for pid in prometheus_pids(self._folder):
            _end(pid)
        with self._log.open("ab") as log:
            self._begin = log.tell()
            self._process = subprocess.Popen(
                [
                    self._program,
                    f"--config.file={settings}",
                    _storage(self._folder),
                    f"--storage.tsdb.retention.time={self._fleet.monitoring.retention}d",
                    f"--web.listen-address={LOOPBACK}:{self._port}",
                    "--web.cors.origin=none",  # by default any page in a browser here may read everything
                    "--log.level=warn",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C in the terminal is not meant for it
            )

    def is_ready(self) -> bool:
        """Whether it runs and answers queries."""
        if self.pid is None:
            return False
        with closing(http.client.HTTPConnection(LOOPBACK, self._port, timeout=1.0)) as connection:
            try:
                connection.request("GET", "/-/ready")
                return connection.getresponse().status == 200
            except (OSError, http.client.HTTPException):
                return False

    def renew(self, fleet: Fleet) -> None:
        """Watch a fleet as it is specified now, and the models that are in its repository now.

        It goes on running. Its port and how long it keeps what it saw change at its next start only.

        Raises:
            FileError: the settings cannot be written.
        """
        self._fleet = fleet
        write_settings(fleet, self._folder, status_port=self._status_port, page_port=self._page_port)
        if (process := self._process) is not None:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGHUP)

    def last_words(self) -> list[str]:
        """The last lines that it has logged since its last start."""
        with self._log.open("rb") as log:
            log.seek(self._begin)
            return list(deque((line.decode(errors="replace").rstrip() for line in log), maxlen=_LINES))

    def stop(self) -> None:
        """End it in order, or at once where it does not listen; may be called twice."""
        if (process := self._process) is None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @property
    def _log(self) -> Path:
        return self._folder / "prometheus.log"


def prometheus_pids(folder: Path) -> set[int]:
    """The processes of Prometheus that keep what they see in a folder, whoever has started them.

    Args:
        folder: the folder that was given to `Prometheus`.
    """
    return {pid for pid, arguments in processes.command_lines() if _storage(folder) in arguments}


def _storage(folder: Path) -> str:
    return f"--storage.tsdb.path={folder.absolute() / 'data'}"


def _end(pid: int) -> None:
    """End a process that is no child of this one."""
    started = processes.start_time(pid)
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + _GRACE
        while started is not None and processes.is_same(pid, started) and processes.is_alive(pid):
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL)
