"""Pictures of one event: a PNG, an interactive page, an export for Phoenix, a thumbnail for notebooks."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, UInt8
from beampipe.errors import FileError
from beampipe.events import NO_TRACK, Event, Hits, Tracks
from beampipe.lazy import loader
from beampipe.notebook import Page
from beampipe.tracking.display.drawn import DetectorChoice, drawn_detector
from beampipe.tracking.evaluation.matching import fake_tracks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from beampipe.tracking.display.figure import draw_event as draw_event
    from beampipe.tracking.display.page import write_html as write_html
    from beampipe.tracking.display.page import write_phoenix as write_phoenix
    from beampipe.tracking.fitting.helix import estimate_pt as estimate_pt

__getattr__, __dir__, __all__ = loader(__name__)


SIDE: Final = 96
"""Height of the picture, and width of its x-y view [pixels]; r-z is twice as wide."""

COLOUR: Final = (63, 120, 207)
"""Colour of the hits (red, green, blue), visible on light and on dark pages."""

OPACITY: Final = (0, 80, 160, 255)
"""Opacity of a pixel with no hit, with few, with more, and with many."""


def thumbnail(hits: Hits) -> str:
    """An HTML image of x-y and r-z, a few kB for any number of hits; an empty text without hits.

    Args:
        hits: hits of one event.
    """
    if not len(hits):
        return ""
    x, y, z = hits.xyz.T
    radius, half_length = max(float(hits.position[:, 0].max()), 1.0), max(float(np.abs(z).max()), 1.0)
    views = (
        _levels(x, y, (-radius, radius), (-radius, radius), SIDE),
        np.zeros((SIDE, SIDE // 12), np.uint8),
        _levels(z, hits.position[:, 0], (-half_length, half_length), (0.0, radius), 2 * SIDE),
    )
    picture = b64encode(_png(np.hstack(views))).decode("ascii")
    return f'<img alt="hits in x-y and in r-z" title="x-y, r-z" src="data:image/png;base64,{picture}">'


def _levels(
    across: ndarray, up: ndarray, columns: tuple[float, float], rows: tuple[float, float], width: int
) -> UInt8[ndarray, "height width"]:
    """Level of each pixel, 0 to 3, by the share of the pixels with hits that have no more of them."""
    counts, _, _ = np.histogram2d(up, across, bins=(SIDE, width), range=(rows, columns))
    filled = np.sort(counts[counts > 0])
    rank = np.searchsorted(filled, counts, side="right") / max(len(filled), 1)
    level = np.where(counts > 0, 1 + np.minimum((3 * rank).astype(np.int64), 2), 0)
    return level[::-1].astype(np.uint8)


def _png(level: UInt8[ndarray, "height width"]) -> bytes:
    """A PNG with two bits a pixel and a palette.

    Source: https://www.w3.org/TR/png-3/
    """
    height, width = level.shape
    padded = np.pad(level, ((0, 0), (0, -width % 4))).reshape(height, -1, 4)
    packed = (padded << np.array([6, 4, 2, 0], np.uint8)).sum(axis=2).astype(np.uint8)
    lines = np.hstack([np.zeros((height, 1), np.uint8), packed])  # each row without a filter
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 2, 3, 0, 0, 0),
        b"PLTE": bytes(COLOUR) * len(OPACITY),
        b"tRNS": bytes(OPACITY),
        b"IDAT": zlib.compress(lines.tobytes(), 9),
        b"IEND": b"",
    }
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def show_event(
    event: Event,
    tracks: Tracks,
    path: str | Path,
    min_pt: float = 1.0,
    detector: DetectorChoice = None,
    *,
    name: str = "",
) -> None:
    """Draw one event and its tracks into a file.

    Args:
        event: event to draw, with or without truth.
        tracks: tracks found in the event.
        path: file to write, ``.png``, ``.pdf``, ``.svg``, ``.html`` (an interactive page) or ``.json`` (for Phoenix).
        min_pt: lowest pT of a track that is drawn [GeV].
        detector: detector of the event, as for `draw_event`.
        name: what the title says after the number of the event, such as the sample and the finder.

    Raises:
        FileError: the file has another ending.
    """
    from beampipe.tracking.display.figure import draw_event
    from beampipe.tracking.display.page import write_html, write_phoenix

    drawn = drawn_detector(detector, event.hits)
    fake = fake_tracks(event, tracks, drawn.min_track_hits)
    suffix = Path(path).suffix
    if suffix in (".png", ".pdf", ".svg"):
        draw_event(path, event, tracks, track_is_fake=fake, min_pt=min_pt, detector=drawn, name=name)
    elif suffix == ".html":
        title = f"Event {event.event_id}, {name}" if name else None
        write_html(path, event, tracks, track_is_fake=fake, min_pt=min_pt, detector=drawn, title=title)
    elif suffix == ".json":
        write_phoenix(path, [event], [tracks], track_is_fake=[fake], min_pt=min_pt, field=drawn.field)
    else:
        raise FileError(f"{path}: got the ending {suffix!r}, expected .png, .pdf, .svg, .html or .json (Phoenix)")


def event_figure(
    event: Event, tracks: Tracks | None, *, show_truth: bool | None, detector: DetectorChoice, **options: Any
) -> Figure:
    """The figure of `Event.plot`."""
    from beampipe.tracking.display.figure import plot_event

    show_truth = tracks is None if show_truth is None else show_truth
    drawn = drawn_detector(detector, event.hits)
    shown_tracks, fake = _tracks_and_fakes(event, tracks, drawn.min_track_hits)
    return plot_event(event, shown_tracks, fake, show_truth=show_truth, detector=drawn, **options)


def event_page(event: Event, tracks: Tracks | None, *, detector: DetectorChoice, height: int, **options: Any) -> Page:
    """The page of `Event.display`."""
    from beampipe.tracking.display.page import draw_page

    drawn = drawn_detector(detector, event.hits)
    shown_tracks, fake = _tracks_and_fakes(event, tracks, drawn.min_track_hits)
    return replace(draw_page(event, shown_tracks, fake, detector=drawn, **options), height=height)


def _tracks_and_fakes(
    event: Event, tracks: Tracks | None, min_track_hits: int
) -> tuple[Tracks, Bool[ndarray, " n_tracks"] | None]:
    """The tracks (empty `Tracks` for None), and which of them are fake."""
    if tracks is None:
        return Tracks(np.full(len(event.hits), NO_TRACK, np.int64)), None
    if len(tracks.track_id) != len(event.hits):  # the drawing functions refuse tracks of another event
        return tracks, None
    return tracks, fake_tracks(event, tracks, min_track_hits)
