"""How things show themselves in a notebook: a small table, a page in a frame, a bar that moves.

Nothing here needs a notebook to be there, nor IPython to be installed.
"""

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
from typing import TYPE_CHECKING, Any, Final

from beampipe.files import write_whole

if TYPE_CHECKING:
    from numpy import ndarray

__all__ = ["MOST_ROWS", "MOST_TEXT", "Page", "Shown", "html_table", "in_notebook", "notebook_bars", "span"]

MOST_ROWS: Final = 20
"""Most rows of a table in a notebook; how many are left out is said below it."""

MOST_TEXT: Final = 100
"""Most characters of one value, and of one cell of a table; what is longer ends in three dots."""

_TABLE: Final = '<table style="font-size:0.9em;border-collapse:collapse">'
_CAPTION: Final = '<caption style="caption-side:top;text-align:left;font-weight:bold;color:inherit">'
_FOOT: Final = '<div style="font-size:0.8em;opacity:0.75">'


class Shown:
    """Gives a class a repr of one line, and a small table in a notebook; both say its `facts`."""

    @abstractmethod
    def facts(self) -> Mapping[str, object]:
        """What is said of the object, in a few words each: name of the fact -> its value with its unit."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}: {_short(value)}' for name, value in self.facts().items())})"

    def _repr_html_(self) -> str:
        return html_table(type(self).__name__, self.facts().items())


def html_table(
    title: str, rows: Iterable[Sequence[object]], heads: Sequence[str] = (), *, caption: str = "", most: int = MOST_ROWS
) -> str:
    """A table in HTML, with every text escaped.

    Args:
        title: what stands above the table.
        rows: cells of each row; the first one is its name.
        heads: names of the columns; nothing if there are none.
        caption: what stands below the table; nothing if empty.
        most: most rows that are shown.
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
    """The range of numbers in words.

    >>> span(np.array([1020.0, 31.91]), "mm")
    '31.91 to 1020 mm'

    Args:
        values: numbers of any shape, one at least.
        unit: their unit.
    """
    return f"{values.min():.4g} to {values.max():.4g} {unit}".rstrip()


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT - 3]}..."


@dataclass(frozen=True, repr=False)
class Page(Shown):
    """A page of HTML that a notebook shows in a frame, apart from its own styles and scripts.

    Attributes:
        title: what the page is about.
        html: the whole page; it asks nothing of the network.
        height: height of the frame [pixels].
    """

    title: str
    html: str
    height: int = 560

    def facts(self) -> Mapping[str, object]:
        """Title and size."""
        return {"title": self.title, "size": f"{len(self.html) / 1e6:.2f} MB"}

    def write(self, path: str | Path) -> None:
        """Write the page as a file, for a browser.

        Args:
            path: HTML file to write; an existing one is replaced.
        """
        write_whole(Path(path), lambda part: part.write_text(self.html, encoding="utf-8"))

    def _repr_html_(self) -> str:
        style = f"width:100%;height:{self.height}px;border:0"
        # Scripts of the page may run, but see nothing of the notebook.
        return (
            f'<iframe title="{escape(self.title)}" sandbox="allow-scripts" style="{style}"'
            f' srcdoc="{escape(self.html)}"></iframe>'
        )


def in_notebook() -> bool:
    """Whether this is a kernel of Jupyter; IPython in a terminal is none."""
    return hasattr(_shell(), "kernel")


def _shell() -> Any:
    """The shell of IPython that runs this program, or None."""
    ask: Callable[[], Any] = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)
    return ask()


@contextmanager
def notebook_bars() -> Iterator[Callable[[str, int | None], Any]]:
    """Progress bars below the cell of a notebook, used as those of `beampipe.terminal.bars`; no widgets are needed."""
    ipython: Any = import_module("IPython.display")

    @contextmanager
    def one(what: str, total: int | None) -> Iterator[Callable[[], None]]:
        done, drawn = 0, 0
        place = ipython.display(ipython.HTML(_bar(what, 0, total)), display_id=True)

        def step() -> None:
            nonlocal done, drawn
            done += 1
            # A hundred pictures of a bar are enough.
            if total is None or done * 100 // max(total, 1) > drawn:
                drawn = done * 100 // max(total or 1, 1)
                place.update(ipython.HTML(_bar(what, done, total)))

        try:
            yield step
        finally:
            place.update(ipython.HTML(""))

    yield one


def _bar(what: str, done: int, total: int | None) -> str:
    """One picture of a bar."""
    if total is None:
        return f"{escape(what)}: {done}"
    return f'{escape(what)} <progress value="{done}" max="{max(total, 1)}"></progress> {done}/{total}'
