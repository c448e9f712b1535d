"""The supervisor that runs in each Slurm job: it restarts the servers of one node, and submits the next job in time.

Each server is a step of the job (`srun`); a step that ends is started again. When Slurm signals that the time limit is
near (SIGUSR1), the job submits its successor, serves until that is ready, and then ends, so the service has no gap.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from beampipe import processes
from beampipe.errors import ConfigError, ServiceError
from beampipe.fleet.registry import Record, read_records, remove_record
from beampipe.fleet.run_folder import RunFolder
from beampipe.fleet.server import FleetServerSettings, write_settings
from beampipe.processes import ManagedProcess, SignalEvent
from beampipe.terminal import log
from beampipe.triton.backoff import RestartedProgram, RestartPause
from beampipe.triton.client.endpoint import is_loopback


@dataclass(frozen=True)
class JobSettings:
    """The jobs of one group of servers.

    Attributes:
        server: settings of each server; its name, log and host are set by the job.
        count: number of servers of the group.
        servers: number of servers of each job.
        script: script to submit again before a job's time limit.
        shared: folder that all nodes see, with registry, secret and logs.
        step: options of srun for each server.
        host: host name or address of a node, with ``{node}`` for its name in Slurm; None for that name.
    """

    server: FleetServerSettings
    count: int
    servers: int
    script: Path
    shared: Path
    step: tuple[str, ...]
    host: str | None = None

    @property
    def ended(self) -> Path:
        """A file that exists once the fleet has been stopped: no further jobs are submitted."""
        return self.shared / "ended"


@dataclass(frozen=True)
class CurrentJob:
    """The job that this process runs in.

    Attributes:
        array: id of its job array.
        index: its index in the array.
        restarts: how often Slurm has requeued it.
        node: name of its node in Slurm.
        end: its time limit [s since 1970]; None if it has none, or Slurm does not state it.
    """

    array: str
    index: int
    restarts: int
    node: str
    end: float | None = None


def current_job(environ: Mapping[str, str] = os.environ) -> CurrentJob:
    """The job that this process runs in.

    Args:
        environ: environment variables.

    Raises:
        ConfigError: it does not run in a Slurm job of `beampipe fleet slurm`.
    """
    try:
        return CurrentJob(
            environ["SLURM_ARRAY_JOB_ID"],
            int(environ["SLURM_ARRAY_TASK_ID"]),
            int(environ.get("SLURM_RESTART_COUNT") or 0),
            environ["SLURMD_NODENAME"],
            float(end) if (end := environ.get("SLURM_JOB_END_TIME")) else None,
        )
    except KeyError as error:
        raise ConfigError(f"{error}: got no such variable, expected a job of Slurm; do: start.sh") from error


def node_address(node: str, host: str | None) -> str:
    """The address at which other machines reach a node, looked up on the node itself.

    Args:
        node: name of the node in Slurm.
        host: host name or address, with ``{node}`` for that name; None for the name itself.

    Raises:
        ConfigError: there is none, or it is a loopback address.
    """
    name = node if host is None else host.replace("{node}", node)
    do = "set slurm.host to the name or address of its network, with {node} for its name"
    try:
        results = [str(row[4][0]) for row in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
    except OSError as error:
        raise ConfigError(f"{node}: got no address for {name!r} ({error}), expected one; {do}") from error
    if host is None and is_loopback(results[0]):
        raise ConfigError(f"{node}: got {results[0]}, at which only the node reaches itself, expected another; {do}")
    return results[0]


def submit(script: Path, index: int, environ: Mapping[str, str] = os.environ) -> str:
    """Submit one job of an array once more.

    Args:
        script: the script of the array.
        index: index of the job in it.
        environ: environment variables; those that describe the current job are not passed on.

    Returns:
        The id of the new array.

    Raises:
        ServiceError: Slurm rejects it; the message has its reason.
    """
    given = {key: value for key, value in environ.items() if not key.startswith("SLURM_") or key == "SLURM_CONF"}
    command = ["sbatch", "--parsable", f"--array={index}", str(script)]
    try:
        done = subprocess.run(command, env=given, capture_output=True, text=True, check=False, timeout=60.0)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServiceError(f"sbatch: got {error}, expected the id of a job") from error
    job = done.stdout.strip().partition(";")[0]
    if done.returncode != 0 or not re.fullmatch(r"\d+", job):
        raise ServiceError(f"sbatch: got {(done.stderr or done.stdout).strip()!r}, expected the id of a job")
    return job


FAREWELL: Final = 3.0
"""Time [s] within which the gateway reads from the registry that a server is ending."""

_INTERVAL: Final = 0.5

_TRIES: Final = 5
"""Number of starts without ever becoming ready after which a job fails, so that it does not waste its allocation."""

_RESUBMIT_AFTER: Final = 30.0
"""Time [s] after which a successor that Slurm has rejected is submitted again."""

_TIME_LEFT: Final = 10.0
"""Time [s] before the time limit at which all servers have ended."""

_EXIT_GRACE: Final = 15.0
"""Additional time [s] for servers to end, after their farewell and work in progress, before they are killed."""


def server_name(group: str, number: int, array: str, restarts: int = 0) -> str:
    """Name of a server, unique among all jobs, so that none overwrites its record.

    Args:
        group: name of its group.
        number: its number, from 0.
        array: id of the job array.
        restarts: how often Slurm has requeued its job.
    """
    return f"{group}-{number}-{array}" + (f"r{restarts}" if restarts else "")


class _Step:
    """One server, as a step of the job."""

    def __init__(self, job: JobSettings, server: FleetServerSettings, file: Path) -> None:
        self.server = server
        self._file = file
        self._command = ["srun", *job.step, sys.executable, "-m", "beampipe", "fleet", "member", str(file)]
        self._process = ManagedProcess(own_group=False)
        self._restarted = RestartedProgram(
            server.server, self._process, self._launch, lambda: False, log, RestartPause()
        )
        self.starts = 0
        write_settings(file, server)

    @property
    def runs(self) -> bool:
        return self._process.pid is not None

    def keep_running(self, record: Record | None) -> None:
        """Start the server if it does not run."""
        if record is not None and record.state == "ready":
            self.starts = 1
        self._restarted.update()

    def _launch(self) -> None:
        if self.starts >= _TRIES:
            raise ServiceError(
                f"{self.server.server}: got a server that ended {_TRIES} times before it was ready, expected it to"
                f" serve; its log is {self.server.triton.log}"
            )
        remove_record(self.server.registry, self.server.server)
        self._process.start(self._command)
        self.starts += 1

    def end(self, record: Record | None) -> None:
        """Send SIGTERM: the server announces its end, finishes its requests, and ends."""
        ours = record is not None and str(self._file) in processes.arguments(record.pid)
        if record is not None and ours:
            # To the server only: srun would signal all its processes, and Triton would end at once.
            with suppress(ProcessLookupError):
                os.kill(record.pid, signal.SIGTERM)
        else:
            self._process.signal(signal.SIGTERM)

    def kill(self) -> None:
        self._process.kill()


class JobSupervisor:
    """Supervises the servers of the job that this process runs in.

    Args:
        settings: settings of the jobs of its group.
        job: the current job.

    Raises:
        ConfigError: the node has no address that other machines reach.
    """

    def __init__(self, settings: JobSettings, job: CurrentJob) -> None:
        self._settings = settings
        self._job = job
        self._folder = RunFolder(settings.shared)
        self._ended = SignalEvent()
        self._warned = SignalEvent()
        self._successor: str | None = None
        self._submit_from = 0.0
        first = job.index * settings.servers
        self._numbers = range(first, min(settings.count, first + settings.servers))
        address = node_address(job.node, settings.host)
        self._steps = [
            self._step(server_name(settings.server.group, n, job.array, job.restarts), address) for n in self._numbers
        ]

    def run(self) -> None:
        """Keep the servers running until the successor is ready, the time limit is near, or Slurm ends the job.

        Raises:
            ServiceError: a server keeps ending without becoming ready.
        """
        self._ended.set_on(signal.SIGTERM, signal.SIGINT)
        self._warned.set_on(signal.SIGUSR1)
        # A failed node could not remove the records of this job from before Slurm requeued it.
        for restart in range(self._job.restarts):
            for number in self._numbers:
                self._forget(server_name(self._settings.server.group, number, self._job.array, restart))
        try:
            while not self._ended.is_set() and not self._is_over():
                self._ended.wait(_INTERVAL)
        finally:
            self._stop()

    def _is_over(self) -> bool:
        """Check time, servers and successor once; whether the job should end."""
        to_stop = _TIME_LEFT + FAREWELL + 2 * self._settings.server.triton.exit_timeout
        if self._job.end is not None and time.time() > self._job.end - to_stop:
            log("the time is up; this job ends")
            return True
        try:
            records = read_records(self._folder.registry)
            for step in self._steps:
                step.keep_running(records.get(step.server.server))
            if self._warned.is_set() and self._has_successor(records):
                log(f"job {self._successor} serves; this one ends")
                return True
        except OSError as error:  # the shared file system; servers keep running without it
            log(f"{self._folder.path}: {error}")
        return False

    def _step(self, name: str, address: str) -> _Step:
        settings, folder = self._settings, self._folder
        server_settings = replace(
            settings.server,
            server=name,
            triton=replace(settings.server.triton, log=folder.logs / f"{name}.log", host=address),
            # Long enough that requests sent before the gateway has read of the end are finished.
            farewell=FAREWELL + settings.server.triton.exit_timeout,
        )
        return _Step(settings, server_settings, folder.members / f"{name}.json")

    def _has_successor(self, records: dict[str, Record]) -> bool:
        """Submit the next job unless done; whether all its servers are ready."""
        now = time.monotonic()
        if self._successor is None and now >= self._submit_from and not self._settings.ended.exists():
            self._submit_from = now + _RESUBMIT_AFTER
            try:
                self._successor = submit(self._settings.script, self._job.index)
            except ServiceError as error:
                log(f"successor: {error}; trying again in {_RESUBMIT_AFTER:g} s")
            else:
                log(f"the time is nearly up; submitted job {self._successor}")
        if self._successor is None:
            return False
        ready = [name for name, record in records.items() if record.state == "ready"]
        wanted = [server_name(self._settings.server.group, number, self._successor) for number in self._numbers]
        return all(any(name == want or name.startswith(f"{want}r") for name in ready) for want in wanted)

    def _stop(self) -> None:
        """Stop the servers, and wait until they have finished their requests."""
        records = read_records(self._folder.registry)
        for step in self._steps:
            step.end(records.get(step.server.server))
        deadline = time.monotonic() + FAREWELL + 2 * self._settings.server.triton.exit_timeout + _EXIT_GRACE
        while any(step.runs for step in self._steps) and time.monotonic() < deadline:
            time.sleep(_INTERVAL / 5)
        for step in self._steps:
            step.kill()
            self._forget(step.server.server)

    def _forget(self, server: str) -> None:
        remove_record(self._folder.registry, server)
        (self._folder.members / f"{server}.json").unlink(missing_ok=True)
