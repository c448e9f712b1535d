"""Processes of this machine: start, watch and stop them, read their state in ``/proc``, or run a pool of workers.

Linux reuses process ids. A process is therefore identified by its id and its start time, within one boot of one machine
and one namespace of process ids (a container has its own).
"""

from __future__ import annotations

import math
import os
import platform
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from multiprocessing import active_children, parent_process, resource_tracker
from pathlib import Path
from threading import Thread, current_thread, main_thread
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, ParamSpec, TypeVar
from weakref import finalize

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor

_PROC: Final = Path("/proc")
_ENDED: Final = (FileNotFoundError, ProcessLookupError)
"""Errors when the files of an ended process are read."""
_POLL: Final = 0.01
"""Time [s] between two checks of a process that is waited for."""

_TIED: Final = "BEAMPIPE_TIED_TO"
"""Variable with the marks of the processes with which a process ends, see `ending_with_this_process`."""
_GRACE: Final = 8.0
"""Time [s] between SIGTERM and SIGKILL for processes whose owner has ended."""

_LONGEST_CALL: Final = 0.5
"""Time [s] by which the handler of a signal may be late."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


class _Running(NamedTuple):
    """A process that was started or adopted. It is replaced as one object, since other threads read it concurrently."""

    pid: int
    started: int
    child: subprocess.Popen[bytes] | None


class ManagedProcess:
    """A program that this process starts, watches and stops, or that it adopts from an earlier process.

    Its standard input is empty. After its end it can be started again. `pid` is thread-safe.

    Args:
        log: file to which its output is appended; None to let it write where this process writes.
        own_group: whether it leads a session and a process group of its own. Ctrl-C in the terminal then does not
            reach it, and `kill` ends its whole group.
    """

    def __init__(self, log: Path | None = None, *, own_group: bool = True) -> None:
        self.log = log
        self._own_group = own_group
        self._log_start = 0
        self._running: _Running | None = None

    @property
    def pid(self) -> int | None:
        """Its process id, None if it does not run."""
        if (running := self._running) is None:
            return None
        runs = is_same(running.pid, running.started) if running.child is None else running.child.poll() is None
        return running.pid if runs else None

    @property
    def was_started(self) -> bool:
        """Whether it was started or adopted, even if it has ended since."""
        return self._running is not None

    @property
    def exit_code(self) -> int | None:
        """Its exit code, as `subprocess.Popen.returncode`; None while it runs, and for an adopted process."""
        running = self._running
        return None if running is None or running.child is None else running.child.poll()

    def start(self, command: Sequence[str | Path], environ: Mapping[str, str] | None = None) -> None:
        """Start the program; an earlier one must have ended.

        Args:
            command: command line.
            environ: its environment; None for that of this process.

        Raises:
            OSError: the program or the log cannot be opened.
        """
        self.wait()  # reaps the earlier process
        with ExitStack() as opened:
            output = None if self.log is None else opened.enter_context(self.log.open("ab"))
            self._log_start = 0 if output is None else output.tell()
            child = subprocess.Popen(
                command,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=None if output is None else subprocess.STDOUT,
                start_new_session=self._own_group,
            )
        self._running = _Running(child.pid, start_time(child.pid) or 0, child)

    def adopt(self, pid: int) -> bool:
        """Manage a process that an earlier process has started.

        Returns:
            Whether it is alive.
        """
        started = start_time(pid)
        if started is None or not is_alive(pid):
            return False
        self._running = _Running(pid, started, None)
        return True

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the process has ended.

        Args:
            timeout: longest wait [s]; None for any.

        Returns:
            Whether it has ended.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        if (running := self._running) is not None and running.child is not None:
            with suppress(subprocess.TimeoutExpired):
                running.child.wait(timeout)
        while self.pid is not None and (deadline is None or time.monotonic() < deadline):
            time.sleep(_POLL)
        return self.pid is None

    def wait_until(self, holds: Callable[[], bool], timeout: float) -> bool:
        """Wait for a condition that the program fulfils, such as that it listens.

        Returns:
            Whether the condition holds: False once the process has ended, or after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while not holds():
            if self.pid is None or time.monotonic() > deadline:
                return False
            time.sleep(_POLL)
        return True

    def signal(self, number: int) -> None:
        """Send a signal to the process alone; nothing happens if it has ended."""
        if (pid := self.pid) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """Kill the process, with its group if it leads one, without waiting for its end."""
        if (pid := self.pid) is not None:
            with suppress(ProcessLookupError):
                if self._own_group and os.getpgid(pid) == pid:
                    os.killpg(pid, signal.SIGKILL)
                else:
                    os.kill(pid, signal.SIGKILL)

    def stop(self, grace: float) -> None:
        """End the process by SIGTERM, and kill it if it still runs after `grace` seconds; may be called twice."""
        self.signal(signal.SIGTERM)
        if not self.wait(grace):
            self.kill()
            self.wait()

    def last_lines(self, count: int = 4) -> list[str]:
        """The last lines of its log since its last start; none if it has no log."""
        if self.log is None or not self.log.exists():
            return []
        with self.log.open("rb") as log:
            log.seek(self._log_start if self._log_start <= log.seek(0, os.SEEK_END) else 0)  # it may have begun anew
            return list(deque((line.decode(errors="replace").rstrip() for line in log), maxlen=count))


@contextmanager
def ending_with_this_process() -> Iterator[None]:
    """Let all that is started in the block, directly or by what was started, end with it or with this process.

    For demos and tests of servers that outlive by design whoever started them, such as those of a fleet. It holds for
    any end, SIGKILL included: a helper process waits for it, and ends all processes that have inherited a variable.
    Neither process groups nor the kernel's parent-death signal would do: servers lead groups of their own, and the
    signal comes at the end of the thread that has started a process.
    """
    mark = f"[{os.getpid()}.{start_time(os.getpid())}]"
    helper = subprocess.Popen(
        [sys.executable, "-m", __name__, mark, str(os.getpid())], stdin=subprocess.PIPE, start_new_session=True
    )
    before = os.environ.get(_TIED, "")
    os.environ[_TIED] = before + mark
    try:
        yield
    finally:
        os.environ[_TIED] = before
        helper.communicate()  # closes its standard input


def tied_to(mark: str) -> list[int]:
    """Process ids of the processes that have inherited a mark."""
    return with_variable(_TIED, lambda value: mark in value)


def with_variable(name: str, holds: Callable[[str], bool]) -> list[int]:
    """Process ids of the processes that were started with an environment variable; those of other users are not seen.

    Args:
        name: name of the variable.
        holds: whether its value is a wanted one.
    """
    pids, begin = [], f"{name}=".encode()
    for entry in os.scandir(_PROC):
        with suppress(OSError):  # ended meanwhile, or of another user
            variables = (Path(entry) / "environ").read_bytes().split(b"\0") if entry.name.isdigit() else ()
            if any(one.startswith(begin) and holds(os.fsdecode(one.removeprefix(begin))) for one in variables):
                pids.append(int(entry.name))
    return pids


def end_all(find: Callable[[], list[int]], grace: float) -> int:
    """End processes, and others that they start meanwhile, by SIGTERM; give their number once none is left.

    Args:
        find: gives their process ids.
        grace: time [s] after which they are killed; those that are stopped by a signal are killed at once.
    """
    begin, warned = time.monotonic(), set[int]()
    while left := find():
        late = time.monotonic() - begin > grace
        for pid in left:
            with suppress(OSError):
                if late or is_stopped(pid):
                    os.kill(pid, signal.SIGKILL)
                elif pid not in warned:
                    os.kill(pid, signal.SIGTERM)
        warned.update(left)
        time.sleep(10 * _POLL)
    return len(warned)


def _end_tied(mark: str, owner: int) -> None:
    """Wait for the end of the owner or of its block, then end what is tied to it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.getppid() == owner and not select.select([0], [], [], 0.5)[0]:  # forks of the owner keep the pipe open
        pass
    end_all(lambda: tied_to(mark), _GRACE)


class WorkerPool:
    """Spawned processes that work on tasks, see `worker_pool`."""

    def __init__(self, executor: ProcessPoolExecutor) -> None:
        self._executor = executor

    def submit(self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Call a module-level function in a worker."""
        with holding_interrupts():  # a worker may be started here, and must not see Ctrl-C while it imports
            return self._executor.submit(function, *args, **kwargs)


@contextmanager
def worker_pool(workers: int, **options: Any) -> Iterator[WorkerPool]:
    """A pool of spawned processes, as gRPC and OpenMP do not work after a fork.

    Ctrl-C in the terminal ends the workers at once and silently, as does an exception that leaves the block, or the end
    of this process by any signal. The block ends when all tasks are done.

    Args:
        workers: number of processes.
        options: further arguments of `concurrent.futures.ProcessPoolExecutor`.
    """
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    executor = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _enter_worker, **options)
    others = set(active_children())
    with executor:
        try:
            yield WorkerPool(executor)
        except BaseException:
            # They may spend many seconds in one call of C++. Ctrl-C in a terminal reaches them too, but a signal to
            # their parent alone does not.
            for worker in set(active_children()) - others:
                worker.terminate()
            # If one ended in the middle of a result, the thread that reads results would wait for the rest for ever,
            # and this block for that thread. Closing the last writer ends it.
            executor._result_queue._writer.close()  # type: ignore[attr-defined]
            raise


@contextmanager
def holding_interrupts() -> Iterator[None]:
    """Delay Ctrl-C until the block ends. Processes started in it inherit the blocked signal, see `end_on_interrupts`.

    Ctrl-C reaches all processes of a terminal. A process that is still importing modules, or whose parent has left
    before sending it work, would print a traceback.
    """
    resource_tracker.ensure_running()  # its first start would unblock Ctrl-C
    came: list[tuple[int, FrameType | None]] = []
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    handler = signal.getsignal(signal.SIGINT)
    if held := callable(handler) and current_thread() is main_thread():  # another thread may receive the signal
        signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        if held:
            signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if came and callable(handler):
            handler(*came[0])


def _enter_worker() -> None:
    """Let this worker process end on Ctrl-C, and with its parent."""
    end_on_interrupts()
    Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    """End this process when its parent has ended: a killed parent cannot tell its workers to stop."""
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)


def end_on_interrupts() -> None:
    """Let Ctrl-C end this worker process at once without a message; a delayed signal takes effect now."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


class SignalEvent:
    """An event as `threading.Event`, which handlers of signals may set: it takes no lock.

    A handler runs in the main thread, between two of its instructions. If these are in `threading.Event.wait`, the
    thread may hold the lock of the event, and `set` would wait for it forever.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._file = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        finalize(self, os.close, self._file).atexit = False  # a signal may come until the very end

    def set_on(self, *numbers: signal.Signals) -> None:
        """Set it when one of these signals comes, in place of what the signal did before."""
        for number in numbers:
            signal.signal(number, lambda number, frame: self.set())

    def is_set(self) -> bool:
        """Whether it was set."""
        return self._is_set

    def set(self) -> None:
        """Set it, from any thread or handler; all that wait go on."""
        self._is_set = True
        os.eventfd_write(self._file, 1)  # never read, so it stays readable

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set.

        Args:
            timeout: longest wait [s]; None for any.

        Returns:
            Whether it was set.
        """
        poll = select.poll()
        poll.register(self._file, select.POLLIN)
        end = math.inf if timeout is None else time.monotonic() + timeout
        while not self._is_set and (left := end - time.monotonic()) > 0:
            # A handler runs after the call if its signal comes just before it, or to another thread.
            poll.poll(1e3 * min(left, _LONGEST_CALL))
        return self._is_set


def start_time(pid: int) -> int | None:
    """Start time of a process [clock ticks since boot]; None if there is no such process."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def is_used(pid: int) -> bool:
    """Whether a process id is in use, also by a zombie or by a process of another user."""
    return (_PROC / str(pid)).exists()


def is_alive(pid: int) -> bool:
    """Whether a process exists and has not ended; a zombie has ended."""
    fields = _stat(pid)
    return bool(fields) and fields[0] not in "ZX"


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal (SIGSTOP, Ctrl-Z); a process in a debugger does not count."""
    return _stat(pid)[:1] == ["T"]


def is_same(pid: int, started: int) -> bool:
    """Whether the process with this id and start time still runs; a zombie has ended.

    Args:
        pid: process id.
        started: `start_time` of the process; another process with the same id has another one.

    Returns:
        True also for a process that this user may not inspect: its files must be kept.
    """
    try:
        fields = _stat(pid)
        return bool(fields) and fields[0] not in "ZX" and int(fields[19]) == started
    except PermissionError:
        return True


def namespace() -> int:
    """Number of the process id namespace of this process."""
    return os.stat(_PROC / "self/ns/pid").st_ino


def pid_scope() -> str:
    """Scope in which process ids are unique, as ``BOOT.NAMESPACE``: boot of this machine, and namespace."""
    return f"{_boot()}.{namespace()}"


def arguments(pid: int) -> tuple[str, ...]:
    """Command line of a process, program first; empty if the process has ended or belongs to the kernel."""
    try:
        raw = (_PROC / str(pid) / "cmdline").read_bytes()
    except _ENDED:
        return ()
    return tuple(part.decode(errors="replace") for part in raw.removesuffix(b"\0").split(b"\0")) if raw else ()


def command_lines() -> Iterator[tuple[int, tuple[str, ...]]]:
    """Process id and command line of all processes that this user may inspect and that have a command line."""
    for entry in os.scandir(_PROC):
        if not entry.name.isdigit():
            continue
        try:
            line = arguments(int(entry.name))
        except PermissionError:
            continue
        if line:
            yield int(entry.name), line


def with_argument(argument: str) -> list[ManagedProcess]:
    """Processes with this argument in their command line, such as those that an earlier process has left running."""
    pids = [pid for pid, line in command_lines() if argument in line]
    return [process for pid in pids if (process := ManagedProcess()).adopt(pid)]


def children(pid: int) -> tuple[int, ...]:
    """Process ids of the children of a process, whichever of its threads started them."""
    pids: list[int] = []
    with suppress(*_ENDED):
        for path in (_PROC / str(pid) / "task").glob("*/children"):
            with suppress(*_ENDED):  # a thread may end meanwhile
                pids.extend(map(int, path.read_text().split()))
    return tuple(pids)


def parent(pid: int) -> int | None:
    """Process id of the parent of a process; None if there is no such process."""
    fields = _stat(pid)
    return int(fields[1]) if fields else None


def processor_time(pid: int, *, with_ended: bool = False) -> float | None:
    """CPU time of a process [s], user and system; None if there is no such process.

    Args:
        pid: its id.
        with_ended: whether to add that of its children that have ended and were waited for.
    """
    fields = _stat(pid)[11 : 15 if with_ended else 13]
    return sum(map(int, fields)) / os.sysconf("SC_CLK_TCK") if fields else None


def resident_memory(pid: int) -> int | None:
    """Resident memory of a process [bytes], shared pages included; None if there is no such process."""
    try:
        pages = int((_PROC / str(pid) / "statm").read_text().split()[1])
    except _ENDED:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def processor_name() -> str:
    """The model of this machine's processor, such as ``AMD EPYC 7B13``."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _stat(pid: int) -> list[str]:
    """Fields of ``/proc/PID/stat`` from the third on; empty if there is no such process."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except _ENDED:
        return []
    # The second field is the program's name in parentheses, which may itself contain parentheses.
    return text.rpartition(")")[2].split()


@cache
def _boot() -> str:
    return (_PROC / "sys/kernel/random/boot_id").read_text()[:8]


if __name__ == "__main__":
    _end_tied(sys.argv[1], int(sys.argv[2]))
