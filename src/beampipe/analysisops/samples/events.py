"""Events as flat arrays: columns per event, and collections of objects that say which event they belong to."""

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
        fields: what is known of each, by its standard name without the prefix, such as ``"pt"`` [GeV].
    """

    event: Int64[ndarray, " n"]
    fields: Mapping[str, ndarray]

    def __len__(self) -> int:
        return len(self.event)

    def where(self, kept: Bool[ndarray, " n"]) -> Objects:
        """Only some of the objects."""
        return Objects(self.event[kept], {name: values[kept] for name, values in self.fields.items()})

    def by_pt(self) -> Objects:
        """The same objects by event, and from high to low pt within each."""
        order = np.lexsort([-self.fields["pt"], self.event])
        return Objects(self.event[order], {name: values[order] for name, values in self.fields.items()})

    def counts(self, n_events: int) -> Int64[ndarray, " n_events"]:
        """How many each event has."""
        return np.bincount(self.event, minlength=n_events).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Events:
    """Events of a sample.

    Attributes:
        number: how many there are.
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
        """The given events, in the given order; each at most once."""
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
        """The same events with more columns, or others in place of some."""
        return replace(self, columns={**self.columns, **columns})

    def first(self, number: int) -> Events:
        """The first events of them."""
        return self.rows(np.arange(min(number, self.number)))

    def shuffled(self, generator: np.random.Generator) -> Events:
        """The same events in random order."""
        return self.rows(generator.permutation(self.number))


def joined(parts: Sequence[Events]) -> Events:
    """The events of all parts, one part after the other; all have the same columns."""
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
    """The objects of all parts, sorted by event; all have the same fields."""
    event = np.concatenate([part.event for part in parts])
    order = np.argsort(event, kind="stable")
    return Objects(
        event[order], {name: np.concatenate([part.fields[name] for part in parts])[order] for name in parts[0].fields}
    )
