"""Events as flat arrays: columns per event, and collections of objects with the index of their event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Int64


@dataclass(frozen=True, eq=False)
class Objects:
    """Objects of one kind, such as leptons, sorted by event.

    Attributes:
        event: (n,) int64, row of the event of each.
        fields: one array per quantity, by its standard name without the prefix, such as ``"pt"`` [GeV].
    """

    event: Int64[ndarray, " n"]
    fields: Mapping[str, ndarray]

    def __len__(self) -> int:
        return len(self.event)

    def where(self, kept: Bool[ndarray, " n"]) -> Objects:
        """Only some of the objects."""
        return Objects(self.event[kept], {name: values[kept] for name, values in self.fields.items()})

    def by_pt(self) -> Objects:
        """The same objects sorted by event, and by decreasing pt within each."""
        order = np.lexsort([-self.fields["pt"], self.event])
        return Objects(self.event[order], {name: values[order] for name, values in self.fields.items()})

    def counts(self, n_events: int) -> Int64[ndarray, " n_events"]:
        """Number of objects in each event."""
        return np.bincount(self.event, minlength=n_events).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Events:
    """Events of a sample.

    Attributes:
        number: number of events.
        columns: one value per event, by standard name, such as ``"met"`` [GeV].
        collections: objects by the prefix of their columns, such as ``"lep"``.
    """

    number: int
    columns: Mapping[str, ndarray] = field(default_factory=dict)
    collections: Mapping[str, Objects] = field(default_factory=dict)

    def where(self, kept: Bool[ndarray, " n"]) -> Events:
        """Only some of the events."""
        return self.rows(np.flatnonzero(kept))

    def rows(self, rows: Int64[ndarray, " n_kept"]) -> Events:
        """The events with these indices, in this order; each at most once."""
        new_row = np.full(self.number, -1)
        new_row[rows] = np.arange(len(rows))
        collections = {}
        for name, objects in self.collections.items():
            kept = objects.where(new_row[objects.event] >= 0)
            moved = replace(kept, event=new_row[kept.event])
            order = np.argsort(moved.event, kind="stable")
            collections[name] = Objects(
                moved.event[order], {key: values[order] for key, values in moved.fields.items()}
            )
        return Events(len(rows), {name: values[rows] for name, values in self.columns.items()}, collections)

    def with_columns(self, columns: Mapping[str, ndarray]) -> Events:
        """The same events with added or replaced columns."""
        return replace(self, columns={**self.columns, **columns})

    def first(self, number: int) -> Events:
        """The first events."""
        return self.rows(np.arange(min(number, self.number)))

    def shuffled(self, generator: np.random.Generator) -> Events:
        """The same events in random order."""
        return self.rows(generator.permutation(self.number))


def joined(parts: Sequence[Events]) -> Events:
    """Concatenate events; all parts have the same columns."""
    offsets = np.cumsum([0, *(part.number for part in parts)])
    return Events(
        int(offsets[-1]),
        {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns},
        {
            name: joined_objects(
                [
                    replace(part.collections[name], event=part.collections[name].event + offset)
                    for part, offset in zip(parts, offsets[:-1], strict=True)
                ]
            )
            for name in parts[0].collections
        },
    )


def joined_objects(parts: Sequence[Objects]) -> Objects:
    """Concatenate objects, sorted by event; all parts have the same fields."""
    event = np.concatenate([part.event for part in parts])
    order = np.argsort(event, kind="stable")
    return Objects(
        event[order], {name: np.concatenate([part.fields[name] for part in parts])[order] for name in parts[0].fields}
    )
