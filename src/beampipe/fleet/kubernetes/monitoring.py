"""What Prometheus is told in a cluster that runs its operator: whom to look at, and when to call for somebody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from beampipe.fleet.kubernetes.gateway import GATEWAY
from beampipe.fleet.kubernetes.labels import gateway_name, labels, metadata, release, running_groups
from beampipe.fleet.specification import Fleet, ServerGroup
from beampipe.fleet.watching.roles import role_relabelings
from beampipe.fleet.watching.rules import interval_text

__all__ = ["gateway_monitor", "prometheus_rule", "server_monitor"]

_GROUP: Final = "monitoring.coreos.com/v1"


def server_monitor(fleet: Fleet, group: ServerGroup, selector: Mapping[str, str]) -> dict[str, Any]:
    """The ServiceMonitor of a group; its metrics get the labels of `beampipe fleet rules`, and that of scaling.

    Args:
        fleet: the specification.
        group: group of servers.
        selector: labels of its Service.
    """
    name = release(fleet, group)
    endpoint: dict[str, Any] = {
        "port": "metrics",
        "path": "/metrics",
        "interval": interval_text(fleet.monitoring.interval),
        "relabelings": [
            {"action": "replace", "targetLabel": "release", "replacement": name},
            {"action": "replace", "targetLabel": "group", "replacement": group.name},
            {"action": "replace", "targetLabel": "server", "sourceLabels": ["__meta_kubernetes_pod_name"]},
        ],
    }
    if roles := role_relabelings(fleet.repository):
        endpoint["metricRelabelings"] = [
            {
                "action": "replace",
                "sourceLabels": role["source_labels"],
                "regex": role["regex"],
                "targetLabel": role["target_label"],
                "replacement": role["replacement"],
            }
            for role in roles
        ]
    return _document("ServiceMonitor", metadata(fleet, name, "monitoring"), _watched(fleet, endpoint, selector))


def gateway_monitor(fleet: Fleet) -> dict[str, Any]:
    """The PodMonitor of the gateway: its Service does not show the status port."""
    endpoint = {"port": "status", "path": "/metrics", "interval": interval_text(fleet.monitoring.interval)}
    spec = {
        "namespaceSelector": {"matchNames": [fleet.kubernetes.namespace]},
        "selector": {"matchLabels": labels(fleet, gateway_name(fleet), GATEWAY)},
        "podMetricsEndpoints": [endpoint],
    }
    return _document("PodMonitor", metadata(fleet, gateway_name(fleet), "monitoring"), spec)


def prometheus_rule(fleet: Fleet) -> dict[str, Any]:
    """The PrometheusRule of the fleet, with two alerts: too few servers, and events that wait."""
    spec = {"groups": [{"name": fleet.name, "rules": _rules(fleet)}]}
    return _document("PrometheusRule", metadata(fleet, fleet.name, "monitoring"), spec)


def _rules(fleet: Fleet) -> list[dict[str, Any]]:
    names = "|".join(release(fleet, group) for group in running_groups(fleet))
    steps, asked = (f'{{release=~"{names}", {role}}}' for role in ('role!="chain"', 'role=~"|first"'))
    waiting = (
        f"sum(rate(nv_inference_queue_duration_us{steps}[2m])) / sum(rate(nv_inference_request_success{asked}[2m]))"
    )
    limit = fleet.scaling.queue if fleet.scaling else 100.0
    namespace = f'namespace="{fleet.kubernetes.namespace}"'
    deployments = f'{{{namespace},deployment=~"{names}"}}'
    return [
        {
            "alert": "FleetServersMissing",
            # Of kube-state-metrics; a server that is gone has no metrics of its own.
            "expr": " < ".join(
                f"kube_deployment_{count}{deployments}" for count in ("status_replicas_available", "spec_replicas")
            ),
            "for": "5m",
            "labels": {"severity": "warning"},
            "annotations": {
                "summary": "{{ $labels.deployment }} has {{ $value }} servers that answer, fewer than asked"
            },
        },
        {
            "alert": "FleetEventsWait",
            "expr": f"{waiting} > {2000 * limit:g}",
            "for": "5m",
            "labels": {"severity": "warning"},
            "annotations": {"summary": "events wait {{ $value }} us for a server; add servers"},
        },
    ]


def _watched(fleet: Fleet, endpoint: dict[str, Any], selector: Mapping[str, str]) -> dict[str, Any]:
    return {
        "namespaceSelector": {"matchNames": [fleet.kubernetes.namespace]},
        "selector": {"matchLabels": dict(selector)},
        "endpoints": [endpoint],
    }


def _document(kind: str, described: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": _GROUP, "kind": kind, "metadata": described, "spec": spec}
