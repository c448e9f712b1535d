"""What runs in each job: it keeps the servers of one node, and sees to the next job before its time is up.

Each server is a step of the job (`srun`): a step that ends is started again. When Slurm warns that the time is nearly
up, the job submits its successor, serves on until that is ready, and ends then. So no event meets a gap.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Final

from beampipe import processes
from beampipe.errors import ServiceError
from beampipe.fleet.members.settings import MemberSettings, write_member
from beampipe.fleet.registry import Record, read_records, remove_record
from beampipe.fleet.running.folder import RunFolder
from beampipe.fleet.slurm.settings import JobSettings
from beampipe.fleet.slurm.slurm import ThisJob, address_of, submit
from beampipe.triton.pausing import RestartPause

__all__ = ["FAREWELL", "Job", "server_name"]

FAREWELL: Final = 3.0
"""Time [s] in which the gateway has read in the registry that a server ends."""
_LOOK: Final = 0.5
_TRIES: Final = 5
"""Number of starts of a server that never became ready, after which its job fails: it would only use up its time."""
_AGAIN: Final = 30.0
"""Time [s] after which a successor is submitted again that Slurm has refused."""
_BEFORE: Final = 10.0
"""Time [s] that is left of a job when its servers have ended, at the latest."""
_GONE: Final = 15.0
"""Time [s] that a server gets to end, beyond what work in progress may take."""


def server_name(group: str, number: int, array: str, restarts: int = 0) -> str:
    """Name of a server; no other job has one of that name, so that none overwrites its record.

    Args:
        group: name of its group.
        number: its number, from 0.
        array: id of the array of jobs.
        restarts: how often Slurm has put its job back.
    """
    return f"{group}-{number}-{array}" + (f"r{restarts}" if restarts else "")


class _Step:
    """One server, as a step of the job."""

    def __init__(self, job: JobSettings, member: MemberSettings, file: Path) -> None:
        self.member = member
        self._file = file
        self._command = ["srun", *job.step, sys.executable, "-m", "beampipe", "fleet", "member", str(file)]
        self._process: subprocess.Popen[bytes] | None = None
        self._pause = RestartPause()
        self._from = 0.0
        self.starts = 0
        write_member(file, member)

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def look(self, record: Record | None) -> None:
        """Start it, again if it has ended."""
        now = time.monotonic()
        if record is not None and record.state == "ready":
            self.starts = 1
        if self.runs or now < self._from:
            return
        if self.starts >= _TRIES:
            raise ServiceError(
                f"{self.member.server}: got a server that ended {_TRIES} times before it was ready, expected it to"
                f" serve; its log is {self.member.log}"
            )
        remove_record(self.member.registry, self.member.server)
        if self._process is not None:
            _say(f"{self.member.server}: has ended; starting another")
            self._from = now + self._pause.before_next(now)
        self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL)
        self._pause.started(now)
        self.starts += 1

    def end(self, record: Record | None) -> None:
        """Have it say so, finish what it has, and end."""
        ours = record is not None and str(self._file) in processes.arguments(record.pid)
        if record is not None and ours:
            # The server alone: Slurm would send the signal to all its processes, Triton included, which ends at once.
            with suppress(ProcessLookupError):
                os.kill(record.pid, signal.SIGTERM)
        elif self._process is not None and self.runs:
            self._process.terminate()

    def kill(self) -> None:
        if self._process is not None and self.runs:
            self._process.kill()


class Job:
    """The job that this process runs in.

    Args:
        settings: what the jobs of its group are told.
        me: which of them it is.

    Raises:
        ConfigError: the node has no address that others reach.
    """

    def __init__(self, settings: JobSettings, me: ThisJob) -> None:
        self._settings = settings
        self._me = me
        self._folder = RunFolder(settings.shared)
        self._ended = threading.Event()
        self._warned = False
        self._successor: str | None = None
        self._submit_from = 0.0
        first = me.index * settings.servers
        self._numbers = range(first, min(settings.count, first + settings.servers))
        address = address_of(me.node, settings.host)
        self._steps = [
            self._step(server_name(settings.group, n, me.array, me.restarts), address) for n in self._numbers
        ]

    def run(self) -> None:
        """Keep the servers until the successor is there, the time is up, or Slurm ends the job.

        Raises:
            ServiceError: a server ends again and again.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        signal.signal(signal.SIGUSR1, self._warn)
        self._forget_earlier_lives()
        try:
            while not self._ended.is_set() and not self._is_over():
                self._ended.wait(_LOOK)
        finally:
            self._stop()

    def _is_over(self) -> bool:
        """Look at everything once, do what is due, and say whether that was all."""
        if self._me.end is not None and time.time() > self._latest(self._me.end):
            _say("the time is up; this job ends")
            return True
        try:
            records = read_records(self._folder.registry)
            for step in self._steps:
                step.look(records.get(step.member.server))
            if self._warned and self._has_successor(records):
                _say(f"job {self._successor} serves; this one ends")
                return True
        except OSError as error:  # the file system that all nodes see: servers go on without it
            _say(f"{self._folder.path}: {error}")
        return False

    def _step(self, name: str, address: str) -> _Step:
        settings, folder = self._settings, self._folder
        member = MemberSettings(
            name,
            settings.group,
            folder.registry,
            settings.repository,
            folder.secret,
            folder.logs / f"{name}.log",
            models=settings.models,
            digest=settings.digest,
            host=address,
            threads=settings.threads,
            start_timeout=settings.start_timeout,
            exit_timeout=settings.exit_timeout,
            patience=settings.patience,
            # What is on its way then is finished before the gateway sees that the server is down.
            farewell=FAREWELL + settings.exit_timeout,
        )
        return _Step(settings, member, folder.members / f"{name}.json")

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._ended.set()

    def _warn(self, number: int, frame: FrameType | None) -> None:
        self._warned = True

    def _latest(self, end: float) -> float:
        """When servers must be told to end [s since 1970], so that they have ended when the time is up."""
        return end - _BEFORE - FAREWELL - 2 * self._settings.exit_timeout

    def _has_successor(self, records: dict[str, Record]) -> bool:
        """Submit the next job, unless that has been done, and say whether all its servers are ready."""
        now = time.monotonic()
        if self._successor is None and now >= self._submit_from and not self._settings.ended.exists():
            self._submit_from = now + _AGAIN
            try:
                self._successor = submit(self._settings.script, self._me.index)
            except ServiceError as error:
                _say(f"successor: {error}; trying again in {_AGAIN:g} s")
            else:
                _say(f"the time is nearly up; submitted job {self._successor}")
        if self._successor is None:
            return False
        ready = [name for name, record in records.items() if record.state == "ready"]
        wanted = [server_name(self._settings.group, number, self._successor) for number in self._numbers]
        return all(any(name == want or name.startswith(f"{want}r") for name in ready) for want in wanted)

    def _stop(self) -> None:
        """End the servers, and wait until they have finished what they have."""
        records = read_records(self._folder.registry)
        for step in self._steps:
            step.end(records.get(step.member.server))
        deadline = time.monotonic() + FAREWELL + 2 * self._settings.exit_timeout + _GONE
        while any(step.runs for step in self._steps) and time.monotonic() < deadline:
            time.sleep(_LOOK / 5)
        for step in self._steps:
            step.kill()
            self._forget(step.member.server)

    def _forget_earlier_lives(self) -> None:
        """Forget the servers of this job on a node that has failed, which could not do so."""
        for restart in range(self._me.restarts):
            for number in self._numbers:
                self._forget(server_name(self._settings.group, number, self._me.array, restart))

    def _forget(self, server: str) -> None:
        remove_record(self._folder.registry, server)
        (self._folder.members / f"{server}.json").unlink(missing_ok=True)


def _say(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", flush=True)
