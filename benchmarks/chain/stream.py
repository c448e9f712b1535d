"""Events at random times with a deadline: in time, late and lost. `python benchmarks/chain/stream.py`

rates    a pipeline in this process, one server, and a fleet of two servers behind its gateway, at shares of the largest
         throughput of each; a pipeline here takes what servers would answer late
killed   70 % of the largest throughput of two servers, one of which gets SIGKILL in the middle: lost events, and how
         long after it the last late event arrived

Clients, servers and fallback share the cores of one machine.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import beampipe.terminal.scripts  # noqa: F401

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "fleet"))

import numpy as np
from fleets import running, write_tracking
from recording import CONSOLE, Figure, begin, parser_of, write_result

from beampipe.chain.stream import (
    DIRECT,
    Stream,
    StreamPoint,
    StreamSettings,
    Way,
    draw_stream,
    open_stream,
    parse_duration,
    stream_table,
)
from beampipe.serving.load import LoadRun
from beampipe.serving.server import serve
from beampipe.tracking.data import shipped_events


def late_until(run: LoadRun, deadline: float) -> float:
    """When the last event arrived that was late or lost [s], by the clock of the run; -inf for none."""
    late = ~(run.good & (run.finished - run.due <= deadline))
    return float(run.due[late].max(initial=-np.inf))


def rates(source: Stream, way: Way, shares: list[float]) -> tuple[list[Figure], list[StreamPoint]]:
    """Streams at shares of the largest throughput of a way."""
    largest = source.capacity(way)
    figures = [Figure(f"{way.name}: most", largest, "events/s", "higher")]
    points = [source.measure(way, share * largest)[0] for share in shares]
    for share, point in zip(shares, points, strict=True):
        title = f"{way.name}, {100 * share:g} %"
        figures.append(Figure(f"{title}: in time", 100 * point.share_in_time, "%", "higher"))
        figures.append(Figure(f"{title}: p99", 1e3 * point.p99, "ms"))
    return figures, points


def killed(source: Stream, way: Way, pid: int, share: float) -> list[Figure]:
    """A stream in whose middle a process gets SIGKILL."""
    rate, killed_at = share * source.capacity(way), []

    def kill() -> None:
        os.kill(pid, signal.SIGKILL)
        killed_at.append(time.perf_counter())

    timer = threading.Timer(source.settings.seconds / 3, kill)
    timer.start()
    point, run = source.measure(way, rate)
    timer.join()
    recovery = max(0.0, late_until(run, source.settings.deadline) - killed_at[0])
    CONSOLE.print(f"{way.name}: the last late event arrived {recovery:.2f} s after the kill", markup=False)
    title = f"{way.name}, one killed"
    return [Figure(f"{title}: lost", point.lost, "", "equal"), Figure(f"{title}: late", point.late)]


def main() -> None:
    parser = parser_of(__doc__, "chain/stream")
    parser.add_argument("--pipeline", default="module_map_soft")
    parser.add_argument("--mu", type=int, default=0, help="pile-up of the events: 0, 60 or 200")
    parser.add_argument("--deadline", default="500ms")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each stream")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.8, 0.95])
    parser.add_argument("--killed-share", type=float, default=0.7)
    options = parser.parse_args()
    begun = begin("chain: streams with a deadline")
    settings = StreamSettings(options.pipeline, parse_duration(options.deadline, "--deadline"), options.seconds)
    points: list[StreamPoint] = []
    figures: list[Figure] = []
    with open_stream([event.hits for event in shipped_events(options.mu)], settings) as source:

        def measure(way: Way) -> None:
            more, streams = rates(source, way, options.shares)
            figures.extend(more)
            points.extend(streams)

        measure(Way(DIRECT))
        with serve(options.pipeline, threads=1) as first, serve(options.pipeline, threads=1) as second:
            measure(Way("one server", (first.url,)))
            pid = first._running.pid
            assert pid is not None
            figures += killed(source, Way("two servers", (first.url, second.url)), pid, options.killed_share)
        with running(lambda folder: write_tracking(folder, options.pipeline)) as fleet:
            way = Way("fleet of two", (fleet.url("grpc"),))
            measure(way)
            figures += killed(source, way, fleet.tritons()[0], options.killed_share)
    CONSOLE.print(stream_table(points, options.pipeline))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    draw_stream(points, options.pipeline, options.output.with_suffix(".png"))
    write_result(options.output, begun, figures)


if __name__ == "__main__":
    main()
