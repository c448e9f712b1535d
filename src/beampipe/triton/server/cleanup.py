"""Removes what a Triton leaves behind when it was not stopped: processes and shared memory, found by their prefix.

Each server gets a prefix of its own for its stubs' shared memory, ``beampipe_<pid>_<start>_<namespace>_<number>_``:
process id and start time (clock ticks since boot) of its owner, the owner's pid namespace, a counter. The prefix is
in the command lines of server and stubs, so everything that belongs to a dead owner can be identified.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from beampipe import processes
from beampipe.triton.connection_file import remove_dead_connections
from beampipe.triton.engine import STUB
from beampipe.triton.supervision.stubs import SHARED_MEMORY

_PREFIX: Final = re.compile(r"beampipe_(\d+)_(\d+)_(\d+)_(\d+)_")
_SERVER: Final = "tritonserver"
_PROXY: Final = "haproxy"
_PROGRAMS: Final = (_SERVER, STUB, _PROXY, "bash", "sh")  # a shell, until it has become a stub
_PAUSE: Final = 0.02
"""Time [s] between two checks whether killed processes are gone."""
_KILL: Final = 3.0
"""Time [s] to wait for killed processes."""

_numbers = itertools.count()


@dataclass(frozen=True)
class ServedProcess:
    """A process of a server: the server itself, one of its stubs, or the reverse proxy.

    Attributes:
        pid: id of the process.
        arguments: command line of the process, program first.
    """

    pid: int
    arguments: tuple[str, ...]

    @property
    def program(self) -> str:
        """Name of the program."""
        return Path(self.arguments[0]).name


def new_prefix() -> str:
    """A prefix that no other server has, for one more server of this process."""
    own = os.getpid()
    return f"beampipe_{own}_{processes.start_time(own)}_{processes.namespace()}_{next(_numbers)}_"


def processes_of(prefix: str) -> tuple[ServedProcess, ...]:
    """The processes of this user with a prefix in their command line: a server, its stubs and its reverse proxy."""
    return tuple(
        ServedProcess(pid, arguments)
        for pid, arguments in processes.command_lines()
        if Path(arguments[0]).name in _PROGRAMS and any(prefix in argument for argument in arguments)
    )


def shared_memory_of(prefix: str) -> tuple[Path, ...]:
    """The paths of shared memory with a prefix."""
    if not SHARED_MEMORY.is_dir():
        return ()
    return tuple(sorted(path for path in SHARED_MEMORY.iterdir() if path.name.startswith(prefix)))


def folders_of(prefix: str) -> tuple[Path, ...]:
    """The temporary folders of this user with a prefix."""
    folders = []
    for path in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            if path.lstat().st_uid == os.getuid() and path.is_dir() and not path.is_symlink():
                folders.append(path)
    return tuple(sorted(folders))


def remove(prefix: str, grace: float = 0.0, *, orphaned: bool = False) -> None:
    """End a server and its stubs and remove their shared memory.

    Args:
        prefix: prefix of one server.
        grace: time [s] for the server to end after SIGTERM. Then it is killed, and so are its stubs, which ignore
            SIGTERM while they are busy.
        orphaned: whether the owner has ended, so that reverse proxy and temporary folders are removed, too.
    """
    if grace > 0:
        for process in processes_of(prefix):
            if process.program == _SERVER:
                _signal(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace
        while any(process.program == _SERVER for process in processes_of(prefix)) and time.monotonic() < deadline:
            time.sleep(5 * _PAUSE)
    deadline = time.monotonic() + _KILL
    while time.monotonic() < deadline:
        # The proxy outlives a restarted server.
        left = [process for process in processes_of(prefix) if orphaned or process.program != _PROXY]
        if not left:
            break
        # The server first, so that it does not replace stubs that end.
        for process in sorted(left, key=lambda process: process.program != _SERVER):
            _signal(process.pid, signal.SIGKILL)
        time.sleep(_PAUSE)
    for path in shared_memory_of(prefix):
        with contextlib.suppress(OSError):
            path.unlink()
    owner = prefix.rpartition("_")[0].rpartition("_")[0] + "_"  # without the number
    if orphaned:
        remove_dead_connections()
        for path in folders_of(owner):
            shutil.rmtree(path, ignore_errors=True)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(OSError):  # ended meanwhile, or of another user
        group = os.getpgid(pid)
        if number == signal.SIGKILL and group != os.getpgrp():
            os.killpg(group, number)  # with all processes that a model has started
        else:
            os.kill(pid, number)


def clean_up_after_dead_owners() -> tuple[str, ...]:
    """Remove what the servers of dead owners have left on this machine.

    Owners in another pid namespace (a container that shares ``/dev/shm``) are not visible; their files are kept.

    Returns:
        The prefixes of the servers of which something was removed.
    """
    names = {path.name for path in (*shared_memory_of("beampipe_"), *folders_of("beampipe_"))}
    # Orphans whose shared memory is already gone.
    names.update(argument for process in processes_of("beampipe_") for argument in process.arguments)
    owners = {match.group(): tuple(map(int, match.groups())) for name in names if (match := _PREFIX.search(name))}
    dead = []
    for prefix, (pid, started, namespace, _) in sorted(owners.items()):
        if namespace == processes.namespace() and not processes.is_same(pid, started):
            remove(prefix, orphaned=True)
            dead.append(prefix)
    remove_dead_connections()
    return tuple(dead)
