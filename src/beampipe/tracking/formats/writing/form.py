"""What a form of written tracks is, and what several forms need: tracks as lists of hits, and the input's hit ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.errors import FileError, InputError, ShapeError
from beampipe.tracking.events import NO_TRACK, Event, Tracks
from beampipe.tracking.truth import distance_squared

__all__ = ["Form", "Found", "check_labels", "lists_of", "own_hit_ids"]

_ENDINGS: Final = (".parquet", ".csv", ".jsonl", ".json", ".root")

Found = Iterable[tuple[Event, Tracks]]
"""Events and the tracks found in them."""


@dataclass(frozen=True)
class Form:
    """One way to write tracks.

    Attributes:
        name: name by which a user asks for it.
        endings: endings of its files, the usual one first; an empty one stands for a folder.
        write: writes events and their tracks, taken one at a time, to a path; returns the number of events.
        needs: refuses an event that lacks what the form says of hits, by an `InputError`, before tracks are looked for.
    """

    name: str
    endings: tuple[str, ...]
    write: Callable[[Path, Found], int]
    needs: Callable[[Event], object] = lambda event: None

    def check(self, path: Path) -> None:
        """Refuse a path of another ending.

        Raises:
            FileError: the ending is another.
        """
        # Whatever is no ending of a file may be the name of a folder.
        ending = path.suffix if path.suffix in _ENDINGS or "" not in self.endings else ""
        if ending not in self.endings:
            raise FileError(
                f"{path}: got the ending {path.suffix!r}, expected"
                f" {' or '.join(ending or 'a folder' for ending in self.endings)} for {self.name}",
                path=path,
            )


def check_labels(event: Event, tracks: Tracks) -> None:
    """Refuse labels of another length than the hits.

    Raises:
        ShapeError: they are not as many.
    """
    if len(tracks.track_id) != len(event.hits):
        raise ShapeError(
            f"event {event.event_id}: got {len(tracks.track_id)} labels, expected {len(event.hits)}, one per hit"
        )


def lists_of(event: Event, tracks: Tracks) -> Sequence[Int64[ndarray, " _"]]:
    """Rows of the hits of each track from the inside out (by r^2 + z^2); if tracks share hits, with the shared ones.

    Raises:
        ShapeError: the labels are not as many as the hits.
    """
    check_labels(event, tracks)
    distance = distance_squared(event.hits)
    if tracks.candidates is not None:
        return [rows[np.argsort(distance[rows], kind="stable")] for rows in tracks.candidates]
    order = np.lexsort((distance, tracks.track_id)).astype(np.int64)
    order = order[np.count_nonzero(tracks.track_id == NO_TRACK) :]
    return np.split(order, np.flatnonzero(np.diff(tracks.track_id[order])) + 1) if len(order) else []


def own_hit_ids(event: Event, form: str, formats: tuple[str, ...]) -> Int64[ndarray, " n_hits"]:
    """The input's own hit ids, for a form that names hits by them.

    Args:
        event: an event.
        form: name of the form, for the message.
        formats: formats of input whose numbers the form means; none for any, and then each may be there once only.

    Raises:
        InputError: the input has no hit ids of its own, repeats one that names a hit, or is of another format.
    """
    source = event.source
    if source is None or source.hit_id is None or (formats and source.format not in formats):
        got = "one without hit ids" if source is None or source.hit_id is None else f"one of {source.format}"
        raise InputError(
            f"event {event.event_id}: got an input that is {got}, expected {' or '.join(formats) or 'hit ids'} to write"
            f" {form}; write labels or lists instead"
        )
    ids, counts = np.unique(source.hit_id, return_counts=True)
    if not formats and len(ids) < len(source.hit_id):
        raise InputError(
            f"event {event.event_id}: got the hit id {ids[counts > 1][0]} {counts.max()} times, expected each once to"
            f" write {form}; write labels instead"
        )
    return source.hit_id.astype(np.int64)
