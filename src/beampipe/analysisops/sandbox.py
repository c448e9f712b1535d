"""Run processes with restricted rights.

Always: limits on processor and wall time, memory, file size and number of processes; an empty environment; a new,
empty folder; no way to gain rights (``no_new_privs``). All descendants are killed at the end.

With kernel namespaces, if the system supports them, the process also sees no other process, and only the files of the
system, of Python and those it was given, all read-only. `Sandbox.weaknesses` lists the restrictions that cannot be
enforced.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from beampipe import processes
from beampipe.analysisops.contract import exceeded_time
from beampipe.errors import ConfigError

Kind = Literal["namespaces", "process"]
"""How a process is confined: by kernel namespaces, or only by limits and a separate user."""

_SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc")
_SCRIPT: Final = Path(__file__).with_name("confine.py")
_PACKAGE: Final = Path(__file__).resolve().parents[1]
_WATCH_SECONDS: Final = 0.1
_END_SECONDS: Final = 10.0
_FIRST_USER: Final = 2_000_000
"""First user id of sandboxes, above the ids of all accounts."""

_numbers = itertools.count(os.getpid() * 1000)


@dataclass(frozen=True)
class SandboxLimits:
    """Limits of a process and its descendants.

    Attributes:
        seconds: processor time of all together [s]; wall time may be longer, see
            `beampipe.analysisops.contract.exceeded_time`.
        memory: address space of each process, and resident memory of all together [bytes].
        file_size: size of each file [bytes].
        processes: number of processes and threads of its user, if it has a separate user.
        open_files: number of open files of each process.
    """

    seconds: float = 1800.0
    memory: int = 8 << 30
    file_size: int = 1 << 30
    processes: int = 256
    open_files: int = 1024


class Confined:
    """A process in a sandbox.

    Attributes:
        work: its folder.
        log: file with its output.
        ended_by: the limit of time or memory that it exceeded, as a sentence; empty if none.
    """

    def __init__(self, process: subprocess.Popen[bytes], work: Path, log: Path, limits: SandboxLimits) -> None:
        self.work, self.log, self.ended_by = work, log, ""
        self._process, self._limits = process, limits
        self._stop = threading.Event()
        self._watch = threading.Thread(target=self._watching, daemon=True, name="sandbox")
        self._watch.start()

    @property
    def pid(self) -> int:
        """Id of the outermost process."""
        return self._process.pid

    def wait(self, seconds: float | None = None) -> int | None:
        """Its exit status, 128 and more for a signal; None if it has not ended in that time."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def output(self, most: int = 10_000) -> str:
        """The last bytes of its output."""
        return self.log.read_bytes()[-most:].decode(errors="replace")

    def end(self) -> None:
        """End it with all its descendants, in any process group or session."""
        self._stop.set()
        if threading.current_thread() is not self._watch:
            self._watch.join()
        until = time.monotonic() + _END_SECONDS
        while (left := _descendants(self.pid)) and time.monotonic() < until:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait(_END_SECONDS)

    def _watching(self) -> None:
        """Kill the process when it exceeds its time or memory."""
        start, memory = time.monotonic(), self._limits.memory
        while not self._stop.wait(_WATCH_SECONDS) and self._process.poll() is None:
            pids = _descendants(self.pid)
            used = sum(processes.processor_time(pid, with_ended=True) or 0.0 for pid in (self.pid, *pids))
            self.ended_by = exceeded_time(self._limits.seconds, used, time.monotonic() - start)
            if sum(processes.resident_memory(pid) or 0 for pid in pids) > memory:
                self.ended_by = f"memory: got more than {memory / 1e6:.0f} MB of all processes, expected less"
            if self.ended_by:
                self.end()
                return


class Sandbox:
    """Runs processes with restricted rights.

    Args:
        limits: limits of each process.
        read_only: files and folders that it may read, in addition to those of the system and of Python.
        network: whether it may use the network; otherwise it has only a private loopback interface.
        package: whether it may read beampipe, which can solve tasks; without namespaces it always can.
        kind: how it is confined; None takes the best kind of this system.

    Raises:
        ConfigError: namespaces are required, by `kind` or to close the network, and this system has none; or Python
            lies in a folder that the agent's own user, which root gives it, cannot read.
    """

    def __init__(
        self,
        limits: SandboxLimits | None = None,
        *,
        read_only: Sequence[Path] = (),
        network: bool = True,
        package: bool = True,
        kind: Kind | None = None,
    ) -> None:
        self._limits, self._network, self._package = limits or SandboxLimits(), network, package
        self._read_only = tuple(path.resolve() for path in read_only)
        self.kind = kind or best_kind()
        if "namespaces" in (self.kind, "namespaces" if not network else "") and best_kind() != "namespaces":
            raise ConfigError(
                "sandbox: got no namespaces from this system, expected them; allow unprivileged user namespaces, or"
                " run agents in containers"
            )
        self._own_user = os.geteuid() == 0 and not (self.kind == "namespaces" and _user_namespace())
        if self._own_user and self.kind == "process":
            folders = [folder for path in _python_folders() for folder in (path, *path.parents)]
            self._own_user = all(map(_is_open, folders))
        elif self._own_user and (closed := [path for path in _python_folders() if not _is_open(path)]):
            raise ConfigError(
                f"sandbox: {closed[0]}: got a folder that only some users can read, expected one that all can, as an"
                f" agent of root's runs as another user; run chmod a+rx {closed[0]}, or be another user than root"
            )

    def weaknesses(self) -> tuple[str, ...]:
        """Restrictions that the sandbox cannot enforce, one sentence each."""
        sentences = []
        if self.kind != "namespaces":
            sentences.append("The agent sees the processes of this machine, and can read every file that its user can.")
        if not self._own_user:
            sentences.append(
                "The agent runs as the user of the host; the number of its processes counts together with that user's."
                if self.kind == "namespaces"
                else "The agent runs as the user of the host: it can read and change all that this user can, and signal"
                " its processes."
            )
        if self._network:
            sentences.append(
                "The network is open: the agent can reach whatever this machine can, and the internet if it can."
            )
        sentences.append("The sum of all files in the agent's folder has no limit, only each file has.")
        sentences.append("There is no filter of system calls: the agent meets the whole kernel.")
        sentences.append(
            "Processor time of children that a process ignores (SIGCHLD) is not counted when they end; the limit on"
            " wall time still applies."
        )
        sentences.append(
            f"Memory of all processes together is measured every {_WATCH_SECONDS:g} s, not limited by the kernel."
        )
        return tuple(sentences)

    @contextmanager
    def running(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Iterator[Confined]:
        """Run a command in the sandbox during a block.

        Args:
            command: absolute path of the program, and arguments.
            environment: its variables, in addition to PATH, HOME, TMPDIR and LANG.

        Yields:
            The process. Its folder and its log are removed at the end of the block.

        Raises:
            ConfigError: the path of the program is not absolute.
        """
        if not command or not os.path.isabs(command[0]):
            raise ConfigError(f"sandbox: command: got {list(command)[:1]}, expected a program by its whole path")
        base = Path(tempfile.mkdtemp(prefix="beampipe-sandbox-")).resolve()
        try:
            base.chmod(0o711)
            work, root, log = base / "work", base / "root", base / "log"
            work.mkdir(mode=0o700)
            root.mkdir()
            plan = self._plan(command, environment or {}, work, root)
            if plan["user"] is not None:
                os.chown(work, plan["user"], plan["user"])
            confined = Confined(_start(plan, log), work, log, self._limits)
            try:
                yield confined
            finally:
                confined.end()
        finally:
            shutil.rmtree(base, ignore_errors=True)

    def _plan(self, command: Sequence[str], environment: Mapping[str, str], work: Path, root: Path) -> dict[str, Any]:
        """The argument of ``confine.py``."""
        limits = self._limits
        paths = (*(path for path in _python_folders() if self._package or path != _PACKAGE), *self._read_only)
        folders = {*paths, *_system()}
        # Paths inside other listed folders are covered by those.
        own = [path for path in dict.fromkeys(paths) if not folders.intersection(path.parents)]
        return {
            "namespaces": self.kind == "namespaces",
            "user_namespace": self.kind == "namespaces" and _user_namespace(),
            "network": self._network,
            "user": _FIRST_USER + next(_numbers) % 1_000_000_000 if self._own_user else None,
            "root": str(root),
            "work": str(work),
            "read_only": [str(path) for path in (*_system(), *own)],
            "hidden": [] if self._package else [str(_PACKAGE)],
            "memory": limits.memory,
            "file_size": limits.file_size,
            "limits": {
                "RLIMIT_AS": limits.memory,
                "RLIMIT_FSIZE": limits.file_size,
                "RLIMIT_NOFILE": limits.open_files,
                "RLIMIT_CORE": 0,
                "RLIMIT_CPU": 10 + int(limits.seconds),  # of each process, in case the host does not end it before
                **({"RLIMIT_NPROC": limits.processes} if self._own_user or os.geteuid() != 0 else {}),
            },
            "command": list(command),
            "environment": {
                "PATH": "/usr/bin:/bin",
                "HOME": str(work),
                "TMPDIR": str(work),
                "LANG": "C.UTF-8",
                **environment,
            },
        }


@cache
def best_kind() -> Kind:
    """The strictest kind of sandbox that works on this system, determined by a trial."""
    return "namespaces" if _works(user_namespace=False) or _works(user_namespace=True) else "process"


def _user_namespace() -> bool:
    """Whether a user namespace is needed first, as this process has no right to create the others."""
    return not _works(user_namespace=False)


@cache
def _works(*, user_namespace: bool) -> bool:
    """Whether a sandbox with namespaces starts."""
    with tempfile.TemporaryDirectory(prefix="beampipe-sandbox-") as folder:
        base = Path(folder).resolve()
        (base / "work").mkdir()
        (base / "root").mkdir()
        plan = {
            "namespaces": True,
            "user_namespace": user_namespace,
            "network": False,
            "user": None,
            "root": str(base / "root"),
            "work": str(base / "work"),
            "read_only": [str(path) for path in _system()],
            "memory": 1 << 20,
            "file_size": 1 << 20,
            "limits": {},
            "command": ["/usr/bin/env", "true"],
            "environment": {"PATH": "/usr/bin:/bin"},
        }
        return _start(plan, base / "log").wait(_END_SECONDS) == 0


def _start(plan: Mapping[str, Any], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(_SCRIPT), json.dumps(plan)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={},
            start_new_session=True,
        )


def _system() -> tuple[Path, ...]:
    return tuple(Path(name) for name in _SYSTEM if os.path.lexists(name))


def _python_folders() -> tuple[Path, ...]:
    """Folders that this package needs to run."""
    folders = (sys.prefix, sys.base_prefix, sysconfig.get_path("purelib"), _PACKAGE)
    return tuple(Path(folder).resolve() for folder in folders)


def _is_open(folder: Path) -> bool:
    """Whether any user can enter a folder, given that they can enter its parents."""
    return folder.stat().st_mode & 0o005 == 0o005


def _descendants(pid: int) -> list[int]:
    pids = list(processes.children(pid))
    for child in pids:
        pids.extend(processes.children(child))
    return pids
