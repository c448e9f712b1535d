"""What a request costs in two installations of beampipe, both serving at once and asked in turn.

    python benchmarks/serving/in_turn.py OTHER_PYTHON [--rounds 300]

OTHER_PYTHON is the interpreter of another environment, with an older or newer beampipe. Each side runs its own server
and its own client, one thread each. In every round each protocol is asked `BLOCK` times on one side, then on the other;
the order turns around from round to round, so that a machine that changes its pace changes it for both. The added time
is that of a served event less that of a direct one in the same round.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final

import beampipe.terminal.scripts  # noqa: F401

from beampipe.serving import ServingSettings, TritonTrackFinder, export_repository, named_models
from beampipe.tracking import Hits, load_pipeline, shipped_events
from beampipe.triton import ServerSettings, TritonServer

MODEL: Final = "exatrkx"
HITS: Final = (200, 400)
"""Smallest and largest number of hits of the events that are asked for."""
BLOCK: Final = 100
"""Requests of one side before the other side's turn."""
DIRECT: Final = "direct"
SERVED: Final = ("grpc", "http", "shm")


def serve_side(answers: IO[str]) -> None:
    """Serve, and for each way that is read from standard input write the median time of a block [ms]."""
    events = [event.hits for event in shipped_events(0) if HITS[0] <= len(event.hits) <= HITS[1]]
    with tempfile.TemporaryDirectory() as folder:
        names = export_repository(Path(folder) / "models", named_models(ServingSettings((MODEL,), threads=1)))
        with TritonServer(ServerSettings(Path(folder) / "models", models=tuple(names))) as server:
            urls = {"grpc": f"grpc://{server.grpc_url}", "http": f"http://{server.http_url}"}
            urls["shm"] = urls["grpc"]
            finders: dict[str, Any] = {way: TritonTrackFinder(urls[way], MODEL, protocol=way) for way in SERVED}
            finders[DIRECT] = load_pipeline(MODEL, threads=1)
            for finder in finders.values():
                block(finder.find, events)  # what is loaded once is not timed
            print("ready", file=answers, flush=True)
            for way in sys.stdin:
                print(block(finders[way.strip()].find, events), file=answers, flush=True)
            for finder in finders.values():
                finder.close()


def block(find: Callable[[Hits], Any], events: list[Hits]) -> float:
    """Median time of `BLOCK` calls, the events in a cycle [ms]."""
    taken = []
    for number in range(BLOCK):
        start = time.perf_counter()
        find(events[number % len(events)])
        taken.append(1e3 * (time.perf_counter() - start))
    return statistics.median(taken)


def main() -> None:
    """Start both sides, ask them in turn, print medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", nargs="?", help="interpreter of the other environment")
    parser.add_argument("--rounds", type=int, default=300, help="number of rounds")
    parser.add_argument("--side", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        serve_side(sys.stdout)
        return
    if options.other is None:
        parser.error("got no interpreter, expected that of the other environment")
    sides = [
        subprocess.Popen([python, __file__, "--side"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for python in (options.other, sys.executable)
    ]
    times: dict[str, list[list[float]]] = {way: [[], []] for way in (DIRECT, *SERVED)}
    try:
        for side in sides:
            ask(side)
        for number in range(options.rounds):
            for way, result in times.items():
                for row in (0, 1) if number % 2 else (1, 0):
                    result[row].append(float(ask(sides[row], way)))
    finally:
        for side in sides:
            side.communicate(timeout=60)  # the end of its input is the end of its work
    report(times)


def ask(side: subprocess.Popen[str], way: str | None = None) -> str:
    """The next line of a side, after a request for a block if a way is given."""
    assert side.stdin is not None
    assert side.stdout is not None
    if way is not None:
        print(way, file=side.stdin, flush=True)
    line = side.stdout.readline()
    if not line:
        raise SystemExit("a side has ended: see its message above")
    return line


def report(times: dict[str, list[list[float]]]) -> None:
    """Print the times of both sides [ms], the other one first, and the median ratio of this side over the other."""
    for way, (other, this) in times.items():
        ratio = statistics.median(b / a for a, b in zip(other, this, strict=True))
        print(f"{way:6} {statistics.median(other):.3f} {statistics.median(this):.3f} ms, ratio {ratio:.3f}")
    for way in SERVED:
        other, this = ([s - d for s, d in zip(times[way][row], times[DIRECT][row], strict=True)] for row in (0, 1))
        ratio = statistics.median(b / a for a, b in zip(other, this, strict=True))
        print(f"{way:6} added {statistics.median(other):.3f} {statistics.median(this):.3f} ms, ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
