"""What a notebook shows of events and tracks, and how much of it."""

from __future__ import annotations

import re
from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from beampipe.errors import ConfigError, ShapeError
from beampipe.events import HitColumns
from beampipe.notebook import Page, Shown
from beampipe.tracking import Event, Hits, Tracks, load_model, load_track_fitter, shipped_events
from beampipe.tracking.display import SIDE, thumbnail
from tests.tracking.display.toy import toy_event

LARGE = shipped_events(200)[0]
"""An event with more than 100 000 hits."""


def things() -> list[Shown]:
    event, tracks, _ = toy_event(60, seed=3)
    fitted = load_track_fitter().add(event.hits, tracks)
    assert LARGE.truth is not None
    assert fitted.parameters is not None
    columns = HitColumns("trackml", None, {f"<column> {n}": np.zeros(650) for n in range(200)})
    nothing = Tracks(np.empty(0, np.int64))
    empty = Hits(np.empty((0, 3), np.float32))
    return [
        LARGE.hits,
        LARGE.truth,
        LARGE.truth.particles,
        LARGE.truth.particles.take(np.empty(0, np.int64)),
        tracks,
        fitted,
        fitted.parameters,
        columns,
        load_model(),
        nothing,
        empty,
        Event(3, empty),
    ]


@pytest.mark.parametrize("thing", things(), ids=lambda thing: type(thing).__name__)
def test_a_repr_is_a_line_and_its_table_is_small(thing: Shown) -> None:
    assert len(repr(thing)) <= 400
    assert "\n" not in repr(thing)
    table = thing._repr_html_()
    assert len(table) <= 2000
    assert "<column>" not in table
    assert type(thing).__name__ in table


def test_facts_are_those_of_the_event() -> None:
    assert LARGE.truth is not None
    assert repr(LARGE) == "Event(event: 0, hits: 134690, truth: 13264 particles)"
    assert repr(LARGE.truth) == "Truth(hits: 134690, noise: 6320, merged: 256, particles: 13264)"
    assert repr(Tracks(np.array([0, 0, -1]), {"a": 0.25})) == "Tracks(tracks: 1, hits on tracks: 2 of 3, time: 0.25 s)"


def test_an_event_shows_a_thumbnail() -> None:
    shown = LARGE._repr_html_()
    assert len(shown) <= 6000
    result = re.search(r'src="data:image/png;base64,([^"]+)"', shown)
    assert result is not None
    picture = imread(BytesIO(b64decode(result[1])))
    assert picture.shape[:2] == (SIDE, 3 * SIDE + SIDE // 12)
    # Many pixels have hits, none where there is no detector: between the beam line and the first layer.
    opacity = picture[..., 3]
    assert (opacity > 0).mean() > 0.2
    assert set(np.unique(np.round(255 * opacity))) == {0, 80, 160, 255}
    assert opacity[SIDE // 2 - 1 : SIDE // 2 + 1, SIDE // 2 - 1].max() == 0


def test_a_thumbnail_shows_where_the_hits_are() -> None:
    """One hit at x = 100 mm, one at y = 50 mm: right of the middle, and above it."""
    result = re.search(r"base64,([^\"]+)", thumbnail(Hits.from_xyz([[100, 1, 0], [1, 50, 30]])))
    assert result is not None
    opacity = imread(BytesIO(b64decode(result[1])))[..., 3]
    rows, columns = np.nonzero(opacity[:, :SIDE])
    assert sorted(zip(columns.tolist(), rows.tolist(), strict=True)) == [
        (SIDE // 2, SIDE // 4),
        (SIDE - 1, SIDE // 2 - 1),
    ]
    assert np.count_nonzero(opacity[:, SIDE:]) == 2


def test_plots_are_figures_and_displays_pages() -> None:
    event, tracks, _ = toy_event(60, seed=3)
    figure = event.plot(tracks, min_pt=0.0)
    assert isinstance(figure, Figure)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert f"{len(event.hits)} hits" in texts
    assert any("fake" in text for text in texts)  # the truth is known, so fakes are
    assert not any("simulated" in text for text in texts)
    page = event.display(tracks, min_pt=0.5, height=321)
    assert isinstance(page, Page)
    assert '"cut":0.5' in page.html
    assert '"fake":null' not in page.html
    assert "height:321px" in page._repr_html_()


def test_an_event_without_tracks_shows_its_truth() -> None:
    event, _, _ = toy_event(60, seed=3)
    texts = [text.get_text() for text in event.plot().legends[0].get_texts()]
    assert any("simulated" in text for text in texts)
    assert not any(" tracks" in text for text in texts)
    data = Event(0, event.hits)
    assert len(data.plot().legends[0].get_texts()) == 1
    assert '"truth":null' in data.display().html


def test_what_cannot_be_shown_is_refused() -> None:
    event, tracks, _ = toy_event(60, seed=3)
    other = Tracks(np.zeros(3, np.int64))
    with pytest.raises(ShapeError, match="got tracks for 3 hits"):
        event.plot(other)
    with pytest.raises(ShapeError, match="got tracks for 3 hits"):
        event.display(other)
    with pytest.raises(ConfigError, match="min_pt: got 80"):
        event.display(tracks, min_pt=80.0)
