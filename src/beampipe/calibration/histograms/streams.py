"""Columns of a file, piece after piece, as the compiled filler takes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64, UInt8
from beampipe.calibration.layout.expressions import is_expression
from beampipe.calibration.ntuple.baskets import has_whole_baskets, plain_baskets, stored_type, whole_baskets
from beampipe.calibration.ntuple.lists import Basket
from beampipe.calibration.ntuple.source import EventSource, columns_of
from beampipe.calibration.trees.blocks import Room

__all__ = ["Piece", "Stream", "event_stream", "is_stored_as", "jet_stream", "weight_stream"]

_ROOMS: Final[dict[str, Room]] = {}
"""Memory of each column, kept for the next chunk."""


class Piece(NamedTuple):
    """Some events of a column.

    Attributes:
        start: first event, counted from the start of the range.
        stop: one past the last event.
        data: bytes of the numbers.
        big: whether they are in the order of bytes of ROOT files.
        offsets: first number of each event; None if each event has one, or equally many.
    """

    start: int
    stop: int
    data: UInt8[ndarray, " b"]
    big: bool
    offsets: Int64[ndarray, " n_1"] | None

    @classmethod
    def of(cls, start: int, values: ndarray, offsets: Int64[ndarray, " n_1"] | None) -> Piece:
        """Numbers of either order of bytes."""
        big = values.dtype.byteorder == ">"
        n = len(values) if offsets is None else len(offsets) - 1
        return cls(start, start + n, np.ascontiguousarray(values).reshape(-1).view(np.uint8), big, offsets)

    def first(self, event: int) -> int:
        """The first number of an event; the event itself, if there are no offsets."""
        return event - self.start if self.offsets is None else int(self.offsets[event - self.start])


@dataclass(eq=False)
class Stream:
    """Pieces of a column, of which one is looked at.

    Attributes:
        branch: branch whose baskets the pieces are; None if they are something else.
        piece: the piece that is looked at.
    """

    _pieces: Iterator[Piece]
    branch: Any = None
    piece: Piece = field(default_factory=lambda: Piece(0, 0, np.empty(0, np.uint8), False, None))

    def reach(self, event: int) -> int:
        """Go on to the piece that holds an event; gives the end of the piece."""
        while self.piece.stop <= event:
            self.piece = next(self._pieces)
        return self.piece.stop

    def column(self, event: int) -> tuple[ndarray, bool, int]:
        """The numbers from an event on, as the filler takes them."""
        return self.piece.data, self.piece.big, self.piece.first(event)


def is_stored_as(source: EventSource, column: str, dtype: str, *, lists: bool) -> bool:
    """Whether a column is one plain branch of a type, with a list or a number per event."""
    branches = columns_of(source.layout, column)
    if len(branches) != 1 or is_expression(branches[0]) or source.changes(column):
        return False
    return _is_plain(source, branches[0], dtype, lists=lists)


def _is_plain(source: EventSource, branch: str, dtype: str, *, lists: bool) -> bool:
    tree = source.tree[branch]
    stored = stored_type(tree)
    return (
        stored is not None
        and stored.newbyteorder("=") == np.dtype(dtype)
        and hasattr(tree.interpretation, "content") == lists
    )


def event_stream(source: EventSource, column: str, dtype: str) -> Stream | None:
    """A column with one number per event; None if there is no branch of it."""
    if not columns_of(source.layout, column):
        return None
    if is_stored_as(source, column, dtype, lists=False):
        baskets = _plain(source, _branch_of(source, column), column)
        return Stream(Piece.of(basket.start, basket.numbers, None) for basket in baskets)
    return Stream(iter((Piece.of(0, source.flat(column), None),)))


def jet_stream(source: EventSource, column: str, dtype: str, leader: Stream | None = None) -> Stream | None:
    """A column of jets; None if there is no branch of it, and it is not derived.

    Args:
        source: range of events.
        column: name of the column.
        dtype: type that the compiled filler takes.
        leader: column of the same jets, which is asked first for each event. If its lists begin where those of this
            one do, they need not be unpacked twice.
    """
    if is_stored_as(source, column, dtype, lists=True) and (column != "jet_pt" or source.layout.unit == 1):
        branch = _branch_of(source, column)
        if leader is not None and _goes_along(branch, leader.branch, source):
            return Stream(_following(source, branch, column, leader), branch)
        baskets = _plain(source, branch, column)
        return Stream((Piece.of(each.start, each.content, each.offsets) for each in baskets), branch)
    if column == "jet_clean" and not (columns_of(source.layout, column) or source.changes(column)):
        return None
    return Stream(_converted(source, column))


def _goes_along(branch: Any, leader: Any, source: EventSource) -> bool:
    """Whether one branch counts the lists of two, and both begin baskets with the same events."""
    return (
        has_whole_baskets(branch, source.start, source.stop)
        and has_whole_baskets(leader, source.start, source.stop)
        and branch.counter is leader.counter
        and branch.entry_offsets == leader.entry_offsets
    )


def _following(source: EventSource, branch: Any, column: str, leader: Stream) -> Iterator[Piece]:
    """Pieces of a branch that `_goes_along` with that of a column which is one step ahead."""
    for start, stop, numbers in whole_baskets(branch, source.start, source.stop, _room(column)):
        offsets = leader.piece.offsets
        if (leader.piece.start, leader.piece.stop) != (start, stop) or offsets is None or len(numbers) != offsets[-1]:
            raise ValueError("not as many numbers as in another column of jets")
        yield Piece.of(start, numbers, offsets)


def _converted(source: EventSource, column: str) -> Iterator[Piece]:
    """Numbers of a column that are not those of the file."""
    for basket in source.lists(column):
        yield Piece.of(basket.start, source.converted(column, basket.numbers), basket.offsets - basket.offsets[0])


def _branch_of(source: EventSource, column: str) -> Any:
    """The one branch of a column that `is_stored_as` something."""
    return source.tree[columns_of(source.layout, column)[0]]


def _plain(source: EventSource, branch: Any, column: str) -> Iterator[Basket]:
    return plain_baskets(branch, source.start, source.stop, _room(column))


def _room(column: str) -> Room:
    return _ROOMS.setdefault(column, Room())


def weight_stream(source: EventSource) -> Iterator[tuple[Piece, int]]:
    """Weights, and how many each event has, nominal first.

    Raises:
        ValueError: events have different numbers of weights.
    """
    asked: Any = source.layout.weights
    first = asked.nominal and not asked.variations and asked.index == 0 and not asked.factors
    if first and _is_plain(source, asked.nominal, "float32", lists=True):
        branch = source.tree[asked.nominal]
        if has_whole_baskets(branch, source.start, source.stop):
            yield from _counted_weights(branch, source)
            return
        for basket in _plain(source, branch, "weight"):
            n_events = len(basket.offsets) - 1
            n_weights = basket.size // n_events
            if np.any(np.diff(basket.offsets) != n_weights):
                raise ValueError("events have different numbers of weights")
            values = basket.numbers.reshape(n_events, n_weights)
            yield Piece.of(basket.start, values, None), n_weights
    else:
        for start, table in source.weights():
            yield Piece.of(start, table, None), table.shape[1]


def _counted_weights(branch: Any, source: EventSource) -> Iterator[tuple[Piece, int]]:
    """Weights whose number another branch says, which must be the same for all events."""
    counts = branch.counter.array(source.start, source.stop, library="np")
    n_weights = int(counts[0])
    for start, stop, numbers in whole_baskets(branch, source.start, source.stop, _room("weight")):
        if np.any(counts[start:stop] != n_weights) or len(numbers) != (stop - start) * n_weights:
            raise ValueError("events have different numbers of weights")
        yield Piece.of(start, numbers.reshape(stop - start, n_weights), None), n_weights
