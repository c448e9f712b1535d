"""Streams of events: what is counted as in time, late, lost and held back. No test depends on how fast anything is."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from beampipe.chain.stream import (
    DIRECT,
    Stream,
    StreamPoint,
    StreamSettings,
    Way,
    draw_stream,
    open_stream,
    parse_duration,
)
from beampipe.errors import ConfigError
from beampipe.events import Event, Hits, Tracks
from beampipe.serving.finders import DirectTrackFinder
from beampipe.serving.load import Workload
from beampipe.serving.server import serve
from beampipe.tracking.data import shipped_events
from beampipe.triton.engine import Engine

NOBODY = Way("nobody", ("grpc://127.0.0.1:1",))
HOUR = 3600.0


@pytest.fixture(scope="module")
def stream() -> Iterator[Stream]:
    settings = StreamSettings("module_map", deadline=HOUR, seconds=0.5)
    with open_stream([event.hits for event in shipped_events(0)][:6], settings) as source:
        yield source


def with_settings(stream: Stream, **changes: object) -> Stream:
    return replace(stream, settings=replace(stream.settings, **changes))  # type: ignore[arg-type]


def test_every_event_is_in_time_or_late(stream: Stream) -> None:
    point, _ = stream.measure(Way(DIRECT), 40.0)
    assert point.events == point.in_time > 0
    assert (point.late, point.lost, point.wrong, point.fallback) == (0, 0, 0, 0)
    point, _ = with_settings(stream, deadline=1e-9).measure(Way(DIRECT), 40.0)
    assert point.events == point.late > 0
    assert point.share_in_time == 0


class SlowOnce(DirectTrackFinder):
    """A finder that takes .3 s for one event."""

    quick: int
    """Number of events before that one."""

    def find(self, event: Event | Hits, /) -> Tracks:
        self.quick -= 1
        if self.quick == -1:
            time.sleep(0.3)
        return super().find(event)


def test_the_source_is_held_back_by_a_full_queue(stream: Stream) -> None:
    with SlowOnce("module_map", threads=1) as slow:
        slow.quick = len(stream.workload) + 3
        point, run = replace(with_settings(stream, queue=2), direct=slow).measure(Way(DIRECT), 200.0)
    assert 10 < point.held < point.events
    assert point.in_time == point.events
    assert (run.sent[run.held] > run.due[run.held]).all()
    assert stream.measure(Way(DIRECT), 10.0)[0].held == 0


def test_events_without_a_server_are_taken_by_the_fallback(stream: Stream) -> None:
    point, _ = stream.measure(NOBODY, 40.0)
    assert point.fallback == point.in_time == point.events > 0
    assert (point.lost, point.wrong) == (0, 0)


def test_other_tracks_than_expected_are_lost_events(stream: Stream) -> None:
    shifted = Workload(stream.workload.hits, tuple(labels + 1 for labels in stream.workload.labels))
    point, _ = replace(stream, workload=shifted).measure(Way(DIRECT), 40.0)
    assert point.wrong == point.lost == sum(point.reasons.values()) > 0
    assert point.in_time == point.events - point.lost
    assert "differ from the direct ones" in next(iter(point.reasons))


def test_a_deadline_leaves_time_for_servers_and_fallback(stream: Stream) -> None:
    with pytest.raises(ConfigError, match=r"deadline: got 1 ms, but module_map takes up to 10 ms .* --no-fallback"):
        with_settings(replace(stream, longest=0.01), deadline=1e-3).measure(NOBODY, 1.0)
    assert replace(stream, longest=0.01).reserve == pytest.approx(0.03)


def test_texts_of_ways_and_times() -> None:
    assert Way.parse("grpc://a:1, grpc://b:1") == Way("grpc://a:1, grpc://b:1", ("grpc://a:1", "grpc://b:1"))
    assert Way.parse("fleet=http://a:1") == Way("fleet", ("http://a:1",))
    for text in ("", "name=", "=grpc://a:1"):
        with pytest.raises(ConfigError, match="expected URL, URL,URL or NAME=URL,URL"):
            Way.parse(text)
    assert [parse_duration(text, "") for text in ("500ms", "2 s", ".5s")] == [0.5, 2.0, 0.5]
    for text in ("500", "0ms", "1h", "-1s", "fast"):
        with pytest.raises(ConfigError, match=r"--deadline: got .* such as 500ms or 2s"):
            parse_duration(text, "--deadline")
    with pytest.raises(ConfigError, match="queue: got 0"):
        StreamSettings("module_map", queue=0)


def test_picture_of_several_ways(tmp_path: Path) -> None:
    points = [
        StreamPoint(way, rate, 0.5, 100, 100 - k, k, 0, 0, 0, 0, 0.01, 0.1 * (k + 1), 0.6, {}, 0.0)
        for way in ("direct", "fleet")
        for k, rate in enumerate((10.0, 20.0))
    ]
    draw_stream(points, "module_map", tmp_path / "stream.png")
    assert (tmp_path / "stream.png").stat().st_size > 10_000


def test_nothing_is_lost_when_a_server_is_killed(engine: Engine, stream: Stream) -> None:
    source = with_settings(stream, seconds=3.0)
    with serve("module_map", threads=1) as first, serve("module_map", threads=1) as second:
        pid = first._running.pid
        assert pid is not None
        killing = threading.Timer(1.0, os.kill, (pid, signal.SIGKILL))
        killing.start()
        point, _ = source.measure(Way("two servers", (first.url, second.url)), 50.0)
        killing.join()
    assert (point.lost, point.wrong) == (0, 0)
    assert point.in_time == point.events > 50
    assert point.fallback < point.events
