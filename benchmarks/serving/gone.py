"""Clients that give up on an event at mu = 200: how soon the model is free for others.

    python benchmarks/serving/gone.py [--repeats 4] [--backend python]

A client gives up by its deadline or by cancelling (gRPC), or by closing its connection (HTTP). *Free*: from then to the
answer of a small event that was sent then, less what such an event takes otherwise. With gRPC the model sees it between
two stages, so that it must be free within the longest stage. Over HTTP Triton 2.51 does not notice that a client has
gone, but our client says how long it waits, and the model keeps to that; a connection that is closed before is not
seen, and the event finished for nobody.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
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
)

from beampipe.errors import DeadlineError
from beampipe.events import Hits
from beampipe.triton.server.server import TritonServer

MODEL: Final = "exatrkx"


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


FAREWELLS: Final = (
    Farewell("gRPC, deadline of 50 ms", "grpc", 0.05, True, True),
    Farewell("gRPC, deadline of 300 ms", "grpc", 0.3, True, True),
    Farewell("gRPC, cancelled after 300 ms", "grpc", 0.3, False, True),
    Farewell("HTTP, deadline of 50 ms", "http", 0.05, True, True),
    Farewell("HTTP, deadline of 300 ms", "http", 0.3, True, True),
    Farewell("HTTP, closed after 300 ms", "http", 0.3, False, False),
)


def main() -> None:
    parser = options_of("gone", __doc__)
    parser.add_argument("--repeats", type=int, default=4, help="number of clients that give up in each way")
    options = parser.parse_args()
    begun = print_header("clients that give up", options)
    (large,), small = events_at(200, 1), next(hits for hits in events_at(0, 20) if len(hits) > 100)
    direct = direct_finder(MODEL, options.threads)
    result = direct.find(large)
    label = direct.find(small).track_id.tobytes()
    stage, whole = max(result.seconds.values()), sum(result.seconds.values())
    rows: list[dict[str, Any]] = []
    with (
        serving([MODEL], threads=options.threads, backend=options.backend) as server,
        finder_of(server, MODEL, "grpc") as honest,
    ):
        honest.find(large)
        usual = float(np.median([timed(lambda: honest.find(small)) for _ in range(10)]))
        for how in FAREWELLS:
            free, right = [], True
            for _ in range(options.repeats):
                how.give_up(server, large, small)
                begin = time.perf_counter()
                right &= honest.find(small).track_id.tobytes() == label
                free.append(time.perf_counter() - begin - usual)
            rows.append({"how": how.name, "seen": how.seen, "free_s": free, "right": right})
    caption = f"longest stage {stage:.2f} s, whole event {whole:.2f} s, both run directly"
    CONSOLE.print(table_of(rows, f"a client gives up on an event of {len(large)} hits", caption))
    summary = summary_of(rows, stage)
    report(options, begun, {"rows": rows, "stage_s": stage, "whole_s": whole, "summary": summary})
    raise SystemExit(0 if all(line["met"] for line in summary) else 1)


def timed(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def table_of(rows: Sequence[dict[str, Any]], title: str, caption: str) -> Table:
    table = Table(title=title, caption=caption)
    table.add_column("how")
    for name in ("free after \\[s], median", "most", "right labels"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(row["how"], f"{np.median(row['free_s']):.2f}", f"{max(row['free_s']):.2f}", str(row["right"]))
    return table


def summary_of(rows: Sequence[dict[str, Any]], stage: float) -> list[dict[str, object]]:
    """What the model can notice must set it free within its longest stage [s]."""
    lines = []
    for row in (row for row in rows if row["seen"]):
        free = float(np.median(row["free_s"]))
        words = f"free after {free:.2f} s, wanted within the longest stage ({stage:.2f} s) and 0.1 s"
        lines.append(verdict(row["how"], row["right"] and free <= stage + 0.1, words))
    return lines


if __name__ == "__main__":
    main()
