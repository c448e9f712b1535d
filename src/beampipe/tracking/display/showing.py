"""One event and its tracks as a picture of the kind that the file's ending asks for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from beampipe.errors import FileError
from beampipe.tracking.events import Event, Tracks

__all__ = ["fake_tracks", "show_event"]


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
        draw_png(event, tracks, path, track_is_fake=fake, min_pt=min_pt)
    elif suffix == ".html":
        write_html(event, tracks, path, track_is_fake=fake, min_pt=min_pt)
    elif suffix == ".json":
        write_phoenix([event], [tracks], path, track_is_fake=[fake], min_pt=min_pt)
    else:
        raise FileError(f"{path}: got the ending {suffix!r}, expected .png, .html or .json (Phoenix)")
