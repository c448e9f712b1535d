"""One event and its tracks: as a file of the kind that its ending asks for, as a figure, as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool
from beampipe.errors import FileError
from beampipe.notebook import Page
from beampipe.tracking.events import NO_TRACK, Event, Tracks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["event_figure", "event_page", "fake_tracks", "show_event"]


def fake_tracks(event: Event, tracks: Tracks) -> Bool[ndarray, " n_tracks"] | None:
    """Which tracks match no particle by double majority; tracks too short to be candidates are not called fake.

    Returns:
        (n_tracks,) or None for an event without truth.
    """
    if event.truth is None:
        return None
    from beampipe.tracking.evaluation.matching import Candidates, match
    from beampipe.tracking.truth import contributions

    matches = match(Candidates.from_labels(tracks.track_id), contributions(event.truth))
    fake = np.zeros(tracks.n_tracks, np.bool_)
    fake[matches.track[~matches.double]] = True
    return fake


def show_event(event: Event, tracks: Tracks, path: str | Path, min_pt: float = 1.0) -> None:
    """Draw one event and its tracks into a file.

    Args:
        event: event to draw, with or without truth.
        tracks: tracks found in the event.
        path: file to write, ``.png``, ``.html`` (an interactive page) or ``.json`` (for Phoenix).
        min_pt: lowest pT of a track that is drawn [GeV].

    Raises:
        FileError: the file has another ending.
    """
    from beampipe.tracking.display import draw_png, write_html, write_phoenix

    fake = fake_tracks(event, tracks)
    suffix = Path(path).suffix
    if suffix == ".png":
        draw_png(path, event, tracks, track_is_fake=fake, min_pt=min_pt)
    elif suffix == ".html":
        write_html(path, event, tracks, track_is_fake=fake, min_pt=min_pt)
    elif suffix == ".json":
        write_phoenix(path, [event], [tracks], track_is_fake=[fake], min_pt=min_pt)
    else:
        raise FileError(f"{path}: got the ending {suffix!r}, expected .png, .html or .json (Phoenix)")


def event_figure(
    event: Event, tracks: Tracks | None, *, min_pt: float, show_truth: bool | None, field: float
) -> Figure:
    """`Event.plot`, which says what the figure shows."""
    from beampipe.tracking.display.png import plot_event

    show_truth = tracks is None if show_truth is None else show_truth
    found, fake = _found(event, tracks)
    return plot_event(event, found, fake, min_pt=min_pt, show_truth=show_truth, field=field)


def event_page(event: Event, tracks: Tracks | None, *, min_pt: float, field: float, height: int) -> Page:
    """`Event.display`, which says what the page shows."""
    from beampipe.tracking.display.html import draw_page

    found, fake = _found(event, tracks)
    return draw_page(event, found, fake, min_pt=min_pt, field=field, height=height)


def _found(event: Event, tracks: Tracks | None) -> tuple[Tracks, Bool[ndarray, " n_tracks"] | None]:
    """The tracks, none if there are none, and which of them are fake."""
    if tracks is None:
        return Tracks(np.full(len(event.hits), NO_TRACK, np.int64)), None
    # Tracks of another event are refused by whoever draws them, in words of its own.
    return tracks, fake_tracks(event, tracks) if len(tracks.track_id) == len(event.hits) else None
