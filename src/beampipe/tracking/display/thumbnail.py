"""The hits of an event as a small picture, without matplotlib: two views, darker where hits are denser."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import UInt8
from beampipe.tracking.events import Hits

__all__ = ["thumbnail"]

SIDE: Final = 96
"""Height of the picture, and width of its x-y view [pixels]; r-z is twice as wide."""

COLOUR: Final = (63, 120, 207)
"""Colour of the hits (red, green, blue), to be seen on light and on dark pages."""

OPACITY: Final = (0, 80, 160, 255)
"""Opacity of a pixel with no hit, with few, with more, and with many."""


def thumbnail(hits: Hits) -> str:
    """An HTML image of x-y and r-z, of a few kB whatever the number of hits; nothing where there are none.

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
