"""What serving costs: a served model against the same pipeline in this process, asked in turn in one run.

    python benchmarks/serving/overhead.py [--models exatrkx module_map] [--threads 1 2]

One client, one instance, the same threads. Small events: each is found directly and then over each protocol,
`--repeats` times; the added time is the median over all pairs of (served - direct). Throughput: rounds of all events at
a pile-up, directly and then served with one and with two requests in flight, the order turned around every other round;
the ratio is the median over rounds of (served events/s) / (direct events/s). With two requests in flight the sending of
the next event overlaps with the work on the present one. Labels are compared before anything is timed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
from rich.table import Table
from served import (
    CONSOLE,
    PROTOCOLS,
    direct_finder,
    events_at,
    finder_of,
    options_of,
    print_header,
    report,
    serving,
    verdict,
)

from beampipe.serving.finders import TritonTrackFinder
from beampipe.tracking.events import Hits
from beampipe.tracking.finder import TrackFinder
from beampipe.triton.server.server import TritonServer

WANTED_MS = {"grpc": 0.5, "http": 0.4, "shm": 0.4, "shm-http": 0.4}
"""Most added time of a small event [ms], for `WANTED_MODEL`."""
WANTED_RATIO = {60: 0.90, 200: 0.97}
"""Least throughput, served over direct, by pile-up."""
WANTED_MODEL = "exatrkx"
LARGE_PROTOCOLS = ("grpc", "http", "shm")
"""For throughput: how the question is put no longer matters once the event is in shared memory."""
SMALL = (200, 400)
"""Hits of a small event."""


def main() -> None:
    parser = options_of("overhead", __doc__)
    parser.set_defaults(threads=[1, 2])
    parser.add_argument("--models", nargs="+", default=[WANTED_MODEL, "module_map"])
    parser.add_argument("--small-events", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=10, help="times that each small event is sent")
    parser.add_argument("--rounds", type=int, default=5, help="number of measurements of the throughput")
    parser.add_argument("--events", type=int, default=8, help="events of a round at mu = 60; at mu = 200 a quarter")
    for action in parser._actions:
        if action.dest == "threads":
            action.nargs = "+"
    options = parser.parse_args()
    listed = options.threads
    options.threads = ", ".join(map(str, listed))
    begun = print_header("overhead of serving", options)
    added: list[dict[str, Any]] = []
    ratios: list[dict[str, Any]] = []
    for threads in listed:
        for model in options.models:
            direct = direct_finder(model, threads)
            with serving([model], threads=threads) as server:
                added += small_events(server, model, threads, direct, options)
                CONSOLE.print(f"{model}, {threads} thread(s): small events done", markup=False)
                for mu, count in ((60, options.events), (200, max(2, options.events // 4))):
                    ratios += throughput(server, model, threads, mu, direct, events_at(mu, count, 1), options.rounds)
                    CONSOLE.print(f"{model}, {threads} thread(s): mu = {mu} done", markup=False)
    CONSOLE.print(added_table(added))
    CONSOLE.print(ratio_table(ratios))
    summary = summary_of(added, ratios)
    report(options, begun, {"small_events": added, "throughput": ratios, "summary": summary})


def small_events(
    server: TritonServer, model: str, threads: int, direct: TrackFinder, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Added time over each protocol."""
    sizes = range(*SMALL)
    events = [hits for hits in events_at(0, 400, options.seed) if len(hits) in sizes][: options.small_events]
    finders: dict[str, TrackFinder] = {protocol: finder_of(server, model, protocol) for protocol in PROTOCOLS}
    require_equal(events, direct, finders)
    times: dict[str, list[float]] = {name: [] for name in ("direct", *finders)}
    everyone = {"direct": direct, **finders}
    for _ in range(options.repeats):
        for hits in events:
            for name, finder in everyone.items():
                begin = perf_counter()
                finder.find(hits)
                times[name].append(perf_counter() - begin)
    close(finders)
    base = np.array(times["direct"])
    rows = []
    for protocol in finders:
        more = (np.array(times[protocol]) - base) * 1e3
        rows.append(
            {
                "model": model,
                "threads": threads,
                "protocol": protocol,
                "events": len(more),
                "hits": float(np.median([len(hits) for hits in events])),
                "direct_ms": float(np.median(base)) * 1e3,
                "served_ms": float(np.median(times[protocol])) * 1e3,
                "added_ms": float(np.median(more)),
                "added_p95_ms": float(np.percentile(more, 95)),
            }
        )
    return rows


def throughput(
    server: TritonServer,
    model: str,
    threads: int,
    mu: int,
    direct: TrackFinder,
    events: Sequence[Hits],
    rounds: int,
) -> list[dict[str, Any]]:
    """Events per second of direct and served rounds."""
    finders: dict[str, TritonTrackFinder] = {
        protocol: finder_of(server, model, protocol, in_flight=2) for protocol in LARGE_PROTOCOLS
    }
    require_equal(events, direct, finders)
    runs: dict[tuple[str, int], Callable[[], object]] = {("direct", 1): partial(one_by_one, direct, events)}
    for protocol, finder in finders.items():
        runs[protocol, 1] = partial(one_by_one, finder, events)
        runs[protocol, 2] = partial(together, finder, events)
    seconds: dict[tuple[str, int], list[float]] = {key: [] for key in runs}
    for turn in range(rounds):
        for key in list(runs) if turn % 2 == 0 else reversed(list(runs)):
            begin = perf_counter()
            runs[key]()
            seconds[key].append(perf_counter() - begin)
    close(finders)
    base = np.array(seconds.pop(("direct", 1)))
    rows = []
    for (protocol, in_flight), times in seconds.items():
        ratio = base / np.array(times)
        low, high = np.percentile(ratio, [25, 75])
        rows.append(
            {
                "model": model,
                "threads": threads,
                "mu": mu,
                "protocol": protocol,
                "in_flight": in_flight,
                "hits": float(np.median([len(hits) for hits in events])),
                "direct_per_second": len(events) / float(np.median(base)),
                "served_per_second": len(events) / float(np.median(times)),
                "ratio": float(np.median(ratio)),
                "quartiles": [float(low), float(high)],
            }
        )
    return rows


def one_by_one(finder: TrackFinder, events: Sequence[Hits]) -> None:
    for hits in events:
        finder.find(hits)


def together(finder: TritonTrackFinder, events: Sequence[Hits]) -> None:
    for answer in [finder.submit(hits) for hits in events]:
        answer.result()


def require_equal(events: Sequence[Hits], direct: TrackFinder, finders: Any) -> None:
    """Also the warm-up.

    Raises:
        SystemExit: labels differ: nothing to time.
    """
    for hits in events:
        expected = direct.find(hits).track_id.tobytes()
        for name, finder in finders.items():
            if finder.find(hits).track_id.tobytes() != expected:
                raise SystemExit(f"{name}: labels of an event of {len(hits)} hits differ from the direct ones")


def close(finders: Any) -> None:
    for finder in finders.values():
        finder.close()


def added_table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(title=f"small events (mu = 0, {SMALL[0]} to {SMALL[1]} hits), one after the other")
    table.add_column("model")
    for name in ("threads", "protocol", "hits", "direct \\[ms]", "served \\[ms]", "added \\[ms]", "p95 \\[ms]"):
        table.add_column(name, justify="right")
    for row in rows:
        numbers = (f"{row[key]:.3f}" for key in ("direct_ms", "served_ms", "added_ms", "added_p95_ms"))
        table.add_row(row["model"], str(row["threads"]), row["protocol"], f"{row['hits']:.0f}", *numbers)
    return table


def ratio_table(rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(title="throughput, served over direct", caption="median over rounds, with the quartiles")
    table.add_column("model")
    for name in ("threads", "mu", "hits", "protocol", "in flight", "direct /s", "served /s", "ratio"):
        table.add_column(name, justify="right")
    for row in rows:
        low, high = row["quartiles"]
        table.add_row(
            row["model"],
            *(str(row["threads"]), str(row["mu"]), f"{row['hits']:.0f}", row["protocol"], str(row["in_flight"])),
            *(f"{row['direct_per_second']:.2f}", f"{row['served_per_second']:.2f}"),
            f"{row['ratio']:.3f} ({low:.3f}-{high:.3f})",
        )
    return table


def summary_of(added: Sequence[dict[str, Any]], ratios: Sequence[dict[str, Any]]) -> list[dict[str, object]]:
    """Wanted figures of `WANTED_MODEL`: every protocol for the time, the best one for the throughput."""
    lines = []
    for threads in dict.fromkeys(row["threads"] for row in added):
        mine = [row for row in added if row["model"] == WANTED_MODEL and row["threads"] == threads]
        for row in mine:
            limit = WANTED_MS[row["protocol"]]
            words = f"{threads} thread(s), {row['protocol']}: {row['added_ms']:.3f} ms, wanted at most {limit} ms"
            lines.append(verdict("added to a small event", row["added_ms"] <= limit, words))
        for mu, least in WANTED_RATIO.items():
            for in_flight in (1, 2):
                at = [
                    row
                    for row in ratios
                    if (row["model"], row["threads"], row["mu"], row["in_flight"])
                    == (WANTED_MODEL, threads, mu, in_flight)
                ]
                if not at:
                    continue
                best = max(at, key=lambda row: row["ratio"])
                words = (
                    f"{threads} thread(s), mu = {mu}, {in_flight} in flight: {best['ratio']:.3f} over"
                    f" {best['protocol']}, wanted at least {least}"
                )
                lines.append(verdict("throughput", best["ratio"] >= least, words))
    return lines


if __name__ == "__main__":
    main()
