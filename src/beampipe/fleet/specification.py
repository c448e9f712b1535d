"""The specification of a fleet: one TOML file, from which everything else is generated.

    repository = "models"          # of `beampipe serving export`

    [servers.cpu]
    count = 2
    cores = 1

    [gateway]
    port = 8000

Every server of a fleet has all its models: the gateway sees which server is free, not which model a gRPC message is
for. `beampipe fleet example` prints a commented file with every key, for a laptop, a site with Slurm, or Kubernetes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from beampipe.errors import ConfigError
from beampipe.settings import build, read_toml
from beampipe.triton.client.endpoint import LOOPBACK, is_loopback

_TIME: Final = re.compile(r"(\d+-)?\d{1,2}:\d{2}:\d{2}")


@dataclass(frozen=True)
class SlurmSettings:
    """Settings of Slurm jobs.

    Attributes:
        partition: partition to submit to, ``#SBATCH --partition``; None for the default one.
        account: account to charge, ``#SBATCH --account``; None for the default one.
        servers: number of servers of each job, all on one node: that of a node's GPUs where whole nodes are charged.
        time: time limit of each job, ``#SBATCH --time``: HH:MM:SS or D-HH:MM:SS.
        renew: submit the next job this long before the time limit [s]; 0 for never.
        folder: folder that all nodes see, for the registry of servers and the logs; None for one in the home folder.
        python: Python interpreter on the nodes, with beampipe installed; None for the one that writes the scripts.
        prologue: lines of shell to run before each server, e.g. ``"module load python"``.
        directives: further options for sbatch, e.g. ``"--qos=debug"``.
        host: host name or address under which a node is reached from others; ``{node}`` in it stands for the name that
            Slurm has for the node, as in ``"{node}-hsn0"``; None for that name.
    """

    partition: str | None = None
    account: str | None = None
    servers: int = 1
    time: str = "04:00:00"
    renew: int = 600
    folder: Path | None = None
    python: Path | None = None
    prologue: tuple[str, ...] = ()
    directives: tuple[str, ...] = ()
    host: str | None = None

    def __post_init__(self) -> None:
        if not _TIME.fullmatch(self.time):
            raise ConfigError(f"slurm.time: got {self.time!r}, expected HH:MM:SS or D-HH:MM:SS")
        if self.servers < 1:
            raise ConfigError(f"slurm.servers: got {self.servers}, expected 1 or more")
        if not 0 <= self.renew < self.seconds:
            raise ConfigError(f"slurm.renew: got {self.renew}, expected 0 s (never) or more, and less than slurm.time")
        for directive in self.directives:
            if not directive.startswith("-") or "\n" in directive:
                raise ConfigError(
                    f"slurm.directives: got {directive!r}, expected an option for sbatch, as in --qos=debug"
                )

    @property
    def seconds(self) -> int:
        """Time limit of each job [s]."""
        days, _, clock = self.time.rpartition("-")
        hours, minutes, seconds = map(int, clock.split(":"))
        return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


@dataclass(frozen=True)
class KubernetesSettings:
    """Settings of Kubernetes.

    Attributes:
        namespace: namespace of everything.
        storage: what the models are mounted from: ``pvc``, ``nfs``, ``cvmfs-pvc`` or ``cvmfs-hostPath``, as SuperSONIC
            names them.
        claim: name of the volume claim, for ``pvc`` and ``cvmfs-pvc``.
        nfs_server: host of the models, for ``nfs``.
        nfs_path: folder of the models there, for ``nfs``.
        mount: folder in the container under which the models appear.
        gpu_product: GPU model to run on, the value of the label ``nvidia.com/gpu.product``; None for any.
        hostname: name under which clients outside the cluster reach the gateway; None for inside only.
        ingress_class: class of the cluster's ingress, such as ``nginx`` or ``haproxy``, through which clients outside
            reach SuperSONIC's gateway under `hostname`.
        tls_secret: secret with the gateway's certificate.
        token_secret: secret with the file of tokens, in the key ``tokens``.
        prometheus: address of the cluster's Prometheus, which scaling needs; None for none.
    """

    namespace: str = "beampipe"
    storage: Literal["pvc", "nfs", "cvmfs-pvc", "cvmfs-hostPath"] = "pvc"
    claim: str = "beampipe-models"
    nfs_server: str | None = None
    nfs_path: str | None = None
    mount: str = "/models"
    gpu_product: str | None = None
    hostname: str | None = None
    ingress_class: str = "nginx"
    tls_secret: str = "beampipe-tls"
    token_secret: str = "beampipe-tokens"
    prometheus: str | None = None

    def __post_init__(self) -> None:
        if self.storage == "nfs" and not (self.nfs_server and self.nfs_path):
            raise ConfigError("kubernetes.storage: got 'nfs', expected nfs_server and nfs_path with it")


@dataclass(frozen=True)
class ContainerSettings:
    """The image in which servers run.

    Attributes:
        triton: NVIDIA's image that the servers are made from.
        image: name of the image that is built from it, with beampipe in it.
        gateway: image of HAProxy.
        prometheus: image of Prometheus.
    """

    triton: str = "nvcr.io/nvidia/tritonserver:26.04-py3"
    image: str = "beampipe-triton:latest"
    gateway: str = "haproxy:3.0"
    prometheus: str = "prom/prometheus:v2.53.3"


Balancing = Literal["least_connections", "least_hits", "round_robin"]
"""How the gateway chooses a server; see `GatewaySettings.balancing`."""

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,30}")


@dataclass(frozen=True)
class ServerGroup:
    """Servers that are alike.

    Attributes:
        name: name of the group; its servers are called NAME-0, NAME-1 and so on.
        count: number of servers that are started.
        most: largest number of servers, for which the gateway has slots; None for twice `count`.
        device: whether each server has cores only, or a GPU of its own.
        cores: number of cores of each server.
        threads: number of threads of the math libraries in each instance of a model; None for that of the models.
        memory: memory of each server [GiB], where a scheduler asks for it.
        weight: share of the requests beside other groups, 1 to 256: a server of weight 20 gets twice as many as one of
            weight 10.
    """

    name: str
    count: int = 1
    most: int | None = None
    device: Literal["cpu", "gpu"] = "cpu"
    cores: int = 1
    threads: int | None = None
    memory: float = 4.0
    weight: int = 10

    def __post_init__(self) -> None:
        _check_name(f"servers.{self.name}", self.name)
        _check_positive(
            f"servers.{self.name}", cores=self.cores, threads=self.threads, memory=self.memory, most=self.most
        )
        if self.count < 0:
            raise ConfigError(f"servers.{self.name}.count: got {self.count}, expected 0 or more")
        if self.slots < self.count:
            raise ConfigError(f"servers.{self.name}.most: got {self.most}, expected at least count, {self.count}")
        if not 0 < self.weight <= 256:
            raise ConfigError(f"servers.{self.name}.weight: got {self.weight}, expected 1 to 256; 10 is usual")

    @property
    def slots(self) -> int:
        """Largest number of servers."""
        return max(1, 2 * self.count) if self.most is None else self.most

    def server_name(self, number: int) -> str:
        """Name of one of its servers.

        Args:
            number: its number, from 0.
        """
        return f"{self.name}-{number}"


@dataclass(frozen=True)
class TlsSettings:
    """The gateway's certificate, and the authority of client certificates.

    Attributes:
        certificate: PEM file with certificate and private key; it is read again when it has changed.
        client_ca: PEM file of the authority whose certificates clients must show; None if they need not.
    """

    certificate: Path
    client_ca: Path | None = None


@dataclass(frozen=True)
class AthenaSettings:
    """A listener for Athena, whose client sends no token: one RPC over gRPC, for known networks only.

    Attributes:
        port: port for gRPC.
        host: address to listen on.
        networks: networks that may connect, in CIDR notation; by default this machine alone.
        tls: whether the listener uses TLS, with the gateway's certificate; Athena does so at port 443 only.
    """

    port: int = 8001
    host: str = LOOPBACK
    networks: tuple[str, ...] = ("127.0.0.0/8",)
    tls: bool = False


@dataclass(frozen=True)
class GatewaySettings:
    """The one address of the fleet: HAProxy, gRPC and HTTP on one port.

    Attributes:
        host: address to listen on. One that other machines reach needs `tls`, and `tokens` or `tls.client_ca`.
        port: port for gRPC and HTTP.
        status_port: port on loopback for the gateway's own metrics; 0 for the next free one.
        balancing: ``least_connections``: to the server with the fewest requests for its weight; ``least_hits``: to that
            with the smallest sum of the sizes that clients state in the header ``beampipe-size``; ``round_robin``: in
            turn.
        tls: certificate of the gateway; None for plain connections.
        tokens: file with a line ``SHA256 NAME`` for each accepted token; None if no token is required. Made by
            `beampipe fleet token`.
        rate: largest number of requests of one token in 10 s; None for any.
        in_flight: largest number of requests that one server has at once.
        queue: largest number of requests that wait for a server; more are refused at once.
        body: largest request [bytes]: the body over HTTP, the message over gRPC, by its own header.
        compressed: whether compressed requests are accepted, as CMS's client may send them. A small one may unfold to a
            thousand times its size in a server.
        arrival: time [s] that a request's headers may take, and a body between two of its parts.
        waiting: time [s] that a request may wait for a server.
        answer: time [s] that a server may take to answer.
        connections: largest number of connections of clients.
        athena: the listener for Athena; None for none.
    """

    host: str = LOOPBACK
    port: int = 8000
    status_port: int = 0
    balancing: Balancing = "least_connections"
    tls: TlsSettings | None = None
    tokens: Path | None = None
    rate: int | None = None
    in_flight: int = 8
    queue: int = 64
    body: int = 64 << 20
    compressed: bool = False
    arrival: float = 5.0
    waiting: float = 30.0
    answer: float = 600.0
    connections: int = 10_000
    athena: AthenaSettings | None = None

    def __post_init__(self) -> None:
        _check_positive(
            "gateway",
            rate=self.rate,
            in_flight=self.in_flight,
            queue=self.queue,
            body=self.body,
            arrival=self.arrival,
            waiting=self.waiting,
            answer=self.answer,
            connections=self.connections,
        )
        if self.rate is not None and self.tokens is None:
            raise ConfigError(
                "gateway.rate: got it without gateway.tokens, expected both: it counts requests of a token"
            )
        if self.athena is not None and self.athena.tls and self.tls is None:
            raise ConfigError("gateway.athena.tls: got true without gateway.tls, expected its certificate there")
        if not is_loopback(self.host) and (self.tls is None or not self.asks_who):
            raise ConfigError(
                f"gateway.host: got {self.host}, which other machines reach, without tls and tokens (or tls.client_ca);"
                f" expected both, or {LOOPBACK}"
            )

    @property
    def asks_who(self) -> bool:
        """Whether clients must show a token or a certificate."""
        return self.tokens is not None or (self.tls is not None and self.tls.client_ca is not None)


@dataclass(frozen=True)
class MonitoringSettings:
    """Settings of Prometheus and the page.

    Attributes:
        prometheus: whether Prometheus runs beside the gateway; None for wherever it is installed.
        prometheus_port: its port on loopback; 0 for a free one.
        page_port: port on loopback of the page of `beampipe fleet watch`; 0 for a free one.
        interval: time between two scrapes of each server [s].
        retention: time for which Prometheus keeps its data [days].
    """

    prometheus: bool | None = None
    prometheus_port: int = 0
    page_port: int = 0
    interval: float = 2.0
    retention: int = 15

    def __post_init__(self) -> None:
        _check_positive("monitoring", interval=self.interval, retention=self.retention)


@dataclass(frozen=True)
class ScalingSettings:
    """When servers are added and taken away, within `ServerGroup.most`.

    Attributes:
        group: group of servers that grows and shrinks.
        least: smallest number of servers.
        queue: mean time in the queue [ms] above which a server is added.
        busy: share of time in which a server works below which one is taken away.
        patience: time [s] for which that must hold, and that passes at least between two changes.
    """

    group: str
    least: int = 1
    queue: float = 20.0
    busy: float = 0.3
    patience: float = 30.0

    def __post_init__(self) -> None:
        _check_positive("scaling", least=self.least, queue=self.queue, patience=self.patience)
        if not 0 < self.busy < 1:
            raise ConfigError(f"scaling.busy: got {self.busy:g}, expected a share between 0 and 1")


@dataclass(frozen=True)
class Fleet:
    """The specification of a fleet.

    Attributes:
        repository: folder of the models, of `beampipe serving export`.
        servers: the servers, by groups.
        name: name of the fleet; commands find it by that.
        models: names of the models to serve; all of the repository if there are none.
        gateway: the one address of the fleet.
        monitoring: Prometheus and the page.
        scaling: when servers are added and taken away; None for never.
        slurm: settings of Slurm jobs.
        kubernetes: settings of Kubernetes.
        container: image of containers.
        start_timeout: time [s] that a server may take until it answers.
        exit_timeout: time [s] that work in progress may take when a server ends.
        patience: time [s] without an answer and without work after which a server hangs, and is replaced.
    """

    repository: Path
    servers: Mapping[str, ServerGroup]
    name: str = "fleet"
    models: tuple[str, ...] = ()
    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    monitoring: MonitoringSettings = field(default_factory=MonitoringSettings)
    scaling: ScalingSettings | None = None
    slurm: SlurmSettings = field(default_factory=SlurmSettings)
    kubernetes: KubernetesSettings = field(default_factory=KubernetesSettings)
    container: ContainerSettings = field(default_factory=ContainerSettings)
    start_timeout: float = 120.0
    exit_timeout: int = 5
    patience: float = 3.0

    def __post_init__(self) -> None:
        _check_name("name", self.name)
        _check_positive(
            "fleet", start_timeout=self.start_timeout, exit_timeout=self.exit_timeout, patience=self.patience
        )
        if not any(group.count for group in self.servers.values()):
            raise ConfigError("servers: got no server, expected a table [servers.NAME] with count = 1 or more")
        if self.scaling is not None and self.scaling.group not in self.servers:
            raise ConfigError(
                f"scaling.group: got {self.scaling.group!r}, expected a group of servers: {', '.join(self.servers)}"
            )


def read_fleet(path: Path) -> Fleet:
    """The fleet of a file.

    Args:
        path: a TOML file; paths in it are relative to its folder.

    Raises:
        FileError: the file cannot be read, or is no TOML.
        ConfigError: a key is unknown or missing, or a value does not fit.
        UnknownNameError: a text is none of the choices.
    """
    return build(Fleet, read_toml(path, "the specification of a fleet"), str(path), path.resolve().parent)


def _check_name(where: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{where}: got the name {name!r}, expected small letters, digits and dashes, a letter first")


def _check_positive(table: str, **values: int | float | None) -> None:
    for key, value in values.items():
        if value is not None and not value > 0:
            raise ConfigError(f"{table}.{key}: got {value:g}, expected more than 0")
