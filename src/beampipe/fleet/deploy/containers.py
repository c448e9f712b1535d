"""A fleet in containers: start script of a server, gateway, image for Docker and Apptainer, Docker Compose."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from beampipe.errors import ConfigError
from beampipe.fleet.gateway.haproxy import LEAST_HITS, REQUEST_TIMES, haproxy_configuration
from beampipe.fleet.gateway.plan import STDOUT, TIMES, Address, GatewayPlan, Slot
from beampipe.fleet.generated_files import Files, render, render_yaml, write_files
from beampipe.fleet.monitoring.alertmanager import SETTINGS as ALERTS
from beampipe.fleet.monitoring.alertmanager import alertmanager_settings
from beampipe.fleet.monitoring.prometheus import RESEND, prometheus_settings, rules_text
from beampipe.fleet.specification import Fleet, ServerGroup, TlsSettings
from beampipe.triton.client.endpoint import LOOPBACK, authority
from beampipe.triton.model.repository import MANIFEST
from beampipe.triton.server.haproxy import SLOW_BODIES

HTTP: Final = 8000
"""Port of a server in its container for HTTP."""

GRPC: Final = 8001
"""Port of a server in its container for gRPC."""

METRICS: Final = 8002
"""Port of a server's metrics in its container."""

DRAIN: Final = 10
"""Time [s] for which a server keeps serving after SIGTERM, until every gateway has noticed."""

CLIENTS: Final = 8443
"""Port of the gateway in its container for clients."""

STATUS: Final = 8404
"""Port of the gateway in its container for metrics and health."""

PORTS: Final = {
    "HTTP": HTTP,
    "GRPC": GRPC,
    "METRICS": METRICS,
    "CLIENTS": CLIENTS,
    "STATUS": STATUS,
    "DRAIN": DRAIN,
    "TIMES": TIMES,
}
"""The ports and time above, and the path of the gateway's own metrics, for templates."""

_TRITON: Final = "/opt/tritonserver/bin/tritonserver"

_MODEL_LINKS: Final = "/tmp/models"
"""Folder in the container with links to the fleet's models, if those are not the whole repository."""

_LOCAL_URL: Final = f"http://localhost:{HTTP}"


def fleet_models(fleet: Fleet) -> tuple[str, ...]:
    """Names of the models that each server serves.

    Raises:
        ConfigError: the specification names none, and its repository is not on this machine.
    """
    if fleet.models:
        return fleet.models
    try:
        names = json.loads((fleet.repository / MANIFEST).read_text(encoding="utf-8"))["models"]
    except (OSError, ValueError, KeyError, TypeError):
        names = sorted(path.parent.name for path in fleet.repository.glob("*/config.pbtxt"))
    if not names:
        raise ConfigError(
            f"models: got none, and {fleet.repository} is no repository on this machine, expected the names of the"
            ' models, such as models = ["module_map"]: each server is asked whether it has them'
        )
    return tuple(map(str, names))


def server_script(
    fleet: Fleet, group: ServerGroup, repository: str, *, drains: bool = False, program: str = _TRITON
) -> str:
    """The shell script that starts a server, and ends with it.

    Models cannot be loaded or unloaded: Triton refuses this in the model control mode ``none``. For a part of the
    repository a folder of links is made. The APIs for shared memory, logging and traces require a random secret that is
    not stored, so no client can use them.

    Args:
        fleet: the specification.
        group: group of the server.
        repository: folder of the models in the container.
        drains: whether the script, at SIGTERM, announces the end by the file ``/tmp/shutdown`` and keeps serving for
            `DRAIN`; otherwise it replaces itself by the server.
        program: path of Triton.
    """
    return render(
        "deploy/templates/server.sh.j2",
        fleet=fleet,
        group=group,
        repository=repository,
        folder=_MODEL_LINKS if fleet.models else repository,
        drains=drains,
        program=program,
        **PORTS,
    )


def readiness_command(models: tuple[str, ...]) -> str:
    """A shell command that succeeds if server and models are ready.

    From release 26.01 on, Triton reports a model as not ready if one of its processes has crashed or hangs, or if a
    call of the native backend has lasted for more than a minute.
    """
    urls = [f"{_LOCAL_URL}/v2/models/{model}/ready" for model in models]
    return " && ".join(f"curl -sf {url} > /dev/null" for url in [f"{_LOCAL_URL}/v2/health/ready", *urls])


def memory_limit(group: ServerGroup) -> str:
    """Memory of a server in the syntax of Kubernetes, such as ``4096Mi``."""
    return f"{math.ceil(1024 * group.memory)}Mi"


_EVERYWHERE: Final = "0.0.0.0"

_UNUSED_SECRET: Final = "none"
"""Placeholder for the servers' secret: in containers the servers list their models without one."""


@dataclass(frozen=True)
class Credentials:
    """Files of the gateway in its container.

    Attributes:
        certificate: certificate, with its key in the same file or beside it in ``.key``; None for plain connections.
        client_ca: certificate of the authority of clients; None if they need no certificate.
        tokens: file of tokens; None if no token is required.
    """

    certificate: Path | None = None
    client_ca: Path | None = None
    tokens: Path | None = None


GATEWAY_FOLDER: Final = Path("/usr/local/etc/haproxy")
"""Folder of the gateway's files in its container."""


def gateway_files(fleet: Fleet, slots: Sequence[Slot], credentials: Credentials) -> Files:
    """HAProxy's configuration and the Lua programs that it loads, which lie beside it.

    Args:
        fleet: the specification.
        slots: the servers, by their names in the network of the containers.
        credentials: files of the gateway.

    Raises:
        ConfigError: the public keys of an issuer are in no file.
    """
    if fleet.gateway.jwt is not None and fleet.gateway.jwt.keys is None:
        raise ConfigError(
            "gateway.jwt.keys: got none, expected the file of the keys: a gateway here does not fetch them"
        )
    tls = TlsSettings(credentials.certificate, credentials.client_ca) if credentials.certificate else None
    # Who can reach the gateway depends on how its port is published. The notes list the settings that are left out.
    gateway = replace(
        fleet.gateway,
        port=CLIENTS,
        tls=tls,
        tokens=credentials.tokens,
        rate=fleet.gateway.rate if credentials.tokens or fleet.gateway.jwt else None,
        athena=None,
        host=LOOPBACK,
    )
    plan = GatewayPlan(
        replace(fleet, gateway=gateway),
        tuple(slots),
        Path("/tmp/haproxy.sock"),
        STATUS,
        fleet_models(fleet),
        _UNUSED_SECRET,
        jwt_folder=GATEWAY_FOLDER,
        hits=GATEWAY_FOLDER / LEAST_HITS.name if gateway.balancing == "least_hits" else None,
        slow_bodies=GATEWAY_FOLDER / SLOW_BODIES.name,
        access_log=STDOUT,
        request_times=GATEWAY_FOLDER / REQUEST_TIMES.name,
        host=_EVERYWHERE,
        status_host=_EVERYWHERE,
        resolved=True,
        threads=2,
    )
    programs = [*([LEAST_HITS] if plan.hits is not None else []), SLOW_BODIES, REQUEST_TIMES]
    return {
        "haproxy.cfg": haproxy_configuration(plan),
        **{program.name: program.read_text(encoding="utf-8") for program in programs},
        **{key.file: key.pem for key in plan.jwt_keys},
    }


MODELS: Final = "/models"
"""Folder in the container under which the models appear."""


def apptainer_definition(fleet: Fleet, group: ServerGroup) -> str:
    """The definition file for Apptainer, to be built in a clone of beampipe.

    Args:
        fleet: the specification.
        group: group whose servers run in the image.
    """
    return render(
        "deploy/templates/apptainer.def.j2",
        fleet=fleet,
        group=group,
        models=MODELS,
        script=server_script(fleet, group, MODELS),
    )


def compose_files(fleet: Fleet) -> Files:
    """The files for containers on one machine, by name.

    The servers are in an internal network: only the gateway reaches them, and only the gateway publishes a port.

    Args:
        fleet: the specification.

    Raises:
        ConfigError: the names of the models cannot be determined.
    """
    servers = [(group.server_name(n), group) for group in fleet.servers.values() for n in range(group.count)]
    tls = fleet.gateway.tls
    secrets = {
        "certificate": tls.certificate if tls else None,
        "client_ca": tls.client_ca if tls else None,
        "tokens": fleet.gateway.tokens,
    }
    secrets = {name: path.absolute() for name, path in secrets.items() if path is not None}
    credentials = Credentials(**{name: Path("/run/secrets") / name for name in secrets})
    alerts = {} if fleet.alerts is None else {name: path.absolute() for name, path in fleet.alerts.files.items()}
    slots = [Slot(name, group.weight, Address(name, HTTP, GRPC)) for name, group in servers]
    gateway = gateway_files(fleet, slots, credentials)
    gpus = iter(range(len(servers)))
    compose = render_yaml(
        "deploy/templates/compose.yaml.j2",
        fleet=fleet,
        repository=fleet.repository.absolute(),
        models=MODELS,
        servers=[
            {
                "name": name,
                "group": group,
                "script": server_script(fleet, group, MODELS),
                "memory": f"{memory_limit(group)[:-1]}b".lower(),
                "gpu": next(gpus) if group.device == "gpu" else None,
            }
            for name, group in servers
        ],
        readiness=readiness_command(fleet_models(fleet)),
        secrets=secrets,
        alert_secrets=alerts,
        resend=RESEND,
        gateway_files=[f"./{name}:{GATEWAY_FOLDER / name}:ro" for name in gateway],
        authority=authority,
        **PORTS,
    )
    targets = [
        {"target": f"{name}:{METRICS}", "labels": {"server": name, "group": group.name}} for name, group in servers
    ]
    prometheus = prometheus_settings(
        fleet,
        Path("/etc/prometheus/rules.yml"),
        targets,
        gateway=f"gateway:{STATUS}",
        page=f"gateway:{STATUS}",
        times=TIMES,
        alertmanager=None if fleet.alerts is None else "alertmanager:9093",
    )
    in_container = {name: Path("/run/secrets") / name for name in alerts}
    sent = {} if fleet.alerts is None else {ALERTS: alertmanager_settings(fleet.alerts, in_container)}
    return {
        "Dockerfile": render("deploy/templates/Dockerfile.j2", fleet=fleet, **PORTS),
        "docker-compose.yaml": compose,
        **gateway,
        "prometheus.yml": prometheus,
        "rules.yml": rules_text(fleet.monitoring, fleet.alerts),
        **sent,
        **{f"apptainer/{group.name}.def": apptainer_definition(fleet, group) for group in dict(servers).values()},
        "cvmfs-wish-list.yaml": render("deploy/templates/cvmfs-wish-list.yaml.j2", image=fleet.container.image),
    }


def write_compose(fleet: Fleet, folder: Path) -> list[Path]:
    """Write the files for containers on one machine.

    Args:
        fleet: the specification.
        folder: folder to write to; files of an earlier call that are no longer needed are removed.

    Returns:
        The paths of the files.

    Raises:
        ConfigError: the names of the models cannot be determined.
        FileError: a file cannot be written, or its path is taken by a file of another origin.
    """
    return write_files(folder, compose_files(fleet), "beampipe fleet compose")


def compose_notes(fleet: Fleet) -> Iterator[str]:
    """Settings that these files do not implement, in a sentence each."""
    if fleet.scaling is not None:
        yield "scaling: Docker Compose does not scale; the number of servers stays that of count"
    if fleet.checks:
        yield "checks: containers have no supervisor; only Triton's own readiness is watched"
    if fleet.patience != Fleet.patience:
        yield "patience: containers have no supervisor; a server that hangs gets no requests, but is not restarted"
    if fleet.gateway.athena is not None:
        yield "gateway.athena: there is no port without TLS; jobs need a sidecar of their own that adds TLS and token"
    if not Path(fleet.repository).is_dir():
        yield f"repository: got {fleet.repository}, which is no folder here; the servers will see it empty"
