"""What a model does per second, from two looks at its counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from beampipe.triton.monitoring.counters import Counters

__all__ = ["Rates", "rates_between"]


@dataclass(frozen=True)
class Rates:
    """What one model does.

    Attributes:
        requests: requests answered per second.
        failures: requests failed per second.
        inferences: events answered per second; a batch holds several.
        batch: mean number of events in one call of the model; None if there was no call.
        latency: mean time of a request in the server [ms]; None if no request was answered.
        queue: mean time that a request waited in the server [ms]; None if no request was answered.
        compute: mean time of a request in the model [ms]; None if no request was answered.
        pending: number of requests that wait now.
        per_event: mean amount in an event of each counter of the model's own; empty if no event was answered.
        stages: mean time of an event in each stage of the model [ms]; empty if no event was answered.
    """

    requests: float
    failures: float
    inferences: float
    batch: float | None
    latency: float | None
    queue: float | None
    compute: float | None
    pending: int
    per_event: Mapping[str, float]
    stages: Mapping[str, float]


def rates_between(before: Counters | None, after: Counters, seconds: float) -> Rates:
    """What was done between two looks.

    Args:
        before: counters at the earlier look; None if all were zero.
        after: counters at the later look.
        seconds: time between the looks [s].
    """
    earlier = before or Counters({}, {}, {})

    def gained(name: str) -> float:
        return _gained(earlier.values, after.values, name)

    def per(total: str, count: str, unit: float = 1.0) -> float | None:
        return gained(total) / gained(count) * unit if gained(count) else None

    events = _gained(earlier.observed, after.observed, "events")
    observed = {name: _gained(earlier.observed, after.observed, name) for name in after.observed if name != "events"}
    stages = {name: _gained(earlier.stages, after.stages, name) for name in after.stages}
    return Rates(
        requests=gained("answered") / seconds,
        failures=gained("failed") / seconds,
        inferences=gained("inferences") / seconds,
        batch=per("inferences", "executions"),
        latency=per("request_us", "answered", 1e-3),
        queue=per("queue_us", "answered", 1e-3),
        compute=per("compute_us", "answered", 1e-3),
        pending=int(after.values.get("pending", 0)),
        per_event={name: amount / events for name, amount in observed.items()} if events else {},
        stages={name: amount / events * 1e3 for name, amount in stages.items()} if events else {},
    )


def _gained(before: Mapping[str, float], after: Mapping[str, float], name: str) -> float:
    """Growth of a counter; one that has shrunk was started again from zero."""
    old, new = before.get(name, 0.0), after.get(name, 0.0)
    return new - old if new >= old else new
