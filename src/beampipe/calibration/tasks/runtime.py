"""The environment of tasks: stages and their code digests, output folders, worker pools, and errors of workers.

Readers of ROOT files turn most errors into one about a damaged file. `run_with_worker_errors` examines the cause:
memory, permission, the disk, a missing package, or the file itself.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

from beampipe.calibration.config import Configuration
from beampipe.calibration.kernels import build
from beampipe.calibration.ntuple.root_files import error_line
from beampipe.errors import BeampipeError, FileError, MissingExtraError, TooLargeError, WorkflowError
from beampipe.identity import NO_RESULT
from beampipe.terminal import Progress
from beampipe.workflow import (
    EventLog,
    Pool,
    Recipe,
    SlurmOptions,
    Store,
    Task,
    code_digest,
    digest_of,
    fork_processes,
    installed,
    installed_version,
    open_pool,
    prepare_processes,
    run,
)

CALIBRATION_STAGES: Final = ("select", "predict", "fill", "reweight", "extract", "factors", "report")
"""The stages that a user can select, in the order in which they run."""

_MODULES: Final = {
    "inspect": ("ntuple.file_checks",),
    "bookkeeping": ("ntuple.bookkeeping",),
    "select": ("events.select",),
    "predict": ("events.scores",),
    "fill": ("events.fill",),
    "merge": ("events.histograms",),
    "reweight": ("method.cases", "method.reweight"),
    "extract": ("method.matrix",),
    "factors": ("method.uncertainties",),
}
"""Stage -> modules of `beampipe.calibration` that run it; their code and imports enter its code digest."""

_NO_RESULT: Final = (*NO_RESULT, "beampipe.triton", "beampipe.calibration.config")
"""Modules that do not affect results: the values of the configuration are parameters of the stages."""


_READERS: Final = ("numpy", "uproot", "awkward", "cramjam", "zstandard")
"""Other packages that are used to read numbers from files."""

_PACKAGES: Final = {
    "inspect": _READERS,
    "select": _READERS,
    "predict": (*_READERS, "lightgbm"),
    "fill": _READERS,
    "merge": ("numpy", "cramjam"),
    "reweight": ("numpy",),
    "extract": ("numpy",),
    "factors": ("numpy",),
}
"""Stage -> other packages that it computes with; their versions enter its code digest."""

_COMPILED: Final = ("inspect", "select", "predict", "fill")
"""Stages that run compiled loops; the digest of their build enters the code digest."""


@cache
def stage_code(stage: str) -> str:
    """Digest of the code of a stage, cached at the first call, as loaded code does not change either.

    It includes the versions of other packages that the stage computes with, and the sources of the compiled loops if
    the stage runs them.
    """
    own = [code_digest(f"beampipe.calibration.{module}", but=_NO_RESULT) for module in _MODULES[stage]]
    versions = {package: installed_version(package) for package in _PACKAGES.get(stage, ())}
    return digest_of([own, versions, build() if stage in _COMPILED else ""])


def environment() -> dict[str, str]:
    """The environment of this process: versions of Python and of packages, digests of code and of compiled loops."""
    packages = dict.fromkeys(package for each in _PACKAGES.values() for package in (*each, "correctionlib"))
    versions = {package: installed_version(package) for package in packages}
    return {**installed(), **versions, "compiled loops": build()}


def reaches(until: str, stage: str) -> bool:
    """Whether a run whose last stage is `until` includes `stage`."""
    return CALIBRATION_STAGES.index(until) >= CALIBRATION_STAGES.index(stage)


FACTORS: Final = "factors.json"
"""Name of the file of scale factors in the folder `output`."""

LOG: Final = "log.jsonl"
"""Name of the log of a run in the folder `output`."""

REPORT: Final = "report"
"""Name of the report's folder in the folder `output`."""


@dataclass(frozen=True)
class Workspace:
    """Folders and files of one calibration.

    Attributes:
        store: the artifacts of all stages.
        log: the event log, one line of JSON per event.
        digests: folder with cached digests of the ROOT files.
        factors: file of the scale factors.
        report: folder of the report.
    """

    store: Store
    log: EventLog
    digests: Path
    factors: Path
    report: Path


def workspace_of(configuration: Configuration) -> Workspace:
    """The folders and files of a configuration; nothing is created yet."""
    output = configuration.output
    log = EventLog(output / LOG)
    # Not durable, so that no worker waits for the disk: artifacts lost in a power failure are detected and made again.
    store = Store(output / "store", durable=False, log=log)
    return Workspace(store, log, output / "store" / ".files", output / FACTORS, output / REPORT)


@contextmanager
def read_only(space: Workspace) -> Iterator[Workspace]:
    """A workspace for reading. For a read-only store, new digests and log lines go to a temporary folder.

    Raises:
        FileError: something is missing or damaged, and the store may not be written to.
    """
    root = space.store.root
    if not root.exists() or os.access(root, os.W_OK):
        yield space
        return
    with TemporaryDirectory() as folder:
        digests = Path(folder) / space.digests.name
        if space.digests.is_dir():
            copytree(space.digests, digests)
        try:
            yield replace(space, store=Store(root), log=EventLog(Path(folder) / LOG), digests=digests)
        except FileError:
            raise
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
            message = f"{root}: may not be written to ({error.strerror}), but lacks something, or it is damaged"
            raise FileError(f"{message}; run the calibration where it may", path=root) from error


_DEVICE: Final = frozenset(
    getattr(errno, name)
    for name in ("EIO", "ESTALE", "EREMOTEIO", "ETIMEDOUT", "ENOTCONN", "ECONNRESET", "EHOSTDOWN", "EMFILE", "ENFILE")
    if hasattr(errno, name)
)
"""Error numbers of failures of a disk, a network or the table of open files, for which a retry may help."""


def run_with_worker_errors(label: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a worker; its errors are replaced by errors that name their cause.

    Args:
        label: name of the work for people.
        function: the function.
        arguments: its arguments.

    Raises:
        TooLargeError: there was not enough memory.
        FileError: a file may not be read or written, a package is missing that reads it, or it is damaged.
        OSError: a disk or a network failed.
    """
    try:
        return function(*arguments)
    except Exception as error:
        specific = _explanation(label, error)
        if specific is None:
            raise
        raise specific from error


_OF_OUR_EXTRA: Final = ("uproot", "awkward", "xxhash", "zstandard")
"""Packages that reading files needs, all of which one extra installs."""


def _explanation(label: str, error: Exception) -> Exception | None:
    """A more specific error to raise instead; None if the error is specific enough."""
    raised_by_us = isinstance(error, BeampipeError)
    path = error.path if isinstance(error, FileError) else getattr(error, "filename", None)
    what = f"{label}: {path}" if path is not None and str(path) != label else label
    for cause in _causes(error):
        number = cause.errno if isinstance(cause, OSError) else None
        if isinstance(cause, MemoryError) or number == errno.ENOMEM:
            return TooLargeError(
                f"{what}: not enough memory ({error_line(cause)}) for a chunk of events; set a smaller chunk_events,"
                " take fewer workers, or give them more memory (--memory)"
            )
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            return FileError(
                f"{what}: no permission ({error_line(cause)}); grant it, or choose another folder", path=path
            )
        if number in _DEVICE and raised_by_us:
            text = f"{what}: the disk or the network failed, the file may be fine ({error_line(cause)}); run again"
            return OSError(number, text)
        if isinstance(cause, ImportError) and raised_by_us and isinstance(error, FileError):
            name = cause.name or "a package"
            if name in _OF_OUR_EXTRA:
                return MissingExtraError(name, "calibration", "reading ROOT files")
            return FileError(f"{what}: cannot be read without {name} ({error_line(cause)}); install it", path=path)
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and its chain of causes."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if not isinstance(cause, BeampipeError):
            yield cause
        cause = cause.__cause__ or cause.__context__


T = TypeVar("T")

_WARM: Final = "beampipe.calibration.tasks.warm"
"""Module that preloads the libraries of workers; never imported here."""

_MOST_FORKED: Final = 32
"""Largest number of workers to fork in advance; more are started by the fork server as tasks come."""


@dataclass(frozen=True)
class RunSettings:
    """Execution settings of a calibration. They do not change any result.

    Attributes:
        executor: where tasks run: ``processes``, ``inline``, ``dask``, ``dask=ADDRESS``, ``slurm``, or any
            `concurrent.futures.Executor`.
        workers: number of tasks that run at once.
        slurm: resources of the Slurm jobs, if the executor is ``slurm``.
    """

    executor: str | Executor = "processes"
    workers: int = 1
    slurm: SlurmOptions | None = None


def fork_workers(settings: RunSettings) -> None:
    """Fork the workers of a run that certainly has work; they preload libraries while this process goes on.

    For commands of beampipe only, whose process is known to be safe to fork: see `beampipe.workflow.fork_processes`.

    Args:
        settings: where tasks will run, and how many at once.
    """
    if settings.executor == "processes" and settings.workers <= _MOST_FORKED:
        fork_processes(settings.workers, (_WARM,))


class Workers:
    """A pool that is opened for the first task: a run with nothing to do starts no worker.

    Args:
        settings: where tasks run, and how many at once.
        log: log of retries and failures.
        progress: opens a bar for each batch of tasks.
    """

    def __init__(self, settings: RunSettings, log: EventLog, progress: Progress) -> None:
        self._settings, self._log, self._progress = settings, log, progress
        self._opened = ExitStack()
        self._pool: Pool | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exception: object) -> None:
        self._opened.__exit__(*exception)  # type: ignore[arg-type]

    def expect_work(self) -> None:
        """Start the fork server in the background, so that it preloads libraries before the first task."""
        if self._settings.executor == "processes":
            prepare_processes((_WARM,))

    def run(
        self,
        what: str,
        tasks: Sequence[Task[T]],
        *,
        follow: Callable[[Task[T], T], Iterable[Task[T]]] | None = None,
        more: int = 0,
    ) -> list[T]:
        """Run tasks, if there are any.

        Args:
            what: text beside the progress bar, e.g. ``"merge"``.
            tasks: calls that commit their products to the store.
            follow: returns the tasks that a finished task enables; see `beampipe.workflow.run`.
            more: expected number of those tasks, for the progress bar.

        Returns:
            What each task returned.

        Raises:
            WorkflowError: some tasks failed, after all others were done.
            MissingExtraError: a package that tasks need is not installed.
        """
        if not tasks:
            return []
        if self._pool is None:
            settings = self._settings
            pool = open_pool(
                *(settings.executor, settings.workers),
                slurm=settings.slurm,
                preload=(_WARM,),
                environment=environment,
            )
            self._pool = self._opened.enter_context(pool)

        def next_ones(task: Task[T], result: T) -> Iterable[Task[T]]:
            return map(_with_worker_errors, follow(task, result)) if follow is not None else ()

        with self._progress(what, len(tasks) + more) as step:
            guarded = map(_with_worker_errors, tasks)
            try:
                return run(guarded, self._pool, log=self._log, progress=lambda _: step(), follow=next_ones)
            except WorkflowError as error:
                missing = next((fault for _, fault in error.errors if isinstance(fault, MissingExtraError)), None)
                if missing is not None:  # nothing is wrong with what the tasks read
                    raise missing from error
                raise


def _with_worker_errors(task: Task[T]) -> Task[T]:
    """The task, run by `run_with_worker_errors`."""
    return Task(task.label, run_with_worker_errors, (task.label, task.function, *task.arguments))


def run_leased(store: Store, recipe: Recipe, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a worker, unless another run on the same store does that work now.

    Args:
        store: store of the artifacts.
        recipe: recipe of the first artifact that the function makes; the lease is on it.
        function: makes the artifacts that are missing.
        arguments: arguments of the function.

    Raises:
        BusyError: another run does the work.
    """
    with store.leased(recipe):
        return function(*arguments)
