"""Export to the JSON that Phoenix, the event display of the HEP Software Foundation, loads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float32
from beampipe.errors import ShapeError
from beampipe.files import write_whole
from beampipe.tracking.display.lines import Polylines, event_lines
from beampipe.tracking.events import Event, Tracks

__all__ = ["write_phoenix"]

FOUND_COLOUR: Final = "0x2f9fd0"
"""Colour of found tracks in Phoenix."""

FAKE_COLOUR: Final = "0xe8324f"
"""Colour of found tracks that belong to no particle."""

TRUTH_COLOUR: Final = "0x9aa3b2"
"""Colour of simulated particles."""

MEV_PER_GEV: Final = 1000.0
"""Phoenix counts momenta in MeV."""


def write_phoenix(
    path: str | Path,
    events: Iterable[Event],
    tracks: Iterable[Tracks],
    *,
    track_is_fake: Sequence[Bool[ndarray, " n_tracks"] | None] | None = None,
    min_pt: float = 0.0,
    field: float = 2.0,
) -> None:
    """Write events and their tracks as one Phoenix file.

    Each event has the collections `Hits/Hits`, `Tracks/Found`, and, where known, `Tracks/Fake` and `Tracks/Truth`.

    Args:
        path: JSON file to write; an existing one is replaced.
        events: events that are written.
        tracks: tracks that were found in each event, in the same order.
        track_is_fake: (n_tracks,) True for a track that belongs to no particle, or None, for each event.
        min_pt: lowest pT of a track that is written [GeV]; Phoenix is slow beyond a few thousand tracks.
        field: solenoidal field, for the pT of found tracks [T].

    Raises:
        ShapeError: not as many tracks (or `track_is_fake`) as events, or tracks of another event.

    Source:
        https://github.com/HSF/phoenix, guides/developers/event_data_format.md
    """
    events, tracks = list(events), list(tracks)
    fakes = [None] * len(events) if track_is_fake is None else list(track_is_fake)
    if not len(events) == len(tracks) == len(fakes):
        raise ShapeError(
            f"phoenix: got {len(tracks)} tracks and {len(fakes)} track_is_fake for {len(events)} events,"
            " expected one of each per event"
        )
    document = {
        f"event {event.event_id}": _event(event, found, fake, min_pt, field)
        for event, found, fake in zip(events, tracks, fakes, strict=True)
    }
    text = json.dumps(document, separators=(",", ":"))
    write_whole(Path(path), lambda part: part.write_text(text, encoding="utf-8"))


def _event(
    event: Event, tracks: Tracks, fake: Bool[ndarray, " n_tracks"] | None, min_pt: float, field: float
) -> dict[str, Any]:
    xyz = event.hits.xyz
    lines, truth = event_lines(event, tracks, fake, field, show_truth=True)
    lines = lines.take((lines.pt >= min_pt) & (lines.length > 1))
    collections = {"Found": _tracks(xyz, lines.take(~lines.fake), FOUND_COLOUR)}
    if fake is not None:
        collections["Fake"] = _tracks(xyz, lines.take(lines.fake), FAKE_COLOUR)
    if truth is not None:
        collections["Truth"] = _tracks(xyz, truth.take(truth.pt >= min_pt), TRUTH_COLOUR)
    return {
        "event number": event.event_id,
        "run number": 0,
        "Hits": {"Hits": [{"type": "Point", "pos": point} for point in _rounded(xyz)]},
        "Tracks": collections,
    }


def _tracks(xyz: Float32[ndarray, "n_hits 3"], lines: Polylines, colour: str) -> list[dict[str, Any]]:
    """Phoenix's cut on `pT` counts in MeV."""
    return [
        {"pos": _rounded(xyz[hit]), "color": colour, "pT": round(pt * MEV_PER_GEV, 1)}
        for hit, pt in zip(lines.split(), lines.pt.tolist(), strict=True)
    ]


def _rounded(xyz: Float32[ndarray, "n 3"]) -> list[list[float]]:
    """Coordinates [mm] to 0.01 mm: what a display can show, at half the size."""
    rounded: list[list[float]] = np.round(xyz.astype(np.float64), 2).tolist()
    return rounded
