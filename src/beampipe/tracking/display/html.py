"""An interactive picture of one event: a single HTML file that asks nothing of the network."""

from __future__ import annotations

import html
import json
from base64 import b64encode
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float32, Int16
from beampipe.errors import ConfigError
from beampipe.notebook import Page
from beampipe.tracking.display.lines import Polylines, event_lines
from beampipe.tracking.events import Event, Tracks

__all__ = ["draw_page", "write_html"]

SCRIPTS: Final = ("event.js", "drawing.js", "controls.js")
"""Parts of the page's script, in the order in which they are joined to one function."""

MAX_INT16: Final = 32767
"""Largest coordinate of a hit in the page, in steps."""

MIN_STEP: Final = 0.001
"""Finest step of the coordinates [mm], however small the event."""


def write_html(
    path: str | Path,
    event: Event,
    tracks: Tracks,
    *,
    track_is_fake: Bool[ndarray, " n_tracks"] | None = None,
    min_pt: float = 1.0,
    show_truth: bool = True,
    field: float = 2.0,
    title: str | None = None,
) -> None:
    """Write a page that shows the event in WebGL 2: 3D, x-y and r-z, with switches and a pT slider.

    The page is complete in itself. Once the first picture stands, `window.beampipeReady.firstPictureMs` holds the
    time since navigation. `Event.display` shows it in a notebook.

    Args:
        path: HTML file to write; an existing one is replaced.
        event: event that is shown.
        tracks: tracks that were found in it.
        track_is_fake: (n_tracks,) True for a track that belongs to no particle; None if that is not known.
        min_pt: pT cut at which the page opens [GeV]; 0 for none, at most 50.
        show_truth: carry the simulated particles as a layer (switched off at first), if the event has truth.
        field: solenoidal field, for the pT of found tracks [T].
        title: heading and document title; "Event N" if None.

    Raises:
        ShapeError: the tracks are of another event, or `track_is_fake` is of other tracks.
        ConfigError: `min_pt` is outside 0 .. 50 GeV.
    """
    draw_page(event, tracks, track_is_fake, min_pt=min_pt, show_truth=show_truth, field=field, title=title).write(path)


def draw_page(
    event: Event,
    tracks: Tracks,
    track_is_fake: Bool[ndarray, " n_tracks"] | None = None,
    *,
    min_pt: float = 1.0,
    show_truth: bool = True,
    field: float = 2.0,
    title: str | None = None,
    height: int = 560,
) -> Page:
    """The page that `write_html` writes; its arguments say what is in it.

    Args:
        event: event that is shown.
        tracks: tracks that were found in it.
        track_is_fake: (n_tracks,) True for a track that belongs to no particle; None if that is not known.
        min_pt: pT cut at which the page opens [GeV]; 0 for none, at most 50.
        show_truth: carry the simulated particles as a layer, if the event has truth.
        field: solenoidal field, for the pT of found tracks [T].
        title: heading and document title; "Event N" if None.
        height: height of the page in a notebook [pixels].
    """
    if not 0 <= min_pt <= 50:
        raise ConfigError(f"min_pt: got {min_pt}, expected 0 to 50 GeV, the range of the page's slider")
    lines, truth = event_lines(event, tracks, track_is_fake, field, show_truth)
    payload = _payload(event, lines, truth, track_is_fake is not None, min_pt)
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
    return Page(title, text, height)


def _payload(
    event: Event, lines: Polylines, truth: Polylines | None, fakes_known: bool, min_pt: float
) -> dict[str, Any]:
    """What event.js reads. Hits on tracks come first, in the order of the lines, so that tracks need no indices."""
    order = np.argsort(lines.pt, kind="stable")  # hard tracks are drawn last, on top
    lines = _reordered(lines, order)
    on_track = np.zeros(len(event.hits), np.bool_)
    on_track[lines.hit] = True
    hit = np.concatenate([lines.hit, np.flatnonzero(~on_track)])
    quantised, step = _quantised(event.hits.xyz[hit])
    payload: dict[str, Any] = {
        "event": event.event_id,
        "step": step,
        "cut": min_pt,
        "hits": _base64(quantised),
        "tracks": {
            "label": order.tolist(),
            "length": _base64(lines.length.astype("<u2")),
            "pt": _base64(lines.pt),
            "fake": _base64(lines.fake.astype(np.uint8)) if fakes_known else None,
        },
        "truth": None,
    }
    if truth is not None:
        truth = _reordered(truth, np.argsort(truth.pt, kind="stable"))
        place = np.empty(len(hit), np.uint32)
        place[hit] = np.arange(len(hit))
        payload["truth"] = {
            "hit": _base64((place[truth.hit] & 0xFFFF).astype("<u2")),
            "hitHigh": _base64((place[truth.hit] >> 16).astype(np.uint8)),
            "length": _base64(truth.length.astype("<u2")),
            "pt": _base64(truth.pt),
        }
    return payload


def _reordered(lines: Polylines, order: ndarray) -> Polylines:
    """The lines in another order."""
    rows = lines.split()
    hit = np.concatenate([rows[i] for i in order]) if len(order) else lines.hit
    return Polylines(hit, lines.length[order], lines.pt[order], lines.fake[order])


def _quantised(xyz: Float32[ndarray, "n 3"]) -> tuple[Int16[ndarray, "n 3"], float]:
    """Coordinates in steps [mm] just coarse enough for int16: 0.1 mm for a detector of 6 m."""
    step = max(float(np.abs(xyz).max(initial=0.0)) / MAX_INT16, MIN_STEP)
    return np.round(xyz / step).astype("<i2"), step


def _base64(values: ndarray) -> str:
    return b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
