"""Dask as a pool: a cluster on this machine, one that runs somewhere, or workers that are Slurm jobs.

Only dask's transport is used. Tasks are submitted a few at a time, never as a graph, and each commits what it makes to
the store, so nothing depends on the memory of dask's scheduler. Whoever reaches the port of a scheduler can run code as
its owner. The scheduler therefore listens on loopback only, or for Slurm on the host or interface that is asked for.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from beampipe.errors import ConfigError, ServiceUnavailableError
from beampipe.workflow.alike import Environment, call_alike, installed, known_here

__all__ = ["SlurmOptions", "open_dask", "open_slurm"]

T = TypeVar("T")

_LOOPBACK = "127.0.0.1"
_DASHBOARD = {"dashboard_address": f"{_LOOPBACK}:0"}  # any free port; None would mean the usual one, which may be taken
_STARTED: Final = 10.0  # s that a cluster's workers get to be there before it closes


@dataclass(frozen=True)
class SlurmOptions:
    """What to ask Slurm for. Each worker is a job of its own.

    Attributes:
        queue: Slurm partition to submit to; None for the default one.
        account: Slurm account to charge; None for the default one.
        cores: number of cores of each job. A worker runs one task at a time, whose threads may use all of them.
        memory: memory of each job, as dask writes it.
        walltime: time limit of each job, HH:MM:SS. A new job follows one that ends, and only the interrupted task is
            done again.
        host: host name or address that the scheduler listens on and workers connect to; None for the address of this
            machine's name.
        interface: network interface that the scheduler listens on, instead of a host, e.g. ``"ib0"``.
        folder: folder for the workers' scratch files and logs, seen by all nodes; None for a temporary one.
        prologue: lines of shell to run before each worker, e.g. ``"module load python"``.
        directives: further options for sbatch, e.g. ``"--qos=debug"``.
        python: Python interpreter on the nodes, with beampipe installed.
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
    """A client of dask as a pool; whoever started the workers replaces those that die.

    A worker that computes with something else than this process refuses every task, see `alike`.
    """

    def __init__(self, client: Any, workers: int, environment: Environment) -> None:
        distributed = _load("distributed")
        self._alike = (environment, known_here(environment), distributed.protocol.pickle.loads)
        self._pack: Callable[[Any], bytes] = distributed.protocol.pickle.dumps
        self.workers = workers
        self.lost: tuple[type[Exception], ...] = (distributed.scheduler.KilledWorker, distributed.CancelledError)
        self._client = client

    def submit(self, function: Callable[..., T], /, *arguments: Any) -> Future[T]:
        # In dask's own executor a future stays open for ever if a worker dies between a result and its delivery.
        future: Future[T] = Future()

        def deliver(remote: Any) -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(remote.result())
            except Exception as error:
                future.set_exception(error)
            except BaseException as error:  # e.g. asyncio's CancelledError, which is no Exception
                future.set_exception(ServiceUnavailableError(f"dask gave no result: {error!r}"))

        # pure=False: dask would make one call of two equal ones.
        work = self._pack((function, arguments))
        self._client.submit(call_alike, *self._alike, work, pure=False).add_done_callback(deliver)
        return future

    def restart(self) -> None:
        if self._client.status != "running":
            raise ServiceUnavailableError("the connection to dask's scheduler is lost; run the same command again")

    def abandon(self, futures: Iterable[Future[Any]]) -> None:
        for future in futures:
            future.cancel()


@contextmanager
def open_dask(workers: int, address: str = "", environment: Environment = installed) -> Iterator[_Dask]:
    """Open a dask cluster as a pool.

    Args:
        workers: number of processes of a cluster that is made here.
        address: address of the scheduler of a running cluster, whose workers are all used; empty to make one here.
        environment: says what a process computes with, which must be the same in every worker.

    Raises:
        MissingExtraError: dask is not installed.
        ServiceUnavailableError: no scheduler listens at that address.
    """
    distributed = _load("distributed")
    if not address:
        with (
            tempfile.TemporaryDirectory(prefix="beampipe-dask-") as scratch,
            _first_loss_counts(),
            distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host=_LOOPBACK,
                local_directory=scratch,
                **_DASHBOARD,
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            # A worker that dies while it starts takes its watchdog with it, and nothing but this makes another.
            cluster.adapt(minimum=workers, maximum=workers, interval="1s")
            try:
                yield _Dask(client, workers, environment)
            finally:
                # A cluster that closes while a watchdog starts its worker again waits for a process that never was.
                with suppress(TimeoutError, OSError):
                    client.wait_for_workers(workers, timeout=_STARTED)
        return
    try:
        client = distributed.Client(address)
    except (OSError, ValueError) as error:
        raise ServiceUnavailableError(f"there is no dask scheduler at {address!r}: {error}") from error
    with client:
        yield _Dask(client, max(1, sum(client.nthreads().values())), environment)


@contextmanager
def open_slurm(workers: int, options: SlurmOptions, environment: Environment = installed) -> Iterator[_Dask]:
    """Open a pool of Slurm jobs that work for a scheduler in this process. Tasks wait until the first job starts.

    Args:
        workers: number of jobs to keep alive.
        options: what each job asks for.
        environment: says what a process computes with, which must be the same in every worker.

    Raises:
        ConfigError: both a host and an interface are given.
        MissingExtraError: dask-jobqueue is not installed.
    """
    jobqueue, distributed = _load("dask_jobqueue"), _load("distributed")
    if options.host and options.interface:
        raise ConfigError(f"slurm: got host {options.host!r} and interface {options.interface!r}, expected one of them")
    scheduler = {**_DASHBOARD, **({"host": options.host} if options.host else {"interface": options.interface})}
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
            # This keeps as many jobs alive: one that Slurm ends is followed by another.
            cluster.adapt(minimum_jobs=workers, maximum_jobs=workers, interval="1s")
            yield _Dask(client, workers, environment)


def _first_loss_counts() -> AbstractContextManager[object]:
    """Make dask report a worker's first death: it would give the task to three more, but `run` runs suspects alone."""
    return _load("dask").config.set({"distributed.scheduler.allowed-failures": 0})  # type: ignore[no-any-return]


def _load(package: str) -> Any:
    import dask  # noqa: F401 - where it is missing, this says which extra brings it and the others

    return importlib.import_module(package)
