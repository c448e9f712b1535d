"""The place that a tool works at: contents of handles, files, time, and a note of which data it used."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar, runtime_checkable

from numpy import ndarray

from beampipe.analysisops.tools.contents import Artifact, Content, Events, Histogram, Jagged, TrackLabels
from beampipe.analysisops.tools.folder import DataFile, DataFolder
from beampipe.analysisops.tools.refusal import ToolRefusedError
from beampipe.errors import nearest

__all__ = ["Bench", "Fetch", "Shelf", "column_of", "flat_column", "jagged_column"]

_KINDS: Final[Mapping[type, str]] = {Events: "events", Histogram: "hist", TrackLabels: "labels", Artifact: "artifact"}
"""Type of content -> how its handles begin."""

_Content = TypeVar("_Content", bound=Content)


@runtime_checkable
class Fetch(Protocol):
    """Brings data into the folder of a session, and writes them into its manifest."""

    def __call__(self, *, skim: str, release: str, dataset: str, protocol: str, max_files: int) -> object:
        """Bring what is asked for; empty words and 0 mean: as the task has it."""


class Shelf:
    """All contents of a session by handle, with the files that they descend from.

    Args:
        most_bytes: so much memory [bytes] may the contents take together; arrays that are shared count once.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held: dict[str, tuple[Content, frozenset[str]]] = {}
        self._arrays: dict[int, ndarray] = {}
        self._bytes = 0
        self._numbers = {kind: itertools.count(1) for kind in _KINDS.values()}

    @property
    def handles(self) -> tuple[str, ...]:
        """All handles so far."""
        return tuple(self._held)

    def get(self, handle: str) -> tuple[Content, frozenset[str]]:
        """A content and its files.

        Raises:
            KeyError: there is no such handle.
        """
        return self._held[handle]

    def check_room(self, size: int) -> None:
        """Refuse what would not fit, before it is made.

        Args:
            size: memory that is wanted [bytes].

        Raises:
            ToolRefusedError: that is more than is left.
        """
        if self._bytes + size > self._most_bytes:
            raise ToolRefusedError(
                f"memory: got {(self._bytes + size) / 1e6:.0f} MB held by handles, expected at most"
                f" {self._most_bytes / 1e6:.0f} MB; load fewer columns or events"
            )

    def put(self, content: Content, sources: frozenset[str]) -> str:
        """Keep a content.

        Returns:
            Its handle.

        Raises:
            ToolRefusedError: it would need more memory than is left.
        """
        new = {id(array): array for array in content.arrays() if id(array) not in self._arrays}
        size = sum(array.nbytes for array in new.values())
        self.check_room(size)
        self._arrays.update(new)
        self._bytes += size
        kind = _KINDS[type(content)]
        handle = f"{kind}_{next(self._numbers[kind])}"
        self._held[handle] = (content, sources)
        return handle


@dataclass
class Bench:
    """What one call of a tool has at hand.

    Attributes:
        folder: the data.
        shelf: contents by handle.
        seconds: time that the call may take [s].
        used: names of the data files that the call has used so far.
        fetch: brings more data into the folder; None if there is nothing to bring.
        numbers: the numbers among its arguments -> files that each descends from.
        numbers_judged: the tool itself has said which of the numbers its result depends on.
    """

    folder: DataFolder
    shelf: Shelf
    seconds: float
    used: set[str] = field(default_factory=set)
    fetch: Fetch | None = None
    numbers: dict[float, frozenset[str]] = field(default_factory=dict)
    numbers_judged: bool = False
    _started: float = field(default_factory=time.monotonic)

    def events(self, handle: str) -> Events:
        """The events of a handle."""
        return self._get(handle, Events, "events")

    def histogram(self, handle: str) -> Histogram:
        """The histogram of a handle."""
        return self._get(handle, Histogram, "a histogram")

    def content(self, handle: str) -> Content:
        """What a handle stands for, whatever it is."""
        if handle not in self.shelf.handles:
            raise ToolRefusedError(
                f"handle: got {handle!r}, expected one that a tool gave"
                f" ({', '.join(self.shelf.handles[-20:]) or 'there are none yet: load_kinematics_tool makes one'})"
                f"{nearest(handle, self.shelf.handles)}"
            )
        content, sources = self.shelf.get(handle)
        self.used |= sources
        return content

    def file(self, name: str) -> DataFile:
        """A data file, by its name."""
        file = self.folder.file(name)
        self.used.add(file.name)
        return file

    def keep(self, content: Content) -> str:
        """The new handle of a content; it descends from all files that this call has used."""
        return self.shelf.put(content, frozenset(self.used))

    def use_number(self, value: float) -> None:
        """Note that the result depends on a number among the arguments."""
        self.numbers_judged = True
        self.used |= self.numbers.get(float(value), frozenset())

    def check_time(self) -> None:
        """To be called now and then by whatever may take long.

        Raises:
            ToolRefusedError: the call has taken longer than it may.
        """
        if time.monotonic() - self._started > self.seconds:
            raise ToolRefusedError(
                f"time: got more than {self.seconds:g} s, expected less; ask for less: fewer events, bins or parameters"
            )

    def _get(self, handle: str, kind: type[_Content], words: str) -> _Content:
        content = self.content(handle)
        if isinstance(content, Artifact) and isinstance(content.content, kind):
            return content.content
        if not isinstance(content, kind):
            of_kind = [name for name in self.shelf.handles if isinstance(self.shelf.get(name)[0], kind)]
            raise ToolRefusedError(
                f"handle {handle}: got {_KINDS[type(content)]}, expected {words}"
                f" ({', '.join(of_kind[-20:]) or 'there are none yet'})"
            )
        return content


def column_of(events: Events, name: str) -> ndarray | Jagged:
    """A column of events.

    Raises:
        ToolRefusedError: there is none of that name.
    """
    if name not in events.columns:
        raise ToolRefusedError(
            f"column: got {name!r}, expected one of {', '.join(events.columns)}{nearest(name, events.columns)}"
        )
    return events.columns[name]


def flat_column(events: Events, name: str) -> ndarray:
    """A column with one value for each event.

    Raises:
        ToolRefusedError: there is none of that name, or it has values for objects.
    """
    column = column_of(events, name)
    if isinstance(column, Jagged):
        raise ToolRefusedError(
            f"column {name}: got values for each object, expected one for each event;"
            f" make one with derive_tool, such as {name}[0] or sum({name})"
        )
    return column


def jagged_column(events: Events, name: str) -> Jagged:
    """A column with values for each object.

    Raises:
        ToolRefusedError: there is none of that name, or it has one value for each event.
    """
    column = column_of(events, name)
    if not isinstance(column, Jagged):
        raise ToolRefusedError(f"column {name}: got one value for each event, expected values for each object")
    return column
