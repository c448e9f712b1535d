"""Names and labels of what is in the cluster."""

from __future__ import annotations

from typing import Any

from beampipe.fleet.specification import Fleet, ServerGroup

__all__ = ["gateway_name", "labels", "metadata", "release", "running_groups"]


def release(fleet: Fleet, group: ServerGroup) -> str:
    """Name of a group in the cluster; with SuperSONIC the name of its release, and of the label in its metrics."""
    return f"{fleet.name}-{group.name}"


def running_groups(fleet: Fleet) -> list[ServerGroup]:
    """The groups that have servers in the cluster: from the start, or when scaling adds one."""
    scaled = fleet.scaling.group if fleet.scaling else None
    return [group for group in fleet.servers.values() if group.count or group.name == scaled]


def gateway_name(fleet: Fleet) -> str:
    """Name of the gateway in the cluster."""
    return f"{fleet.name}-gateway"


def labels(fleet: Fleet, name: str, component: str) -> dict[str, str]:
    """Labels by which things are chosen.

    Args:
        fleet: the specification.
        name: name of the thing, of `release` or `gateway_name`.
        component: what it is for, such as ``"server"``.
    """
    return {
        "app.kubernetes.io/name": "beampipe",
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": fleet.name,
    }


def metadata(fleet: Fleet, name: str, component: str) -> dict[str, Any]:
    """The table ``metadata`` of a manifest; arguments as for `labels`."""
    return {"name": name, "namespace": fleet.kubernetes.namespace, "labels": labels(fleet, name, component)}
