"""One event as an interactive HTML page without network access, and as JSON for Phoenix."""

from __future__ import annotations

import html
import json
from base64 import b64encode
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float32
from beampipe.errors import ConfigError, ShapeError
from beampipe.events import Event, Tracks
from beampipe.files import MARK, write_whole
from beampipe.notebook import Page, listed_options
from beampipe.tracking.display.drawn import DetectorChoice, DrawnDetector, Polylines, drawn_detector, event_lines

SCRIPTS: Final = ("event.js", "drawing.js", "controls.js")
"""Parts of the page's script, in the order in which they are joined to one function."""

MAX_INT16: Final = 32767
"""Largest coordinate of a hit in the page, in steps."""

MIN_STEP: Final = 0.001
"""Finest step of the coordinates [mm], however small the event."""


def draw_page(
    event: Event,
    tracks: Tracks,
    track_is_fake: Bool[ndarray, " n_tracks"] | None = None,
    *,
    min_pt: float = 1.0,
    show_truth: bool = True,
    detector: DetectorChoice = None,
    field: float | None = None,
    title: str | None = None,
) -> Page:
    """The page that `write_html` writes, with the same arguments."""
    if not 0 <= min_pt <= 50:
        raise ConfigError(f"min_pt: got {min_pt}, expected 0 to 50 GeV, the range of the page's slider")
    drawn = drawn_detector(detector, event.hits)
    lines, truth = event_lines(event, tracks, track_is_fake, drawn.field if field is None else field, show_truth)
    payload = _payload(event, lines, truth, track_is_fake is not None, min_pt, drawn)
    page = files("beampipe.tracking.display")
    title = f"Event {event.event_id}" if title is None else title
    parts = {
        "title": html.escape(title),
        "css": (page / "display.css").read_text(encoding="utf-8"),
        "js": "\n".join((page / name).read_text(encoding="utf-8") for name in SCRIPTS),
        # "<" could end the script element early.
        "event": json.dumps(payload, separators=(",", ":")).replace("<", "\\u003c"),
    }
    text = (page / "display.html").read_text(encoding="utf-8")
    for name, part in parts.items():
        text = text.replace("{{" + name + "}}", part)
    return Page(title, text)


@listed_options(draw_page)
def write_html(
    path: str | Path,
    event: Event,
    tracks: Tracks,
    *,
    track_is_fake: Bool[ndarray, " n_tracks"] | None = None,
    **options: Any,
) -> None:
    """Write a page that shows the event in WebGL 2: 3D, x-y and r-z, with switches and a pT slider.

    >>> event = shipped_events(0)[0]
    >>> write_html("event.html", event, load_pipeline("module_map").find(event))

    The page is self-contained. After the first picture, `window.beampipeReady.firstPictureMs` holds the
    time since navigation. `Event.display` shows it in a notebook.

    Args:
        path: HTML file to write; an existing one is replaced.
        event: event that is shown.
        tracks: tracks that were found in it.
        track_is_fake: (n_tracks,) True for a track that belongs to no particle; None without truth.
        min_pt: pT cut at which the page opens [GeV]; 0 for none, at most 50.
        show_truth: carry the simulated particles as a layer (switched off at first), if the event has truth.
        detector: detector whose layers are drawn, by whose field pT is estimated, and whose shortest tracks count: a
            tracker model, its name or its folder, or a detector's TOML file. If not given, the shipped model that the
            hits fit; without one, no layers, 2 T and seven hits.
        field: solenoidal field, for the pT of found tracks [T]; that of the detector if not given.
        title: heading and document title; "Event N" if None.

    Raises:
        ShapeError: the tracks are of another event, or `track_is_fake` is of other tracks.
        ConfigError: `min_pt` is outside 0 .. 50 GeV.
    """
    draw_page(event, tracks, track_is_fake, **options).write(path)


def _payload(
    event: Event, lines: Polylines, truth: Polylines | None, fakes_known: bool, min_pt: float, detector: DrawnDetector
) -> dict[str, Any]:
    """The data for event.js. Hits on tracks come first, in the order of the lines, so that tracks need no indices.

    A hit that tracks share is there once for each of them.
    """
    order = np.argsort(lines.pt, kind="stable")  # hard tracks are drawn last, on top
    lines = lines.take(order)
    on_track = np.zeros(len(event.hits), np.bool_)
    on_track[lines.hit] = True
    hit = np.concatenate([lines.hit, np.flatnonzero(~on_track)])
    # Coordinates in steps just coarse enough for int16: 0.1 mm for a detector of 6 m.
    xyz = event.hits.xyz[hit]
    farthest = max(float(np.abs(xyz).max(initial=0.0)), float(np.abs(detector.boxes).max(initial=0.0)))
    step = max(farthest / MAX_INT16, MIN_STEP)
    payload: dict[str, Any] = {
        "event": event.event_id,
        "step": step,
        "cut": min_pt,
        "nHits": len(event.hits),
        "minTrackHits": detector.min_track_hits,
        "detector": np.round(detector.boxes.astype(np.float64), 1).tolist(),
        "hits": _base64(np.round(xyz / step).astype("<i2")),
        "tracks": {
            "label": order.tolist(),
            "length": _base64(lines.length.astype("<u2")),
            "pt": _base64(lines.pt),
            "fake": _base64(lines.fake.astype(np.uint8)) if fakes_known else None,
        },
        "truth": None,
    }
    if truth is not None:
        truth = truth.take(np.argsort(truth.pt, kind="stable"))
        point = np.empty(len(event.hits), np.uint32)
        point[hit] = np.arange(len(hit))
        payload["truth"] = {
            "hit": _base64((point[truth.hit] & 0xFFFF).astype("<u2")),
            "hitHigh": _base64((point[truth.hit] >> 16).astype(np.uint8)),
            "length": _base64(truth.length.astype("<u2")),
            "pt": _base64(truth.pt),
        }
    return payload


def _base64(values: ndarray) -> str:
    return b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")


FOUND_COLOUR: Final = "0x2f9fd0"
"""Colour of found tracks in Phoenix."""

FAKE_COLOUR: Final = "0xe8324f"
"""Colour of found tracks that belong to no particle."""

TRUTH_COLOUR: Final = "0x9aa3b2"
"""Colour of simulated particles."""

MEV_PER_GEV: Final = 1000.0
"""Phoenix expects momenta in MeV."""


def write_phoenix(
    path: str | Path,
    events: Iterable[Event],
    tracks: Iterable[Tracks],
    *,
    track_is_fake: Sequence[Bool[ndarray, " n_tracks"] | None] | None = None,
    min_pt: float = 0.0,
    field: float | None = None,
) -> None:
    """Write events and their tracks as one Phoenix file.

    >>> event = shipped_events(0)[0]
    >>> write_phoenix("event.json", [event], [load_pipeline("module_map").find(event)])

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
        f"event {event.event_id}": _event(event, event_tracks, fake, min_pt, field)
        for event, event_tracks, fake in zip(events, tracks, fakes, strict=True)
    }
    text = json.dumps(document, separators=(",", ":"))
    write_whole(Path(path), lambda part: part.write_text(text, encoding="utf-8"))


def _event(
    event: Event, tracks: Tracks, fake: Bool[ndarray, " n_tracks"] | None, min_pt: float, field: float | None
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
        "generator": MARK,
        "Hits": {"Hits": [{"type": "Point", "pos": point} for point in _rounded(xyz)]},
        "Tracks": collections,
    }


def _tracks(xyz: Float32[ndarray, "n_hits 3"], lines: Polylines, colour: str) -> list[dict[str, Any]]:
    """Tracks as Phoenix reads them; `pT` is in MeV."""
    return [
        {"pos": _rounded(xyz[hit]), "color": colour, "pT": round(pt * MEV_PER_GEV, 1)}
        for hit, pt in zip(lines.split(), lines.pt.tolist(), strict=True)
    ]


def _rounded(xyz: Float32[ndarray, "n 3"]) -> list[list[float]]:
    """Coordinates [mm] rounded to 0.01 mm, which halves the file."""
    rounded: list[list[float]] = np.round(xyz.astype(np.float64), 2).tolist()
    return rounded
