"""Least outstanding hits, least connections and round robin on events whose sizes have a heavy tail.

    python benchmarks/fleet/balancing.py [--seconds 12] [--rounds 4] [--load 0.65]

Four servers behind the gateway. Their model *sleeps* in proportion to the size of its input, as tracking takes time in
proportion to hits, but takes no processor: two cores carry four servers, and what is compared is the rule alone. Sizes
are drawn from a log-normal law (median 400, the largest cut at 16 000: a tail as that of real pile-up with jets). They
arrive at random (Poisson), whether or not earlier ones have been answered. Each rule gets the same sizes at the same
times; rules take turns, by a reload of the gateway. Latency counts from the moment at which an event was due.

*Load*: share of the time in which servers work, if the work is spread evenly. Every answer is compared with what is
right. Before each round with least hits large requests are cancelled while they wait: were they left in the sums, the
round would show it.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

import grpc
import numpy as np
from fleets import (
    CONSOLE,
    Figure,
    Reference,
    Running,
    begin,
    milliseconds,
    options_of,
    running,
    toy_request,
    until,
    write_result,
    write_toy,
)

from beampipe.fleet.gateway.plan import INFER
from beampipe.triton import ModelClient
from beampipe.triton.client.codec import SIZE_HEADER

RULES: Final = ("round_robin", "least_connections", "least_hits")
SERVERS: Final = 4
CLIENTS: Final = 8
START: Final = 0.002
"""Time [s] that each event takes."""
EACH: Final = 4e-5
"""Time [s] that each hit takes."""
MEDIAN: Final = 400.0
SPREAD: Final = 1.2
LARGEST: Final = 16_000


def main() -> None:
    parser = options_of("balancing", __doc__)
    parser.add_argument("--seconds", type=float, default=12.0, help="length of a round of one rule")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--load", type=float, default=0.65)
    options = parser.parse_args()
    begun = begin("balancing", ("numpy",))
    generator = np.random.default_rng(options.seed)
    taken: dict[str, list[np.ndarray]] = {rule: [] for rule in RULES}
    errors: list[str] = []
    with running(
        partial(write_toy, start=START, each=EACH),
        count=SERVERS,
        gateway=f'balancing = "{RULES[0]}"\nqueue = 1000',
    ) as fleet:
        now = RULES[0]
        for number in range(options.rounds):
            sizes, due = arrivals(generator, options.seconds, options.load)
            order = [RULES[(number + step) % len(RULES)] for step in range(len(RULES))]
            for rule in order:
                if rule != now:
                    fleet.change(f'"{now}"', f'"{rule}"')
                    time.sleep(1.0)  # the old workers go on until they have answered
                    now = rule
                if rule == "least_hits":
                    cancel_many(fleet)
                times, error = asked(fleet, sizes, due)
                taken[rule].append(times)
                errors += error
    for error in sorted(set(errors))[:5]:
        CONSOLE.print(error, style="red", markup=False)
    p99 = {rule: milliseconds(np.concatenate(taken[rule]), 99)[0] for rule in RULES}
    base = p99.pop(RULES[0])
    figures = [Figure("wrong or missing answers", len(errors), "", "equal")]
    for rule, value in p99.items():
        ratios = [
            milliseconds(a, 99)[0] / milliseconds(b, 99)[0] for a, b in zip(taken[rule], taken[RULES[0]], strict=True)
        ]
        figures.append(Figure(f"{rule}: p99", value, "ms", "lower", Reference(RULES[0], base)))
        spread = (max(ratios) - min(ratios)) / 2
        figures.append(Figure(f"{rule}: p99 over round robin", value / base, spread=spread))
    write_result(options.output, begun, figures)
    raise SystemExit(1 if errors else 0)


def arrivals(generator: np.random.Generator, seconds: float, load: float) -> tuple[np.ndarray, np.ndarray]:
    """Sizes, and the times [s] at which they are due."""
    law = generator.lognormal(np.log(MEDIAN), SPREAD, 100_000)
    rate = load * SERVERS / float(np.mean(START + EACH * np.minimum(law, LARGEST)))
    due = np.cumsum(generator.exponential(1 / rate, int(rate * seconds)))
    sizes = generator.lognormal(np.log(MEDIAN), SPREAD, len(due))
    return np.clip(sizes, 2, LARGEST).astype(int), due


def asked(fleet: Running, sizes: np.ndarray, due: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Latencies [s] of events that are asked for when they are due, and what went wrong."""
    times = np.full(len(sizes), np.nan)
    errors: list[str] = []
    open_ = threading.Semaphore(0)
    with ExitStack() as stack:
        clients = [
            stack.enter_context(
                ModelClient(fleet.url("grpc"), "toy", protocol="grpc", retries=0, timeout=60.0, in_flight=256)
            )
            for _ in range(CLIENTS)
        ]
        for client in clients:  # connected, and right
            assert list(client.infer({"X": np.array([3], np.float32)})["Y"]) == [6]
        start = time.perf_counter() + 0.2

        def answered(row: int, event: np.ndarray, future: Future[Any]) -> None:
            times[row] = time.perf_counter() - start - due[row]
            if (error := future.exception()) is not None:
                errors.append(f"{type(error).__name__}: {error}")
            elif not np.array_equal(future.result()["Y"], 2 * event):
                errors.append("wrong answer")
            open_.release()

        for row, (size, moment) in enumerate(zip(sizes, due, strict=True)):
            time.sleep(max(0.0, start + moment - time.perf_counter()))
            event = np.full(size, row, np.float32)
            clients[row % CLIENTS].submit({"X": event}).add_done_callback(partial(answered, row, event))
        for _ in sizes:
            open_.acquire()
    return times, errors


def cancel_many(fleet: Running, number: int = 10) -> None:
    """Ask for large events and give up: of none of them must anything be left in the sums."""
    request = toy_request(np.zeros(LARGEST, np.float32))
    with grpc.insecure_channel(f"127.0.0.1:{fleet.port}") as channel:
        call = channel.unary_unary(INFER)
        metadata = ((SIZE_HEADER, str(LARGEST)),)
        futures = [call.future(request, timeout=60, metadata=metadata) for _ in range(number)]
        time.sleep(0.3)
        for future in futures:
            future.cancel()
    until(lambda: all(row["running"] == row["waiting"] == 0 for row in fleet.status()["servers"]))
    time.sleep(3 * (START + EACH * LARGEST))  # what servers had begun


if __name__ == "__main__":
    main()
