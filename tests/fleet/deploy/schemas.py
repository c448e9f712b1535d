"""Small schemas of the resources of KEDA and of the Prometheus operator: only the fields that we write.

`test_operators.py` compares with the definitions that the operators publish, where these can be downloaded.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["SCHEMAS"]


def table(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """A table with these keys and no others."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


def array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1}


TEXT: Final = {"type": "string", "minLength": 1}
TEXTS: Final = {"type": "object", "additionalProperties": TEXT}
COUNT: Final = {"type": "integer", "minimum": 0}
DURATION: Final = {"type": "string", "pattern": r"^(\d+(ms|[smhdwy]))+$"}
METADATA: Final = table(
    {"name": {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"}, "namespace": TEXT, "labels": TEXTS}
)
SELECTED: Final = {"namespaceSelector": table({"matchNames": array(TEXT)}), "selector": table({"matchLabels": TEXTS})}
RELABELING: Final = table(
    {"action": {"enum": ["replace"]}, "targetLabel": TEXT},
    {"replacement": TEXT, "regex": TEXT, "sourceLabels": array(TEXT)},
)
ENDPOINT: Final = table(
    {"port": TEXT, "path": TEXT, "interval": DURATION},
    {"relabelings": array(RELABELING), "metricRelabelings": array(RELABELING)},
)
ALERT: Final = table(
    {"alert": {"type": "string", "pattern": "^[A-Za-z_]+$"}, "expr": TEXT},
    {"for": DURATION, "labels": TEXTS, "annotations": TEXTS},
)
PACE: Final = table(
    {
        "stabilizationWindowSeconds": {"type": "integer", "minimum": 0, "maximum": 3600},
        "policies": array(
            table(
                {
                    "type": {"enum": ["Pods", "Percent"]},
                    "value": {"type": "integer", "minimum": 1},
                    "periodSeconds": {"type": "integer", "minimum": 1, "maximum": 1800},
                }
            )
        ),
    }
)
TRIGGER: Final = table(
    {
        "type": {"const": "prometheus"},
        "metricType": {"enum": ["Value", "AverageValue"]},
        # KEDA takes texts only, also for numbers and truths.
        "metadata": table(
            {"serverAddress": TEXT, "query": TEXT, "threshold": {"type": "string", "pattern": r"^\d+(\.\d+)?$"}},
            {"ignoreNullValues": {"enum": ["true", "false"]}},
        ),
    }
)


def resource(version: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return table({"apiVersion": {"const": version}, "kind": {"const": kind}, "metadata": METADATA, "spec": spec})


MONITORING: Final = "monitoring.coreos.com/v1"
SCHEMAS: Final = {
    "ServiceMonitor": resource(MONITORING, "ServiceMonitor", table({**SELECTED, "endpoints": array(ENDPOINT)})),
    "PodMonitor": resource(MONITORING, "PodMonitor", table({**SELECTED, "podMetricsEndpoints": array(ENDPOINT)})),
    "PrometheusRule": resource(
        MONITORING, "PrometheusRule", table({"groups": array(table({"name": TEXT, "rules": array(ALERT)}))})
    ),
    "ScaledObject": resource(
        "keda.sh/v1alpha1",
        "ScaledObject",
        table(
            {
                "scaleTargetRef": table({"apiVersion": TEXT, "kind": TEXT, "name": TEXT}),
                "minReplicaCount": COUNT,
                "maxReplicaCount": {"type": "integer", "minimum": 1},
                "triggers": array(TRIGGER),
            },
            {
                "pollingInterval": COUNT,
                "advanced": table(
                    {"horizontalPodAutoscalerConfig": table({"behavior": table({"scaleUp": PACE, "scaleDown": PACE})})}
                ),
            },
        ),
    ),
}
"""Kind of a resource -> what it must be."""
