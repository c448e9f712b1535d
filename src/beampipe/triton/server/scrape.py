"""What a Triton says of itself on its metrics port, as numbers per model, and rates between two looks at it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from beampipe.errors import BeampipeError, MissingExtraError
from beampipe.triton.server import control

__all__ = ["Counters", "Rates", "counters", "rates", "read_metrics"]

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
    "beampipe_events": "events",
    "beampipe_hits": "hits",
    "beampipe_edges": "edges",
    "beampipe_tracks": "tracks",
}
_STAGE: Final = "beampipe_stage_seconds"


@dataclass(frozen=True)
class Counters:
    """What one model has done since it was loaded, over all its instances and versions.

    Attributes:
        values: by name: answered, failed, inferences, executions; request_us, queue_us, compute_us (sums over
            requests); events, hits, edges, tracks. And pending: how many requests wait now.
        stages: seconds spent in each step of the pipeline.
    """

    values: Mapping[str, float]
    stages: Mapping[str, float]


@dataclass(frozen=True)
class Rates:
    """What one model does.

    Attributes:
        requests: answered per second.
        failures: per second.
        inferences: events per second.
        batch: mean number of events in one execution; None if there was none, as in all that follow.
        latency: mean time of a request in the server [ms].
        queue: of it, waiting [ms].
        compute: of it, in the model [ms].
        pending: requests that wait now.
        hits: mean number in an event.
        tracks: mean number in an event.
        stages: mean time of an event in each step of the pipeline [ms].
    """

    requests: float
    failures: float
    inferences: float
    batch: float | None
    latency: float | None
    queue: float | None
    compute: float | None
    pending: int
    hits: float | None
    tracks: float | None
    stages: Mapping[str, float]


def counters(text: str) -> dict[str, Counters]:
    """Read the Prometheus text of a Triton.

    Raises:
        MissingExtraError: there is no `prometheus_client`.
        BeampipeError: the text is something else.
    """
    try:
        from prometheus_client.parser import text_string_to_metric_families
    except ImportError as error:
        raise MissingExtraError("prometheus_client", "serving", "reading metrics") from error
    values: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    stages: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                model = sample.labels.get("model", "")
                name = sample.name.removesuffix("_total")  # the parser adds it to counters that lack it
                if model and name in _TRITON:
                    values[model][_TRITON[name]] += sample.value
                elif model and name == _STAGE:
                    stages[model][sample.labels.get("stage", "")] += sample.value
    except ValueError as error:
        raise BeampipeError(f"metrics: got text that cannot be read ({error}), expected Triton's /metrics") from error
    return {model: Counters(dict(values[model]), dict(stages[model])) for model in sorted(values)}


def read_metrics(url: str) -> dict[str, Counters]:
    """Ask a server for its counters.

    Args:
        url: ``host:port`` of its metrics.

    Raises:
        BeampipeError: nobody answers there, or somebody else.
    """
    try:
        status, body = control.ask(url, "GET", "/metrics", timeout=5.0)
    except OSError as error:
        raise BeampipeError(f"{url}: got no answer ({error}), expected the metrics port of a Triton") from error
    if status != 200:
        raise BeampipeError(f"{url}: got status {status} for /metrics, expected the metrics port of a Triton")
    return counters(body.decode(errors="replace"))


def rates(before: Counters | None, after: Counters, seconds: float) -> Rates:
    """What was done between two looks.

    Args:
        before: the earlier one; None: from zero on.
        after: the later one.
        seconds: between them.
    """

    def gained(name: str) -> float:
        return _gained(before.values if before else {}, after.values, name)

    def per(total: str, count: str, unit: float = 1.0) -> float | None:
        return gained(total) / gained(count) * unit if gained(count) else None

    events = gained("events")
    earlier = before.stages if before else {}
    return Rates(
        requests=gained("answered") / seconds,
        failures=gained("failed") / seconds,
        inferences=gained("inferences") / seconds,
        batch=per("inferences", "executions"),
        latency=per("request_us", "answered", 1e-3),
        queue=per("queue_us", "answered", 1e-3),
        compute=per("compute_us", "answered", 1e-3),
        pending=int(after.values.get("pending", 0)),
        hits=per("hits", "events"),
        tracks=per("tracks", "events"),
        stages={name: _gained(earlier, after.stages, name) / events * 1e3 for name in after.stages} if events else {},
    )


def _gained(before: Mapping[str, float], after: Mapping[str, float], name: str) -> float:
    """Growth of a counter; one that has shrunk was started again from zero."""
    old, new = before.get(name, 0.0), after.get(name, 0.0)
    return new - old if new >= old else new
