"""Run many tasks in a pool, a few at a time, with retries. The failure of a task does not stop the others."""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, Generic, TypeVar

from beampipe.errors import (
    BeampipeError,
    BusyError,
    DeadlineError,
    MismatchError,
    ServiceUnavailableError,
    WorkflowError,
)
from beampipe.workflow.pools import Pool
from beampipe.workflow.store import EventLog

T = TypeVar("T")

_LOSSES_IN_COMPANY: Final = 3
"""Deaths of a task's worker after which the task is a suspect: it runs alone, after all others."""

_LOSSES_ALONE: Final = 5
"""Deaths of a task's worker while nothing else ran, after which the task fails."""

_LOSSES_WITHOUT_RESULT: Final = 10
"""Deaths of workers before any task is done, after which the run fails."""

_BUSY_PAUSE: Final = 0.5
"""Time [s] after which a task is retried whose work another process does."""

_SHOWN_ERRORS: Final = 5
"""Number of errors that the message of a failed run quotes."""


@dataclass(frozen=True)
class Task(Generic[T]):
    """A call that commits its product to a store, and returns a small value.

    Attributes:
        label: name of the task for people, e.g. ``"fill dijet.root 3/10"``.
        function: the function to call; it must be importable from a module by the workers.
        arguments: positional arguments of the function; they are pickled.
    """

    label: str
    function: Callable[..., T]
    arguments: tuple[Any, ...] = ()


@dataclass
class _Attempt(Generic[T]):
    """A task of the run, and the state of its retries.

    Attributes:
        number: index of the task in the run.
        task: the task.
        follows: whether it was created by `follow` after another task.
        failures: number of errors after which it was retried.
        busy: whether another process was doing its work.
        losses: number of workers that died while running it.
        losses_alone: number of these that ran no other task.
        not_before: time on the monotonic clock before which it must not start again [s].
        generation: number of restarts of the pool before it was submitted.
    """

    number: int
    task: Task[T]
    follows: bool = False
    failures: int = 0
    busy: bool = False
    losses: int = 0
    losses_alone: int = 0
    not_before: float = 0.0
    generation: int = 0


def run(
    tasks: Iterable[Task[T]],
    pool: Pool,
    *,
    log: EventLog | None = None,
    progress: Callable[[Task[T]], object] | None = None,
    follow: Callable[[Task[T], T], Iterable[Task[T]]] | None = None,
    window: int | None = None,
    retries: int = 2,
    pause: float = 0.5,
) -> list[T]:
    """Run tasks, in any order.

    A task is retried after a pause if the system or a service failed: an `OSError` that was not raised by beampipe,
    `ServiceUnavailableError` or `DeadlineError`. It is also retried if its worker died, which another task on the same
    pool may have caused; after a few deaths it runs alone, after all others. A task that raises `BusyError` is retried,
    while others run, until its work is free or done. Any other error is final, but only for this task.

    Args:
        tasks: the tasks; the iterator advances when a task can be submitted.
        pool: the pool that they run in.
        log: the log of the events ``retry``, ``busy``, ``failed`` (with its traceback) and ``pool-broken``; None for
            no log.
        progress: is called with each task that is done.
        follow: returns the tasks that a finished task enables, given the task and its return value. They run before
            the remaining `tasks`.
        window: number of tasks that may be submitted at once; by default twice the workers and two more.
        retries: number of retries of a task after errors.
        pause: time to wait before a retry [s]; it doubles with each error of the task.

    Returns:
        What each task returned, in the order of the tasks.

    Raises:
        WorkflowError: some tasks failed; all others were done before it is raised.
        MismatchError: a worker computes with other code or packages; the run ends at once.
    """
    return _Run(tasks, pool, log, progress, follow, window or 2 * pool.workers + 2, retries, pause).results()


@dataclass
class _Run(Generic[T]):
    """The state of one run.

    Each task is in one state at a time: not yet taken from the iterator, `possible` (enabled by a finished task),
    `running`, `waiting` for a retry, among the `suspects` (to run alone), `done` or `failed`.
    """

    tasks: Iterable[Task[T]]
    pool: Pool
    log: EventLog | None
    progress: Callable[[Task[T]], object] | None
    follow: Callable[[Task[T], T], Iterable[Task[T]]] | None
    window: int
    retries: int
    pause: float
    done: dict[int, T] = field(default_factory=dict)
    failed: dict[int, tuple[str, Exception]] = field(default_factory=dict)
    waiting: deque[_Attempt[T]] = field(default_factory=deque)
    suspects: deque[_Attempt[T]] = field(default_factory=deque)
    running: dict[Future[T], _Attempt[T]] = field(default_factory=dict)
    possible: deque[_Attempt[T]] = field(default_factory=deque)
    taken: Iterator[int] = field(default_factory=count)
    restarts: int = 0

    def results(self) -> list[T]:
        """Run everything; see `run`."""
        source = (_Attempt(next(self.taken), task) for task in self.tasks)
        try:
            while self._submit(source):
                self._collect()
        except BaseException:
            self.pool.abandon(self.running)
            raise
        if self.failed:
            raise self._failure()
        return [self.done[number] for number in sorted(self.done)]

    def _submit(self, source: Iterator[_Attempt[T]]) -> bool:
        """Submit as many tasks as the window allows; False if nothing is left to do."""
        while len(self.running) < self.window:
            ready = [attempt for attempt in self.waiting if attempt.not_before <= time.monotonic()]
            if ready:
                self.waiting.remove(ready[0])
                attempt: _Attempt[T] | None = ready[0]
            elif self.possible:
                attempt = self.possible.popleft()
            else:
                attempt = next(source, None) if self._may_take() else None
            if attempt is None:
                break
            self._start(attempt)
        if not self.running and not self.waiting and self.suspects:
            self._start(self.suspects.popleft())
        return bool(self.running or self.waiting or self.suspects)

    def _may_take(self) -> bool:
        """Whether one more of the given tasks may start; with `follow`, at most as many as there are workers."""
        taken = sum(not attempt.follows for attempt in self.running.values())
        return self.follow is None or taken < self.pool.workers

    def _start(self, attempt: _Attempt[T]) -> None:
        while True:
            attempt.generation = self.restarts
            try:
                self.running[self.pool.submit(attempt.task.function, *attempt.task.arguments)] = attempt
                return
            except self.pool.lost as error:
                self._restart(error)

    def _collect(self) -> None:
        """Wait until a task ends or a retry is due, and process it."""
        if not self.running:
            time.sleep(max(0.0, min(attempt.not_before for attempt in self.waiting) - time.monotonic()))
            return
        soon = min((attempt.not_before for attempt in self.waiting), default=None)
        room = len(self.running) < self.window and soon is not None
        patience = max(0.0, soon - time.monotonic()) if room and soon is not None else None
        alone = len(self.running) == 1
        for future in wait(self.running, timeout=patience, return_when=FIRST_COMPLETED).done:
            attempt = self.running.pop(future)
            try:
                self.done[attempt.number] = future.result()
            except self.pool.lost as error:
                self._worker_died(attempt, error, alone=alone)
            except BusyError:
                self._postpone(attempt)
            except MismatchError:  # such a worker would fail every task that it gets
                raise
            except Exception as error:
                self._task_raised(attempt, error)
            else:
                self._finished(attempt)

    def _finished(self, attempt: _Attempt[T]) -> None:
        if self.progress is not None:
            self.progress(attempt.task)
        if self.follow is not None:
            more = self.follow(attempt.task, self.done[attempt.number])
            self.possible.extend(_Attempt(next(self.taken), task, follows=True) for task in more)

    def _worker_died(self, attempt: _Attempt[T], error: Exception, *, alone: bool) -> None:
        """Record the death of a worker during a task, which may or may not be the cause."""
        if attempt.generation == self.restarts:
            self._restart(error)
        attempt.losses += 1
        attempt.losses_alone += alone
        if attempt.losses_alone >= _LOSSES_ALONE:
            self._fail(
                attempt,
                WorkflowError(f"its worker died {attempt.losses} times, {_LOSSES_ALONE} of them running nothing else"),
            )
        elif attempt.losses >= _LOSSES_IN_COMPANY:
            self.suspects.append(attempt)
        else:
            self.waiting.append(attempt)

    def _restart(self, error: Exception) -> None:
        self.restarts += 1
        self._report("pool-broken", error=str(error), breaks=self.restarts)
        if self.restarts >= _LOSSES_WITHOUT_RESULT and not self.done:
            raise WorkflowError(f"workers died {self.restarts} times and finished no task: {error}") from error
        self.pool.restart()

    def _postpone(self, attempt: _Attempt[T]) -> None:
        """Retry a task later, as another process does its work now."""
        if not attempt.busy:
            self._report("busy", label=attempt.task.label)
        attempt.busy = True
        attempt.not_before = time.monotonic() + _BUSY_PAUSE
        self.waiting.append(attempt)

    def _task_raised(self, attempt: _Attempt[T], error: Exception) -> None:
        """Schedule a retry after an error if that can help; otherwise the task has failed."""
        # An `OSError` raised by beampipe is deliberate, e.g. for a damaged file.
        ours = isinstance(error, BeampipeError)
        may_pass = isinstance(error, ServiceUnavailableError | DeadlineError if ours else OSError)
        if not may_pass or attempt.failures >= self.retries:
            self._fail(attempt, error)
            return
        pause = self.pause * 2.0**attempt.failures
        attempt.failures += 1
        attempt.not_before = time.monotonic() + pause
        self._report("retry", label=attempt.task.label, error=_line(error), pause=pause)
        self.waiting.append(attempt)

    def _fail(self, attempt: _Attempt[T], error: Exception) -> None:
        self.failed[attempt.number] = (attempt.task.label, error)
        text = "".join(traceback.format_exception(error))
        self._report("failed", label=attempt.task.label, error=_line(error), traceback=text)

    def _failure(self) -> WorkflowError:
        errors = [self.failed[number] for number in sorted(self.failed)]
        total = len(self.done) + len(errors)
        lines = [f"{label}: {_line(error)}" for label, error in errors[:_SHOWN_ERRORS]]
        if len(errors) > _SHOWN_ERRORS:
            lines.append(f"... and {len(errors) - _SHOWN_ERRORS} more")
        if self.log is not None:
            lines.append(f"(tracebacks: {self.log.path})")
        head = f"{len(errors)} of {total} tasks failed; the others are done and kept, a rerun does only what is left"
        return WorkflowError("\n  ".join([head, *lines]), errors)

    def _report(self, event: str, *, label: str = "", **more: Any) -> None:
        if self.log is not None:
            self.log.write(event, label=label, **more)


def _line(error: Exception) -> str:
    """An error in one line, with its type unless it is an error of beampipe."""
    return str(error) if isinstance(error, BeampipeError) else f"{type(error).__name__}: {error}"
