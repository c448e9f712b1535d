from __future__ import annotations

import json
import re
from base64 import b64decode
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.image import imread

from beampipe.events import Event, Hits, Tracks
from beampipe.figures import GROUND
from beampipe.simulation.detector import read_layout
from beampipe.tracking.data import shipped_events
from beampipe.tracking.display import draw_event, estimate_pt, write_html, write_phoenix
from beampipe.tracking.display.drawn import drawn_detector
from beampipe.tracking.display.figure import FAKE, PT_COLOURS
from beampipe.tracking.models import load_model
from tests.colours import contrast, smallest_difference
from tests.tracking.display.toy import toy_event

NOTHING = Event(5, Hits(np.empty((0, 3), np.float32))), Tracks(np.empty(0, np.int64))


def payload(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    result = re.search(r'<script id="event" type="application/json">(.*?)</script>', text)
    assert result
    parsed: dict[str, Any] = json.loads(result[1])
    return parsed


def decoded(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(b64decode(text), dtype)


def test_page_holds_the_hits_to_its_step_and_every_track(tmp_path: Path) -> None:
    event, tracks, is_fake = toy_event(200, 50, seed=1)
    write_html(tmp_path / "page.html", event, tracks, track_is_fake=is_fake)
    data = payload(tmp_path / "page.html")
    xyz = decoded(data["hits"], "<i2").reshape(-1, 3) * data["step"]
    length, pt = decoded(data["tracks"]["length"], "<u2"), decoded(data["tracks"]["pt"], "<f4")
    truth_of = event.hits.xyz
    assert data["step"] < 0.1
    start = 0
    for label, n in zip(data["tracks"]["label"], length, strict=True):
        got = xyz[start : start + n]
        want = truth_of[tracks.track_id == label]
        order = np.argsort(np.linalg.norm(want, axis=1))
        np.testing.assert_allclose(got, want[order], atol=0.51 * data["step"])
        start += n
    assert len(xyz) == len(event.hits)
    assert (np.diff(pt) >= 0).all()
    np.testing.assert_array_equal(decoded(data["tracks"]["fake"], "u1"), is_fake[data["tracks"]["label"]])


def test_page_of_a_hundred_thousand_hits_is_small_and_asks_for_nothing(tmp_path: Path) -> None:
    event, tracks, is_fake = toy_event(9450, 6000, seed=1)
    assert len(event.hits) > 99_000
    write_html(tmp_path / "page.html", event, tracks, track_is_fake=is_fake)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert len(text.encode()) <= 1_500_000
    assert "http://" not in text
    assert "https://" not in text
    assert "{{" not in text


def test_page_title_is_text_not_markup(tmp_path: Path) -> None:
    write_html(tmp_path / "page.html", *NOTHING, title="<b>&")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<title>&lt;b&gt;&amp;</title>" in text
    assert "<b>" not in text


def test_png_shows_tracks_and_fakes(tmp_path: Path) -> None:
    event, tracks, is_fake = toy_event(800, 100, seed=1)
    # Fakes are red, and nothing else is.
    draw_event(tmp_path / "with.png", event, tracks, track_is_fake=is_fake, min_pt=0.0, show_truth=True)
    draw_event(tmp_path / "without.png", event, tracks, track_is_fake=None, min_pt=0.0)

    def red(name: str) -> int:
        rgb = imread(tmp_path / name)[:, :, :3]
        assert rgb.shape[:2] == (928, 2240)
        return int(((rgb[:, :, 0] > 0.8) & (rgb[:, :, 1] < 0.35) & (rgb[:, :, 2] < 0.45)).sum())

    assert red("without.png") == 0
    assert red("with.png") > 300


@pytest.mark.parametrize(("ending", "start"), [("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_the_ending_is_the_format(tmp_path: Path, ending: str, start: bytes) -> None:
    """The same picture gives the same bytes: no time is written."""
    event, tracks, _ = toy_event(30, seed=1)
    for name in ("first", "second"):
        draw_event(tmp_path / f"{name}.{ending}", event, tracks, dark=True)
    first, second = ((tmp_path / f"{name}.{ending}").read_bytes() for name in ("first", "second"))
    assert first.startswith(start)
    assert len(first) == len(second)


def test_phoenix_holds_points_in_mm_and_pt_in_mev(tmp_path: Path) -> None:
    event, tracks, is_fake = toy_event(60, 20, seed=6)
    write_phoenix(tmp_path / "event.json", [event], [tracks], track_is_fake=[is_fake])
    document = json.loads((tmp_path / "event.json").read_text())[f"event {event.event_id}"]
    assert document["event number"] == event.event_id
    points = np.array([hit["pos"] for hit in document["Hits"]["Hits"]])
    np.testing.assert_allclose(points, event.hits.xyz, atol=0.006)
    assert {hit["type"] for hit in document["Hits"]["Hits"]} == {"Point"}
    good = np.flatnonzero(~is_fake)
    result = document["Tracks"]["Found"]
    assert len(result) == len(good) > 5
    assert len(document["Tracks"]["Fake"]) == is_fake.sum()
    np.testing.assert_allclose(
        [track["pT"] for track in result], 1000 * estimate_pt(event.hits, tracks)[good], atol=0.06
    )
    assert [len(track["pos"]) for track in result] == np.bincount(tracks.track_id[tracks.track_id >= 0])[good].tolist()
    assert re.fullmatch("0x[0-9a-f]{6}", result[0]["color"])


@pytest.mark.parametrize("dark", [False, True])
def test_the_colour_blind_can_distinguish_tracks_and_fakes(dark: bool) -> None:
    """On a white and on a dark ground, and in the page as in the picture."""
    scale = [PT_COLOURS[dark](x) for x in np.linspace(0, 1, 6)]
    assert smallest_difference(scale) > 15
    assert smallest_difference([*scale, FAKE[dark]]) > 12
    assert all(contrast(colour, GROUND[dark]) > 1.8 for colour in scale)
    css = (files("beampipe.tracking.display") / "display.css").read_text(encoding="utf-8")
    wanted = {f"--pt{number}": to_hex(colour) for number, colour in enumerate(scale)}
    assert {name: re.findall(rf"{name}: (#\w+)", css)[dark] for name in wanted} == wanted


def test_the_shipped_detector_is_recognised_by_its_hits() -> None:
    event = shipped_events(0)[0]
    drawn = drawn_detector(None, event.hits)
    assert drawn.boxes.tolist() == load_model("generic").layout.boxes.tolist()
    shifted = replace(event.hits, position=event.hits.position * np.float32(1.1))
    assert len(drawn_detector(None, shifted).boxes) == 0
    assert len(drawn_detector("generic", shifted).boxes) == len(drawn.boxes)


def test_the_layers_of_a_file_are_drawn(tmp_path: Path) -> None:
    """Barrels as circles in x-y, barrels and discs as lines in r-z; the field of the file gives pT."""
    event, tracks, _ = toy_event(60, seed=2)
    path = Path("examples/detectors/compact.toml")
    drawn = drawn_detector(path, event.hits)
    layout = read_layout(path)
    radii = sorted(radius for barrel in layout.barrel for radius in barrel.radii_mm)
    n_discs = sum(2 * len(discs.z_mm) for discs in layout.discs)
    assert drawn.field == layout.field_T
    assert sorted(drawn.lines()[drawn.is_barrel, 0, 1]) == pytest.approx(radii)
    assert int((~drawn.is_barrel).sum()) == n_discs > 0
    across, along, _ = event.plot(tracks, detector=path).axes
    circles = next(collection for collection in across.collections if len(collection.get_paths()) == len(radii))
    reach = sorted(float(np.asarray(shape.vertices).max()) for shape in circles.get_paths())
    assert reach == pytest.approx(radii)
    assert any(len(collection.get_paths()) == len(drawn.boxes) for collection in along.collections)
    write_html(tmp_path / "page.html", event, tracks, detector=path)
    data = payload(tmp_path / "page.html")
    np.testing.assert_allclose(data["detector"], drawn.boxes, atol=0.06)
    stronger = decoded(data["tracks"]["pt"], "<f4").max()
    write_html(tmp_path / "page.html", event, tracks)
    weaker = payload(tmp_path / "page.html")
    assert weaker["detector"] == []
    assert stronger == pytest.approx(layout.field_T / 2 * decoded(weaker["tracks"]["pt"], "<f4").max(), rel=1e-3)
