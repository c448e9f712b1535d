"""Display in notebooks: small tables, pages in a frame, progress bars. Works without a notebook and without IPython."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from beampipe.files import write_whole

if TYPE_CHECKING:
    from numpy import ndarray

_Function = TypeVar("_Function", bound=Callable[..., Any])

MOST_ROWS: Final = 20
"""Largest number of rows of a table in a notebook; a note below counts the rest."""

MOST_TEXT: Final = 100
"""Largest number of characters of a value in a repr or a cell; longer ones end in three dots."""

_TABLE: Final = '<table style="font-size:0.9em;border-collapse:collapse">'
_CAPTION: Final = '<caption style="caption-side:top;text-align:left;font-weight:bold;color:inherit">'
_FOOT: Final = '<div style="font-size:0.8em;opacity:0.75">'


class Shown:
    """Base class with a repr of one line and a small table in a notebook, both made of its `facts`."""

    @abstractmethod
    def facts(self) -> Mapping[str, object]:
        """Short facts about the object: name -> value with its unit."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}: {_short(value)}' for name, value in self.facts().items())})"

    def _repr_html_(self) -> str:
        return html_table(type(self).__name__, self.facts().items())


def shown_folder(folder: Path) -> Path:
    """A folder as notebooks show it: one of the package relative to it, so that it is the same on every machine."""
    package = Path(__file__).parents[1]
    return folder.relative_to(package) if folder.is_relative_to(package) else folder


def html_table(
    title: str, rows: Iterable[Sequence[object]], heads: Sequence[str] = (), *, caption: str = "", most: int = MOST_ROWS
) -> str:
    """A table in HTML, with every text escaped.

    Args:
        title: title above the table.
        rows: cells of each row; the first is its heading.
        heads: heads of the columns; none if empty.
        caption: text below the table; none if empty.
        most: largest number of rows.
    """
    waiting = iter(rows)
    shown = list(islice(waiting, most))
    left_out = sum(1 for _ in waiting)
    lines = [f"{_TABLE}{_CAPTION}{escape(title)}</caption>"]
    if heads:
        lines.append("<thead><tr>" + "".join(f"<th>{escape(head)}</th>" for head in heads) + "</tr></thead>")
    for first, *others in shown:
        cells = "".join(f'<td style="text-align:left">{escape(_short(cell))}</td>' for cell in others)
        lines.append(f'<tr><th style="text-align:left">{escape(_short(first))}</th>{cells}</tr>')
    lines.append("</table>")
    notes = ([f"... and {left_out} more"] if left_out else []) + ([caption] if caption else [])
    lines += [f"{_FOOT}{escape(note)}</div>" for note in notes]
    return "".join(lines)


def span(values: ndarray, unit: str = "") -> str:
    """The range of numbers as text.

    >>> span(np.array([1020.0, 31.91]), "mm")
    '31.91 to 1020 mm'

    Args:
        values: at least one number, any shape.
        unit: their unit.
    """
    return f"{values.min():.4g} to {values.max():.4g} {unit}".rstrip()


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT - 3]}..."


@dataclass(frozen=True, repr=False)
class Page(Shown):
    """An HTML page that a notebook shows in a frame, isolated from its styles and scripts.

    Attributes:
        title: title of the page.
        html: the whole page; it needs no network.
        height: height of the frame [pixels].
    """

    title: str
    html: str
    height: int = 560

    def facts(self) -> Mapping[str, object]:
        """Title and size."""
        return {"title": self.title, "size": f"{len(self.html) / 1e6:.2f} MB"}

    def write(self, path: str | Path) -> None:
        """Write the page to a file.

        Args:
            path: HTML file to write; an existing one is replaced.
        """
        write_whole(Path(path), lambda part: part.write_text(self.html, encoding="utf-8"))

    def _repr_html_(self) -> str:
        style = f"width:100%;height:{self.height}px;border:0"
        # Scripts of the page may run, but cannot access the notebook.
        return (
            f'<iframe title="{escape(self.title)}" sandbox="allow-scripts" style="{style}"'
            f' srcdoc="{escape(self.html)}"></iframe>'
        )


def in_notebook() -> bool:
    """Whether this process is a Jupyter kernel; IPython in a terminal is not."""
    return hasattr(_shell(), "kernel")


def _shell() -> Any:
    """The shell of IPython that runs this program; None without one."""
    ask: Callable[[], Any] = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)
    return ask()


@contextmanager
def notebook_bars() -> Iterator[Callable[[str, int | None], Any]]:
    """Progress bars below the cell of a notebook, without widgets; same use as `beampipe.terminal.bars`."""
    ipython: Any = import_module("IPython.display")

    @contextmanager
    def open_bar(what: str, total: int | None) -> Iterator[Callable[[], None]]:
        done, drawn = 0, 0
        bar = ipython.display(ipython.HTML(_bar(what, 0, total)), display_id=True)

        def step() -> None:
            nonlocal done, drawn
            done += 1
            # At most a hundred updates.
            if total is None or done * 100 // max(total, 1) > drawn:
                drawn = done * 100 // max(total or 1, 1)
                bar.update(ipython.HTML(_bar(what, done, total)))

        try:
            yield step
        finally:
            bar.update(ipython.HTML(""))

    yield open_bar


def _bar(what: str, done: int, total: int | None) -> str:
    """HTML of a bar."""
    if total is None:
        return f"{escape(what)}: {done}"
    return f'{escape(what)} <progress value="{done}" max="{max(total, 1)}"></progress> {done}/{total}'


def listed_options(receiver: Callable[..., Any]) -> Callable[[_Function], _Function]:
    """Decorator of a function that passes its ``**options`` on: help and Tab completion list each of them.

    Args:
        receiver: the function or class whose keyword arguments the options are.
    """
    from inspect import Parameter, signature

    def decorate(function: _Function) -> _Function:
        own = signature(function)
        named = {
            name: parameter for name, parameter in own.parameters.items() if parameter.kind is not Parameter.VAR_KEYWORD
        }
        passed_on = {
            name: parameter
            for name, parameter in signature(receiver).parameters.items()
            if parameter.kind is Parameter.KEYWORD_ONLY and name not in named
        }
        vars(function)["__signature__"] = own.replace(parameters=[*named.values(), *passed_on.values()])
        return function

    return decorate
