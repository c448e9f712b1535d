"""Requests that are in flight all the time, by clients as a user makes them: for `faults.py`."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from typing import Final

from numpy import ndarray
from served import direct_finder, events_at, wait_until

from beampipe.arrays import Int64
from beampipe.events import Hits, Tracks
from beampipe.serving.finders import TritonTrackFinder

__all__ = ["Pressure"]

SETTLE: Final = 90.0
"""Longest wait [s] for what is in flight: more than the patience of a client."""


class Pressure:
    """So many requests in flight, each followed by the next as soon as it is answered; a context manager.

    The clients have the settings that they have if nothing is said, but for the number of requests at once.

    Args:
        urls: addresses to ask, each by a client of its own.
        model: name of the model.
        events: events to ask for, in turn.
        labels: right labels of each event.
        in_flight: number of requests in flight, of all clients together.

    Attributes:
        answered: number of events that got the right labels.
        wrong: number of events that got other labels.
        errors: messages of the events without an answer.
        slowest: longest wait for an answer [s].
    """

    def __init__(
        self,
        urls: Sequence[str],
        model: str,
        events: Sequence[Hits],
        labels: Sequence[Int64[ndarray, " _"]],
        in_flight: int,
    ) -> None:
        self._urls, self._model, self._events, self._labels = urls, model, events, labels
        self._each = -(-in_flight // len(urls))
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._stack = ExitStack()
        self._newest: dict[int, float] = {}  # by place in flight: when the last answered request was asked
        self._in_flight = self._turn = 0
        self.answered = self.wrong = 0
        self.errors: list[str] = []
        self.slowest = 0.0

    def __enter__(self) -> Pressure:
        for number, url in enumerate(self._urls):
            finder = self._stack.enter_context(TritonTrackFinder(url, self._model, in_flight=self._each))
            for place in range(number * self._each, (number + 1) * self._each):
                self._newest[place] = 0.0
                self._in_flight += 1
                self._ask(finder, place)
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        wait_until(lambda: not self._in_flight, SETTLE, pause=0.05)
        if self._in_flight:
            self.errors.append(f"{self._in_flight} requests without any answer")
        self._stack.close()

    def again(self, moment: float) -> float:
        """Seconds from that moment until something that was asked after it was answered; infinity if nothing was."""
        wait_until(lambda: max(self._newest.values()) > moment, SETTLE)
        return time.perf_counter() - moment if max(self._newest.values()) > moment else float("inf")

    def settle(self, moment: float) -> None:
        """Wait until every place in flight has had an answer to something that was asked after that moment."""
        wait_until(lambda: min(self._newest.values()) > moment, SETTLE)

    def _ask(self, finder: TritonTrackFinder, place: int) -> None:
        with self._lock:
            row = self._turn = (self._turn + 1) % len(self._events)
        request = time.perf_counter()
        finder.submit(self._events[row]).add_done_callback(partial(self._answered, finder, place, row, request))

    def _answered(self, finder: TritonTrackFinder, place: int, row: int, asked: float, answer: Future[Tracks]) -> None:
        error = answer.exception()
        with self._lock:
            self.slowest = max(self.slowest, time.perf_counter() - asked)
            if error is not None:
                self.errors.append(f"{type(error).__name__}: {error}")
            elif answer.result().track_id.tobytes() == self._labels[row].tobytes():
                self.answered += 1
                self._newest[place] = max(self._newest[place], asked)
            else:
                self.wrong += 1
            if self._stop.is_set():
                self._in_flight -= 1
                return
        self._ask(finder, place)


def main() -> None:
    """A client until it is killed; its arguments are URL, model and number of requests in flight."""
    url, model, in_flight = sys.argv[1:]
    events = [hits for hits in events_at(0, 60) if len(hits) > 50]
    direct = direct_finder(model)
    labels = [direct.find(hits).track_id for hits in events]
    with Pressure([url], model, events, labels, int(in_flight)) as pressure:
        pressure.settle(time.perf_counter())
        print("under way", flush=True)
        signal.pause()
