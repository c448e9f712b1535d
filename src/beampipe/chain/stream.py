"""Events that arrive at random times, and whose tracks must be found within a deadline.

A source in this process sends events as a Poisson process, whatever the finders do. Servers find their tracks, and a
pipeline in this process takes what would be late. The time of an event counts from its arrival. If as many events as
the queue holds are under way, the source is held back, and the wait counts. Every event is in time, late, or lost with
a reason.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final

import numpy as np

from beampipe.errors import BeampipeError, ConfigError
from beampipe.figures import PALETTE, drawing, new_figure, save_figure
from beampipe.serving.finders import DirectTrackFinder, FallbackTrackFinder, TritonTrackFinder
from beampipe.serving.load import FutureSender, LoadRun, Workload, closed_loop, direct_workload, open_loop, summarise
from beampipe.terminal import make_table
from beampipe.tracking.models import DEFAULT_MODEL

if TYPE_CHECKING:
    from rich.table import Table

    from beampipe.events import Hits, Tracks

DIRECT: Final = "direct"
"""Name of the way without servers: the pipeline in this process, one event at a time."""

CAPACITY_SHARES: Final = (0.5, 0.8, 0.95)
"""Rates that are measured where none is given, as shares of the largest throughput."""

_SMOOTHING: Final = 0.1
"""Weight of the newest time between two answers in their mean."""

_RESERVE: Final = 3.0
"""Time kept for the pipeline in this process, over the longest time that it took for an event."""


@dataclass(frozen=True)
class Way:
    """How tracks are found.

    Attributes:
        name: name of the way in tables and pictures.
        urls: addresses of the servers; none for `DIRECT`.
    """

    name: str
    urls: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Way:
        """From ``URL``, ``URL,URL`` for several servers, or ``NAME=URL,...``."""
        name, equals, urls = text.rpartition("=")
        addresses = tuple(url.strip() for url in urls.split(",") if url.strip())
        if not addresses or (equals and not name):
            raise ConfigError(f"--url: got {text!r}, expected URL, URL,URL or NAME=URL,URL")
        return cls(name or ", ".join(addresses), addresses)


@dataclass(frozen=True)
class StreamSettings:
    """A stream of events, and how its tracks are found.

    Attributes:
        pipeline: name of the pipeline in this process, and of the model on the servers.
        deadline: time from the arrival of an event to its tracks [s].
        seconds: length of the stream [s].
        queue: largest number of events under way; the source is held back while there are as many.
        fallback: whether a pipeline in this process takes what the servers would answer late, or not at all.
        tracker_model: tracker model of the pipeline in this process.
        seed: seed of the times of arrival.
    """

    pipeline: str
    deadline: float = 0.5
    seconds: float = 10.0
    queue: int = 64
    fallback: bool = True
    tracker_model: str = DEFAULT_MODEL
    seed: int = 1

    def __post_init__(self) -> None:
        for name, value in (("deadline", self.deadline), ("seconds", self.seconds), ("queue", self.queue)):
            if not value > 0:
                raise ConfigError(f"{name}: got {value:g}, expected more than 0")


@dataclass(frozen=True)
class StreamPoint:
    """What became of the events of one stream.

    Attributes:
        way: name of the way.
        rate: mean number of events that arrive per second.
        deadline: the deadline [s].
        events: number of events.
        in_time: number of events whose tracks came within the deadline.
        late: number of events whose tracks came later.
        lost: number of events without tracks.
        wrong: number of events with other tracks than those of the pipeline in this process; they count as lost.
        fallback: number of events that the pipeline in this process took in place of the servers.
        held: number of events for which the source was held back.
        p50: median of the time from arrival to tracks [s].
        p99: 99th percentile of it [s].
        worst: longest time [s].
        reasons: why events were lost, and how often.
        load_average: load average of the machine before the stream.
    """

    way: str
    rate: float
    deadline: float
    events: int
    in_time: int
    late: int
    lost: int
    wrong: int
    fallback: int
    held: int
    p50: float
    p99: float
    worst: float
    reasons: dict[str, int]
    load_average: float

    @property
    def share_in_time(self) -> float:
        """Events in time over all events."""
        return self.in_time / max(self.events, 1)


class DeadlineFinder:
    """Servers first; a pipeline in this process takes the events that would be late, in two cases.

    If, by the number of events that servers have and by the time between their recent answers, an event would wait for
    more than half of the time that they have for it, and the pipeline is free, the pipeline takes it at once. If an
    event has no answer from servers when their time is over, or is refused by them, it goes to the pipeline, too.

    Args:
        served: finder on the servers, whose timeout is `limit`.
        direct: the pipeline; it is not closed with this finder.
        limit: time that the servers have for an event [s].
    """

    def __init__(self, served: TritonTrackFinder, direct: DirectTrackFinder, limit: float) -> None:
        self._served, self._direct, self._limit = served, direct, limit
        self._both = FallbackTrackFinder(served, direct, pause=0.0)
        self._lock = threading.Lock()
        self._n_served = self._n_early = self._n_direct = 0
        self._interval, self._busy_since = 0.0, 0.0

    @property
    def n_fallback(self) -> int:
        """Number of events that the pipeline has taken so far."""
        return self._both.answered[-1] + self._n_early

    def find(self, hits: Hits, /) -> Tracks:
        """The tracks of one event."""
        return self.submit(hits).result()

    def submit(self, hits: Hits, /) -> Future[Tracks]:
        """The tracks of one event, later."""
        with self._lock:
            early = self._n_direct == 0 and self._n_served * self._interval > self._limit / 2
            if early:
                self._n_direct += 1
                self._n_early += 1
            else:
                if self._n_served == 0:
                    self._busy_since = perf_counter()
                self._n_served += 1
        future = (self._direct if early else self._both).submit(hits)
        future.add_done_callback(self._direct_done if early else self._served_done)
        return future

    def close(self) -> None:
        """Cancel the requests to servers."""
        self._served.close()

    def _direct_done(self, _: Future[Tracks]) -> None:
        with self._lock:
            self._n_direct -= 1

    def _served_done(self, _: Future[Tracks]) -> None:
        with self._lock:
            now = perf_counter()
            self._interval += _SMOOTHING * (now - self._busy_since - self._interval)
            self._busy_since = now
            self._n_served -= 1


@dataclass(frozen=True, eq=False)
class Stream:
    """Events whose tracks are known, and the pipeline in this process that found them.

    Attributes:
        settings: the settings.
        workload: the events, with the labels that every answer must have.
        direct: the pipeline in this process.
        longest: longest time that it took for an event [s].
    """

    settings: StreamSettings
    workload: Workload
    direct: DirectTrackFinder
    longest: float

    @property
    def reserve(self) -> float:
        """Time before the deadline at which the pipeline in this process takes an event [s].

        Raises:
            ConfigError: the deadline leaves no time for the servers.
        """
        reserve = _RESERVE * self.longest
        if reserve >= self.settings.deadline:
            raise ConfigError(
                f"deadline: got {1000 * self.settings.deadline:g} ms, but {self.settings.pipeline} takes up to"
                f" {1000 * self.longest:.3g} ms for an event here, and {_RESERVE:g} times as long is kept for it;"
                " expected a longer deadline, a faster pipeline, or --no-fallback"
            )
        return reserve

    def capacity(self, way: Way) -> float:
        """Largest number of events per second, with up to 16 under way, as the queue allows, and without a fallback."""
        with ExitStack() as stack:
            finder = stack.enter_context(self._served(way, timeout=60.0)) if way.urls else self.direct
            sender = FutureSender(finder.submit, self.workload)
            run = closed_loop(sender, self.workload, min(16, self.settings.queue), seconds=2.0, warm_up=0.5)
        if run.faults:
            raise BeampipeError(f"{way.name}: {next(iter(run.faults))}; nothing was measured")
        return summarise(run).throughput

    def measure(self, way: Way, rate: float) -> tuple[StreamPoint, LoadRun]:
        """Send a stream of events.

        Args:
            way: how tracks are found.
            rate: mean number of events that arrive per second.

        Returns:
            What became of the events, and the times of each.

        Raises:
            ConfigError: the deadline leaves no time for the servers.
        """
        settings, load_average, n_fallback = self.settings, os.getloadavg()[0], 0
        with ExitStack() as stack:
            finder: DirectTrackFinder | DeadlineFinder | TritonTrackFinder = self.direct
            if way.urls and settings.fallback:
                limit = settings.deadline - self.reserve
                finder = DeadlineFinder(self._served(way, timeout=limit), self.direct, limit)
                stack.callback(finder.close)
            elif way.urls:
                finder = stack.enter_context(self._served(way, timeout=60.0))
            for hits in self.workload.hits:  # makes the connections
                finder.find(hits)
            before = finder.n_fallback if isinstance(finder, DeadlineFinder) else 0
            run = open_loop(
                FutureSender(finder.submit, self.workload),
                self.workload,
                rate,
                seconds=settings.seconds,
                warm_up=0.0,
                in_flight=settings.queue,
                seed=settings.seed,
            )
            if isinstance(finder, DeadlineFinder):
                n_fallback = finder.n_fallback - before
        in_time = int(np.count_nonzero(run.good & (run.finished - run.due <= settings.deadline)))
        summary = summarise(run)
        point = StreamPoint(
            way.name,
            rate,
            settings.deadline,
            len(run),
            in_time,
            int(np.count_nonzero(run.good)) - in_time,
            summary.failed,
            run.wrong,
            n_fallback,
            int(np.count_nonzero(run.held)),
            summary.p50,
            summary.p99,
            summary.worst,
            run.faults,
            load_average,
        )
        return point, run

    def _served(self, way: Way, *, timeout: float) -> TritonTrackFinder:
        return TritonTrackFinder(way.urls, self.settings.pipeline, timeout=timeout, in_flight=self.settings.queue)


@contextmanager
def open_stream(events: Sequence[Hits], settings: StreamSettings) -> Iterator[Stream]:
    """Find the tracks of the events once in this process, with one thread, to compare with and to learn the time.

    Args:
        events: events that are sent in a cycle.
        settings: the settings of the stream.
    """
    with DirectTrackFinder(settings.pipeline, threads=1, model=settings.tracker_model) as direct:
        workload, seconds = direct_workload(events, direct.find), []
        for hits in events:  # the pipeline is warm now
            begin = perf_counter()
            direct.find(hits)
            seconds.append(perf_counter() - begin)
        yield Stream(settings, workload, direct, max(seconds))


_DURATION: Final = re.compile(r"([0-9]*\.?[0-9]+) *(ms|s)")


def parse_duration(text: str, name: str) -> float:
    """Seconds from a text such as ``500ms`` or ``0.5s``.

    Raises:
        ConfigError: it is something else; the message has the name of the option.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or float(match[1]) == 0:
        raise ConfigError(f"{name}: got {text!r}, expected a time with its unit, such as 500ms or 2s")
    return float(match[1]) / (1000 if match[2] == "ms" else 1)


def stream_table(points: Sequence[StreamPoint], pipeline: str) -> Table:
    """One row for each stream."""
    deadline = 1000 * points[0].deadline
    table = make_table(
        f"{pipeline}: tracks within {deadline:g} ms of the arrival of an event",
        ("way",),
        ("events/s", "events", "in time", "late", "lost", "by fallback", "held", "p50 ms", "p99 ms", "longest ms"),
        importance=("events/s", "in time", "lost", "p99 ms"),
        caption="by fallback: taken by the pipeline in this process; held: the source had to wait for the queue",
    )
    for point in points:
        numbers = (point.late, point.lost, point.fallback, point.held)
        times = (point.p50, point.p99, point.worst)
        table.add_row(
            point.way,
            f"{point.rate:.4g}",
            str(point.events),
            f"{100 * point.share_in_time:.2f} %",
            *map(str, numbers),
            *(f"{1000 * seconds:.4g}" for seconds in times),
        )
    return table


def draw_stream(points: Sequence[StreamPoint], pipeline: str, path: Path) -> None:
    """Latency and the share of events in time against the rate, one colour for each way."""
    with drawing():
        figure, panels = new_figure(1, 2, size=(12.0, 5.0))
        left, right = panels[0]
        for number, way in enumerate(dict.fromkeys(point.way for point in points)):
            rows = sorted((point for point in points if point.way == way), key=lambda point: point.rate)
            rates, colour = [point.rate for point in rows], PALETTE[number % len(PALETTE)]
            left.plot(rates, [1000 * point.p50 for point in rows], "o-", color=colour, label=f"{way}, median")
            left.plot(rates, [1000 * point.p99 for point in rows], "s--", color=colour, label="99 % of the events")
            right.plot(rates, [100 * point.share_in_time for point in rows], "o-", color=colour, label=way)
        left.axhline(1000 * points[0].deadline, color="grey", lw=1)
        left.set(xlabel="events / s", ylabel="time from arrival to tracks [ms]", yscale="log", title=pipeline)
        right.set(xlabel="events / s", ylabel="events in time [%]", ylim=(None, 101))
        left.legend(fontsize="small")
        right.legend(fontsize="small")
    save_figure(figure, path)
