"""A fleet that is asked for three times what it can do: what is refused and how, what is served, and memory.

    python benchmarks/fleet/overload.py [--minutes 1] [--times-capacity 3]

Two servers behind the gateway, whose model *sleeps* for 20 ms for each event and takes no processor: what is measured
is the gateway's queue, not two cores. Its room is small (4 at each server, 16 that wait), so that it is full within
seconds. First as many as fit ask all the time: capacity. Then events arrive at random (Poisson), whether or not
earlier ones have been answered: at capacity, and at three times that. Over gRPC, with two more clients over HTTP that
ask again and again. No client repeats. Each answer is compared with what is right, each refusal must be
8/RESOURCE_EXHAUSTED or 429.

*Served latency within 2x*: its 95th percentile at three times capacity over that at capacity. Memory: resident, of
HAProxy and of the Tritons, in the last fifth of the time over that in the second fifth.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

import grpc
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
    toy_request,
    until,
    verdict,
    write_toy,
)
from tritonclient.grpc import service_pb2

from beampipe import processes
from beampipe.fleet.gateway.plan import INFER
from beampipe.terminal import make_table

SLEEP: Final = 0.02
IN_FLIGHT: Final = 4
QUEUE: Final = 16
SERVERS: Final = 2
CHANNELS: Final = 4
REFUSED: Final = ("RESOURCE_EXHAUSTED", "429")
IMMEDIATE_MS: Final = 20.0
"""Largest 95th percentile [ms] of the time until a refusal: that of serving one event."""
WANTED_RATIO: Final = 2.0
FLAT: Final = 1.05


@dataclass
class Outcome:
    """What became of the requests of one stage.

    Attributes:
        served: latencies [s] of right answers.
        refused: times [s] until a typed refusal.
        others: everything else, by what it was.
        wrong: number of wrong answers.
        seconds: length of the stage.
        memory: samples of resident memory [bytes], of HAProxy and of the Tritons.
    """

    served: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    seconds: float = 0.0
    memory: list[tuple[int, int]] = field(default_factory=list)


def main() -> None:
    parser = options_of("overload", __doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="length of the overload")
    parser.add_argument("--times-capacity", type=float, default=3.0)
    options = parser.parse_args()
    begun = print_header("overload", options)
    generator = np.random.default_rng(options.seed)
    room = f"in_flight = {IN_FLIGHT}\nqueue = {QUEUE}"
    with running(partial(write_toy, start=SLEEP), count=SERVERS, gateway=room) as fleet:
        full = saturated(fleet, SERVERS * IN_FLIGHT + QUEUE // 2, 6.0)
        rate = len(full.served) / full.seconds
        stages = {"saturated": (full, rate)}
        for name, factor, seconds in (
            ("at capacity", 1.0, 20.0),
            ("overload", options.times_capacity, 60.0 * options.minutes),
        ):
            stages[name] = offered(fleet, factor * rate, seconds, generator), factor * rate
    rows = [row_of(name, *stage) for name, stage in stages.items()]
    CONSOLE.print(table_of(rows))
    summary = summary_of(rows)
    report(options, begun, {"rows": rows, "capacity_per_s": rate, "summary": summary})
    raise SystemExit(0 if all(line["met"] for line in summary) else 1)


class Sender:
    """Sends events over gRPC without waiting for answers, and notes what becomes of them."""

    def __init__(self, fleet: Running, outcome: Outcome) -> None:
        options = (("grpc.use_local_subchannel_pool", 1),)
        target = f"127.0.0.1:{fleet.port}"
        self._channels = [grpc.insecure_channel(target, options) for _ in range(CHANNELS)]
        self._calls = [channel.unary_unary(INFER) for channel in self._channels]
        self._outcome, self._lock, self._number = outcome, threading.Lock(), 0
        self.ended = threading.Semaphore(0)

    def send(self, due: float) -> None:
        """Ask for one event, whose latency counts from `due`."""
        self._number += 1
        event = np.array([self._number % 1000, 1, 2, 3], np.float32)
        call = self._calls[self._number % CHANNELS].future(toy_request(event), timeout=60)
        call.add_done_callback(partial(self._done, due, (2 * event).tobytes()))

    def _done(self, due: float, right: bytes, call: Any) -> None:
        taken, code = time.perf_counter() - due, call.code().name
        with self._lock:
            if code == "OK":
                answer = service_pb2.ModelInferResponse.FromString(call.result())
                self._outcome.wrong += answer.raw_output_contents[0] != right
                self._outcome.served.append(taken)
            elif code == REFUSED[0] and "waiting requests" in call.details():
                self._outcome.refused.append(taken)
            else:
                self._outcome.others[f"{code}: {call.details()}"] += 1
        self.ended.release()

    def close(self) -> None:
        for channel in self._channels:
            channel.close()


def saturated(fleet: Running, callers: int, seconds: float) -> Outcome:
    """As many as fit, each of whom asks again as soon as it has an answer."""
    outcome = Outcome()
    sender = Sender(fleet, outcome)
    begin = time.perf_counter()
    for _ in range(callers):
        sender.send(time.perf_counter())
    while time.perf_counter() - begin < seconds:
        sender.ended.acquire()
        sender.send(time.perf_counter())
    outcome.seconds = time.perf_counter() - begin
    for _ in range(callers):
        sender.ended.acquire()
    del outcome.served[-callers:]  # answered after the end
    sender.close()
    return outcome


def offered(fleet: Running, rate: float, seconds: float, generator: np.random.Generator) -> Outcome:
    """Events at random times, at that rate [1/s], whatever becomes of them."""
    outcome = Outcome()
    sender = Sender(fleet, outcome)
    due = np.cumsum(generator.exponential(1 / rate, int(rate * seconds)))
    with asking_by_http(fleet, outcome), sampled(fleet, outcome):
        begin = time.perf_counter()
        for moment in due:
            time.sleep(max(0.0, begin + moment - time.perf_counter()))
            sender.send(begin + moment)
        outcome.seconds = time.perf_counter() - begin
    for _ in due:
        sender.ended.acquire()
    sender.close()
    until(lambda: all(row["running"] == row["waiting"] == 0 for row in fleet.status()["servers"]))
    return outcome


@contextmanager
def asking_by_http(fleet: Running, outcome: Outcome, clients: int = 2) -> Iterator[None]:
    """Clients over HTTP; they pause after a refusal."""
    ended = threading.Event()
    body = json.dumps({"inputs": [{"name": "X", "datatype": "FP32", "shape": [3], "data": [1, 2, 3]}]})

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", fleet.port, timeout=60)
        while not ended.is_set():
            begin = time.perf_counter()
            connection.request("POST", "/v2/models/toy/infer", body)
            answer = connection.getresponse()
            output, taken = answer.read(), time.perf_counter() - begin
            if answer.status == 200:
                outcome.wrong += json.loads(output)["outputs"][0]["data"] != [2, 4, 6]
                outcome.served.append(taken)
            elif str(answer.status) == REFUSED[1] and b"waiting requests" in output:
                outcome.refused.append(taken)
            else:
                outcome.others[f"{answer.status}: {output[:80]!r}"] += 1
            ended.wait(0.05)
        connection.close()

    with at_work(ended, *[ask] * clients):
        yield


@contextmanager
def sampled(fleet: Running, outcome: Outcome) -> Iterator[None]:
    """Memory of the gateway and of the servers, once a second."""
    ended = threading.Event()
    gateway = fleet.status()["gateway"]["pid"]
    groups = [[gateway, *processes.children(gateway)], fleet.tritons()]

    def look() -> None:
        while not ended.wait(1.0):
            gate, tritons = (sum(processes.resident_memory(pid) or 0 for pid in group) for group in groups)
            outcome.memory.append((gate, tritons))

    with at_work(ended, look):
        yield


def row_of(name: str, outcome: Outcome, rate: float) -> dict[str, Any]:
    memory = np.array(outcome.memory or [(0, 0)], float)
    fifth = max(1, len(memory) // 5)
    early, late = (
        np.median(part, axis=0) for part in (memory[fifth : 2 * fifth] if fifth > 1 else memory[:1], memory[-fifth:])
    )
    served, refused = milliseconds(outcome.served, 50, 95, 99), milliseconds(outcome.refused, 50, 95, 99)
    return {
        "stage": name,
        "offered_per_s": rate,
        "served": len(outcome.served),
        "served_per_s": len(outcome.served) / outcome.seconds,
        "refused": len(outcome.refused),
        "others": dict(outcome.others),
        "wrong": outcome.wrong,
        "served_ms": served,
        "refused_ms": refused,
        "memory_mb": {"early": (early / 1e6).tolist(), "late": (late / 1e6).tolist()},
        "growth": (late / np.maximum(early, 1)).tolist(),
    }


def table_of(rows: Sequence[dict[str, Any]]) -> Any:
    columns = ("offered [1/s]", "served [1/s]", "refused", "others", "wrong", "served p50, p95, p99 [ms]")
    columns += ("refused p50, p95, p99 [ms]", "HAProxy, Tritons [MB]", "later over earlier")
    table = make_table("offered and served", ("stage",), columns)
    for row in rows:
        counts = (str(row["refused"]), str(sum(row["others"].values())), str(row["wrong"]))
        served, refused = (", ".join(f"{value:.1f}" for value in row[key]) for key in ("served_ms", "refused_ms"))
        memory = ", ".join(f"{value:.0f}" for value in row["memory_mb"]["late"])
        growth = ", ".join(f"{value:.3f}" for value in row["growth"])
        rates = (f"{row['offered_per_s']:.0f}", f"{row['served_per_s']:.0f}")
        table.add_row(row["stage"], *rates, *counts, served, refused, memory, growth)
    return table


def summary_of(rows: Sequence[dict[str, Any]]) -> list[dict[str, object]]:
    _, capacity, overload = rows
    wrong = sum(row["wrong"] for row in rows)
    others = sum(sum(row["others"].values()) for row in rows)
    ratio = overload["served_ms"][1] / capacity["served_ms"][1]
    median = overload["served_ms"][0] / capacity["served_ms"][0]
    growth = max(overload["growth"])
    return [
        verdict("answers", not wrong, f"{wrong} wrong"),
        verdict("refusals", not others and overload["refused"] > 0, f"{others} that are not typed"),
        verdict(
            "refusals",
            overload["refused_ms"][1] <= IMMEDIATE_MS,
            f"p95 after {overload['refused_ms'][1]:.1f} ms, wanted at most {IMMEDIATE_MS:g} ms",
        ),
        verdict(
            "served latency",
            ratio <= WANTED_RATIO,
            f"p95 {ratio:.2f} of that at capacity (median {median:.2f}), wanted at most {WANTED_RATIO:g}",
        ),
        verdict("memory", growth <= FLAT, f"{growth:.3f} of what it was, wanted at most {FLAT:g}"),
    ]


if __name__ == "__main__":
    main()
