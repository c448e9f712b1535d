"""Where tasks run: this process, processes beside it, dask, Slurm, or any executor."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import Any, Protocol, TypeVar, runtime_checkable

from beampipe.errors import ConfigError, UnknownNameError
from beampipe.workflow.clusters import SlurmOptions, open_dask, open_slurm

__all__ = ["POOLS", "Pool", "open_pool", "prepare_processes"]

T = TypeVar("T")

POOLS = ("inline", "processes", "dask", "slurm")
"""Names that `open_pool` takes; ``dask=ADDRESS`` is another."""

RECYCLE = 200
"""Tasks per worker after which the workers are replaced: memory that a library leaks goes with them."""


@runtime_checkable
class Pool(Protocol):
    """Workers, and how to tell that one was lost.

    Attributes:
        workers: how many tasks run at once.
        lost: what a future raises if its worker died, through no known fault of the task.
    """

    workers: int
    lost: tuple[type[Exception], ...]

    def submit(self, function: Callable[..., T], /, *arguments: Any) -> Future[T]:
        """Call a function in a worker; both it and its arguments travel by pickle."""

    def restart(self) -> None:
        """Make the pool usable again after a worker was lost; futures not done end with one of `lost`."""

    def abandon(self, futures: Iterable[Future[Any]]) -> None:
        """Nobody waits for these any more."""


@contextmanager
def open_pool(
    spec: str | Executor = "processes",
    workers: int = 1,
    *,
    slurm: SlurmOptions | None = None,
    recycle: int = RECYCLE,
    preload: Sequence[str] = (),
) -> Iterator[Pool]:
    """Open a pool, and close it afterwards: at once if an exception leaves the block, else when its tasks are done.

    Args:
        spec: ``"inline"`` runs each task when it is submitted, in this process; ``"processes"`` in processes beside
            it; ``"dask"`` in a dask cluster on this machine; ``"dask=ADDRESS"`` in a running one; ``"slurm"`` in Slurm
            jobs, through dask-jobqueue. Or any executor, e.g. of mpi4py: it stays open.
        workers: how many tasks to run at once.
        slurm: what to ask Slurm for.
        recycle: tasks per worker after which processes are replaced.
        preload: modules that processes need; see `prepare_processes`.

    Raises:
        UnknownNameError: there is no such pool.
        ConfigError: fewer than one worker, or the address is missing.
        MissingExtraError: dask is not installed.
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
        with open_dask(workers, spec.partition("=")[2]) as cluster:
            yield cluster
    elif spec == "slurm":
        with open_slurm(workers, slurm or SlurmOptions()) as cluster:
            yield cluster
    else:
        raise UnknownNameError("pool", spec, POOLS)


def prepare_processes(preload: Sequence[str]) -> None:
    """Start the server that worker processes are forked from, without waiting for it.

    Args:
        preload: modules that it imports first. They must start no thread. A server that runs already stays as it is.
    """
    multiprocessing.set_forkserver_preload(list(preload))
    forkserver.ensure_running()


class _Inline:
    """This process."""

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
    """Somebody else's executor; what it does about lost workers is its own affair."""

    lost: tuple[type[Exception], ...] = ()

    def __init__(self, executor: Executor, workers: int) -> None:
        self._executor = executor
        self.workers = int(getattr(executor, "_max_workers", None) or workers)

    def submit(self, function: Callable[..., T], /, *arguments: Any) -> Future[T]:
        return self._executor.submit(function, *arguments)

    def restart(self) -> None:
        pass

    def abandon(self, futures: Iterable[Future[Any]]) -> None:
        for future in futures:
            future.cancel()


class _Processes:
    """Processes on this machine, forked from a server that was spawned: they inherit no thread and no lock of ours.

    What the server has imported costs its workers nothing, neither at the start nor when they are replaced.
    """

    lost: tuple[type[Exception], ...] = (BrokenExecutor,)

    def __init__(self, workers: int, recycle: int, preload: Sequence[str]) -> None:
        self.workers = workers
        self._limit = workers * recycle
        prepare_processes(preload)
        self._open()

    def submit(self, function: Callable[..., T], /, *arguments: Any) -> Future[T]:
        # Not max_tasks_per_child: it can leave Python 3.11 waiting for ever.
        if self._submitted >= self._limit:
            self.close()
            self._open()
        self._submitted += 1
        return self._executor.submit(function, *arguments)

    def restart(self) -> None:
        self.close(at_once=True)
        self._open()

    def abandon(self, futures: Iterable[Future[Any]]) -> None:
        # Closing the pool ends them. Python 3.11's executor trips over a future that was cancelled when a worker dies.
        pass

    def close(self, *, at_once: bool = False) -> None:
        """End the workers, after their tasks or at once."""
        if at_once:
            self._lifeline.close()
        self._executor.shutdown(wait=True, cancel_futures=at_once)
        self._lifeline.close()

    def _open(self) -> None:
        context = multiprocessing.get_context("forkserver")
        self._submitted = 0
        # Closed by us, or by the kernel when this process dies in whatever way: the workers go then.
        watched, self._lifeline = context.Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(self.workers, context, _enter_worker, (watched,))


def _enter_worker(lifeline: Connection) -> None:
    """Before the first task of a worker."""
    # Ctrl-C reaches the whole group; the driver decides what becomes of the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, args=(lifeline,), daemon=True).start()


def _follow(lifeline: Connection) -> None:
    """End this process when the other end of the line is gone."""
    lifeline.poll(None)
    os._exit(1)
