"""Where tasks run: in this process, in processes beside it, in dask, in Slurm, or in any executor."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

from beampipe.errors import ConfigError, UnknownNameError
from beampipe.processes import holding_interrupts
from beampipe.workflow.alike import Environment, installed
from beampipe.workflow.clusters import SlurmOptions, open_dask, open_slurm
from beampipe.workflow.server import prepare_processes

__all__ = ["POOLS", "Pool", "open_pool"]

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
    server has imported costs them nothing, neither when they start nor when they are replaced.
    """

    lost: tuple[type[Exception], ...] = (BrokenExecutor,)

    def __init__(self, workers: int, recycle: int, preload: Sequence[str]) -> None:
        self.workers = workers
        self._limit = workers * recycle
        prepare_processes(preload)
        self._open()

    def submit(self, function: Callable[..., T], /, *arguments: Any) -> Future[T]:
        # The executor's own max_tasks_per_child can leave Python 3.11 waiting for ever.
        if self._submitted >= self._limit:
            self.close()
            self._open()
        self._submitted += 1
        with holding_interrupts():  # a worker that was started and not yet counted would outlive this process
            return self._executor.submit(_call, function, *arguments)

    def restart(self) -> None:
        self.close(at_once=True)
        self._open()

    def abandon(self, futures: Iterable[Future[Any]]) -> None:
        # Closing the pool ends them. Python 3.11's executor trips over a future that was cancelled when a worker dies.
        pass

    def close(self, *, at_once: bool = False) -> None:
        """End the workers: after their tasks, or at once."""
        if at_once:
            self._lifeline.close()
        self._executor.shutdown(wait=True, cancel_futures=at_once)
        self._lifeline.close()

    def _open(self) -> None:
        context = multiprocessing.get_context("forkserver")
        self._submitted = 0
        # We close this pipe, or the kernel does when this process dies in whatever way. Then the workers end.
        watched, self._lifeline = context.Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(self.workers, context, _enter_worker, (watched,))


def _enter_worker(lifeline: Connection) -> None:
    """What a worker does before its first task."""
    # Ctrl-C reaches all processes of the terminal; the driver alone decides what becomes of the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, args=(lifeline,), daemon=True).start()
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
