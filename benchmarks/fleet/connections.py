"""What strangers do to the gateway while others work: 10 000 connections, slow and oversized requests, all spellings.

    python benchmarks/fleet/connections.py [--connections 10000] [--seconds 12]

Good clients ask all the time, half over gRPC, half over HTTP, two on connections that they keep and two that connect
anew for every event. Meanwhile, one after the other:

idle          so many connections that say nothing, and are opened again when the gateway closes them
slow          500 connections that send headers or body by one byte a second, over HTTP/1, HTTP/2 and gRPC
oversized     requests that say that they have 1 GB over HTTP, and messages of gRPC above the limit
spellings     every management URL and RPC in every spelling, again and again

None of these may be answered but by a refusal. *Good*: latency of the good clients in that time, beside that before.
"""

from __future__ import annotations

import resource
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
from fleets import (
    CONSOLE,
    Running,
    at_work,
    milliseconds,
    options_of,
    print_header,
    report,
    running,
    verdict,
    write_toy,
)
from strangers import SLOW, Refusals, ask_oversized, ask_spellings

from beampipe.errors import BeampipeError
from beampipe.terminal import make_table
from beampipe.triton import ModelClient

SLEEP: Final = 0.003
SLOW_ONES: Final = 500
WANTED_RATIO: Final = 2.0
"""Largest ratio of the good clients' median latency, on connections that they keep, to that before."""

Attack = Callable[[Running, threading.Event, "Refusals"], None]
"""Goes on against a fleet until it is told to end."""


class Good:
    """Clients that ask all the time; a context manager.

    Attributes:
        kept: moment and latency [s] of each answer on a connection that is kept.
        fresh: the same of answers on a new connection, with the time to connect.
        wrong: number of wrong answers.
        errors: what was said of requests without an answer.
    """

    def __init__(self, fleet: Running) -> None:
        self.kept: list[tuple[float, float]] = []
        self.fresh: list[tuple[float, float]] = []
        self.wrong = 0
        self.errors: list[tuple[float, str]] = []
        self._fleet, self._ended = fleet, threading.Event()
        self._threads = [
            threading.Thread(target=self._ask_on, args=(protocol, keeps))
            for protocol in ("grpc", "http")
            for keeps in (True, False)
        ]

    def __enter__(self) -> Good:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def between(self, times: Sequence[tuple[float, float]], begin: float, end: float) -> list[float]:
        """Latencies of what was asked in that time."""
        return [taken for moment, taken in times if begin <= moment < end]

    def _client(self, protocol: str) -> ModelClient:
        return ModelClient(self._fleet.url(protocol), "toy", protocol=protocol, retries=0, timeout=30.0)  # type: ignore[arg-type]

    def _ask_on(self, protocol: str, keeps: bool) -> None:
        client = self._client(protocol) if keeps else None
        while not self._ended.wait(0.02 if keeps else 0.2):
            request = np.array([time.time() % 100, 1], np.float32)
            begin = time.perf_counter()
            try:
                if client is not None:
                    got = client.infer({"X": request})["Y"]
                else:
                    with self._client(protocol) as once:
                        got = once.infer({"X": request})["Y"]
            except BeampipeError as error:
                self.errors.append((begin, f"{protocol}, {'kept' if keeps else 'fresh'}: {error}"))
                continue
            self.wrong += not np.array_equal(got, 2 * request)
            (self.kept if keeps else self.fresh).append((begin, time.perf_counter() - begin))
        if client is not None:
            client.close()


def main() -> None:
    parser = options_of("connections", __doc__)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=12.0, help="length of each attack")
    options = parser.parse_args()
    begun = print_header("strangers at the gateway", options)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    attacks: dict[str, Attack | None] = {
        "nothing": None,
        "idle": lambda fleet, ended, refusals: hold(fleet, ended, refusals, options.connections),
        "slow": be_slow,
        "oversized": ask_oversized,
        "spellings": ask_spellings,
    }
    rows = []
    with running(lambda folder: write_toy(folder, start=SLEEP)) as fleet, Good(fleet) as good:
        time.sleep(2.0)
        for name, attack in attacks.items():
            refusals = Refusals()
            with attacking(attack, fleet, refusals):
                begin = time.perf_counter()
                time.sleep(options.seconds)
                end = time.perf_counter()
            time.sleep(1.0)
            rows.append(row_of(name, good, refusals, begin, end))
        gateway = fleet.status()["gateway"]["pid"]
        incidents = [text for _, text in fleet.status()["incidents"] if "gateway" in text or "hang" in text]
    CONSOLE.print(table_of(rows))
    body = {"rows": rows, "wrong": good.wrong, "incidents": incidents, "gateway": gateway}
    summary = summary_of(rows, good, incidents)
    report(options, begun, {**body, "summary": summary})
    raise SystemExit(0 if all(line["met"] for line in summary) else 1)


@contextmanager
def attacking(attack: Attack | None, fleet: Running, refusals: Refusals) -> Iterator[None]:
    """An attack in a thread of its own."""
    ended = threading.Event()
    with at_work(ended, *([] if attack is None else [partial(attack, fleet, ended, refusals)])):
        yield


def hold(fleet: Running, ended: threading.Event, refusals: Refusals, number: int) -> None:
    """Connections that say nothing; one that the gateway closes is opened again."""
    with selectors.DefaultSelector() as selector:
        try:
            while not ended.is_set():
                for _ in range(min(250, number - len(selector.get_map()))):
                    connection = socket.socket()
                    connection.setblocking(False)
                    connection.connect_ex(("127.0.0.1", fleet.port))
                    selector.register(connection, selectors.EVENT_READ)
                refusals.most = max(refusals.most, len(selector.get_map()))
                for key, _ in selector.select(0.01):
                    refusals.refused += 1
                    selector.unregister(key.fileobj)
                    key.fileobj.close()  # type: ignore[union-attr]
        finally:
            for key in list(selector.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]


def be_slow(fleet: Running, ended: threading.Event, refusals: Refusals) -> None:
    """Requests that come by one byte a second."""
    opened: dict[socket.socket, bytes] = {}
    while not ended.is_set():
        for number in range(len(opened), SLOW_ONES):
            connection = socket.create_connection(("127.0.0.1", fleet.port), timeout=5)
            begin, opened[connection] = SLOW[number % len(SLOW)]
            connection.setblocking(False)
            connection.sendall(begin)
        refusals.most = max(refusals.most, len(opened))
        ended.wait(1.0)
        for connection, more in list(opened.items()):
            if _is_closed(connection, more):
                refusals.refused += 1
                connection.close()
                del opened[connection]
    for connection in opened:
        connection.close()


def _is_closed(connection: socket.socket, more: bytes) -> bool:
    """Send the next bit; whether the gateway has closed the connection."""
    try:
        connection.send(more)
        while connection.recv(1 << 16):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def row_of(name: str, good: Good, refusals: Refusals, begin: float, end: float) -> dict[str, Any]:
    kept, fresh = good.between(good.kept, begin, end), good.between(good.fresh, begin, end)
    return {
        "attack": name,
        "most_connections": refusals.most,
        "refused": refusals.refused,
        "let_in": refusals.let_in,
        "answered": len(kept) + len(fresh),
        "errors": [output for moment, output in good.errors if begin <= moment < end],
        "kept_ms": milliseconds(kept, 50, 99),
        "fresh_ms": milliseconds(fresh, 50, 99),
    }


def table_of(rows: Sequence[dict[str, Any]]) -> Any:
    columns = ("connections", "refused or closed", "let in", "good: answered", "errors")
    columns += ("kept p50, p99 [ms]", "fresh p50, p99 [ms]")
    table = make_table("good clients meanwhile", ("attack",), columns)
    for row in rows:
        counts = (row["most_connections"], row["refused"], len(row["let_in"]), row["answered"], len(row["errors"]))
        times = (", ".join(f"{value:.1f}" for value in row[key]) for key in ("kept_ms", "fresh_ms"))
        table.add_row(row["attack"], *map(str, counts), *times)
    return table


def summary_of(rows: Sequence[dict[str, Any]], good: Good, incidents: Sequence[str]) -> list[dict[str, object]]:
    base = rows[0]["kept_ms"][0]
    lines = [
        verdict("answers", not good.wrong, f"{good.wrong} wrong"),
        verdict("gateway", not incidents, f"{len(incidents)} incidents {incidents[:2]}"),
    ]
    for row in rows[1:]:
        ratio = row["kept_ms"][0] / base
        words = f"{len(row['let_in'])} let in {row['let_in'][:3]}, {len(row['errors'])} good requests without an answer"
        words += f" {row['errors'][:1]}, median {ratio:.2f} of that before, wanted at most {WANTED_RATIO:g}"
        met = not row["let_in"] and not row["errors"] and ratio <= WANTED_RATIO and row["refused"] > 0
        lines.append(verdict(row["attack"], met, words))
    return lines


if __name__ == "__main__":
    main()
