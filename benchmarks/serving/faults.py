"""What happens when processes are killed and clients go away: every event answered, and how soon all is as before.

    python benchmarks/serving/faults.py [--kills 3] [--only stub server gone]

stub    kill -9 of the process of one model under the load of `--clients` clients that may ask once more. Every event
        must be answered with the right labels. *Back*: from the kill until a new client, which asks again and again,
        gets the right answer within half a second. The other model is asked all the time; its slowest answer is shown.
server  kill -9 of the server under the same load; clients fall back on the pipeline in their own process.
gone    a client that gives up on an event at mu = 200: by its deadline or by cancelling (gRPC), or by closing its
        connection (HTTP). *Free*: from then to the answer of a small event that was sent then, less what such an
        event takes otherwise. With gRPC the model sees it between two stages, so that it must be free within the
        longest stage. Over HTTP Triton 2.51 does not notice that a client has gone, but our client says how long it
        waits, and the model keeps to that; a connection that is closed before is not seen, and the event finished for
        nobody.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy import ndarray
from rich.table import Table
from served import (
    CONSOLE,
    direct_finder,
    events_at,
    finder_of,
    options_of,
    print_header,
    report,
    serving,
    verdict,
    wait_until,
)

from beampipe.errors import BeampipeError, DeadlineError
from beampipe.serving.finders import DirectTrackFinder, FallbackTrackFinder, TritonTrackFinder
from beampipe.tracking.events import Hits
from beampipe.tracking.finder import TrackFinder
from beampipe.triton.server.server import TritonServer

MODEL, OTHER = "exatrkx", "module_map"
WANTED_BACK = 3.0
"""Longest time [s] until a model is back."""


@dataclass(eq=False)
class Load:
    """Clients that ask one event after the other until they are told to stop.

    Attributes:
        events: events to ask for, in turn.
        labels: right labels of each event.
        answers: client, time of the question and time of the answer [s] of each right answer.
        wrong: number of events that got other labels.
        errors: messages of the events without an answer.
    """

    events: Sequence[Hits]
    labels: Sequence[Int64[ndarray, " _"]]
    answers: list[tuple[int, float, float]] = field(default_factory=list)
    wrong: int = 0
    errors: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, finder: TrackFinder, first: int) -> None:
        """One client."""
        number = first
        while not self.stop.is_set():
            row = number % len(self.events)
            number += 1
            asked = time.perf_counter()
            try:
                found = finder.find(self.events[row]).track_id
            except BeampipeError as error:
                self.errors.append(f"{type(error).__name__}: {error}")
                continue
            if found.tobytes() == self.labels[row].tobytes():
                self.answers.append((first, asked, time.perf_counter()))
            else:
                self.wrong += 1

    def settled(self, clients: int, moment: float) -> bool:
        """Whether each client has had an answer to something it asked after that moment."""
        return len({client for client, asked, _ in list(self.answers) if asked > moment}) == clients

    def slowest(self) -> float:
        """Longest wait for an answer [s]."""
        return max((done - asked for _, asked, done in self.answers), default=np.inf)


def main() -> None:
    parser = options_of("faults", __doc__)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument(
        "--kills",
        type=int,
        default=4,
        help="number of kills of each kind; the supervisor brings a model back 5 times a minute",
    )
    parser.add_argument("--only", nargs="+", choices=list(SCENARIOS), default=list(SCENARIOS))
    options = parser.parse_args()
    begun = print_header("faults", options)
    rows: list[dict[str, Any]] = []
    summary: list[dict[str, object]] = []
    for name in options.only:
        SCENARIOS[name](options, rows, summary)
    report(options, begun, {"rows": rows, "summary": summary})
    raise SystemExit(0 if all(line["met"] for line in summary) else 1)


def loads(options: argparse.Namespace) -> tuple[Load, Load]:
    """For the model that is hit and for the other: small events, and one at mu = 60."""
    events = [hits for hits in events_at(0, 20) if len(hits) > 50][:9] + events_at(60, 1)
    first, second = (direct_finder(name, options.threads) for name in (MODEL, OTHER))
    return (
        Load(events, [first.find(hits).track_id for hits in events]),
        Load(events, [second.find(hits).track_id for hits in events]),
    )


def under_load(
    server: TritonServer,
    options: argparse.Namespace,
    hit: Load,
    other: Load,
    wrap: Callable[[TritonTrackFinder], TrackFinder],
    happen: Callable[[], None],
) -> None:
    """All clients at work while `happen()` happens."""
    with ExitStack() as stack, ThreadPoolExecutor(options.clients + 1) as pool:
        finders = [
            wrap(stack.enter_context(finder_of(server, MODEL, protocol, retries=1, timeout=30)))
            for protocol in islice(cycle(("grpc", "http", "shm")), options.clients)
        ]
        others = wrap(stack.enter_context(finder_of(server, OTHER, "grpc", retries=1, timeout=30)))
        running = [pool.submit(hit.run, finder, number) for number, finder in enumerate(finders)]
        running.append(pool.submit(other.run, others, 0))
        try:
            happen()
        finally:
            hit.stop.set()
            other.stop.set()
        for client in running:
            client.result()


def kill_stub(options: argparse.Namespace, rows: list[dict[str, Any]], summary: list[dict[str, object]]) -> None:
    """Kill the process of one model."""
    hit, other = loads(options)
    backs: list[float] = []
    reloads: list[str] = []

    def happen() -> None:
        for _ in range(options.kills):
            time.sleep(2)
            (victim,) = [stub for stub in server.stubs() if stub.model == MODEL and stub.alive][:1]
            moment = time.perf_counter()
            os.kill(victim.pid, signal.SIGKILL)
            backs.append(wait_until(lambda: answers_rightly(server, hit), 30))
            # An event that two kills hit would need two retries.
            wait_until(lambda: hit.settled(options.clients, moment), 30)  # noqa: B023 - used at once
            reloads.extend(one.text for one in server.incidents if one.kind == "model back" and one.text not in reloads)
        time.sleep(1)

    with serving([MODEL, OTHER], threads=options.threads) as server:
        under_load(server, options, hit, other, lambda finder: finder, happen)
    rows.append(row := row_of("stub", hit, other, backs) | {"reloads": reloads})
    CONSOLE.print("; ".join(reloads), markup=False)
    CONSOLE.print(table_of("kill -9 of a model's process, one retry allowed", [row]))
    lost = row["wrong"] + row["errors"]
    summary.append(verdict("stub killed", not lost, f"{row['answered']} events answered, {lost} lost {row['first']}"))
    words = f"back after {worst(backs):.2f} s at most, wanted {WANTED_BACK:g} s"
    summary.append(verdict("stub killed", worst(backs) <= WANTED_BACK, words))
    words = f"other model: {row['other_answered']} answered, {row['other_lost']} lost, slowest {other.slowest():.2f} s"
    summary.append(verdict("stub killed", not row["other_lost"], words))


def kill_server(options: argparse.Namespace, rows: list[dict[str, Any]], summary: list[dict[str, object]]) -> None:
    """Kill the server."""
    hit, other = loads(options)
    backs: list[float] = []
    falling: list[FallbackTrackFinder] = []

    def with_fallback(finder: TritonTrackFinder) -> TrackFinder:
        pipeline = MODEL if len(falling) < options.clients else OTHER
        falling.append(
            FallbackTrackFinder(finder, lambda: DirectTrackFinder(pipeline, threads=options.threads), pause=0.5)
        )
        return falling[-1]

    def happen() -> None:
        for _ in range(options.kills):
            time.sleep(2)
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            backs.append(wait_until(lambda: answers_rightly(server, hit), 30))
        time.sleep(1)

    with serving([MODEL, OTHER], threads=options.threads) as server:
        under_load(server, options, hit, other, with_fallback, happen)
    rows.append(row := row_of("server", hit, other, backs))
    here = sum(finder.answered[1] for finder in falling)
    for finder in falling:
        finder.close()
    CONSOLE.print(table_of("kill -9 of the server, clients with fallback", [row]))
    lost = row["wrong"] + row["errors"] + row["other_lost"]
    total = row["answered"] + row["other_answered"]
    words = f"{total} events answered, of them {here} by the fallback; {lost} lost {row['first']}"
    summary.append(verdict("server killed", not lost and here > 0, words))
    words = f"served again after {worst(backs):.2f} s at most"
    summary.append(verdict("server killed", worst(backs) < 30, words))


def client_gone(options: argparse.Namespace, rows: list[dict[str, Any]], summary: list[dict[str, object]]) -> None:
    """Give up on a large event."""
    (large,), small = events_at(200, 1), next(hits for hits in events_at(0, 20) if len(hits) > 100)
    direct = direct_finder(MODEL, options.threads)
    found = direct.find(large)
    label = direct.find(small).track_id.tobytes()
    stage, whole = max(found.seconds.values()), sum(found.seconds.values())
    mine: list[tuple[Farewell, list[float], bool]] = []
    with serving([MODEL], threads=options.threads) as server, finder_of(server, MODEL, "grpc") as honest:
        honest.find(large)
        usual = float(np.median([timed(lambda: honest.find(small)) for _ in range(10)]))
        for how in FAREWELLS:
            free, right = [], True
            for _ in range(options.kills):
                how.give_up(server, large, small)
                begin = time.perf_counter()
                right &= honest.find(small).track_id.tobytes() == label
                free.append(time.perf_counter() - begin - usual)
            mine.append((how, free, right))
    table = Table(
        title=f"a client gives up on an event of {len(large)} hits",
        caption=f"longest stage {stage:.2f} s, whole event {whole:.2f} s, both run directly",
    )
    table.add_column("how")
    for name in ("free after \\[s], median", "most", "right labels"):
        table.add_column(name, justify="right")
    for how, free, right in mine:
        table.add_row(how.name, f"{np.median(free):.2f}", f"{max(free):.2f}", str(right))
        rows.append({"scenario": how.name, "free_s": free, "stage_s": stage, "whole_s": whole, "right": right})
    CONSOLE.print(table)
    for how, free, right in mine:
        words = f"free after {np.median(free):.2f} s, wanted within the longest stage ({stage:.2f} s) and 0.1 s"
        if how.seen:
            summary.append(verdict(how.name, right and float(np.median(free)) <= stage + 0.1, words))


@dataclass(frozen=True)
class Farewell:
    """How a client gives up.

    Attributes:
        name: name of the way, for the table.
        protocol: protocol of the client, gRPC or HTTP.
        after: time after which the client gives up [s].
        by_deadline: whether the client said beforehand how long it would wait; if not, it cancels.
        seen: whether the model can notice.
    """

    name: str
    protocol: str
    after: float
    by_deadline: bool
    seen: bool

    def give_up(self, server: TritonServer, large: Hits, small: Hits) -> None:
        """Ask for an event and go away."""
        timeout = self.after if self.by_deadline else 60.0
        with finder_of(server, MODEL, self.protocol, timeout=timeout) as finder:
            for _ in range(3):  # connections are made, so that the time is that of the event
                with suppress(DeadlineError):
                    finder.find(small)
            if self.by_deadline:
                with suppress(DeadlineError):
                    finder.find(large)
            else:
                answer = finder.submit(large)
                time.sleep(self.after)
                answer.cancel()


FAREWELLS = (
    Farewell("gRPC, deadline of 50 ms", "grpc", 0.05, True, True),
    Farewell("gRPC, deadline of 300 ms", "grpc", 0.3, True, True),
    Farewell("gRPC, cancelled after 300 ms", "grpc", 0.3, False, True),
    Farewell("HTTP, deadline of 50 ms", "http", 0.05, True, True),
    Farewell("HTTP, deadline of 300 ms", "http", 0.3, True, True),
    Farewell("HTTP, closed after 300 ms", "http", 0.3, False, False),
)


def timed(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def answers_rightly(server: TritonServer, load: Load) -> bool:
    """Whether a new client gets the right answer within half a second."""
    with suppress(BeampipeError), finder_of(server, MODEL, "grpc", timeout=0.5) as finder:
        return finder.find(load.events[0]).track_id.tobytes() == load.labels[0].tobytes()
    return False


def worst(backs: Sequence[float]) -> float:
    return max(backs, default=np.inf)


def row_of(scenario: str, hit: Load, other: Load, backs: Sequence[float]) -> dict[str, Any]:
    errors = hit.errors + other.errors
    return {
        "scenario": scenario,
        "kills": len(backs),
        "answered": len(hit.answers),
        "wrong": hit.wrong,
        "errors": len(hit.errors),
        "first": errors[0][:300] if errors else "",
        "back_s": list(backs),
        "slowest_s": hit.slowest(),
        "other_answered": len(other.answers),
        "other_lost": other.wrong + len(other.errors),
        "other_slowest_s": other.slowest(),
    }


def table_of(title: str, rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(title=title, caption="back: from the kill until a new client gets the right answer within 0.5 s")
    names = (
        "kills",
        "answered",
        "wrong",
        "errors",
        "back \\[s]",
        "slowest \\[s]",
        "other: answered",
        "lost",
        "slowest \\[s]",
    )
    for name in names:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            *(str(row[key]) for key in ("kills", "answered", "wrong", "errors")),
            ", ".join(f"{back:.2f}" for back in row["back_s"]),
            f"{row['slowest_s']:.2f}",
            *(str(row[key]) for key in ("other_answered", "other_lost")),
            f"{row['other_slowest_s']:.2f}",
        )
    return table


SCENARIOS: dict[str, Callable[[argparse.Namespace, list[dict[str, Any]], list[dict[str, object]]], None]] = {
    "stub": kill_stub,
    "server": kill_server,
    "gone": client_gone,
}


if __name__ == "__main__":
    main()
