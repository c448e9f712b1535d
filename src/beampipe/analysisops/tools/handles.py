"""Contents of handles, their store, and the context of a tool call. Contents are immutable."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import numpy as np
from numpy import ndarray

from beampipe.analysisops.contract import HistogramReference, RunningSystem, TimeLimit, ToolRefusedError, require_name
from beampipe.analysisops.ledger import Entry
from beampipe.analysisops.references import CONSTANTS, number_at
from beampipe.analysisops.tools.data_folder import DataFile, DataFolder
from beampipe.arrays import Float64, Int64
from beampipe.errors import InputError, nearest


def frozen(array: ndarray) -> ndarray:
    """The array itself, made read-only."""
    array.flags.writeable = False
    return array


@dataclass(frozen=True)
class Jagged:
    """Values of objects, with a different number of objects in each event.

    Attributes:
        offsets: (n_events + 1,) index of the first object of each event, and the total number of objects.
        values: values of all objects, event after event; numbers or booleans.
    """

    offsets: Int64[ndarray, " n1"]
    values: ndarray

    @classmethod
    def of(cls, counts: ndarray, values: ndarray) -> Jagged:
        """Objects of events from the number of objects in each."""
        offsets = np.zeros(len(counts) + 1, np.int64)
        np.cumsum(counts, out=offsets[1:])
        return cls(frozen(offsets), frozen(values))

    @property
    def counts(self) -> ndarray:
        """Number of objects in each event."""
        return np.diff(self.offsets)

    @property
    def parents(self) -> ndarray:
        """Event of each object."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.counts)

    def rows(self, keep: ndarray) -> Jagged:
        """The selected events."""
        counts = self.counts
        return Jagged.of(counts[keep], self.values[np.repeat(keep, counts)])

    def thinned(self, keep: ndarray) -> Jagged:
        """The selected objects."""
        counts = np.bincount(self.parents[keep], minlength=len(self.offsets) - 1)
        return Jagged.of(counts, self.values[keep])

    def same_collection(self, other: Jagged) -> bool:
        """Whether both have the same number of objects in each event."""
        return self.offsets is other.offsets or np.array_equal(self.offsets, other.offsets)


Column = ndarray | Jagged
"""A number or boolean for each event, or for each object of each event."""


@dataclass(frozen=True)
class Events:
    """Events as columns.

    Attributes:
        n: number of events.
        columns: columns by name, each of length n.
    """

    n: int
    columns: Mapping[str, Column]

    def with_columns(self, columns: Mapping[str, Column]) -> Events:
        """These events with additional or replaced columns."""
        return Events(self.n, {**self.columns, **columns})

    def rows(self, keep: ndarray) -> Events:
        """The selected events; columns of one collection share their offsets as before."""
        offsets: dict[int, ndarray] = {}
        columns: dict[str, Column] = {}
        for name, column in self.columns.items():
            if isinstance(column, Jagged):
                kept = column.rows(keep)
                columns[name] = Jagged(offsets.setdefault(id(column.offsets), kept.offsets), kept.values)
            else:
                columns[name] = frozen(column[keep])
        return Events(int(np.count_nonzero(keep)), columns)

    def arrays(self) -> list[ndarray]:
        """All arrays."""
        pairs = (
            (column.offsets, column.values) if isinstance(column, Jagged) else (column,)
            for column in self.columns.values()
        )
        return [array for pair in pairs for array in pair]


@dataclass(frozen=True)
class Histogram:
    """Sums of weights in bins; a bin includes its lower edge, the last one also its upper edge.

    Attributes:
        edges: (n_bins + 1,) edges of the bins, ascending.
        values: sum of weights in each bin.
        variances: sum of squared weights in each bin.
        underflow: sum of weights below the first edge.
        overflow: sum of weights above the last edge.
        n: number of entries in the bins.
        column: name of the column.
    """

    edges: Float64[ndarray, " b1"]
    values: Float64[ndarray, " b"]
    variances: Float64[ndarray, " b"]
    underflow: float
    overflow: float
    n: int
    column: str

    def arrays(self) -> list[ndarray]:
        """All arrays."""
        return [self.edges, self.values, self.variances]

    def to_json(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "edges": self.edges.tolist(),
            "values": self.values.tolist(),
            "variances": self.variances.tolist(),
            "underflow": self.underflow,
            "overflow": self.overflow,
            "n": self.n,
            "column": self.column,
        }

    def reference(self) -> HistogramReference:
        """Edges and contents, for grading."""
        return HistogramReference(tuple(self.edges.tolist()), tuple(self.values.tolist()))


@dataclass(frozen=True)
class TrackLabels:
    """The track of each hit.

    Attributes:
        track_id: number of the track of each hit, from 0 on within its event; -1 for none.
        offsets: (n_events + 1,) index of the first hit of each event, and the total number of hits.
        n_tracks: number of tracks in each event.
    """

    track_id: Int64[ndarray, " n_hits"]
    offsets: Int64[ndarray, " n1"]
    n_tracks: tuple[int, ...]

    def arrays(self) -> list[ndarray]:
        """All arrays."""
        return [self.track_id, self.offsets]


@dataclass(frozen=True)
class HitGraph:
    """Connections between hits.

    Attributes:
        pipeline: name of the pipeline whose stages made them.
        offsets: first hit of each event, and the end.
        events: arrays of each event by their names in `beampipe.tracking.stages.ARRAYS`.
    """

    pipeline: str
    offsets: Int64[ndarray, " n1"]
    events: tuple[Mapping[str, Any], ...]

    def arrays(self) -> list[ndarray]:
        """All arrays."""
        return [array for arrays in self.events for array in arrays.values() if array is not None]


@dataclass(frozen=True)
class Workspace:
    """A statistical model of several regions with its data.

    Attributes:
        specification: the HistFactory workspace in the JSON form of pyhf.
    """

    specification: Mapping[str, Any]

    def arrays(self) -> list[ndarray]:
        """All arrays: none."""
        return []


@dataclass(frozen=True)
class Artifact:
    """A result that an agent submits under a name.

    Attributes:
        name: name chosen by the agent.
        content: the content of the exported handle.
    """

    name: str
    content: Histogram | TrackLabels | Events | Workspace

    def arrays(self) -> list[ndarray]:
        """All arrays."""
        return self.content.arrays()


Content = Events | Histogram | HitGraph | TrackLabels | Workspace | Artifact
"""Types of contents of handles."""


_KINDS: Final[Mapping[type, str]] = {
    Events: "events",
    Histogram: "hist",
    HitGraph: "graph",
    TrackLabels: "labels",
    Workspace: "workspace",
    Artifact: "artifact",
}
"""Type of content -> prefix of its handles."""

_Content = TypeVar("_Content", bound=Content)


class HandleStore:
    """All contents of a session by handle, with the data files that they depend on.

    Args:
        most_bytes: memory limit of all contents together [bytes]; shared arrays count once.
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
        """A content and the files that it depends on.

        Raises:
            KeyError: there is no such handle.
        """
        return self._held[handle]

    def check_room(self, size: int) -> None:
        """Check the memory limit before contents are created.

        Args:
            size: required memory [bytes].

        Raises:
            ToolRefusedError: less memory is left.
        """
        if self._bytes + size > self._most_bytes:
            raise ToolRefusedError(
                f"memory: got {(self._bytes + size) / 1e6:.0f} MB held by handles, expected at most"
                f" {self._most_bytes / 1e6:.0f} MB; load fewer columns or events"
            )

    def put(self, content: Content, sources: frozenset[str]) -> str:
        """Store a content.

        Returns:
            Its handle.

        Raises:
            ToolRefusedError: less memory is left than it needs.
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
class ToolContext:
    """The context of a tool call: data, handles and limits, and a record of the data that it used.

    Attributes:
        folder: the data files.
        store: contents by handle.
        check_time: raises ToolRefusedError if the call has exceeded its time limit; long loops call it in each step.
        calls: earlier calls, to whose results arguments may refer.
        literals: numbers that a calculation may contain.
        system: the system that runs during the assessment; None if there is none.
        used: names of the data files that the call has used so far.
    """

    folder: DataFolder
    store: HandleStore
    check_time: Callable[[], None] = field(default_factory=lambda: TimeLimit().check)
    calls: Sequence[Entry] = ()
    literals: frozenset[float] = frozenset(CONSTANTS)
    system: RunningSystem | None = None
    used: set[str] = field(default_factory=set)

    def events(self, handle: str) -> Events:
        """The events of a handle."""
        return self._get(handle, Events, "events")

    def histogram(self, handle: str) -> Histogram:
        """The histogram of a handle."""
        return self._get(handle, Histogram, "a histogram")

    def workspace(self, handle: str) -> Workspace:
        """The workspace of a handle."""
        return self._get(handle, Workspace, "a workspace")

    def graph(self, handle: str) -> HitGraph:
        """The graph of a handle."""
        return self._get(handle, HitGraph, "a graph of hits")

    def content(self, handle: str) -> Content:
        """The content of a handle, of any type."""
        if handle not in self.store.handles:
            raise ToolRefusedError(
                f"handle: got {handle!r}, expected one that a tool gave"
                f" ({', '.join(self.store.handles[-20:]) or 'there are none yet: load_kinematics_tool makes one'})"
                f"{nearest(handle, self.store.handles)}"
            )
        content, sources = self.store.get(handle)
        self.used |= sources
        return content

    def file(self, name: str) -> DataFile:
        """A data file, by its name."""
        file = self.folder.file(name)
        self.used.add(file.name)
        return file

    def keep(self, content: Content) -> str:
        """Store a content and return its handle; it depends on all files that this call has used."""
        return self.store.put(content, frozenset(self.used))

    def number(self, value: float | str, what: str, *, use: bool = True) -> float:
        """A number of a calculation: that of a reference such as ``call_7.mu``, or a literal of the task.

        Args:
            value: the reference or literal.
            what: name of the argument, for messages.
            use: whether the result depends on it.
        """
        if not isinstance(value, str):
            return self.literal(value, what)
        try:
            number, call, _ = number_at(self.calls, value)
        except InputError as error:
            raise ToolRefusedError(f"{what}: {error}") from error
        if use:
            self.used.update(call.sources)
        return number

    def literal(self, value: float, what: str) -> float:
        """A number written into a calculation.

        Raises:
            ToolRefusedError: neither the task nor its prompt contains it.
        """
        if abs(value) not in self.literals:
            raise ToolRefusedError(
                f"{what}: got {value:g}, expected a reference to a result, such as call_7.mu, or a number of the"
                " prompt or of the constants of the task"
            )
        return value

    def _get(self, handle: str, kind: type[_Content], words: str) -> _Content:
        content = self.content(handle)
        if isinstance(content, Artifact) and isinstance(content.content, kind):
            return content.content
        if not isinstance(content, kind):
            of_kind = [name for name in self.store.handles if isinstance(self.store.get(name)[0], kind)]
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
    require_name("column", name, events.columns)
    return events.columns[name]


def flat_column(events: Events, name: str) -> ndarray:
    """A column with one value for each event.

    Raises:
        ToolRefusedError: there is none of that name, or it has one value for each object.
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
