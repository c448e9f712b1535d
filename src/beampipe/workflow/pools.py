"""Pools of workers: in this process, forked, on a Dask cluster, on Slurm, or in any executor.

Workers of dask and Slurm must run the same code and package versions as the submitting process; otherwise they refuse
every task.

Only dask's transport is used. Tasks are submitted a few at a time, never as a graph, and each commits its artifacts to
the store, so nothing depends on the memory of dask's scheduler. Anyone with access to the port of a scheduler can run
code as its owner. The scheduler therefore listens on loopback only, or for Slurm on the configured host or interface.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import platform
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib import import_module
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeVar, runtime_checkable

import beampipe
from beampipe.errors import ConfigError, MismatchError, ServiceUnavailableError, UnknownNameError
from beampipe.identity import installed_version
from beampipe.processes import holding_interrupts

Environment = Callable[[], Mapping[str, str]]
"""Function that returns the code and packages of a process: name -> version or digest. It must be importable."""


def installed() -> dict[str, str]:
    """The versions of Python, numpy and beampipe, and a digest of beampipe's code, as a version may cover several."""
    code = sha256()
    for folder in map(Path, beampipe.__path__):
        for path in sorted(folder.rglob("*.py")):
            if path.name == "_version.py":  # has the version, which is listed separately, and the build date
                continue
            code.update(f"{path.relative_to(folder)}\n".encode() + sha256(path.read_bytes()).digest())
    return {
        "python": ".".join(map(str, sys.version_info[:2])),
        "beampipe": installed_version("beampipe"),
        "code of beampipe": code.hexdigest()[:12],
        "numpy": installed_version("numpy"),
    }


@cache
def cached_environment(environment: Environment) -> Mapping[str, str]:
    """The environment of this process, cached at the first call, as loaded code does not change either."""
    return environment()


def call_checked(
    environment: Environment, expected: Mapping[str, str], load: Callable[[bytes], Any], work: bytes
) -> Any:
    """In a worker: call a function if the environment of this process is the expected one.

    Args:
        environment: returns the environment of the process.
        expected: the environment of the submitting process.
        load: unpickles the work.
        work: pickled function and arguments; they are unpickled after the check, which would fail in another version.

    Raises:
        MismatchError: the environments differ.
    """
    here = cached_environment(environment)
    other = [name for name in dict.fromkeys([*expected, *here]) if expected.get(name) != here.get(name)]
    if other:
        got, wanted = (", ".join(f"{name} {each.get(name, 'none')}" for name in other) for each in (here, expected))
        raise MismatchError(
            f"worker on {platform.node()}, {sys.executable}: got {got}, expected {wanted} as in the process that"
            " started the run; install the same there, or start the workers with this process's Python"
        )
    function, arguments = load(work)
    return function(*arguments)


T = TypeVar("T")

_LOOPBACK = "127.0.0.1"

_DASHBOARD = {"dashboard_address": f"{_LOOPBACK}:0"}  # any free port; None would mean the usual one, which may be taken

_STARTED: Final = 10.0  # time for the workers of a cluster to start before it closes [s]


@dataclass(frozen=True)
class SlurmOptions:
    """Resources to request from Slurm. Each worker is a job of its own.

    Attributes:
        queue: Slurm partition to submit to; None for the default one.
        account: Slurm account to charge; None for the default one.
        cores: number of cores of each job. A worker runs one task at a time, whose threads may use all of them.
        memory: memory of each job, as dask writes it.
        walltime: time limit of each job, HH:MM:SS. A job that ends is replaced by a new one, and only the interrupted
            task is repeated.
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
    """A client of dask as a pool; the cluster itself replaces workers that die.

    A worker whose environment differs from that of this process refuses every task, see `call_checked`.
    """

    def __init__(self, client: Any, workers: int, environment: Environment) -> None:
        distributed = _load("distributed")
        self._alike = (environment, cached_environment(environment), distributed.protocol.pickle.loads)
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
            except BaseException as error:  # e.g. asyncio's CancelledError, which does not derive from Exception
                future.set_exception(ServiceUnavailableError(f"dask gave no result: {error!r}"))

        # pure=False: otherwise dask would merge two equal calls into one.
        work = self._pack((function, arguments))
        self._client.submit(call_checked, *self._alike, work, pure=False).add_done_callback(deliver)
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
        workers: number of processes of a local cluster.
        address: address of the scheduler of a running cluster, whose workers are all used; empty for a local cluster.
        environment: returns the environment of a process, which must be the same in every worker.

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
            # If a worker dies during its start its watchdog ends too; adapt() then starts another one.
            cluster.adapt(minimum=workers, maximum=workers, interval="1s")
            try:
                yield _Dask(client, workers, environment)
            finally:
                # Closing a cluster while a watchdog restarts its worker would wait for a process that never started.
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
    """Open a pool of Slurm jobs with the scheduler in this process. Tasks wait until the first job starts.

    Args:
        workers: number of jobs to keep alive.
        options: resources of each job.
        environment: returns the environment of a process, which must be the same in every worker.

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
            # This keeps the number of jobs constant: a job that Slurm ends is replaced.
            cluster.adapt(minimum_jobs=workers, maximum_jobs=workers, interval="1s")
            yield _Dask(client, workers, environment)


def _first_loss_counts() -> AbstractContextManager[object]:
    """Make dask report the first death of a worker instead of retrying the task on three more; `run` isolates it."""
    return _load("dask").config.set({"distributed.scheduler.allowed-failures": 0})  # type: ignore[no-any-return]


def _load(package: str) -> Any:
    import dask  # noqa: F401 - its absence raises the error that names the extra to install

    return import_module(package)


POOLS = ("inline", "processes", "dask", "slurm")
"""The names that `open_pool` takes, beside ``dask=ADDRESS``."""

RECYCLE = 200
"""Tasks per worker after which the workers are replaced, to release memory that libraries leak."""


_MANY_OBJECTS: Final = 10_000
"""Number of surviving objects above which a task must have imported modules."""


@runtime_checkable
class Pool(Protocol):
    """Workers that run tasks: the interface that `run` needs of processes, dask and other executors.

    Attributes:
        workers: number of tasks that run at once.
        lost: the errors that a future raises if its worker died, whether or not its task was the cause.
    """

    workers: int
    lost: tuple[type[Exception], ...]

    def submit(self, function: Callable[..., T], /, *arguments: Any) -> Future[T]:
        """Call a function in a worker; the function and its arguments are pickled."""

    def restart(self) -> None:
        """Make the pool usable again after a worker died; futures that are not done end with one of `lost`."""

    def abandon(self, futures: Iterable[Future[Any]]) -> None:
        """Cancel tasks whose results are no longer needed, as far as that is possible."""


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
        spec: where tasks run. ``"inline"``: in this process, each when it is submitted. ``"processes"``: in worker
            processes; they import the main script, which must therefore start its work under
            ``if __name__ == "__main__":``. ``"dask"``: in a dask cluster on this machine. ``"dask=ADDRESS"``: in the
            dask cluster whose scheduler listens there. ``"slurm"``: in Slurm jobs, through dask-jobqueue. An executor,
            e.g. of mpi4py, is used directly, and stays open.
        workers: number of tasks to run at once.
        slurm: resources of the Slurm jobs; by default one core and 2 GiB per job.
        recycle: tasks per worker after which the processes of ``"processes"`` are replaced.
        preload: modules that the processes of ``"processes"`` need; see `prepare_processes`.
        environment: returns the environment of a process; workers of dask and Slurm with another one end the run with
            `MismatchError`.

    Raises:
        UnknownNameError: there is no pool of that name.
        ConfigError: `workers` is below 1, or `slurm` contradicts itself.
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
        require_pool(spec)


def require_pool(spec: str) -> None:
    """Refuse a name of no pool, before there is anything to do.

    Args:
        spec: where tasks run, see `open_pool`.

    Raises:
        UnknownNameError: there is no pool of that name.
    """
    if spec not in POOLS and not spec.startswith("dask="):
        raise UnknownNameError("executor", spec, POOLS)


def prepare_processes(preload: Sequence[str]) -> None:
    """Start the fork server for worker processes without waiting for it; not needed if workers exist already.

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
    """Fork the workers of the next pool of processes from this process: they share the modules it has loaded.

    A fork of a process with threads may deadlock on a lock that one of them holds. The function therefore does nothing
    if this process has other threads. Workers that are replaced later come from the fork server, as in any other pool.

    Args:
        workers: number of processes.
        preload: modules that each of them imports first.
    """
    if threading.active_count() == 1 and not _forked:
        with holding_interrupts(), warnings.catch_warnings():
            # Python warns of the threads of OpenBLAS, too, although OpenBLAS stops them before a fork.
            warnings.simplefilter("ignore", DeprecationWarning)
            _forked.append(_Workers.of("fork", workers, preload))


class _Workers(NamedTuple):
    """Processes that wait for tasks.

    Attributes:
        executor: distributes tasks among them.
        lifeline: a pipe; the workers exit when it is closed, by this process or by the kernel when this process dies.
        number: number of processes.
    """

    executor: ProcessPoolExecutor
    lifeline: Connection
    number: int

    @classmethod
    def of(cls, method: str, number: int, preload: Sequence[str] = ()) -> _Workers:
        """Start processes by a start method of `multiprocessing`."""
        context = multiprocessing.get_context(method)
        watched, lifeline = context.Pipe(duplex=False)
        inherited = lifeline if method == "fork" else None
        executor = ProcessPoolExecutor(number, context, _enter_worker, (watched, inherited, tuple(preload)))
        if method == "fork":  # start all of them now, before the executor starts its threads
            executor.submit(int)
        return cls(executor, lifeline, number)


_forked: Final[list[_Workers]] = []
"""Workers that no pool uses yet."""


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
        pass  # each task finished when it was submitted


class _Given(_Inline):
    """An executor of the user as a pool; it handles dead workers itself."""

    def __init__(self, executor: Executor, workers: int) -> None:
        self._executor = executor
        self.workers = int(getattr(executor, "_max_workers", None) or workers)

    def submit(self, function: Callable[..., T], /, *arguments: Any) -> Future[T]:
        with holding_interrupts():  # a worker that was started and not yet counted would outlive this process
            return self._executor.submit(function, *arguments)

    def abandon(self, futures: Iterable[Future[Any]]) -> None:
        for future in futures:
            future.cancel()


class _Processes:
    """Processes on this machine as a pool.

    They are forked from a spawned server, so they inherit no thread and no lock of this process, but share the modules
    that the server has imported. The first workers may have been forked before: see `fork_processes`.
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
        try:
            with holding_interrupts():  # a worker that was started and not yet counted would outlive this process
                return self._workers.executor.submit(_call, function, *arguments)
        except (EOFError, ConnectionError) as error:
            raise BrokenExecutor("the server that forks workers died") from error

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
    """Set up a worker, which exits when the other end of `lifeline` closes; `inherited` is a forked copy of it."""
    # Ctrl-C reaches all processes of the terminal; only the driver decides when the workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a forked worker has the handler of the driver
    if inherited is not None:
        inherited.close()
    threading.Thread(target=_follow, args=(lifeline,), daemon=True).start()
    for name in preload:
        with suppress(ImportError):  # as in the server: a task that needs the module raises the error
            import_module(name)
    gc.freeze()  # exclude preloaded objects from collection, which would copy the pages shared with the server


def _call(function: Callable[..., T], *arguments: Any) -> T:
    """Run a task in a worker, then collect its reference cycles: memory would otherwise grow over tens of tasks."""
    try:
        return function(*arguments)
    finally:
        gc.collect()
        if len(gc.get_objects()) > _MANY_OBJECTS:
            gc.freeze()  # exclude modules that the task has imported from later collections


def _follow(lifeline: Connection) -> None:
    """End this process when the driver's end of the pipe is closed."""
    lifeline.poll(None)
    os._exit(1)
