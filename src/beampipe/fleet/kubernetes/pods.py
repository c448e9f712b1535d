"""What all our pods have in common: no root, no privilege, a root that cannot be written to."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["CONTAINER_SECURITY", "GPU_TOLERATIONS", "pod_security", "probe", "spread"]

CONTAINER_SECURITY: Final[dict[str, Any]] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
"""What a container may not do."""

GPU_TOLERATIONS: Final = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
"""What lets a pod onto nodes with GPUs, which are kept free of all others."""


def pod_security(user: int) -> dict[str, Any]:
    """As whom a pod runs.

    Args:
        user: number of the user and the group, not 0.
    """
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def probe(action: dict[str, Any], period: int, failures: int, timeout: int = 5) -> dict[str, Any]:
    """A probe.

    Args:
        action: what is done, such as ``{"httpGet": ...}``.
        period: time [s] between two.
        failures: number of failures in a row that count.
        timeout: time [s] without an answer that is a failure.
    """
    return {**action, "periodSeconds": period, "timeoutSeconds": timeout, "failureThreshold": failures}


def spread(labels: dict[str, str]) -> list[dict[str, Any]]:
    """Pods of these labels on different nodes, where there is a choice."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": labels},
        }
    ]
