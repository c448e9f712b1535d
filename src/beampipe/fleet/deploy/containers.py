"""A fleet in containers: start script of a server, gateway, image for Docker and Apptainer, Docker Compose."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from beampipe.errors import ConfigError
from beampipe.fleet.gateway.haproxy import haproxy_configuration
from beampipe.fleet.gateway.plan import Address, GatewayPlan, Slot
from beampipe.fleet.monitoring.prometheus import interval_text, role_relabelings
from beampipe.fleet.specification import Fleet, ServerGroup, TlsSettings
from beampipe.triton.client.endpoint import LOOPBACK, authority
from beampipe.triton.model.repository import MANIFEST

HTTP: Final = 8000
"""Port of a server in its container for HTTP."""

GRPC: Final = 8001
"""Port of a server in its container for gRPC."""

METRICS: Final = 8002
"""Port of a server's metrics in its container."""

DRAIN: Final = 10
"""Time [s] that a server goes on after it was told to end, until every gateway knows."""

_TRITON: Final = "/opt/tritonserver/bin/tritonserver"

_MODEL_LINKS: Final = "/tmp/models"
"""Folder in the container of links to the models of the fleet, where those are not the whole repository."""

_CLOSED: Final = "shared-memory,logging,trace"

_LOCAL_URL: Final = f"http://localhost:{HTTP}"


def fleet_models(fleet: Fleet) -> tuple[str, ...]:
    """Names of the models that each server has.

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
    """The script that starts a server, and ends with it.

    Nobody can load or unload models there: Triton refuses to in the mode ``none``. Of a part of the repository a
    folder of links is made. Shared memory, logging and traces ask for a secret that is thrown away.

    Args:
        fleet: the specification.
        group: group of the server.
        repository: folder of the models in the container.
        drains: whether the script itself tells that it ends, by the file ``/tmp/shutdown``, and goes on for `DRAIN`
            before it does; without, it becomes the server.
        program: path of Triton.
    """
    folder, lines = repository, [f"export OMP_NUM_THREADS={group.threads}"] if group.threads else []
    if fleet.models:
        folder = _MODEL_LINKS
        linked = " ".join(shlex.quote(f"{repository}/{name}") for name in fleet.models)
        lines += [f"mkdir -p {folder}", f"ln -sfn {linked} {folder}/"]
    arguments = [
        shlex.quote(f"--model-repository={folder}"),
        "--model-control-mode=none",
        "--disable-auto-complete-config",
        f"--http-port={HTTP}",
        f"--grpc-port={GRPC}",
        f"--metrics-port={METRICS}",
        f"--exit-timeout-secs={fleet.exit_timeout}",
        "--grpc-http2-max-ping-strikes=0",  # gateways ask by ping whether it hangs; it would close their connections
        *([] if group.device == "gpu" else ["--allow-gpu-metrics=false"]),
        f'"--http-restricted-api={_CLOSED}:beampipe-secret=$secret"',
        f'"--grpc-restricted-protocol={_CLOSED}:beampipe-secret=$secret"',
    ]
    lines.append("secret=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \\n')")
    command = " \\\n  ".join([program, *arguments])
    if not drains:
        return "\n".join([*lines, f"exec {command}"]) + "\n"
    ending = [
        f"{command} &",
        "server=$!",
        f"trap 'touch /tmp/shutdown; sleep {DRAIN}; kill -TERM $server' TERM INT",
        # A signal ends `wait`, not the server.
        "wait $server; status=$?",
        "while kill -0 $server 2>/dev/null; do wait $server; status=$?; done",
        "exit $status",
    ]
    return "\n".join([*lines, *ending]) + "\n"


def readiness_command(models: tuple[str, ...]) -> str:
    """A command of shell that succeeds if a server says of each model that it is ready.

    Since Triton 26.01 that becomes false where a process of a model has died or hangs.
    """
    urls = [f"{_LOCAL_URL}/v2/models/{model}/ready" for model in models]
    return " && ".join(f"curl -sf {url} > /dev/null" for url in [f"{_LOCAL_URL}/v2/health/ready", *urls])


def memory_limit(group: ServerGroup) -> str:
    """Memory of a server as Kubernetes writes it, such as ``4096Mi``."""
    return f"{math.ceil(1024 * group.memory)}Mi"


CLIENTS: Final = 8443
"""Port of the gateway in its container for clients."""

STATUS: Final = 8404
"""Port of the gateway in its container for its metrics, and for whether it is healthy."""

_EVERYWHERE: Final = "0.0.0.0"

_SOCKET: Final = Path("/tmp/haproxy.sock")

_THREADS: Final = 2

_UNUSED_SECRET: Final = "none"
"""What the gateway sends for a secret: in containers the servers tell which models they have without one."""


@dataclass(frozen=True)
class Credentials:
    """Files of the gateway in its container.

    Attributes:
        certificate: certificate, with its key in the same file or beside it in ``.key``; None for plain connections.
        client_ca: certificate of the authority of the clients; None if they need not show one.
        tokens: file of tokens; None if none are asked for.
    """

    certificate: Path | None = None
    client_ca: Path | None = None
    tokens: Path | None = None


def gateway_text(fleet: Fleet, places: Sequence[Slot], papers: Credentials) -> str:
    """The text of HAProxy's configuration.

    Args:
        fleet: the specification.
        places: the servers, by names that the network of the containers knows.
        papers: files of the gateway.
    """
    tls = TlsSettings(papers.certificate, papers.client_ca) if papers.certificate else None
    # Whether others reach the gateway is up to who publishes its port. The notes of each folder say what is left out.
    gateway = replace(
        fleet.gateway,
        port=CLIENTS,
        tls=tls,
        tokens=papers.tokens,
        rate=fleet.gateway.rate if papers.tokens else None,
        balancing="round_robin" if fleet.gateway.balancing == "round_robin" else "least_connections",
        athena=None,
        host=LOOPBACK,
    )
    plan = GatewayPlan(
        replace(fleet, gateway=gateway),
        tuple(places),
        _SOCKET,
        STATUS,
        fleet_models(fleet),
        _UNUSED_SECRET,
        papers.tokens,
        host=_EVERYWHERE,
        status_host=_EVERYWHERE,
        resolved=True,
        threads=_THREADS,
    )
    return haproxy_configuration(plan)


MODELS: Final = "/models"
"""Folder in the container under which the models appear."""

_BUILD = """python3 -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /source"""

_COMPILER = (
    "apt-get update && apt-get install -y --no-install-recommends g++ python3-dev && rm -rf /var/lib/apt/lists/*"
)


def dockerfile(fleet: Fleet) -> str:
    """The text of a Dockerfile; its build context is a clone of beampipe."""
    return f"""# docker build -t {fleet.container.image} -f Dockerfile CLONE; CLONE is a clone of beampipe.
FROM {fleet.container.triton} AS build
RUN {_COMPILER}
COPY . /source
RUN {_BUILD}

FROM {fleet.container.triton}
COPY --from=build /wheels /wheels
RUN wheel=$(ls /wheels/beampipe-*.whl) \\
 && {_install(fleet)} \\
 && rm -rf /wheels
ENV HOME=/tmp PYTHONDONTWRITEBYTECODE=1
USER 1000:1000
EXPOSE {HTTP} {GRPC} {METRICS}
"""


def apptainer_definition(fleet: Fleet, group: ServerGroup) -> str:
    """The text of a definition file for Apptainer, to be built in the folder of a clone of beampipe.

    Args:
        fleet: the specification.
        group: group whose servers run in it.
    """
    script = "".join(f"    {line}\n" for line in server_script(fleet, group, MODELS).splitlines())
    return f"""# apptainer build {fleet.name}.sif FILE, in the folder of a clone of beampipe.
# apptainer run --bind MODELS:{MODELS}:ro{" --nv" if group.device == "gpu" else ""} {fleet.name}.sif
Bootstrap: docker
From: {fleet.container.triton}

%files
    pyproject.toml /source/pyproject.toml
    CMakeLists.txt /source/CMakeLists.txt
    README.md /source/README.md
    LICENSE /source/LICENSE
    src /source/src

%post
    set -e
    {_COMPILER}
    {_BUILD}
    wheel=$(ls /wheels/beampipe-*.whl)
    {_install(fleet)}
    rm -rf /wheels /source

%environment
    export PYTHONDONTWRITEBYTECODE=1

%runscript
{script}
%test
    python3 -c "import beampipe.triton.model.backend"
    test -x /opt/tritonserver/bin/tritonserver
"""


def _install(fleet: Fleet) -> str:
    """The command that installs ``$wheel`` with what models of the Python backend need, into the image's own Python."""
    extras = "tracking,cuda" if any(group.device == "gpu" for group in fleet.servers.values()) else "tracking"
    return f'python3 -m pip install --no-cache-dir --break-system-packages "beampipe[{extras}] @ file://$wheel"'


def wish_list(fleet: Fleet) -> str:
    """The wish list with which CernVM-FS takes the image into ``/cvmfs/unpacked.cern.ch``; its input is one line."""
    image = fleet.container.image
    registry = image if "." in image.partition("/")[0] else f"registry.hub.docker.com/library/{image}"
    return f"""# The line to ask for at https://gitlab.cern.ch/unpacked/sync is the one under `input`.
version: 1
user: cvmfsunpacker
cvmfs_repo: unpacked.cern.ch
output_format: https://gitlab-registry.cern.ch/unpacked/sync/$(image)
input:
  - https://{registry}
"""


_SECRETS: Final = "/run/secrets"

_PROMETHEUS: Final = "/etc/prometheus"

_HEALTH_INTERVAL: Final = 5
"""Time [s] between two looks at whether a server is ready."""


def compose_document(fleet: Fleet) -> dict[str, Any]:
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


def compose_slots(fleet: Fleet) -> list[Slot]:
    """The servers, by the names that they have in the network of Compose."""
    return [Slot(name, group.weight, Address(name, HTTP, GRPC)) for name, group in _servers(fleet)]


def compose_credentials(fleet: Fleet) -> Credentials:
    """Where the gateway finds its files, in its container."""
    return Credentials(**{name: Path(_SECRETS) / name for name in _secrets(fleet)})


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
    resources: dict[str, Any] = {"limits": {"cpus": str(group.cores), "memory": f"{memory_limit(group)[:-1]}b".lower()}}
    if gpu is not None:
        device = {"driver": "nvidia", "device_ids": [str(gpu)], "capabilities": ["gpu"]}
        resources["reservations"] = {"devices": [device]}
    script = server_script(fleet, group, MODELS)
    return {
        "image": fleet.container.image,
        "command": ["/bin/sh", "-c", _escape_dollars(script)],
        "volumes": [f"{fleet.repository.absolute()}:{MODELS}:ro"],
        "networks": ["servers"],
        "shm_size": "1gb",  # tensors on their way to the processes of Python models
        **_HARDENING,
        "deploy": {"resources": resources},
        "stop_grace_period": f"{fleet.exit_timeout + 5}s",
        "healthcheck": {
            "test": ["CMD-SHELL", readiness_command(fleet_models(fleet))],
            "interval": f"{_HEALTH_INTERVAL}s",
            "timeout": f"{_HEALTH_INTERVAL}s",
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
        **_HARDENING,
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
        **_HARDENING,
        "restart": "unless-stopped",
    }


def _escape_dollars(text: str) -> str:
    """A text in which Compose shall replace nothing."""
    return text.replace("$", "$$")


_HARDENING: Final[dict[str, Any]] = {
    "read_only": True,
    "tmpfs": ["/tmp"],
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
}
