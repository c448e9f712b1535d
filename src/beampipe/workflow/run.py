"""Many tasks in a pool: a few at a time, tried again where that can help, and no failure stops the others."""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from beampipe.errors import BeampipeError, DeadlineError, ServiceUnavailableError, WorkflowError
from beampipe.workflow.events import EventLog
from beampipe.workflow.pool import Pool

__all__ = ["Task", "run"]

T = TypeVar("T")

_SHARED = 3
"""Losses of a worker in the company of other tasks, after which a task runs alone, and last."""

_ALONE = 5
"""Losses of a worker while alone, after which the task is at fault."""

_HOPELESS = 10
"""Losses without any result, after which the pool is at fault."""

_SHOWN = 5
"""Errors that the message of a failed run quotes."""


@dataclass(frozen=True)
class Task(Generic[T]):
    """A call that commits what it makes to a store, and returns something small.

    Attributes:
        label: what it is to a reader, e.g. ``"fill dijet.root 3/10"``.
        function: a function of a module, so that a worker finds it.
        arguments: what to call it with; they travel by pickle.
    """

    label: str
    function: Callable[..., T]
    arguments: tuple[Any, ...] = ()


@dataclass
class _Try(Generic[T]):
    """A task on its way."""

    number: int
    task: Task[T]
    failures: int = 0
    losses: int = 0
    alone_losses: int = 0
    not_before: float = 0.0
    pool_number: int = 0


def run(
    tasks: Iterable[Task[T]],
    pool: Pool,
    *,
    log: EventLog | None = None,
    progress: Callable[[Task[T]], object] | None = None,
    window: int | None = None,
    retries: int = 2,
    pause: float = 0.5,
) -> list[T]:
    """Run tasks, in any order.

    Tried again: what the system or a service failed at (an `OSError` that is not ours, `ServiceUnavailableError`,
    `DeadlineError`), with growing pauses; and what was on the way when a worker died, a suspect alone and at the end.
    Not tried again: every other error. It costs no other task.

    Args:
        tasks: taken as they are needed.
        pool: where they run.
        log: gets ``retry``, ``failed`` (with its traceback) and ``pool-broken``.
        progress: called with each task that is done.
        window: how many may be submitted at once; by default twice the workers and two more.
        retries: how often a task may be tried again after an error.
        pause: before the first of these [s]; it doubles.

    Returns:
        What each task returned, in the order of the tasks.

    Raises:
        WorkflowError: some failed, after all others were done.
    """
    return _Run(tasks, pool, log, progress, window or 2 * pool.workers + 2, retries, pause).results()


@dataclass
class _Run(Generic[T]):
    """The state of one run."""

    tasks: Iterable[Task[T]]
    pool: Pool
    log: EventLog | None
    progress: Callable[[Task[T]], object] | None
    window: int
    retries: int
    pause: float
    done: dict[int, T] = field(default_factory=dict)
    failed: dict[int, tuple[str, Exception]] = field(default_factory=dict)
    again: deque[_Try[T]] = field(default_factory=deque)
    suspects: deque[_Try[T]] = field(default_factory=deque)
    running: dict[Future[T], _Try[T]] = field(default_factory=dict)
    breaks: int = 0

    def results(self) -> list[T]:
        """Run everything."""
        source = (_Try(number, task) for number, task in enumerate(self.tasks))
        try:
            while self._submit(source):
                self._collect()
        except BaseException:
            self.pool.abandon(self.running)
            raise
        if self.failed:
            raise self._failure()
        return [self.done[number] for number in sorted(self.done)]

    def _submit(self, source: Iterator[_Try[T]]) -> bool:
        """Fill the window; False if there is nothing more to do."""
        while len(self.running) < self.window:
            ready = [each for each in self.again if each.not_before <= time.monotonic()]
            each = ready[0] if ready else next(source, None)
            if each is None:
                break
            if ready:
                self.again.remove(each)
            self._start(each)
        if not self.running and not self.again and self.suspects:
            self._start(self.suspects.popleft())
        return bool(self.running or self.again or self.suspects)

    def _start(self, each: _Try[T]) -> None:
        while True:
            each.pool_number = self.breaks
            try:
                self.running[self.pool.submit(each.task.function, *each.task.arguments)] = each
                return
            except self.pool.lost as error:
                self._restart(error)

    def _collect(self) -> None:
        """Wait for something to happen, and deal with it."""
        if not self.running:
            time.sleep(max(0.0, min(each.not_before for each in self.again) - time.monotonic()))
            return
        soon = min((each.not_before for each in self.again), default=None)
        room = len(self.running) < self.window and soon is not None
        patience = max(0.0, soon - time.monotonic()) if room and soon is not None else None
        alone = len(self.running) == 1
        for future in wait(self.running, timeout=patience, return_when=FIRST_COMPLETED).done:
            each = self.running.pop(future)
            try:
                self.done[each.number] = future.result()
            except self.pool.lost as error:
                self._lost(each, error, alone=alone)
            except Exception as error:
                self._wrong(each, error)
            else:
                if self.progress is not None:
                    self.progress(each.task)

    def _lost(self, each: _Try[T], error: Exception, *, alone: bool) -> None:
        """A worker died, and this task with it: perhaps the cause, perhaps only near."""
        if each.pool_number == self.breaks:
            self._restart(error)
        each.losses += 1
        each.alone_losses += alone
        if each.alone_losses >= _ALONE:
            self._fail(
                each, WorkflowError(f"its worker died {each.losses} times, {_ALONE} of them running nothing else")
            )
        elif each.losses >= _SHARED:
            self.suspects.append(each)
        else:
            self.again.append(each)

    def _restart(self, error: Exception) -> None:
        self.breaks += 1
        self._report("pool-broken", error=str(error), breaks=self.breaks)
        if self.breaks >= _HOPELESS and not self.done:
            raise WorkflowError(f"workers died {self.breaks} times and finished no task: {error}") from error
        self.pool.restart()

    def _wrong(self, each: _Try[T], error: Exception) -> None:
        """A task raised."""
        ours = isinstance(error, BeampipeError)
        passing = isinstance(error, ServiceUnavailableError | DeadlineError) or (
            isinstance(error, OSError) and not ours
        )
        if not passing or each.failures >= self.retries:
            self._fail(each, error)
            return
        pause = self.pause * 2.0**each.failures
        each.failures += 1
        each.not_before = time.monotonic() + pause
        self._report("retry", label=each.task.label, error=_line(error), pause=pause)
        self.again.append(each)

    def _fail(self, each: _Try[T], error: Exception) -> None:
        self.failed[each.number] = (each.task.label, error)
        text = "".join(traceback.format_exception(error))
        self._report("failed", label=each.task.label, error=_line(error), traceback=text)

    def _failure(self) -> WorkflowError:
        errors = [self.failed[number] for number in sorted(self.failed)]
        total = len(self.done) + len(errors)
        lines = [f"{label}: {_line(error)}" for label, error in errors[:_SHOWN]]
        if len(errors) > _SHOWN:
            lines.append(f"... and {len(errors) - _SHOWN} more")
        if self.log is not None:
            lines.append(f"(tracebacks: {self.log.path})")
        head = f"{len(errors)} of {total} tasks failed; the others are done and kept, a rerun does only what is left"
        return WorkflowError("\n  ".join([head, *lines]), errors)

    def _report(self, event: str, *, label: str = "", **more: Any) -> None:
        if self.log is not None:
            self.log.write(event, label=label, **more)


def _line(error: Exception) -> str:
    """An error of ours speaks for itself; of another one, its type tells more than its text."""
    return str(error) if isinstance(error, BeampipeError) else f"{type(error).__name__}: {error}"
