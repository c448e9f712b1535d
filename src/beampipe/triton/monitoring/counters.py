"""What a Triton says of itself on its metrics port, as numbers per model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from beampipe.errors import ServiceError, ServiceUnavailableError
from beampipe.triton.server import control

__all__ = ["Counters", "parse_metrics", "read_metrics"]

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
    """What one model has done since it was loaded, over all its instances and versions.

    Attributes:
        values: Triton's counters by name: ``answered`` and ``failed`` (requests), ``inferences`` (events) and
            ``executions`` (calls of the model), ``request_us``, ``queue_us`` and ``compute_us`` (sums over requests,
            in microseconds), and ``pending``, the number of requests that wait now.
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
        ServiceError: the text is something else.
    """
    from prometheus_client.parser import text_string_to_metric_families

    found: defaultdict[str, tuple[dict[str, float], dict[str, float], dict[str, float]]]
    found = defaultdict(lambda: (defaultdict(float), defaultdict(float), defaultdict(float)))
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                values, observed, stages = found[sample.labels.get("model", "")]
                name = sample.name.removesuffix("_total")  # the parser adds it to counters that lack it
                if name in _TRITON:
                    values[_TRITON[name]] += sample.value
                elif name == _STAGE:
                    stages[sample.labels.get("stage", "")] += sample.value
                elif name.startswith(_OURS):
                    observed[name.removeprefix(_OURS)] += sample.value
    except ValueError as error:
        raise ServiceError(f"metrics: got text that cannot be read ({error}), expected Triton's /metrics") from error
    found.pop("", None)  # what is said of no model
    return {model: Counters(*map(dict, sums)) for model, sums in sorted(found.items()) if sums[0] or sums[1]}


def read_metrics(url: str) -> dict[str, Counters]:
    """Ask a server for its counters.

    Args:
        url: address of the server's metrics, ``host:port``.

    Returns:
        The counters by name of the model.

    Raises:
        ServiceUnavailableError: nobody answers at that address.
        ServiceError: somebody else answers.
    """
    try:
        status, body = control.ask(url, "GET", "/metrics", timeout=5.0)
    except OSError as error:
        message = f"{url}: got no answer ({error}), expected the metrics port of a Triton"
        raise ServiceUnavailableError(message, url=url) from error
    if status != 200:
        raise ServiceError(f"{url}: got status {status} for /metrics, expected the metrics port of a Triton", url=url)
    return parse_metrics(body.decode(errors="replace"))
