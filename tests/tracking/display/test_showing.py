from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from beampipe.errors import FileError
from beampipe.events import Event, Tracks
from beampipe.tracking.data import shipped_events
from beampipe.tracking.display import show_event
from beampipe.tracking.evaluation.matching import fake_tracks
from tests.tracking.diagnostics import TruthFinder


def true_tracks(event: Event) -> Tracks:
    finder = TruthFinder()
    return next(finder.find(item.hits) for item in finder.watching([event]))


def test_true_tracks_are_not_fake_and_mixed_ones_are() -> None:
    event = shipped_events(0)[0]
    tracks = true_tracks(event)
    fake = fake_tracks(event, tracks)
    assert fake is not None
    assert len(fake) == tracks.n_tracks > 5
    assert not fake.any()
    one = Tracks(np.zeros(len(event.hits), np.int64))
    mixed = fake_tracks(event, one)
    assert mixed is not None
    assert mixed.tolist() == [True]
    assert fake_tracks(Event(0, event.hits), one) is None


@pytest.mark.parametrize("ending", ["png", "html", "json"])
def test_the_ending_picks_the_picture(tmp_path: Path, ending: str) -> None:
    event = shipped_events(0)[0]
    path = tmp_path / f"event.{ending}"
    show_event(event, true_tracks(event), path, detector="generic", name="one soft collision")
    body = path.read_bytes()
    assert {"png": body[1:4] == b"PNG", "html": b"<html" in body[:500], "json": body[:1] == b"{"}[ending]
    if ending == "json":
        assert json.loads(body)
    if ending == "html":
        assert f"<title>Event {event.event_id}, one soft collision</title>".encode() in body


def test_another_ending_is_refused(tmp_path: Path) -> None:
    event = shipped_events(0)[0]
    with pytest.raises(FileError, match=r"expected \.png, \.pdf, \.svg, \.html or \.json"):
        show_event(event, true_tracks(event), tmp_path / "event.gif")
