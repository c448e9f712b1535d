"""The warning of a run: once, with numbers, and only where there is reason to."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from beampipe.errors import ConfigError, LayoutWarning
from beampipe.events import Hits, Tracks
from beampipe.tracking import load_model, load_pipeline, shipped_events
from beampipe.tracking.input_checks import (
    ExpectedTracks,
    HitMonitor,
    measure,
    odd_columns,
)
from beampipe.tracking.pipeline import Pipeline
from tests.tracking.foreign.table import usual


def event(
    n: int, *, on_tracks: float = 0.13, per_track: int = 10, outside: int = 0, unfilled: int = 0
) -> tuple[Hits, Tracks]:
    """n usual hits, and tracks of `per_track` hits on that share of them."""
    track_id = np.full(n, -1, np.int64)
    track_id[: round(on_tracks * n)] = np.arange(round(on_tracks * n)) // per_track
    return Hits(usual()[:n]), Tracks(track_id, {}, {"outside": outside, "unfilled_layers": unfilled})


def said(watch: HitMonitor, *events: tuple[Hits, Tracks]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for hits, tracks in events:
            watch.check(hits, tracks)
    assert all(warning.category is LayoutWarning for warning in caught)
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (event(100, outside=5), None),
        (event(100, outside=6), "6 of 100 hits (6%) lie on no layer of mine"),
        (event(99, outside=49), None),
        (event(2999, unfilled=9), None),
        (event(3000, unfilled=2), None),
        (event(3000, unfilled=3), "3 layers have no hits or are filled in a part only"),
        (event(1999, on_tracks=0), None),
        (event(2000, on_tracks=0.01), None),
        (event(2000, on_tracks=0.009), "18 of 2000 hits (0.9%) are on tracks, where 13% are usual"),
        (event(8000, on_tracks=0.06), None),
        (event(8000, on_tracks=0.05), "400 of 8000 hits (5.0%) are on tracks, where 13% are usual"),
    ],
)
def test_limits(one: tuple[Hits, Tracks], words: str | None) -> None:
    messages = said(HitMonitor("mine"), one)
    assert len(messages) == (words is not None)
    if words is not None:
        assert messages[0].startswith(words)
        assert messages[0].endswith("are these hits of the detector that mine was made for, in mm and rad?")


def test_short_tracks_are_a_warning_before_half_of_them_is_lost() -> None:
    usual_tracks = ExpectedTracks(0.13, 160_000.0, 11.0)
    assert said(HitMonitor("mine", usual=usual_tracks), *[event(2000, per_track=10) for _ in range(9)]) == []
    # 26 tracks an event: eight of them are a lot
    assert said(HitMonitor("mine", usual=usual_tracks), *[event(2000, per_track=9) for _ in range(6)]) == []
    (message,) = said(HitMonitor("mine", usual=usual_tracks), *[event(2000, per_track=9) for _ in range(8)])
    assert "tracks have 9.0 hits on average, where 11.0 are usual" in message
    assert said(HitMonitor("mine", usual=ExpectedTracks(0.13)), *[event(2000, per_track=5) for _ in range(9)]) == []


def smeared(hits: Hits) -> Hits:
    """0.1 mm across the radius and along z."""
    rng = np.random.default_rng(3)
    shift = rng.normal(0, 0.1, (len(hits), 2))
    position = hits.position + np.stack([0 * hits.r, shift[:, 0] / hits.r, shift[:, 1]], axis=1)
    return replace(hits, position=position.astype(np.float32))


def lossy(hits: Hits) -> Hits:
    """A fifth of the hits is gone."""
    return hits.take(np.random.default_rng(4).random(len(hits)) >= 0.2)


def split(hits: Hits) -> Hits:
    """Four in ten hits have a second one within 50 um."""
    rng = np.random.default_rng(5)
    again = hits.position[rng.random(len(hits)) < 0.4]
    shift = rng.normal(0, 0.05, (len(again), 2))
    more = again + np.stack([0 * shift[:, 0], shift[:, 0] / again[:, 0], shift[:, 1]], axis=1)
    return Hits(np.concatenate([hits.position, more.astype(np.float32)]))


def find_in_all(events: list[Hits]) -> None:
    finder = load_pipeline("module_map", threads=1)
    for hits in events:
        finder.find(hits)


def test_good_events_are_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", LayoutWarning)
        find_in_all([event.hits for event in shipped_events(60)])


def lossy_by_a_tenth(hits: Hits) -> Hits:
    """A tenth of the hits is gone."""
    return hits.take(np.random.default_rng(4).random(len(hits)) >= 0.1)


def without_layer(hits: Hits) -> Hits:
    """The second layer of the barrel gives no hits."""
    return hits.take((hits.r < 68) | (hits.r > 78) | (np.abs(hits.z) > 500))


def twisted(hits: Hits) -> Hits:
    """Outer layers are turned against inner ones, by 0.1 mm at half a metre."""
    position = hits.position + np.stack([0 * hits.r, 1e-4 * hits.r, 0 * hits.r], axis=1)
    return replace(hits, position=position.astype(np.float32))


def twisted_along_z(hits: Hits) -> Hits:
    """One end is turned against the other."""
    position = hits.position + np.stack([0 * hits.r, 1e-4 * hits.z, 0 * hits.r], axis=1)
    return replace(hits, position=position.astype(np.float32))


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lossy_by_a_tenth, "this looks like lost hits or dead modules"),
        (without_layer, "of the tracks across the layer at r = 72 mm have no hit on it"),
        (without_layer, "this looks like a dead layer"),
        (twisted, "this looks like a twisted detector"),
        (twisted_along_z, "ends of the detector turned against each other"),
        (smeared, "this looks like hits less precise than in training, or displaced (misalignment), and tracks may"),
        (lossy, "this looks like lost hits or dead modules"),
        (split, "this looks like duplicated hits, and tracks may be lost"),
    ],
)
def test_the_warning_says_what_the_change_looks_like(change: Callable[[Hits], Hits], cause: str) -> None:
    with pytest.warns(LayoutWarning) as caught:
        find_in_all([change(event.hits) for event in shipped_events(60)])
    (message,) = [str(warning.message) for warning in caught]
    assert cause in message


def straight_tracks(n: int, z: float, bend: float = 0.0) -> tuple[Hits, Tracks]:
    """n tracks of six hits from about z; the middle hits are `bend` mm off the line."""
    rng = np.random.default_rng(6)
    phi, slope, start = rng.uniform(-3, 3, n), rng.uniform(-1, 1, n), rng.normal(z, 30, n)
    r = np.array([30.3, 70.4, 110.2, 170.7, 260.4, 360.6])[:, None]
    off = np.where(np.arange(6) == 3, bend, 0.001)[:, None] / r
    columns = np.broadcast_arrays(r, phi + off, start + slope * r)
    position = np.stack(columns, axis=2).reshape(-1, 3).astype(np.float32)
    return Hits(position), Tracks(np.tile(np.arange(n), 6))


@pytest.mark.parametrize(("z", "warned"), [(15.0, False), (100.0, True)])
def test_tracks_from_elsewhere_along_z(z: float, warned: bool) -> None:
    usual = measure([straight_tracks(300, 0.0)])
    messages = said(HitMonitor("mine", usual=usual), straight_tracks(300, z))
    assert len(messages) == warned
    for message in messages:
        assert re.match(r"tracks come from z = (9|10)\d mm, where -?\d mm is usual", message)
        assert "this looks like collisions or hits shifted along z" in message


@pytest.mark.parametrize(
    "usual",
    [
        ExpectedTracks(0.13),
        ExpectedTracks(0.1377, 159323.5),
        ExpectedTracks(0.1377, 159323.5, 11.5),
        ExpectedTracks(0.1377, 159323.5, 11.5, 0.024, -1.0, 49.5),
        ExpectedTracks(0.1377, 159323.5, 11.5, 0.024, -1.0, 49.5, 0.035),
    ],
)
def test_the_usual_share_is_told_as_text(usual: ExpectedTracks) -> None:
    assert ExpectedTracks.parse(usual.text) == usual


@pytest.mark.parametrize("text", ["", "a", "0.1;3", "1,2,3,4,5,6,7,8"])
def test_other_texts_tell_no_share(text: str) -> None:
    with pytest.raises(ConfigError, match=r"usual share: got .*expected SHARE, SHARE,HITS, SHARE,HITS,PER_TRACK or"):
        ExpectedTracks.parse(text)


def told_usual(pipeline: Pipeline) -> ExpectedTracks:
    return pipeline.expected_tracks


def test_the_usual_share_is_what_the_card_measured() -> None:
    model = load_model()
    for name in model.pipelines:
        measured = model.performance[name]
        output = told_usual(load_pipeline(name, threads=1, model=model))
        assert (output.share, output.hits, output.per_track) == (
            measured.hits_on_tracks,
            measured.hits,
            measured.hits_per_track,
        )
        stiff = name in ("exatrkx", "exatrkx_walk", "module_map")
        shapes = (measured.residual, measured.origin_z, measured.holes)
        assert None not in shapes[:2]
        assert (output.residual, output.origin_z, output.holes) == (shapes if stiff else (None, None, None))
        # The windows were learned with vertices evenly up to 250 mm, those of the validation are closer together.
        assert output.origin_spread == (pytest.approx(148, abs=5) if stiff else None)
        assert output.per_track is not None
        assert str(output).endswith(f"are usual in events of {measured.hits:.0f} hits")


def test_a_model_that_was_not_measured_has_the_usual_share_of_its_kind() -> None:
    model = replace(load_model(), performance={})
    for name in model.pipelines:
        soft = "soft" in name or name == "all"
        assert told_usual(load_pipeline(name, threads=1, model=model)).share == pytest.approx(0.55 if soft else 0.13)


def test_several_threads_get_one_warning() -> None:
    watch, one = HitMonitor("mine"), event(2000, on_tracks=0)
    with warnings.catch_warnings(record=True) as caught, ThreadPoolExecutor(8) as pool:
        warnings.simplefilter("always")
        list(pool.map(lambda _: watch.check(*one), range(100)))
    assert len(caught) == 1


def test_a_copy_in_another_process_watches_by_itself() -> None:
    watch = HitMonitor("mine", usual=ExpectedTracks(0.55))
    assert len(said(watch, event(2000, on_tracks=0))) == 1
    assert len(said(pickle.loads(pickle.dumps(watch)), event(8000, on_tracks=0.13))) == 1


@pytest.mark.parametrize("name", ["module_map", "exatrkx_walk", "module_map_soft"])
def test_shipped_events_pass_in_silence(name: str) -> None:
    finder = load_pipeline(name, threads=2)
    for shipped_event in shipped_events(0):
        finder.find(shipped_event.hits)


def test_columns_of_usual_events_look_well() -> None:
    for mu in (0, 60, 200):
        for shipped_event in shipped_events(mu):
            assert odd_columns(shipped_event.hits.position) == []
