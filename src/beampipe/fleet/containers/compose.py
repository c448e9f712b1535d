"""A fleet by Docker Compose: its servers, HAProxy before them, Prometheus beside them, on one machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from beampipe.fleet.containers.gateway import CLIENTS, STATUS, Papers
from beampipe.fleet.containers.image import MODELS
from beampipe.fleet.containers.server import GRPC, HTTP, METRICS, fleet_models, memory, readiness, server_script
from beampipe.fleet.gateway.plan import Address, Place
from beampipe.fleet.specification import Fleet, ServerGroup
from beampipe.fleet.watching.roles import role_relabelings
from beampipe.fleet.watching.rules import interval_text
from beampipe.triton.hosts import LOOPBACK, authority

__all__ = ["compose", "compose_papers", "compose_places", "prometheus_configuration"]

_SECRETS: Final = "/run/secrets"
_PROMETHEUS: Final = "/etc/prometheus"
_LOOK: Final = 5
"""Time [s] between two looks at whether a server is ready."""


def compose(fleet: Fleet) -> dict[str, Any]:
    """The document of ``docker-compose.yaml``.

    The servers are in a network that leads nowhere else: only the gateway reaches them, and it alone has a port.
    """
    names = dict(_servers(fleet))
    gpus = iter(range(len(names)))
    services = {
        name: _server(fleet, group, next(gpus) if group.device == "gpu" else None) for name, group in names.items()
    }
    secrets = _secrets(fleet)
    return {
        "name": fleet.name,
        "services": {
            **services,
            "gateway": _gateway(fleet, list(names), list(secrets)),
            "prometheus": _prometheus(fleet),
        },
        "networks": {"servers": {"internal": True}, "clients": {}},
        "volumes": {"prometheus": {}},
        **({"secrets": {name: {"file": str(path)} for name, path in secrets.items()}} if secrets else {}),
    }


def compose_places(fleet: Fleet) -> list[Place]:
    """The servers, by the names that they have in the network of Compose."""
    return [Place(name, group.weight, Address(name, HTTP, GRPC)) for name, group in _servers(fleet)]


def compose_papers(fleet: Fleet) -> Papers:
    """Where the gateway finds its files, in its container."""
    return Papers(**{name: Path(_SECRETS) / name for name in _secrets(fleet)})


def prometheus_configuration(fleet: Fleet) -> dict[str, Any]:
    """The document of ``prometheus.yml``: every server, and the gateway, by the labels that the rules speak of."""
    servers = [
        {"targets": [f"{name}:{METRICS}"], "labels": {"server": name, "group": group.name}}
        for name, group in _servers(fleet)
    ]
    triton: dict[str, Any] = {"job_name": "triton", "static_configs": servers}
    if roles := role_relabelings(fleet.repository):
        triton["metric_relabel_configs"] = roles
    gateway = {
        "job_name": "gateway",
        "params": {"scope": ["frontend", "backend", "server"]},
        "static_configs": [{"targets": [f"gateway:{STATUS}"]}],
    }
    interval = interval_text(fleet.monitoring.interval)
    return {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": [f"{_PROMETHEUS}/rules.yml"],
        "scrape_configs": [triton, gateway],
    }


def _servers(fleet: Fleet) -> Iterator[tuple[str, ServerGroup]]:
    for group in fleet.servers.values():
        for number in range(group.count):
            yield group.server_name(number), group


def _secrets(fleet: Fleet) -> dict[str, Path]:
    """Files that the gateway alone may read."""
    gateway = fleet.gateway
    files = {
        "certificate": gateway.tls.certificate if gateway.tls else None,
        "client_ca": gateway.tls.client_ca if gateway.tls else None,
        "tokens": gateway.tokens,
    }
    return {name: path.absolute() for name, path in files.items() if path is not None}


def _server(fleet: Fleet, group: ServerGroup, gpu: int | None) -> dict[str, Any]:
    resources: dict[str, Any] = {"limits": {"cpus": str(group.cores), "memory": f"{memory(group)[:-1]}b".lower()}}
    if gpu is not None:
        device = {"driver": "nvidia", "device_ids": [str(gpu)], "capabilities": ["gpu"]}
        resources["reservations"] = {"devices": [device]}
    script = server_script(fleet, group, MODELS)
    return {
        "image": fleet.container.image,
        "command": ["/bin/sh", "-c", _literal(script)],
        "volumes": [f"{fleet.repository.absolute()}:{MODELS}:ro"],
        "networks": ["servers"],
        "shm_size": "1gb",  # tensors on their way to the processes of Python models
        **_LOCKED,
        "deploy": {"resources": resources},
        "stop_grace_period": f"{fleet.exit_timeout + 5}s",
        "healthcheck": {
            "test": ["CMD-SHELL", readiness(fleet_models(fleet))],
            "interval": f"{_LOOK}s",
            "timeout": f"{_LOOK}s",
            "retries": 3,
            "start_period": f"{round(fleet.start_timeout)}s",
        },
        "restart": "unless-stopped",
    }


def _gateway(fleet: Fleet, servers: list[str], secrets: list[str]) -> dict[str, Any]:
    gateway = fleet.gateway
    return {
        "image": fleet.container.gateway,
        "volumes": ["./haproxy.cfg:/usr/local/etc/haproxy/haproxy.cfg:ro"],
        "ports": [f"{authority(gateway.host, gateway.port)}:{CLIENTS}"],
        "networks": ["servers", "clients"],
        **({"secrets": secrets} if secrets else {}),
        **_LOCKED,
        "depends_on": {name: {"condition": "service_started"} for name in servers},
        "restart": "unless-stopped",
    }


def _prometheus(fleet: Fleet) -> dict[str, Any]:
    port = fleet.monitoring.prometheus_port or 9090
    return {
        "image": fleet.container.prometheus,
        "command": [
            f"--config.file={_PROMETHEUS}/prometheus.yml",
            "--storage.tsdb.path=/prometheus",
            f"--storage.tsdb.retention.time={fleet.monitoring.retention}d",
        ],
        "volumes": [
            *(f"./{name}:{_PROMETHEUS}/{name}:ro" for name in ("prometheus.yml", "rules.yml")),
            "prometheus:/prometheus",
        ],
        "ports": [f"{authority(LOOPBACK, port)}:9090"],
        "networks": ["servers", "clients"],
        **_LOCKED,
        "restart": "unless-stopped",
    }


def _literal(text: str) -> str:
    """A text in which Compose shall replace nothing."""
    return text.replace("$", "$$")


_LOCKED: Final[dict[str, Any]] = {
    "read_only": True,
    "tmpfs": ["/tmp"],
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
}
