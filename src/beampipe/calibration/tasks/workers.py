"""Workers of a run: a pool that is opened when the first task comes, with a progress bar for each batch of tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from beampipe.calibration.tasks.faults import run_explained
from beampipe.calibration.tasks.stages import environment
from beampipe.terminal import Progress
from beampipe.workflow import (
    EventLog,
    Pool,
    Recipe,
    SlurmOptions,
    Store,
    Task,
    fork_processes,
    open_pool,
    prepare_processes,
    run,
)

__all__ = ["RunSettings", "Workers", "fork_workers", "run_leased"]

T = TypeVar("T")

_WARM: Final = "beampipe.calibration.tasks.warm"
"""Module that loads what workers need; never imported here."""

_MOST_FORKED: Final = 32
"""More workers are not forked one after the other before the first has work: the server starts them as tasks come."""


@dataclass(frozen=True)
class RunSettings:
    """How to run a calibration; nothing here changes a result.

    Attributes:
        executor: where tasks run: ``processes``, ``inline``, ``dask``, ``dask=ADDRESS``, ``slurm``, or any
            `concurrent.futures.Executor`.
        workers: number of tasks that run at once.
        slurm: what to ask Slurm for, if the executor is ``slurm``.
    """

    executor: str | Executor = "processes"
    workers: int = 1
    slurm: SlurmOptions | None = None


def fork_workers(settings: RunSettings) -> None:
    """Fork the workers of a run that has work for certain; they warm up beside whatever this process does next.

    For commands: a process that others have loaded libraries into, or that has threads, is not copied.

    Args:
        settings: where tasks will run, and how many at once.
    """
    if settings.executor == "processes" and settings.workers <= _MOST_FORKED:
        fork_processes(settings.workers, (_WARM,))


class Workers:
    """A pool that is opened when the first task comes: a run with nothing to do starts no worker.

    Args:
        settings: where tasks run, and how many at once.
        log: gets retries and failures.
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
        """Let the server of the workers load what they need while this process does something else."""
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
            tasks: calls that commit what they make to the store.
            follow: gives the tasks that a finished task makes possible; see `beampipe.workflow.run`.
            more: number of those, as far as it is known.

        Returns:
            What each task returned.

        Raises:
            WorkflowError: some tasks failed, after all others were done.
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
            return map(_told, follow(task, result)) if follow is not None else ()

        with self._progress(what, len(tasks) + more) as step:
            told = map(_told, tasks)
            return run(told, self._pool, log=self._log, progress=lambda _: step(), follow=next_ones)


def _told(task: Task[T]) -> Task[T]:
    """A task whose errors say what happened."""
    return Task(task.label, run_explained, (task.label, task.function, *task.arguments))


def run_leased(store: Store, recipe: Recipe, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a worker, unless another run in the same store does that work now.

    Args:
        store: store of the artifacts.
        recipe: recipe of what is made first; its key stands for the work.
        function: looks what is there, and makes the rest.
        arguments: arguments of the function.

    Raises:
        BusyError: another run does it.
    """
    with store.leased(recipe):
        return function(*arguments)
