"""Counters of running servers, and rates computed from them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from beampipe.errors import BeampipeError, ServiceError, ServiceUnavailableError
from beampipe.triton.server import management

_TRITON: Final = {
    "nv_inference_request_success": "answered",
    "nv_inference_request_failure": "failed",
    "nv_inference_count": "inferences",
    "nv_inference_exec_count": "executions",
    "nv_inference_request_duration_us": "request_us",
    "nv_inference_queue_duration_us": "queue_us",
    "nv_inference_compute_input_duration_us": "compute_us",
    "nv_inference_compute_infer_duration_us": "compute_us",
    "nv_inference_compute_output_duration_us": "compute_us",
    "nv_inference_pending_request_count": "pending",
}

_OURS: Final = "beampipe_"

_STAGE: Final = "beampipe_stage_seconds"


@dataclass(frozen=True)
class Counters:
    """Counters of one model since it was loaded, over all its instances and versions.

    Attributes:
        values: Triton's counters by name: ``answered`` and ``failed`` (requests), ``inferences`` (events) and
            ``executions`` (calls of the model), ``request_us``, ``queue_us`` and ``compute_us`` (sums over requests,
            in microseconds), and ``pending``, the number of waiting requests.
        observed: the model's own counters by name, such as ``events``.
        stages: time [s] spent in each stage of the model, by name.
    """

    values: Mapping[str, float]
    observed: Mapping[str, float]
    stages: Mapping[str, float]


def parse_metrics(text: str) -> dict[str, Counters]:
    """Read the Prometheus text of a Triton.

    Returns:
        The counters by name of the model.

    Raises:
        MissingExtraError: the package `prometheus_client` is not installed.
        ServiceError: the text has another format.
    """
    from prometheus_client.parser import text_string_to_metric_families

    sums_of: defaultdict[str, tuple[dict[str, float], dict[str, float], dict[str, float]]]
    sums_of = defaultdict(lambda: (defaultdict(float), defaultdict(float), defaultdict(float)))
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                values, observed, stages = sums_of[sample.labels.get("model", "")]
                name = sample.name.removesuffix("_total")  # the parser adds it to counters that lack it
                if name in _TRITON:
                    values[_TRITON[name]] += sample.value
                elif name == _STAGE:
                    stages[sample.labels.get("stage", "")] += sample.value
                elif name.startswith(_OURS):
                    observed[name.removeprefix(_OURS)] += sample.value
    except ValueError as error:
        raise ServiceError(f"metrics: got text that cannot be read ({error}), expected Triton's /metrics") from error
    sums_of.pop("", None)  # metrics of no model
    return {model: Counters(*map(dict, sums)) for model, sums in sorted(sums_of.items()) if sums[0] or sums[1]}


def read_metrics(url: str) -> dict[str, Counters]:
    """Read the counters of a server.

    Args:
        url: address of the server's metrics, ``host:port``.

    Returns:
        The counters by name of the model.

    Raises:
        ServiceUnavailableError: no answer at that address.
        ServiceError: another service answers.
    """
    try:
        status, body = management.request(url, "GET", "/metrics", timeout=5.0)
    except OSError as error:
        message = f"{url}: got no answer ({error}), expected the metrics port of a Triton"
        raise ServiceUnavailableError(message, url=url) from error
    if status != 200:
        raise ServiceError(f"{url}: got status {status} for /metrics, expected the metrics port of a Triton", url=url)
    return parse_metrics(body.decode(errors="replace"))


@dataclass(frozen=True)
class Rates:
    """Rates of one model between two readings.

    Attributes:
        requests: requests answered per second.
        failures: requests failed per second.
        batch: mean number of events in one call of the model; None if there was no call.
        latency: mean time of a request in the server [ms]; None if no request was answered.
        queue: mean time that a request waited in the server [ms]; None if no request was answered.
        compute: mean time of a request in the model [ms]; None if no request was answered.
        pending: number of waiting requests.
        stages: mean time of an event in each stage of the model [ms]; empty if no event was answered.
    """

    requests: float
    failures: float
    batch: float | None
    latency: float | None
    queue: float | None
    compute: float | None
    pending: int
    stages: Mapping[str, float]


def rates_between(before: Counters | None, after: Counters, seconds: float) -> Rates:
    """The rates between two readings of counters.

    Args:
        before: earlier counters; None if all were zero.
        after: later counters.
        seconds: time between the readings [s].
    """
    earlier = before or Counters({}, {}, {})
    values = defaultdict(float, _growth(earlier.values, after.values))
    stages = _growth(earlier.stages, after.stages)
    events = _growth(earlier.observed, after.observed).get("events", 0.0)

    def per(total: str, count: str, unit: float = 1.0) -> float | None:
        return values[total] / values[count] * unit if values[count] else None

    return Rates(
        requests=values["answered"] / seconds,
        failures=values["failed"] / seconds,
        batch=per("inferences", "executions"),
        latency=per("request_us", "answered", 1e-3),
        queue=per("queue_us", "answered", 1e-3),
        compute=per("compute_us", "answered", 1e-3),
        pending=int(after.values.get("pending", 0)),
        stages={name: amount / events * 1e3 for name, amount in stages.items()} if events else {},
    )


def _growth(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Growth of counters; one that has shrunk was restarted from zero."""
    earlier = defaultdict(float, before)
    return {name: new - earlier[name] if new >= earlier[name] else new for name, new in after.items()}


class ServerWatch:
    """Rates of one server, from one reading of its metrics to the next.

    Args:
        url: address of the server's metrics, ``host:port``.

    Attributes:
        counters: counters at the last successful reading, by model.
        rates: rates between the last two readings, by model; empty unless both succeeded.
        error: why the last reading failed; None if it succeeded.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.counters: Mapping[str, Counters] = {}
        self.rates: Mapping[str, Rates] = {}
        self.error: str | None = None
        self._time = 0.0

    def read(self) -> None:
        """Read the metrics once; a failure is kept in `error`."""
        try:
            after = read_metrics(self.url)
        except BeampipeError as error:
            self.error, self.rates = str(error), {}
            return
        now = time.monotonic()
        if self._time:
            seconds = max(now - self._time, 1e-3)
            self.rates = {
                model: rates_between(self.counters.get(model), count, seconds) for model, count in after.items()
            }
        self.error, self.counters, self._time = None, after, now


def status_line(watch: ServerWatch) -> str:
    """The rates of all busy models of a server in one line."""
    if watch.error is not None:
        return "no answer from the server"
    busy = {name: rates for name, rates in watch.rates.items() if rates.requests or rates.failures or rates.pending}
    total = sum(rates.requests for rates in busy.values())
    parts = [f"{total:.1f} requests/s"]
    for name, rates in busy.items():
        latency = "" if rates.latency is None else f" {rates.latency:.1f} ms (queue {rates.queue:.1f})"
        batch = f" batch {rates.batch:.1f}" if rates.batch is not None and rates.batch > 1.05 else ""
        errors = f" {rates.failures:.1f} failures/s" if rates.failures else ""
        pending = f" {rates.pending} pending" if rates.pending else ""
        parts.append(f"{name} {rates.requests:.1f}/s{latency}{batch}{pending}{errors}")
    failed = sum(count.values.get("failed", 0.0) for count in watch.counters.values())
    answered = sum(count.values.get("answered", 0.0) for count in watch.counters.values())
    return " | ".join([*parts, f"{answered:.0f} answered, {failed:.0f} failed so far"])
