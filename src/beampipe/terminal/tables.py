"""Tables that fit any width: whole columns are left out, least important first; a number is never cut or wrapped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from rich.console import Console, ConsoleOptions
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

_UNLIMITED: Final = 10_000
"""Width [characters] at which columns are measured, wider than any of them."""


class FittingTable(Table):
    """A table that leaves out columns where the terminal is too narrow for all, and says which.

    The first column always stays. Columns of text are wrapped between words before any column is left out. In a file
    or a pipe, nothing is left out.

    Args:
        title: title above the table, with Rich's markup; none if empty.
        text: heads of the first columns, which are aligned to the left.
        numbers: heads of the columns after them, which are aligned to the right.
        caption: text below the table; none if empty.
        importance: heads of columns, the most important first. All others are less important: numbers from left to
            right, then text from left to right.

    Raises:
        ValueError: `importance` names a column that the table does not have.
    """

    def __init__(
        self, title: str, text: Sequence[str], numbers: Sequence[str], *, caption: str, importance: Iterable[str]
    ) -> None:
        super().__init__(title=title or None, caption=caption or None)
        for head in text:
            self.add_column(Text(head))  # no markup: a unit such as [s] would be read as a style
        for head in numbers:
            self.add_column(Text(head), justify="right")
        heads = [*text, *numbers]
        by_default = [*range(len(text), len(heads)), *range(len(text))]
        ranked = [0, *(heads.index(head) for head in importance), *by_default] if heads else []
        self._ranked_columns = list(dict.fromkeys(ranked))
        self._column_of_row: list[str | None] = []

    def add_row(self, *cells: Any, only_with: str | None = None, **options: Any) -> None:
        """Add a row.

        Args:
            *cells: the cells of the row.
            only_with: head of a column; where it is left out, this row is, too. None: the row always stays.
            **options: passed to `rich.table.Table.add_row`.
        """
        super().add_row(*cells, **options)
        self._column_of_row.append(only_with)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        table = self._fitted(console, options) if console.is_terminal else self
        return Table.__rich_measure__(table, console, options)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        table = self._fitted(console, options) if console.is_terminal else self
        yield from Table.__rich_console__(table, console, options)

    def _fitted(self, console: Console, options: ConsoleOptions) -> Table:
        """The table with the columns that fit into the width of the options."""
        wide = options.update(width=_UNLIMITED)
        measured = [self._needed_width(console, wide, column) for column in self.columns]
        shown = list(self._ranked_columns)
        while len(shown) > 1 and sum(measured[k].minimum for k in shown) > options.max_width - _frame(len(shown)):
            del shown[-1]
        columns = sorted(shown)
        available = options.max_width - _frame(len(columns))
        left_out = [str(column.header) for k, column in enumerate(self.columns) if k not in shown]
        note = escape(f"not shown in this width: {', '.join(left_out)}") if left_out else ""
        caption = "; ".join(str(part) for part in (self.caption, note) if part)
        fitted = Table(title=self.title, caption=caption or None)
        for k, width in zip(columns, _widths([measured[k] for k in columns], available), strict=True):
            column = self.columns[k]
            fitted.add_column(
                column.header,
                justify=column.justify,
                no_wrap=column.justify == "right",
                overflow="fold",
                width=width - 2,  # without the spaces on both sides
            )
        cells = [list(column.cells) for column in self.columns]
        for number, row in enumerate(self.rows):
            if self._column_of_row[number] not in left_out:
                fitted.add_row(*(cells[k][number] for k in columns), style=row.style, end_section=row.end_section)
        return fitted

    def _needed_width(self, console: Console, options: ConsoleOptions, column: Column) -> Measurement:
        """Smallest and largest width of a column; they are equal for numbers, which are not wrapped."""
        measured = self._measure_column(console, options, column)
        return Measurement(measured.maximum, measured.maximum) if column.justify == "right" else measured


def _frame(columns: int) -> int:
    """Width of the lines between and around columns."""
    return columns + 1


def _widths(measured: Sequence[Measurement], available: int) -> list[int]:
    """Widths of columns: the widest are narrowed, down to their longest words, until all fit into the width."""
    limit = max((each.maximum for each in measured), default=0)
    narrowest = min((each.minimum for each in measured), default=0)
    widths = [each.maximum for each in measured]
    while sum(widths) > available and limit > narrowest:
        limit -= 1
        widths = [max(each.minimum, min(each.maximum, limit)) for each in measured]
    if sum(widths) > available and len(widths) == 1:
        return [max(3, available)]
    return widths
