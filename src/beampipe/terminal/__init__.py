"""What people see of a command: tables on standard output, progress bars on standard error. Rich draws both.

`commands` holds how every command behaves, `words` what the names of options mean, `helps` how a text of help is set.

Rich is imported when something is drawn, so that commands which draw nothing start sooner.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from beampipe.notebook import in_notebook, notebook_bars

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

__all__ = [
    "WIDTH",
    "Progress",
    "bar",
    "bars",
    "console",
    "is_quiet",
    "live",
    "make_table",
    "quietly",
    "say",
    "warnings_in_lines",
]

WIDTH: Final = 160
"""The width [characters] of tables and lines that go to a file or a pipe: enough for our widest table."""

Progress = Callable[[str, int | None], AbstractContextManager[Callable[[], None]]]
"""``progress(what, total)`` opens a bar and gives the function that moves it by one; None if the total is unknown."""

_QUIET: Final = ContextVar("quiet", default=False)


@contextmanager
def quietly(quiet: bool = True) -> Iterator[None]:
    """Without progress bars and without what `say` says, as long as the block lasts.

    Args:
        quiet: whether to be quiet; False changes nothing.
    """
    token = _QUIET.set(quiet or _QUIET.get())
    try:
        yield
    finally:
        _QUIET.reset(token)


def is_quiet() -> bool:
    """Whether a user asked for no progress and no notes, as by `quietly`."""
    return _QUIET.get()


def say(text: object, *, err: bool = False) -> None:
    """A note on what was done or is under way: a line that `--quiet` leaves out.

    Args:
        text: the line.
        err: whether it goes to standard error, where progress is told, in place of standard output.
    """
    if not _QUIET.get():
        print(text, file=sys.stderr if err else sys.stdout, flush=True)


def console(width: int = WIDTH) -> Console:
    """Where tables and lines are printed: standard output, as wide as the terminal.

    Args:
        width: how wide [characters] if standard output is a file or a pipe.
    """
    from rich.console import Console

    found = Console()
    return found if found.is_terminal else Console(width=width)


def make_table(title: str, text: Iterable[str], numbers: Iterable[str] = (), *, caption: str = "") -> Table:
    """An empty table.

    Args:
        title: what stands above the table, with Rich's markup; nothing if empty.
        text: the heads of the first columns, which are aligned to the left.
        numbers: the heads of the columns after them, which are aligned to the right.
        caption: what stands below the table; nothing if empty.
    """
    from rich.table import Table

    table = Table(title=title or None, caption=caption or None)
    for head in text:
        table.add_column(head)
    for head in numbers:
        table.add_column(head, justify="right")
    return table


@contextmanager
def bars() -> Iterator[Progress]:
    """Progress bars on a terminal and in a notebook, nothing in a log; each is gone when its block ends.

    >>> with bars() as progress, progress("files", 2) as step:
    ...     for _ in range(2):
    ...         _ = step()
    """
    if in_notebook():
        with notebook_bars() as progress:
            yield progress
        return

    from rich.console import Console

    out = Console(stderr=True)
    if is_quiet() or not out.is_terminal:  # nothing of Rich's: before 14.3 a bar that is off leaves an empty line
        yield _no_bar
        return

    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Drawing

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Drawing(*columns, console=out, transient=True) as drawing:

        @contextmanager
        def one(what: str, total: int | None) -> Iterator[Callable[[], None]]:
            task = drawing.add_task(what, total=total)
            yield lambda: drawing.advance(task)
            drawing.remove_task(task)

        yield one


@contextmanager
def _no_bar(what: str, total: int | None) -> Iterator[Callable[[], None]]:
    """A bar that nobody sees."""
    yield lambda: None


@contextmanager
def bar(what: str, total: int | None = None) -> Iterator[Callable[[], None]]:
    """One progress bar, as by `bars`.

    Args:
        what: what is counted, e.g. ``"events"``.
        total: how many there will be; None if that is not known.

    Yields:
        The function that moves the bar by one.
    """
    with bars() as progress, progress(what, total) as step:
        yield step


@contextmanager
def live(out: Console, *, transient: bool = False) -> Iterator[Callable[[RenderableType], None]]:
    """A place on a terminal where one thing is shown after the other, each in the place of the last.

    Args:
        out: the terminal.
        transient: remove the last thing when the block ends.

    Yields:
        The function that shows a thing, a table or a line say.
    """
    from rich.live import Live

    with Live(console=out, auto_refresh=False, transient=transient) as drawing:
        yield lambda thing: drawing.update(thing, refresh=True)


@contextmanager
def warnings_in_lines() -> Iterator[None]:
    """Python's warnings as lines on standard error, without the place in the code that only its authors know."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        text = f"beampipe: warning: {message}"
        print(f"\033[33m{text}\033[0m" if sys.stderr.isatty() else text, file=sys.stderr)

    before, warnings.showwarning = warnings.showwarning, show
    try:
        yield
    finally:
        warnings.showwarning = before
