"""Terminal output of commands: tables on standard output, progress bars on standard error, both drawn by Rich.

Rich is imported when something is drawn, so that other commands start faster.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from beampipe.notebook import in_notebook, notebook_bars

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from beampipe.terminal.tables import FittingTable

WIDTH: Final = 160
"""Width [characters] of tables and lines in a file or a pipe: enough for the widest table."""

_PACE: Final = 3600.0
"""Last part of the elapsed time [s] from which remaining times are estimated."""

Progress = Callable[[str, int | None], AbstractContextManager[Callable[[], None]]]
"""``progress(what, total)`` opens a bar and yields the function that advances it by one; total None: unknown."""

_QUIET: Final = ContextVar("quiet", default=False)

_OVERALL: Final[ContextVar[Progress | None]] = ContextVar("overall", default=None)
"""Opens bars below the open `overall_bar`; None if there is none."""


@contextmanager
def quietly(quiet: bool = True) -> Iterator[None]:
    """Context without progress bars and without the notes of `say`.

    Args:
        quiet: whether to suppress them; False changes nothing.
    """
    token = _QUIET.set(quiet or _QUIET.get())
    try:
        yield
    finally:
        _QUIET.reset(token)


def is_quiet() -> bool:
    """Whether progress bars and notes are suppressed, see `quietly`."""
    return _QUIET.get()


def say(text: object, *, err: bool = False) -> None:
    """Print a note that `--quiet` suppresses.

    Args:
        text: the line to print.
        err: print it to standard error, like progress, instead of standard output.
    """
    if not _QUIET.get():
        print(text, file=sys.stderr if err else sys.stdout, flush=True)


def log(text: str) -> None:
    """Print a line of a service's log, after the time. A full disk must not end the service: the line is lost then."""
    with suppress(OSError):
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", flush=True)


def console(width: int = WIDTH) -> Console:
    """Rich's console for standard output, as wide as the terminal.

    Args:
        width: width [characters] if standard output is a file or a pipe.
    """
    from rich.console import Console

    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=width)


def make_table(
    title: str, text: Iterable[str], numbers: Iterable[str] = (), *, caption: str = "", importance: Iterable[str] = ()
) -> FittingTable:
    """An empty table, which leaves out its least important columns where the terminal is too narrow for all.

    Args:
        title: title above the table, with Rich's markup; none if empty.
        text: heads of the first columns, which are aligned to the left.
        numbers: heads of the columns after them, which are aligned to the right.
        caption: text below the table; none if empty.
        importance: heads of columns after the first one, most important first. Of the others, numbers are more
            important than text, and columns on the left more than those on the right.
    """
    from beampipe.terminal.tables import FittingTable

    return FittingTable(title, tuple(text), tuple(numbers), caption=caption, importance=importance)


@contextmanager
def bars() -> Iterator[Progress]:
    """Progress bars on a terminal and in a notebook, none in a log; each is removed when its block ends.

    >>> with bars() as progress, progress("files", 2) as step:
    ...     for _ in range(2):
    ...         _ = step()
    """
    if (below := _OVERALL.get()) is not None:
        yield below
        return
    if in_notebook():
        with notebook_bars() as progress:
            yield progress
        return

    from rich.console import Console

    out = Console(stderr=True)
    if is_quiet() or not out.is_terminal:  # without Rich: before 14.3 a disabled bar leaves an empty line
        yield no_bar
        return

    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Drawing

    times = (TimeElapsedColumn(), TextColumn("remaining"), TimeRemainingColumn())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *times)
    with Drawing(*columns, console=out, transient=True, speed_estimate_period=_PACE) as drawing:

        @contextmanager
        def open_bar(what: str, total: int | None) -> Iterator[Callable[[], None]]:
            task = drawing.add_task(what, total=total)
            yield lambda: drawing.advance(task)
            drawing.remove_task(task)

        yield open_bar


@contextmanager
def no_bar(what: str, total: int | None) -> Iterator[Callable[[], None]]:
    """A bar that is not shown."""
    yield lambda: None


@contextmanager
def bar(what: str, total: int | None = None) -> Iterator[Callable[[], None]]:
    """A single progress bar, see `bars`.

    Args:
        what: name of what is counted, e.g. ``"events"``.
        total: final number; None if it is unknown.

    Yields:
        The function that advances the bar by one.
    """
    with bars() as progress, progress(what, total) as step:
        yield step


@contextmanager
def overall_bar(what: str, below: Iterable[tuple[str, float]]) -> Iterator[None]:
    """A bar for a whole command, with its remaining time; bars that open meanwhile are drawn below it.

    Args:
        what: name of the whole.
        below: name of each of these bars, and the time that it takes, in any unit; the overall bar advances with them.
    """
    waiting = list(below)
    whole, done, percent = sum(share for _, share in waiting), 0.0, 0
    with bars() as progress, progress(f"{what} [%]", 100) as step:

        def advance(share: float) -> None:
            nonlocal done, percent
            done += share
            while percent < int(100 * done / whole + 1e-6):
                percent += 1
                step()

        @contextmanager
        def open_bar(name: str, total: int | None) -> Iterator[Callable[[], None]]:
            expected = next((each for each in waiting if each[0] == name), (name, 0.0))
            if expected in waiting:
                waiting.remove(expected)
            left = expected[1]
            share = left / total if total else 0.0
            with progress(name, total) as own_step:

                def both() -> None:
                    nonlocal left
                    left -= share
                    own_step()
                    advance(share)

                yield both
            advance(left)

        token = _OVERALL.set(open_bar)
        try:
            yield
        finally:
            _OVERALL.reset(token)


def progress_lines(
    write: Callable[[str], object], *, pause: float = 30.0, clock: Callable[[], float] = time.monotonic
) -> Progress:
    """Progress as lines of text, for logs and pipes: one when a batch of tasks starts, now and then, and when it ends.

    Args:
        write: writes a line, at once.
        pause: minimum time between two lines of one batch [s].
        clock: returns the time [s].
    """

    @contextmanager
    def opened(what: str, total: int | None) -> Iterator[Callable[[], None]]:
        began = last = clock()
        count = 0

        def report() -> None:
            of = "" if total is None else f" of {total}"
            write(f"{what}: {count}{of}, {clock() - began:.0f} s")

        def step() -> None:
            nonlocal count, last
            count += 1
            if count != total and clock() - last >= pause:
                last = clock()
                report()

        report()
        yield step
        report()

    return opened


@contextmanager
def live(out: Console, *, transient: bool = False) -> Iterator[Callable[[RenderableType], None]]:
    """A live display on a terminal: each output replaces the one before.

    Args:
        out: the terminal.
        transient: remove the last output when the block ends.

    Yields:
        The function that shows a table, a line or another renderable.
    """
    from rich.live import Live

    with Live(console=out, auto_refresh=False, transient=transient) as drawing:
        yield lambda thing: drawing.update(thing, refresh=True)


@contextmanager
def warnings_in_lines() -> Iterator[None]:
    """Print Python's warnings as single lines on standard error, without their position in the code."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        text = f"beampipe: warning: {message}"
        print(f"\033[33m{text}\033[0m" if sys.stderr.isatty() else text, file=sys.stderr)

    before, warnings.showwarning = warnings.showwarning, show
    try:
        yield
    finally:
        warnings.showwarning = before
