"""A finder with a fit: the same tracks in each of the ways in which a finder is asked."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from beampipe.errors import TooLargeError
from beampipe.events import Hits, Tracks
from beampipe.tracking.finder import InOneThread, TrackFinder
from beampipe.tracking.fitting.fitter import FittedFinder, TrackFitter

from .toy import shoot, toy_tables


class Known(InOneThread):
    """Finds the particles of toys; refuses more than 100 hits."""

    def find(self, hits: Hits, /) -> Tracks:
        if len(hits) > 100:
            raise TooLargeError("hits: got more than 100")
        return Tracks(np.arange(len(hits)) // 10)


def test_each_way_gives_the_same() -> None:
    hits = shoot(toy_tables(), 6).event.hits
    with FittedFinder(Known(), TrackFitter(toy_tables())) as finder:
        assert isinstance(finder, TrackFinder)
        ways = (finder.find(hits), finder.submit(hits).result(60), asyncio.run(finder.find_async(hits)))
    for tracks in ways:
        assert tracks.parameters is not None
        assert tracks.parameters.fitted.all()
        np.testing.assert_array_equal(tracks.parameters.values, TrackFitter(toy_tables())(hits, tracks).values)
        assert "fit" in tracks.seconds


def test_what_the_finder_refuses_is_told_to_whoever_waits() -> None:
    hits = shoot(toy_tables(), 20).event.hits
    with FittedFinder(Known(), TrackFitter(toy_tables())) as finder:
        with pytest.raises(TooLargeError):
            finder.find(hits)
        with pytest.raises(TooLargeError):
            finder.submit(hits).result(60)
