"""When Kubernetes adds a server or takes one away: KEDA asks Prometheus by what factor a group should grow."""

from __future__ import annotations

import math
from typing import Any, Final
from urllib.parse import urlsplit

from beampipe.errors import ConfigError
from beampipe.fleet.kubernetes.labels import metadata, release
from beampipe.fleet.specification import Fleet, ScalingSettings, ServerGroup

__all__ = ["METRIC_THRESHOLD", "growth", "largest_step", "prometheus_address", "scaled_group", "scaled_object"]

METRIC_THRESHOLD: Final = 1
"""The factor at which nothing changes."""

_PART: Final = 8
"""One server in so many is added or taken away at once. Kubernetes ignores factors between 0.9 and 1.1: for a fleet of
20 servers one more is no change at all."""
_ROUNDED: Final = 0.1
"""A tenth of a server: Kubernetes rounds up what is a little more than a whole number of servers."""


def scaled_group(fleet: Fleet) -> ServerGroup | None:
    """The group that grows and shrinks, None if none does.

    Raises:
        ConfigError: one should, but where Prometheus is is not said.
    """
    if fleet.scaling is None:
        return None
    if fleet.kubernetes.prometheus is None:
        raise ConfigError(
            "kubernetes.prometheus: got none with [scaling], expected the address of the cluster's Prometheus, such as"
            ' "http://prometheus.monitoring:9090": Kubernetes scales by what it says'
        )
    return fleet.servers[fleet.scaling.group]


def prometheus_address(text: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address such as ``http://prometheus.monitoring:9090``.

    Raises:
        ConfigError: it is another address.
    """
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ConfigError(f"kubernetes.prometheus: got {text!r}, expected http://HOST:PORT or https://HOST:PORT")
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def growth(fleet: Fleet, group: ServerGroup, scaling: ScalingSettings) -> str:
    """The query to Prometheus: the factor by which the number of servers should change.

    With n servers and a step of s = ceil(n / 8): (n + s) / n where events wait longer than `ScalingSettings.queue`,
    else (n - s) / n where servers work less than `ScalingSettings.busy` of the time, else 1. Each a little less,
    since Kubernetes rounds up. Work is the time in models, per core of a server without GPU. A request to a chain of
    models counts once where the label `role` of `role_relabelings` is there.
    """
    of_group, window = f'release="{release(fleet, group)}"', f"[{max(30, math.ceil(scaling.patience))}s]"
    chosen, asked, steps = (f"{{{of_group}{role}}}" for role in ("", ', role=~"|first"', ', role!="chain"'))
    servers = f"count(count by (instance) (nv_inference_request_success{chosen}))"
    step = f"ceil({servers} / {_PART})"
    slots = group.cores if group.device == "cpu" else 1
    waiting = (
        f"sum(rate(nv_inference_queue_duration_us{steps}{window}))"
        f" / sum(rate(nv_inference_request_success{asked}{window}))"
    )
    working = f"sum(rate(nv_inference_compute_infer_duration_us{steps}{window})) / ({servers} * {1_000_000 * slots})"
    more = f"(({waiting}) > bool {1000 * scaling.queue:g})"
    fewer = f"((1 - {more}) * (({working}) < bool {scaling.busy:g}))"
    return f"1 + ({more} * ({step} - {_ROUNDED}) - {fewer} * ({step} + {_ROUNDED})) / {servers}"


def largest_step(group: ServerGroup) -> int:
    """Number of servers that are added or taken away at once where a group is at its largest: the step of `growth`."""
    return math.ceil(group.places / _PART)


def scaled_object(fleet: Fleet, group: ServerGroup, scaling: ScalingSettings) -> dict[str, Any]:
    """KEDA's ScaledObject for the Deployment of a group."""
    patience, step = math.ceil(scaling.patience), largest_step(group)
    scheme, host, port = prometheus_address(str(fleet.kubernetes.prometheus))
    behaviour = {
        "stabilizationWindowSeconds": patience,
        "policies": [{"type": "Pods", "value": step, "periodSeconds": patience}],
    }
    query = {"serverAddress": f"{scheme}://{host}:{port}", "query": growth(fleet, group, scaling)}
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata(fleet, release(fleet, group), "scaling"),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": release(fleet, group)},
            "pollingInterval": max(5, min(30, patience)),
            "minReplicaCount": scaling.least,
            "maxReplicaCount": group.places,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": {"scaleUp": behaviour, "scaleDown": behaviour}}},
            "triggers": [
                {
                    "type": "prometheus",
                    "metricType": "Value",
                    "metadata": {**query, "threshold": str(METRIC_THRESHOLD), "ignoreNullValues": "false"},
                }
            ],
        },
    }
