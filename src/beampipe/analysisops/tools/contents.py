"""What handles stand for: events, histograms, labels of tracks, artifacts. Nothing of it ever changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, Int64

__all__ = ["Artifact", "Column", "Content", "Events", "Histogram", "Jagged", "TrackLabels", "frozen"]


def frozen(array: ndarray) -> ndarray:
    """The array itself, which nobody can write to any more."""
    array.flags.writeable = False
    return array


@dataclass(frozen=True)
class Jagged:
    """Values of objects, of which each event has its own number.

    Attributes:
        offsets: where the objects of each event begin, and where the last ends; one more than there are events.
        values: of all objects, event after event; numbers or truth values.
    """

    offsets: Int64[ndarray, " n1"]
    values: ndarray

    @classmethod
    def of(cls, counts: ndarray, values: ndarray) -> Jagged:
        """Objects of events with so many each."""
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
        """Those events only."""
        counts = self.counts
        return Jagged.of(counts[keep], self.values[np.repeat(keep, counts)])

    def thinned(self, keep: ndarray) -> Jagged:
        """Those objects only."""
        counts = np.bincount(self.parents[keep], minlength=len(self.offsets) - 1)
        return Jagged.of(counts, self.values[keep])

    def same_collection(self, other: Jagged) -> bool:
        """Whether both have the same number of objects in each event."""
        return self.offsets is other.offsets or np.array_equal(self.offsets, other.offsets)


Column = ndarray | Jagged
"""A number or truth value for each event, or for each object of each event."""


@dataclass(frozen=True)
class Events:
    """Events as columns.

    Attributes:
        n: number of events.
        columns: by name; each of length n.
    """

    n: int
    columns: Mapping[str, Column]

    def with_columns(self, columns: Mapping[str, Column]) -> Events:
        """These events with more columns, or others in place of theirs."""
        return Events(self.n, {**self.columns, **columns})

    def rows(self, keep: ndarray) -> Events:
        """Those events only; columns of one collection go on sharing their offsets."""
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
        """All that takes memory."""
        pairs = (
            (column.offsets, column.values) if isinstance(column, Jagged) else (column,)
            for column in self.columns.values()
        )
        return [array for pair in pairs for array in pair]


@dataclass(frozen=True)
class Histogram:
    """Sums of weights in bins; a bin holds its lower edge, the last one its upper edge too.

    Attributes:
        edges: of the bins, ascending; one more than there are bins.
        values: sum of weights in each bin.
        variances: sum of squared weights in each bin.
        underflow: sum of weights below the first edge.
        overflow: sum of weights above the last edge.
        n: number of entries in the bins.
        column: what was filled.
    """

    edges: Float64[ndarray, " b1"]
    values: Float64[ndarray, " b"]
    variances: Float64[ndarray, " b"]
    underflow: float
    overflow: float
    n: int
    column: str

    def arrays(self) -> list[ndarray]:
        """All that takes memory."""
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


@dataclass(frozen=True)
class TrackLabels:
    """Which track each hit belongs to.

    Attributes:
        track_id: number of the track for each hit, from 0 on within its event; -1 for none.
        offsets: where the hits of each event begin, and where the last ends.
        n_tracks: number of tracks in each event.
    """

    track_id: Int64[ndarray, " n_hits"]
    offsets: Int64[ndarray, " n1"]
    n_tracks: tuple[int, ...]

    def arrays(self) -> list[ndarray]:
        """All that takes memory."""
        return [self.track_id, self.offsets]

    def to_json(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "track_id": self.track_id.tolist(),
            "offsets": self.offsets.tolist(),
            "n_tracks": list(self.n_tracks),
        }


@dataclass(frozen=True)
class Artifact:
    """Something that an agent hands in under a name.

    Attributes:
        name: as the agent calls it.
        content: what it is.
    """

    name: str
    content: Histogram | TrackLabels | Events

    def arrays(self) -> list[ndarray]:
        """All that takes memory."""
        return self.content.arrays()


Content = Events | Histogram | TrackLabels | Artifact
"""What a handle may stand for."""
