"""The forms in which tracks are written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from beampipe.errors import UnknownNameError
from beampipe.tracking.events import Event, Tracks
from beampipe.tracking.formats.writing.colliderml import PREDICTIONS
from beampipe.tracking.formats.writing.form import Form
from beampipe.tracking.formats.writing.labels import LABELS
from beampipe.tracking.formats.writing.lists import LISTS
from beampipe.tracking.formats.writing.prototracks import PROTOTRACKS
from beampipe.tracking.formats.writing.trackml import SUBMISSION

__all__ = ["FORMS", "form_named", "write_tracks"]

FORMS: Final[dict[str, Form]] = {form.name: form for form in (LABELS, LISTS, SUBMISSION, PROTOTRACKS, PREDICTIONS)}
"""Name -> form in which tracks are written. A new one is one file in `writing/`, and its name here."""


def form_named(name: str) -> Form:
    """The form of that name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in FORMS:
        raise UnknownNameError("form", name, FORMS)
    return FORMS[name]


def write_tracks(path: str | Path, found: Iterable[tuple[Event, Tracks]], form: str = LABELS.name) -> int:
    """Write tracks; a file appears only when it is complete.

    ==============  ========================  ========================================================================
    form            ending                    columns
    ==============  ========================  ========================================================================
    ``labels``      ``.parquet``, ``.csv``    one row per hit: `TRACK_COLUMNS`, the input's `hit_id` and other columns
    ``lists``       ``.parquet``, ``.jsonl``  one row per track: event_id, track_id, hits (rows), hit_id (the input's)
    ``trackml``     ``.csv``                  one row per hit: event_id, hit_id, track_id (0: on no track)
    ``acts``        a folder, or ``.csv``     per event: trackId, measurementId, x, y, z [mm]
    ``colliderml``  ``.parquet``              one row per hit on a track: event_id, hit_id (row), track_id
    ==============  ========================  ========================================================================

    Args:
        path: file to write; for ``acts`` a folder.
        found: events and their tracks, taken one at a time.
        form: name of the form, a key of `FORMS`.

    Returns:
        The number of events written.

    Raises:
        FileError: another ending, a folder that is missing or closed, or no space.
        InputError: the input lacks what the form names hits by; ShapeError: labels of another length than the hits.
        UnknownNameError: no such form.
    """
    chosen = form_named(form)
    chosen.check(Path(path))
    return chosen.write(Path(path), found)
