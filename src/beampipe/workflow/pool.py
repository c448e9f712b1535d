"""Where tasks run: in this process, in processes beside it, in dask, in Slurm, or in any executor."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple, Protocol, TypeVar, runtime_checkable

from beampipe.errors import ConfigError, UnknownNameError
from beampipe.processes import holding_interrupts
from beampipe.workflow.alike import Environment, installed
from beampipe.workflow.clusters import SlurmOptions, open_dask, open_slurm

__all__ = ["POOLS", "Pool", "fork_processes", "open_pool", "prepare_processes"]

T = TypeVar("T")

POOLS = ("inline", "processes", "dask", "slurm")
"""The names that `open_pool` takes, beside ``dask=ADDRESS``."""

RECYCLE = 200
"""Tasks per worker after which the workers are replaced, so that memory which a library leaks is given back."""


_MANY_OBJECTS: Final = 10_000
"""Objects that outlive a task only if it has imported modules."""


@runtime_checkable
class Pool(Protocol):
    """Workers that run tasks; what `run` needs to know of dask, of processes and of other executors.

    Attributes:
        workers: number of tasks that run at once.
        lost: the errors that a future raises if its worker died, whether or not its task was to blame.
    """

    workers: int
    lost: tuple[type[Exception], ...]

    def submit(self, function: Callable[..., T], /, *arguments: Any) -> Future[T]:
        """Call a function in a worker; the function and its arguments travel by pickle."""

    def restart(self) -> None:
        """Make the pool usable again after a worker died; futures that are not done end with one of `lost`."""

    def abandon(self, futures: Iterable[Future[Any]]) -> None:
        """Drop tasks whose results nobody waits for any more, as far as that is possible."""


@contextmanager
def open_pool(
    spec: str | Executor = "processes",
    workers: int = 1,
    *,
    slurm: SlurmOptions | None = None,
    recycle: int = RECYCLE,
    preload: Sequence[str] = (),
    environment: Environment = installed,
) -> Iterator[Pool]:
    """Open a pool for a block. It is closed when its tasks are done, or at once if an exception leaves the block.

    Args:
        spec: where tasks run. ``"inline"``: in this process, each when it is submitted. ``"processes"``: in processes
            beside it; they import the script that is run, so it must start its work under
            ``if __name__ == "__main__":``. ``"dask"``: in a dask cluster on this machine. ``"dask=ADDRESS"``: in the
            dask cluster whose scheduler listens there. ``"slurm"``: in Slurm jobs, through dask-jobqueue. An executor,
            e.g. of mpi4py, is used as it is, and stays open.
        workers: number of tasks to run at once.
        slurm: what to ask Slurm for; by default one core and 2 GiB per job.
        recycle: tasks per worker after which the processes of ``"processes"`` are replaced.
        preload: modules that the processes of ``"processes"`` need; see `prepare_processes`.
        environment: says what a process computes with; workers of dask and Slurm that compute with something else end
            the run with one `MismatchError`.

    Raises:
        UnknownNameError: there is no pool of that name.
        ConfigError: fewer than one worker is asked for, or `slurm` contradicts itself.
        ServiceUnavailableError: no scheduler listens at ADDRESS.
        MissingExtraError: dask or dask-jobqueue is not installed.
    """
    if workers < 1:
        raise ConfigError(f"workers: got {workers}, expected at least 1")
    if isinstance(spec, Executor):
        yield _Given(spec, workers)
    elif spec == "inline":
        yield _Inline()
    elif spec == "processes":
        pool = _Processes(workers, recycle, preload)
        try:
            yield pool
        except BaseException:
            pool.close(at_once=True)
            raise
        pool.close()
    elif spec == "dask" or spec.startswith("dask="):
        with open_dask(workers, spec.partition("=")[2], environment) as cluster:
            yield cluster
    elif spec == "slurm":
        with open_slurm(workers, slurm or SlurmOptions(), environment) as cluster:
            yield cluster
    else:
        raise UnknownNameError("pool", spec, POOLS)


def prepare_processes(preload: Sequence[str]) -> None:
    """Start the server that worker processes are forked from, without waiting for it; none if they are there already.

    Args:
        preload: modules that the server imports first; they must start no thread. A server that runs already is not
            changed.
    """
    if not _forked:
        _start_server(preload)


def _start_server(preload: Sequence[str]) -> None:
    multiprocessing.set_forkserver_preload(list(preload))
    with holding_interrupts():
        forkserver.ensure_running()


def fork_processes(workers: int, preload: Sequence[str] = ()) -> None:
    """Fork the workers of the next pool of processes from this process: what it has loaded costs them nothing.

    A copy of a process with threads may wait for ever for a lock that one of them holds. So this is for a program that
    knows what it has loaded, and that has no thread yet: in any other nothing happens. Workers that die or are replaced
    come from a server, as those of any other pool do.

    Args:
        workers: number of processes.
        preload: modules that each of them imports first.
    """
    if threading.active_count() == 1 and not _forked:
        with holding_interrupts(), warnings.catch_warnings():
            # Python counts the threads of OpenBLAS, too, which ends them before a fork and starts them after it.
            warnings.simplefilter("ignore", DeprecationWarning)
            _forked.append(_Workers.of("fork", workers, preload))


class _Workers(NamedTuple):
    """Processes that wait for tasks.

    Attributes:
        executor: gives them tasks.
        lifeline: a pipe that we close, or the kernel does when this process dies in whatever way. Then they end.
        number: how many they are.
    """

    executor: ProcessPoolExecutor
    lifeline: Connection
    number: int

    @classmethod
    def of(cls, method: str, number: int, preload: Sequence[str] = ()) -> _Workers:
        """Processes that are started by a method of `multiprocessing`."""
        context = multiprocessing.get_context(method)
        watched, lifeline = context.Pipe(duplex=False)
        inherited = lifeline if method == "fork" else None
        executor = ProcessPoolExecutor(number, context, _enter_worker, (watched, inherited, tuple(preload)))
        if method == "fork":  # all of them now, before the executor has its threads
            executor.submit(int)
        return cls(executor, lifeline, number)


_forked: Final[list[_Workers]] = []
"""Workers that no pool has taken yet."""


class _Inline:
    """This process as a pool: a task runs when it is submitted."""

    workers = 1
    lost: tuple[type[Exception], ...] = ()

    def submit(self, function: Callable[..., T], /, *arguments: Any) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    def restart(self) -> None:
        pass

    def abandon(self, futures: Iterable[Future[Any]]) -> None:
        pass  # each was done when it was submitted


class _Given:
    """An executor that the user brought, as a pool; it deals with dead workers in its own way."""

    lost: tuple[type[Exception], ...] = ()

    def __init__(self, executor: Executor, workers: int) -> None:
        self._executor = executor
        self.workers = int(getattr(executor, "_max_workers", None) or workers)

    def submit(self, function: Callable[..., T], /, *arguments: Any) -> Future[T]:
        with holding_interrupts():  # a worker that was started and not yet counted would outlive this process
            return self._executor.submit(function, *arguments)

    def restart(self) -> None:
        pass

    def abandon(self, futures: Iterable[Future[Any]]) -> None:
        for future in futures:
            future.cancel()


class _Processes:
    """Processes on this machine as a pool.

    They are forked from a server that was spawned, so they inherit no thread and no lock of this process. What the
    server has imported costs them nothing, neither when they start nor when they are replaced. The first may be there
    already: see `fork_processes`.
    """

    lost: tuple[type[Exception], ...] = (BrokenExecutor,)

    def __init__(self, workers: int, recycle: int, preload: Sequence[str]) -> None:
        self.workers = workers
        self._limit, self._preload = workers * recycle, preload
        self._open()

    def submit(self, function: Callable[..., T], /, *arguments: Any) -> Future[T]:
        # The executor's own max_tasks_per_child can leave Python 3.11 waiting for ever.
        if self._submitted >= self._limit:
            self.close()
            self._open()
        self._submitted += 1
        with holding_interrupts():  # a worker that was started and not yet counted would outlive this process
            return self._workers.executor.submit(_call, function, *arguments)

    def restart(self) -> None:
        self.close(at_once=True)
        self._open()

    def abandon(self, futures: Iterable[Future[Any]]) -> None:
        # Closing the pool ends them. Python 3.11's executor trips over a future that was cancelled when a worker dies.
        pass

    def close(self, *, at_once: bool = False) -> None:
        """End the workers: after their tasks, or at once."""
        if at_once:
            self._workers.lifeline.close()
        self._workers.executor.shutdown(wait=True, cancel_futures=at_once)
        self._workers.lifeline.close()

    def _open(self) -> None:
        self._submitted = 0
        if _forked and _forked[0].number == self.workers:
            self._workers = _forked.pop()
            return
        _start_server(self._preload)
        self._workers = _Workers.of("forkserver", self.workers)


def _enter_worker(lifeline: Connection, inherited: Connection | None, preload: Sequence[str]) -> None:
    """What a worker does before its first task.

    Args:
        lifeline: is closed at its other end when this process shall end.
        inherited: the copy of that end in this process, if it is a copy of the driver.
        preload: modules to import.
    """
    # Ctrl-C reaches all processes of the terminal; the driver alone decides what becomes of the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if inherited is not None:
        inherited.close()
    threading.Thread(target=_follow, args=(lifeline,), daemon=True).start()
    for name in preload:
        with suppress(ImportError):  # as in the server: the task that needs it says what is missing
            import_module(name)
    gc.freeze()  # what the server has loaded stays; a look at it would copy the pages that are shared with it


def _call(function: Callable[..., T], *arguments: Any) -> T:
    """A task in a worker; what it leaves in cycles of references goes at once, or memory grows over tens of tasks."""
    try:
        return function(*arguments)
    finally:
        gc.collect()
        if len(gc.get_objects()) > _MANY_OBJECTS:
            gc.freeze()  # modules that the task has imported: the next look need not go through them


def _follow(lifeline: Connection) -> None:
    """End this process when the driver's end of the pipe is closed."""
    lifeline.poll(None)
    os._exit(1)
