"""The access log of a gateway: HAProxy sends a line of JSON for each request; this process counts them.

On request it also writes them to a file. HAProxy never waits for this process: while it does not run, the latest lines
are kept. Counts and times are those since the start of this process.
"""

from __future__ import annotations

import json
import logging
import re
import socketserver
import threading
import time
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import accumulate
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final

from beampipe.fleet.gateway.traces import GatewaySpans

_SIZE: Final = 16 << 20
"""Size of a file [bytes] at which the next one begins."""
_EARLIER: Final = 4
"""Number of earlier files that are kept: ``access.jsonl.1`` is the last one."""

REASONS: Final = ("token", "rate", "client", "call", "network", "queue", "no server", "body")
"""Reasons of refusals: an unknown token, too many requests of it or of a client at once, a forbidden call or network, a
full queue, no server that answers, or a body that is too large or in another form."""

OUTCOMES: Final = ("answered", "refused", "left", "failed")
"""Ends of a request: a server's answer, a refusal, a client that left or was too slow, or a failure: no answer of a
server, or one that states a fault of server or model."""

_FAULTS: Final = ("2", "13", "14", "15")
"""Statuses of gRPC for a fault of server or model: UNKNOWN, INTERNAL, UNAVAILABLE, DATA_LOSS."""

_MODEL: Final = re.compile(r"\w[\w.-]*", re.ASCII)
"""Names of models that are counted by name; clients choose the names, so all others are "other"."""

RECENT: Final = 60.0
"""Time [s] over which percentiles are taken."""
_PART: Final = 5.0
"""Part of that time [s] by which the oldest times are dropped."""

BOUNDS: Final = tuple(float(f"{10 ** (number / 10):.2g}") for number in range(-3, 49))
"""Upper bounds of the bins of times [ms], from 0.5 ms to 63 s, ten per decade."""

PERCENTILES: Final = (0.5, 0.95, 0.99)

_Bins = Counter[tuple[str, int]]
"""Numbers of requests by server and bin."""


def _percentile(bins: list[int], share: float) -> float | None:
    """A percentile [ms] of binned times, linear within a bin, as Prometheus has it; None without requests."""
    sums = list(accumulate(bins))
    if not sums[-1]:
        return None
    wanted = share * sums[-1]
    number = bisect_left(sums, wanted)
    if number == len(BOUNDS):
        return BOUNDS[-1]
    below = BOUNDS[number - 1] if number else 0.0
    return below + (BOUNDS[number] - below) * (wanted - sums[number] + bins[number]) / bins[number]


def escaped_label(text: str) -> str:
    """A value of a label in Prometheus's text format."""
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


class Traffic:
    """Counts of requests by their end, and times of those to models that a server answered; thread-safe.

    Attributes:
        outcomes: number of requests by their end.
        refused: number of refused requests by reason.
        models: number of requests to models by outcome and model, ``answered`` without an error, or ``failed``. Triton
            counts what a Python model answers with an error as a success.
        served: number of requests that were answered without an error, by model and server's slot.
    """

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))
        self.refused: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
        self.models: dict[str, Counter[str]] = {"answered": Counter(), "failed": Counter()}
        self.served: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._bins: _Bins = Counter()
        self._sums: defaultdict[str, float] = defaultdict(float)  # of times [s], by server
        self._recent: deque[tuple[float, _Bins]] = deque()

    def add(self, line: Mapping[str, Any]) -> None:
        """Count a request.

        Args:
            line: its line of the access log.

        Raises:
            KeyError, ValueError: it is not such a line.
        """
        end, server, reason = str(line["end"])[0], str(line["server"]), str(line["refused"])
        milliseconds = float(line["time_us"]) / 1e3 if str(line["time_us"]).isdigit() else float(line["time_ms"])
        status, grpc_status = int(line["status"]), str(line["grpc_status"])
        model = str(line["model"]) if _MODEL.fullmatch(str(line["model"])) else "other"
        to_model = str(line["path"]).endswith(("/infer", "/ModelInfer"))
        with self._lock:
            if reason in REASONS:
                self.outcomes["refused"] += 1
                self.refused[reason] += 1
            elif end in "Cc":
                self.outcomes["left"] += 1
            elif end != "-" or status >= 500 or grpc_status in _FAULTS:
                self.outcomes["failed"] += 1
                if to_model:
                    self.models["failed"][model] += 1
            else:
                self.outcomes["answered"] += 1
                if to_model:
                    if status < 400 and grpc_status in ("-", "0"):  # then the model exists
                        self.models["answered"][model] += 1
                        self.served[model, server] += 1
                    place = (server, bisect_left(BOUNDS, milliseconds))
                    self._bins[place] += 1
                    self._sums[server] += milliseconds / 1e3
                    self._current(time.monotonic())[place] += 1

    def recent(self, server: str | None = None) -> dict[str, float | None]:
        """Rate and times of the requests to models that were answered in the last minute.

        Args:
            server: name of the server's slot; None for all servers together.

        Returns:
            ``per_s``, the rate [1/s], and ``p50_ms``, ``p95_ms``, ``p99_ms``, percentiles of the time [ms], exact to a
            quarter; None without requests.
        """
        bins, now = [0] * (len(BOUNDS) + 1), time.monotonic()
        with self._lock:
            self._current(now)
            seconds = max(now - self._recent[0][0], 1.0)
            for _, part in self._recent:
                for (name, number), count in part.items():
                    if server in (None, name):
                        bins[number] += count
        times = {f"p{100 * share:g}_ms": _percentile(bins, share) for share in PERCENTILES}
        return {"per_s": sum(bins) / seconds, **times}

    def metrics(self) -> Iterator[str]:
        """Lines in Prometheus's text format."""
        with self._lock:
            bins, sums = self._bins.copy(), self._sums.copy()
            outcomes, refused = self.outcomes.copy(), self.refused.copy()
            models = {outcome: numbers.copy() for outcome, numbers in self.models.items()}
        name = "beampipe_gateway_request_seconds"
        yield f"# HELP {name} Time of requests to models at the gateway, by the server that answered."
        yield f"# TYPE {name} histogram"
        for server, total in sums.items():
            counts = accumulate(bins[server, number] for number in range(len(BOUNDS) + 1))
            for bound, count in zip((*(f"{bound / 1e3:g}" for bound in BOUNDS), "+Inf"), counts, strict=True):
                yield f'{name}_bucket{{server="{server}",le="{bound}"}} {count}'
            yield f'{name}_sum{{server="{server}"}} {total:g}'
            yield f'{name}_count{{server="{server}"}} {count}'
        for label, about, counted in (("outcome", "requests", outcomes), ("reason", "refused", refused)):
            yield f"# HELP beampipe_gateway_{about}_total Number of {about} at the gateway, by {label}."
            yield f"# TYPE beampipe_gateway_{about}_total counter"
            for value, count in counted.items():
                yield f'beampipe_gateway_{about}_total{{{label}="{value}"}} {count}'
        name = "beampipe_gateway_model_requests_total"
        yield f"# HELP {name} Number of requests at the gateway that a model answered or failed."
        yield f"# TYPE {name} counter"
        for outcome, numbers in models.items():
            for model, count in numbers.items():
                yield f'{name}{{model="{model}",outcome="{outcome}"}} {count}'

    def _current(self, now: float) -> _Bins:
        """The bins of the present part of the last minute."""
        while self._recent and now - self._recent[0][0] > RECENT:
            self._recent.popleft()
        if not self._recent or now - self._recent[-1][0] > _PART:
            self._recent.append((now, Counter()))
        return self._recent[-1][1]


class AccessLog:
    """Receives the lines, counts them, and writes them to a file if that is wanted.

    Args:
        path: the socket.
        file: the file.
        fleet: name of the fleet.

    Attributes:
        traffic: counts of the requests.
        spans: spans of traced requests.
        writes: whether lines are written to the file.
    """

    def __init__(self, path: Path, file: Path, fleet: str = "fleet") -> None:
        self.traffic = Traffic()
        self.spans = GatewaySpans(fleet)
        self.writes = False
        self._path, self._file = path, file

    def start(self) -> None:
        """Start receiving.

        Raises:
            OSError: the socket cannot be made.
        """
        self._path.unlink(missing_ok=True)  # of a process that was killed
        self._handler = RotatingFileHandler(
            self._file, maxBytes=_SIZE, backupCount=_EARLIER, encoding="utf-8", delay=True
        )
        self._handler.handleError = lambda record: None  # type: ignore[method-assign]  # on a full disk, lines are lost
        receive = self._receive

        class Lines(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                for line in self.rfile:
                    receive(line.decode("utf-8", errors="replace").rstrip())

        self._server = _Server(str(self._path), Lines)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="fleet-access-log", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()
        self._handler.close()
        self._path.unlink(missing_ok=True)

    def _receive(self, text: str) -> None:
        if not text.startswith("{"):  # what HAProxy says about itself
            return
        with suppress(ValueError, KeyError):
            line = json.loads(text)
            if self.writes and "id" in line:  # without it, from a worker that was started when no file was wanted
                self._handler.handle(logging.makeLogRecord({"msg": text}))
            self.traffic.add(line)
            self.spans.add(line)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False
