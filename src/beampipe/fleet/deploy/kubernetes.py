"""Files for Kubernetes: plain manifests of a fleet, and values for SuperSONIC's Helm chart with an Envoy of ours.

SuperSONIC's chart starts one kind of server, so each group is a separate Helm release; the first one includes Envoy.
The chart's Envoy configuration has no health checks, no ejection and no retries: the requests of a crashed server fail,
and it gets further ones until Kubernetes notices. `envoy_configuration` has all three, and allows nine RPCs. Other
defects of the chart are worked around here:

- Its pre-stop hook calls ``touch`` without a file and fails at once, so servers end while gateways still send. Our
  start script does what the hook was meant to do.
- Its load metric counts executions, not requests, and has no lower limit; `growth_query` replaces it.
- Its readiness probe checks the server, not the models.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from beampipe.errors import ConfigError
from beampipe.fleet.deploy.containers import (
    GATEWAY_FOLDER,
    GRPC,
    HTTP,
    PORTS,
    Credentials,
    fleet_models,
    gateway_files,
    memory_limit,
    readiness_command,
    server_script,
)
from beampipe.fleet.gateway.plan import RPCS, Address, Slot
from beampipe.fleet.generated_files import Files, render_documents, render_yaml, write_files, yaml_text
from beampipe.fleet.monitoring.prometheus import interval_text, role_relabelings
from beampipe.fleet.specification import Fleet, ScalingSettings, ServerGroup
from beampipe.triton.client.endpoint import LOOPBACK


def release_name(fleet: Fleet, group: ServerGroup) -> str:
    """Name of a group in the cluster; with SuperSONIC also the name of its release and the label of its metrics."""
    return f"{fleet.name}-{group.name}"


def running_groups(fleet: Fleet) -> list[ServerGroup]:
    """The groups that have servers in the cluster, from the start or after scaling."""
    scaled = fleet.scaling.group if fleet.scaling else None
    return [group for group in fleet.servers.values() if group.count or group.name == scaled]


def gateway_name(fleet: Fleet) -> str:
    """Name of the gateway in the cluster."""
    return f"{fleet.name}-gateway"


def labels(fleet: Fleet, name: str, component: str) -> dict[str, str]:
    """Labels of an object, by which it is selected.

    Args:
        fleet: the specification.
        name: name of the object, from `release_name` or `gateway_name`.
        component: its component, such as ``"server"``.
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


_TLS: Final = "/etc/beampipe/tls"

_TOKENS: Final = "/etc/beampipe/tokens"


def gateway_credentials(fleet: Fleet) -> Credentials:
    """Files of the gateway in its pod: a certificate, and tokens or a client CA, since other machines reach it."""
    gateway = fleet.gateway
    return Credentials(
        Path(_TLS) / "tls.pem",
        Path(_TLS) / "ca.pem" if gateway.tls is not None and gateway.tls.client_ca is not None else None,
        Path(_TOKENS) / "tokens" if gateway.tokens is not None or not gateway.asks_who else None,
    )


def gateway_slots(fleet: Fleet, suffix: str = "") -> list[Slot]:
    """The slots: one host name for each group, which resolves to all ready servers.

    Args:
        fleet: the specification.
        suffix: end of the name of a group's Service, after `release_name`.
    """
    domain = f"{fleet.kubernetes.namespace}.svc.cluster.local"
    return [
        Slot(
            f"{group.name}-",
            group.weight,
            Address(f"{release_name(fleet, group)}{suffix}.{domain}", HTTP, GRPC),
            several=group.slots,
        )
        for group in running_groups(fleet)
    ]


def manifest_files(fleet: Fleet) -> Files:
    """The manifests, by name.

    Args:
        fleet: the specification.

    Raises:
        ConfigError: a setting is not possible in Kubernetes, or a necessary one is missing.
    """
    gateway = gateway_name(fleet)
    credentials = gateway_credentials(fleet)
    configuration = gateway_files(fleet, gateway_slots(fleet), credentials)
    groups = running_groups(fleet)
    monitors = [(group, labels(fleet, release_name(fleet, group), "server")) for group in groups]
    files = {
        "namespace.yaml": manifest("namespace", fleet),
        "network.yaml": manifest("network", fleet, gateway=gateway),
        "gateway.yaml": manifest(
            "gateway",
            fleet,
            name=gateway,
            configuration=configuration,
            digest=hashlib.sha256(json.dumps(configuration).encode()).hexdigest(),
            folder=GATEWAY_FOLDER,
            credentials=credentials,
            TLS=_TLS,
            TOKENS=_TOKENS,
        ),
        "monitoring.yaml": server_monitors(fleet, monitors)
        + "---\n"
        + manifest(
            "monitoring",
            fleet,
            gateway=gateway,
            interval=interval_text(fleet.monitoring.interval),
            **_alert_queries(fleet),
        ),
    }
    for group in groups:
        values, script = group_values(fleet, group), server_script(fleet, group, fleet.kubernetes.mount)
        files[f"servers-{group.name}.yaml"] = manifest("servers", fleet, script=script, **values)
        if values["scaled"]:
            files["scaling.yaml"] = manifest("scaling", fleet, **values)
    return files


def group_values(fleet: Fleet, group: ServerGroup) -> dict[str, Any]:
    """What templates need of a group of servers and of its scaling.

    Raises:
        ConfigError: a group is scaled, but the address of Prometheus is missing, or has another form.
    """
    scaling, prometheus = fleet.scaling, fleet.kubernetes.prometheus
    if scaling is not None and prometheus is None:
        raise ConfigError(
            "kubernetes.prometheus: got none with [scaling], expected the address of the cluster's Prometheus, such as"
            ' "http://prometheus.monitoring:9090": Kubernetes scales by what it says'
        )
    scaled = scaling is not None and scaling.group == group.name
    return {
        "group": group,
        "name": release_name(fleet, group),
        "memory": memory_limit(group),
        "readiness": readiness_command(fleet_models(fleet)),
        "prometheus": None if prometheus is None else prometheus_address(prometheus),
        "scaled": scaled,
        "patience": None if scaling is None else math.ceil(scaling.patience),
        "step": largest_step(group),
        "query": growth_query(fleet, group, scaling) if scaling is not None and scaled else None,
        "threshold": METRIC_THRESHOLD,
    }


def manifest(template: str, fleet: Fleet, **values: Any) -> str:
    """Render a template for Kubernetes.

    Args:
        template: its name, without the ending.
        fleet: the specification.
        values: its variables, besides ports, `labels` and `metadata`.
    """
    return render_yaml(
        f"deploy/templates/{template}.yaml.j2",
        fleet=fleet,
        labels=partial(labels, fleet),
        metadata=partial(metadata, fleet),
        **PORTS,
        **values,
    )


def server_monitors(fleet: Fleet, monitors: Sequence[tuple[ServerGroup, Mapping[str, str]]]) -> str:
    """The ServiceMonitors of groups.

    Args:
        fleet: the specification.
        monitors: groups, each with the labels of its Service.
    """
    return manifest(
        "server-monitors",
        fleet,
        interval=interval_text(fleet.monitoring.interval),
        roles=role_relabelings(fleet.repository),
        monitors=[
            {"name": release_name(fleet, group), "group": group.name, "selector": dict(selector)}
            for group, selector in monitors
        ],
    )


def _alert_queries(fleet: Fleet) -> dict[str, str]:
    """Queries of the two alerts: missing servers, and waiting events."""
    names = "|".join(release_name(fleet, group) for group in running_groups(fleet))
    waiting = _mean_wait(f'release=~"{names}"', "[2m]")
    limit = fleet.scaling.queue if fleet.scaling else 100.0
    deployments = f'{{namespace="{fleet.kubernetes.namespace}",deployment=~"{names}"}}'
    return {
        "missing": f"kube_deployment_status_replicas_available{deployments}"
        f" < kube_deployment_spec_replicas{deployments}",
        "waiting": f"{waiting} > {2000 * limit:g}",
    }


def _mean_wait(releases: str, window: str) -> str:
    """The query of the mean time in the queue [us]; an event counts once, by the label of `role_relabelings`."""
    waited = f'sum(rate(nv_inference_queue_duration_us{{{releases}, role!="chain"}}{window}))'
    return f'{waited} / sum(rate(nv_inference_request_success{{{releases}, role=~"|first"}}{window}))'


METRIC_THRESHOLD: Final = 1
"""Value of `growth_query` at which the number of servers stays the same."""

_SERVERS_PER_STEP: Final = 8
"""A step adds or removes one server for each of this many. Kubernetes ignores factors between 0.9 and 1.1, so for 20
servers a step of one would have no effect."""

_ROUNDED: Final = 0.1
"""Subtracted number of servers: Kubernetes rounds up anything slightly above a whole number."""


def prometheus_address(text: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address such as ``http://prometheus.monitoring:9090``.

    Raises:
        ConfigError: the address has another form.
    """
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ConfigError(f"kubernetes.prometheus: got {text!r}, expected http://HOST:PORT or https://HOST:PORT")
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def growth_query(fleet: Fleet, group: ServerGroup, scaling: ScalingSettings) -> str:
    """The query to Prometheus: the factor by which the number of servers should change.

    With n servers and a step of s = ceil(n / 8): (n + s) / n if events wait longer than `ScalingSettings.queue`, else
    (n - s) / n if servers work less than `ScalingSettings.busy` of the time, else 1. The first two are slightly
    reduced, since Kubernetes rounds up. Work is the time in models, per core for a server without GPU. A request to an
    ensemble counts once, by the label `role` of `role_relabelings`.
    """
    of_group, window = f'release="{release_name(fleet, group)}"', f"[{max(30, math.ceil(scaling.patience))}s]"
    servers = f"count(count by (instance) (nv_inference_request_success{{{of_group}}}))"
    step = f"ceil({servers} / {_SERVERS_PER_STEP})"
    slots = group.cores if group.device == "cpu" else 1
    worked = f'sum(rate(nv_inference_compute_infer_duration_us{{{of_group}, role!="chain"}}{window}))'
    working = f"{worked} / ({servers} * {1_000_000 * slots})"
    more = f"(({_mean_wait(of_group, window)}) > bool {1000 * scaling.queue:g})"
    fewer = f"((1 - {more}) * (({working}) < bool {scaling.busy:g}))"
    return f"1 + ({more} * ({step} - {_ROUNDED}) - {fewer} * ({step} + {_ROUNDED})) / {servers}"


def largest_step(group: ServerGroup) -> int:
    """Number of servers that are added or removed at once for the largest group: the largest step of `growth_query`."""
    return math.ceil(group.slots / _SERVERS_PER_STEP)


ENVOY_STATUS: Final = 9901
"""Port at which the chart's Service expects Envoy's metrics."""

ENVOY: Final = "1.40.0"
"""The release of Envoy that the configuration is tested with; older ones accept one health check only."""


def envoy_configuration(
    fleet: Fleet,
    slots: Sequence[Slot],
    models: Sequence[str],
    clients: tuple[str, int] = ("0.0.0.0", GRPC),
    status: tuple[str, int] = ("0.0.0.0", ENVOY_STATUS),
    admin: tuple[str, int] = (LOOPBACK, 9902),
) -> str:
    """The configuration of Envoy.

    A request is retried on another server if its connection broke, or if the server refused it or failed. After five
    failures in a row a server is ejected for a while, but at most half of the servers, since an event may be the cause.

    Args:
        fleet: the specification.
        slots: its servers.
        models: names of the models that must be ready on a server.
        clients: address and port for clients.
        status: address and port for metrics and readiness only.
        admin: address and port of the admin interface.
    """
    gateway = fleet.gateway
    return render_yaml(
        "deploy/templates/envoy.yaml.j2",
        fleet=fleet,
        slots=slots,
        clients=clients,
        status=status,
        admin=admin,
        models=models,
        rpcs=RPCS,
        most=gateway.queue + gateway.in_flight * sum(group.slots for group in fleet.servers.values()),
    )


CONFIG_MAP: Final = "envoy"
"""End of the name of the ConfigMap with Envoy's configuration; it must exist before the chart is installed."""

GRACE: Final = 60
"""Time limit [s] of the chart for the end of a server."""


def supersonic_files(fleet: Fleet) -> Files:
    """Values, the configuration of Envoy, and monitors, by name.

    Args:
        fleet: the specification.

    Raises:
        ConfigError: a setting is not possible with the chart.
    """
    groups = running_groups(fleet)
    envoy = envoy_configuration(fleet, gateway_slots(fleet, "-triton"), fleet_models(fleet))
    files = {f"values-{group.name}.yaml": yaml_text(supersonic_values(fleet, group)) for group in groups}
    if len(groups) == 1:
        files = {"values.yaml": next(iter(files.values()))}
    chart_labels = [
        {
            "app.kubernetes.io/name": "supersonic",
            "app.kubernetes.io/instance": release_name(fleet, group),
            "app.kubernetes.io/component": "triton",
        }
        for group in groups
    ]
    return {
        **files,
        "envoy.yaml": envoy,
        "envoy-configmap.yaml": manifest("envoy-configmap", fleet, name=f"{fleet.name}-{CONFIG_MAP}", text=envoy),
        "monitors.yaml": server_monitors(fleet, list(zip(groups, chart_labels, strict=True))),
    }


def supersonic_values(fleet: Fleet, group: ServerGroup) -> dict[str, Any]:
    """The values of the Helm release of one group.

    Raises:
        ConfigError: a setting is not possible with the chart.
    """
    settings = fleet.kubernetes
    if fleet.exit_timeout > GRACE - 15:
        raise ConfigError(
            f"exit_timeout: got {fleet.exit_timeout} s, expected at most {GRACE - 15} s: SuperSONIC ends a server after"
            f" {GRACE} s, and it goes on for 10 s of these"
        )
    if settings.storage.startswith("cvmfs") and not settings.mount.startswith("/cvmfs/"):
        raise ConfigError(
            f"kubernetes.mount: got {settings.mount!r} with storage = {settings.storage!r}, expected the folder of"
            " the models below /cvmfs, where all of it appears"
        )
    (document,) = render_documents(
        "deploy/templates/supersonic-values.yaml.j2",
        fleet=fleet,
        first=group == running_groups(fleet)[0],
        script=server_script(fleet, group, settings.mount, drains=True),
        envoy=ENVOY,
        config_map=f"{fleet.name}-{CONFIG_MAP}",
        ENVOY_STATUS=ENVOY_STATUS,
        **group_values(fleet, group),
        **PORTS,
    )
    return document


def kubernetes_files(fleet: Fleet) -> Files:
    """The files for Kubernetes, by their path: ``supersonic/`` for Helm, ``manifests/`` for `kubectl apply`.

    Args:
        fleet: the specification.

    Raises:
        ConfigError: a setting is not possible in Kubernetes, or a necessary one is missing.
    """
    parts = {"supersonic": supersonic_files(fleet), "manifests": manifest_files(fleet)}
    return {f"{part}/{name}": text for part, files in parts.items() for name, text in files.items()}


def write_kubernetes(fleet: Fleet, folder: Path) -> list[Path]:
    """Write the files for Kubernetes.

    Args:
        fleet: the specification.
        folder: folder to write to; files of an earlier call that are no longer needed are removed.

    Returns:
        The paths of the files.

    Raises:
        ConfigError: a setting is not possible in Kubernetes, or a necessary one is missing.
        FileError: a file cannot be written, or its path is taken by a file of another origin.
    """
    return write_files(folder, kubernetes_files(fleet), "beampipe fleet k8s")


def kubernetes_notes(fleet: Fleet) -> Iterator[str]:
    """Settings that these files do not implement, in a sentence each."""
    gateway, settings = fleet.gateway, fleet.kubernetes
    if fleet.checks:
        yield "checks: there is no supervisor in a pod; only Triton's own readiness is watched"
    if fleet.patience != Fleet.patience:
        yield "patience: there is no supervisor in a pod; the probes of manifests/ restart a server after a minute"
    if fleet.alerts is not None:
        yield "alerts: the cluster's own Alertmanager sends what the rules of manifests/ find"
    if gateway.balancing == "least_hits":
        yield "gateway.balancing: SuperSONIC's Envoy knows no sizes; it takes the server with the fewest requests"
    if gateway.athena is not None:
        yield "gateway.athena: there is no port without TLS; jobs need a sidecar of their own that adds TLS and token"
    if gateway.tokens is not None or gateway.tls is not None:
        yield "gateway.tokens, gateway.tls: SuperSONIC's Envoy asks for neither; its ingress must, or take manifests/"
    if gateway.tls is None:
        yield f"gateway.tls: the gateway of manifests/ has TLS all the same, from the secret {settings.tls_secret}"
    if settings.storage == "cvmfs-pvc" and settings.claim != "cvmfs":
        yield f"kubernetes.claim: SuperSONIC mounts the claim cvmfs, not {settings.claim}"
    if any(group.device == "gpu" and group.weight == 10 for group in fleet.servers.values()) and len(fleet.servers) > 1:
        yield "servers: groups with and without GPU have the same weight; a faster server should have a larger one"
