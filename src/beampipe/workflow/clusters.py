"""Dask as a pool: a cluster on this machine, one that runs somewhere, or workers that are Slurm jobs.

Only its transport is used. Tasks are submitted a few at a time, never as a graph, and each commits what it makes to the
store, so nothing depends on the memory of dask's scheduler. Whoever reaches the port of a scheduler can run code as its
owner: on this machine it listens on loopback only, for Slurm on the host or interface that is asked for.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from beampipe.errors import ConfigError, MissingExtraError, ServiceUnavailableError

__all__ = ["SlurmOptions", "open_dask", "open_slurm"]

T = TypeVar("T")

_LOOPBACK = "127.0.0.1"
_OFF = {"dashboard_address": f"{_LOOPBACK}:0"}  # dask takes None for its usual port, which may be taken


@dataclass(frozen=True)
class SlurmOptions:
    """What to ask Slurm for; each worker is a job of its own.

    Attributes:
        queue: partition; None for the default one.
        account: whom to charge; None for the default one.
        cores: of a job; a worker runs one task at a time, whatever uses threads may use these.
        memory: of a job.
        walltime: of a job; when it ends, a new job takes its place, and only the task it ran is done again.
        host: where the scheduler listens and workers connect to; None for what the machine's name stands for.
        interface: network interface instead of a host, e.g. ``"ib0"``.
        folder: for the workers' scratch files and logs; None for temporary ones.
        prologue: lines of shell before the worker, e.g. ``"module load python"``.
        directives: lines for sbatch, e.g. ``"--qos=debug"``.
        python: the interpreter on the nodes, with beampipe installed.
    """

    queue: str | None = None
    account: str | None = None
    cores: int = 1
    memory: str = "2GiB"
    walltime: str = "01:00:00"
    host: str | None = None
    interface: str | None = None
    folder: Path | None = None
    prologue: tuple[str, ...] = ()
    directives: tuple[str, ...] = ()
    python: str = sys.executable


class _Dask:
    """A client of dask as a pool; lost workers are replaced by whoever started them."""

    def __init__(self, client: Any, workers: int) -> None:
        distributed = _load("distributed")
        self.workers = workers
        self.lost: tuple[type[Exception], ...] = (distributed.scheduler.KilledWorker, distributed.CancelledError)
        self._client = client

    def submit(self, function: Callable[..., T], /, *arguments: Any) -> Future[T]:
        # Not by dask's own executor: its futures stay open for ever if a worker dies between a result and its delivery.
        future: Future[T] = Future()

        def deliver(remote: Any) -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(remote.result())
            except Exception as error:
                future.set_exception(error)
            except BaseException as error:  # cancelled, in the words of asyncio
                future.set_exception(ConnectionError(f"dask gave no result: {error!r}"))

        # Equal calls are still two calls.
        self._client.submit(function, *arguments, pure=False).add_done_callback(deliver)
        return future

    def restart(self) -> None:
        if self._client.status != "running":
            raise ServiceUnavailableError("the connection to dask's scheduler is lost; run the same command again")

    def abandon(self, futures: Iterable[Future[Any]]) -> None:
        for future in futures:
            future.cancel()


@contextmanager
def open_dask(workers: int, address: str = "") -> Iterator[_Dask]:
    """A dask cluster.

    Args:
        workers: how many processes, if it is made here.
        address: of the scheduler of a running cluster, whose workers are all used; empty to make one here.

    Raises:
        MissingExtraError: dask is not installed.
        ServiceUnavailableError: there is no scheduler at that address.
    """
    distributed = _load("distributed")
    if not address:
        with (
            tempfile.TemporaryDirectory(prefix="beampipe-dask-") as scratch,
            _first_loss_counts(),
            distributed.LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, host=_LOOPBACK, local_directory=scratch, **_OFF
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            # A worker that dies while it starts takes its nanny with it, and nothing but this makes another.
            cluster.adapt(minimum=workers, maximum=workers, interval="1s")
            yield _Dask(client, workers)
        return
    try:
        client = distributed.Client(address)
    except (OSError, ValueError) as error:
        raise ServiceUnavailableError(f"there is no dask scheduler at {address!r}: {error}") from error
    with client:
        yield _Dask(client, max(1, sum(client.nthreads().values())))


@contextmanager
def open_slurm(workers: int, options: SlurmOptions) -> Iterator[_Dask]:
    """Slurm jobs that work for a scheduler in this process; the first tasks wait until the first job starts.

    Args:
        workers: how many jobs to keep.
        options: what each of them asks for.

    Raises:
        ConfigError: both a host and an interface.
        MissingExtraError: dask-jobqueue is not installed.
    """
    jobqueue, distributed = _load("dask_jobqueue"), _load("distributed")
    if options.host and options.interface:
        raise ConfigError(f"slurm: got host {options.host!r} and interface {options.interface!r}, expected one of them")
    scheduler = {**_OFF, **({"host": options.host} if options.host else {"interface": options.interface})}
    with tempfile.TemporaryDirectory(prefix="beampipe-slurm-", dir=options.folder) as scratch:
        folder = options.folder or Path(scratch)
        cluster = jobqueue.SLURMCluster(
            queue=options.queue,
            account=options.account,
            cores=options.cores,
            processes=1,
            memory=options.memory,
            walltime=options.walltime,
            job_script_prologue=list(options.prologue),
            job_extra_directives=list(options.directives),
            python=options.python,
            scheduler_options=scheduler,
            worker_extra_args=["--nthreads", "1", "--no-dashboard"],
            local_directory=str(folder),
            log_directory=str(folder / "logs"),
            death_timeout=60,
        )
        with _first_loss_counts(), cluster, distributed.Client(cluster) as client:
            # Keeps that many alive: a job that Slurm ends is followed by another.
            cluster.adapt(minimum_jobs=workers, maximum_jobs=workers, interval="1s")
            yield _Dask(client, workers)


def _first_loss_counts() -> AbstractContextManager[object]:
    """Dask would send a task that kills its worker to three more; `run` knows better which ones to send alone."""
    return _load("dask").config.set({"distributed.scheduler.allowed-failures": 0})  # type: ignore[no-any-return]


def _load(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtraError(package, "dask", "running tasks in dask or Slurm") from error
