"""The specification of a fleet: one TOML file, from which everything else is generated.

    repository = "models"          # of `beampipe serving export`

    [servers.cpu]
    count = 2
    cores = 1

    [gateway]
    port = 8000

Every server of a fleet serves all its models, since the gateway selects a server without reading which model a gRPC
message is for. `beampipe fleet example` prints a commented file with every key, for a laptop, Slurm, or Kubernetes.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from beampipe.errors import ConfigError
from beampipe.settings import build, read_toml
from beampipe.triton.client.endpoint import LOOPBACK, is_loopback
from beampipe.triton.engine import CONTAINER
from beampipe.triton.server.launch import CheckSettings, TelemetrySettings

_TIME: Final = re.compile(r"(\d+-)?\d{1,2}:\d{2}:\d{2}")


@dataclass(frozen=True)
class SlurmSettings:
    """Settings of Slurm jobs.

    Attributes:
        partition: partition to submit to, ``#SBATCH --partition``; None for the default one.
        account: account to charge, ``#SBATCH --account``; None for the default one.
        servers: number of servers of each job, all on one node; the number of its GPUs if whole nodes are charged.
        time: time limit of each job, ``#SBATCH --time``: HH:MM:SS or D-HH:MM:SS.
        renew: submit the next job this long before the time limit [s]; 0 for never.
        folder: folder that all nodes see, for the registry of servers and the logs; None for one in the home folder.
        python: Python interpreter on the nodes, with beampipe installed; None for the one that writes the scripts.
        prologue: lines of shell to run before each server, e.g. ``"module load python"``.
        directives: further options for sbatch, e.g. ``"--qos=debug"``.
        host: host name or address at which other machines reach a node; ``{node}`` in it stands for the name of the
            node in Slurm, as in ``"{node}-hsn0"``; None for that name.
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


_KUBERNETES_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


@dataclass(frozen=True)
class KubernetesSettings:
    """Settings of Kubernetes.

    Attributes:
        namespace: namespace of all objects.
        storage: volume of the models: ``pvc``, ``nfs``, ``cvmfs-pvc`` or ``cvmfs-hostPath``, as SuperSONIC
            names them.
        claim: name of the volume claim, for ``pvc`` and ``cvmfs-pvc``.
        nfs_server: NFS server of the models, for ``nfs``.
        nfs_path: folder of the models on that server, for ``nfs``.
        mount: mount point of the models in the container.
        gpu_product: GPU model to run on, the value of the label ``nvidia.com/gpu.product``; None for any.
        hostname: host name of the gateway for clients outside the cluster; None for access from inside only.
        ingress_class: class of the cluster's ingress, such as ``nginx`` or ``haproxy``, through which clients outside
            reach SuperSONIC's gateway under `hostname`.
        tls_secret: secret with the gateway's certificate.
        token_secret: secret with the file of tokens, in the key ``tokens``.
        prometheus: address of the cluster's Prometheus, required for scaling; None for none.
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
        for key in ("namespace", "claim", "hostname", "tls_secret", "token_secret"):
            name: str | None = getattr(self, key)
            if name is not None and not _KUBERNETES_NAME.fullmatch(name):
                raise ConfigError(
                    f"kubernetes.{key}: got {name!r}, expected small letters, digits, dashes and dots, no address"
                )


@dataclass(frozen=True)
class ContainerSettings:
    """Images of containers.

    Attributes:
        triton: NVIDIA's image of Triton, the base of `image`.
        image: name of the image of the servers, which is built from `triton` and contains beampipe.
        gateway: image of HAProxy.
        prometheus: image of Prometheus.
        alertmanager: image of Alertmanager.
    """

    triton: str = CONTAINER
    image: str = "beampipe-triton:latest"
    gateway: str = "haproxy:3.0"
    prometheus: str = "prom/prometheus:v2.53.3"
    alertmanager: str = "prom/alertmanager:v0.28.1"


Balancing = Literal["least_connections", "least_hits", "round_robin"]
"""Balancing policy of the gateway; see `GatewaySettings.balancing`."""

_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,30}")


@dataclass(frozen=True)
class ServerGroup:
    """A group of identical servers.

    Attributes:
        name: name of the group; its servers are called NAME-0, NAME-1 and so on.
        count: number of servers that are started.
        most: largest number of servers, for which the gateway has slots; None for twice `count`.
        device: whether each server has cores only, or also one GPU.
        cores: number of cores of each server.
        threads: number of threads of the math libraries in each instance of a model; None for that of the models.
        memory: memory of each server [GiB], for schedulers.
        weight: relative share of the requests, 1 to 256: a server of weight 20 gets twice as many as one of weight 10.
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
        _check_positive(f"servers.{self.name}", self, "cores threads memory most")
        if self.memory > 2048:
            raise ConfigError(
                f"servers.{self.name}.memory: got {self.memory:g} GiB, expected up to 2048; is it in MiB?"
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

    def no_slot(self, what: str) -> ConfigError:
        """The error if its only server has to be drained and no slot is free for another.

        Args:
            what: server or group that was to be changed.
        """
        return ConfigError(
            f"{what}: got the only server and no slot for another; set servers.{self.name}.most to {self.slots + 1}"
            " and do: beampipe fleet up"
        )


@dataclass(frozen=True)
class TlsSettings:
    """The gateway's certificate, and the authority of client certificates.

    Attributes:
        certificate: PEM file with certificate and private key; reloaded when it has changed.
        client_ca: PEM file of the authority of client certificates; None if clients need no certificate.
    """

    certificate: Path
    client_ca: Path | None = None


_TEXT: Final = re.compile(r"[A-Za-z0-9._~:/@+-]+")
"""Characters of a text in HAProxy's configuration that need no quoting."""


@dataclass(frozen=True)
class JwtSettings:
    """JSON Web Tokens of an issuer, which are accepted beside those of the file of tokens, or in their place.

    Attributes:
        issuer: the claim ``iss`` that tokens must have.
        audience: the claim ``aud`` that tokens must have, in a list among the first four.
        keys: file with the issuer's public keys, a JWKS; reloaded when it has changed. None to fetch them.
        url: address from which the keys are fetched, at the start and every `refresh` seconds; None for a file.
        refresh: time between two fetches [s].
        claim: name of the claim that names the client.
    """

    issuer: str
    audience: str
    keys: Path | None = None
    url: str | None = None
    refresh: float = 600.0
    claim: str = "sub"

    def __post_init__(self) -> None:
        _check_positive("gateway.jwt", self, "refresh")
        if (self.keys is None) == (self.url is None):
            raise ConfigError("gateway.jwt: expected either keys, a file, or url, the address of the issuer's keys")
        scheme, host = urlsplit(self.url or "").scheme, urlsplit(self.url or "").hostname
        if self.url is not None and (not host or (scheme != "https" and not (scheme == "http" and is_loopback(host)))):
            raise ConfigError(f"gateway.jwt.url: got {self.url!r}, expected https://..., or http:// on this machine")
        for name, value in (("issuer", self.issuer), ("audience", self.audience), ("claim", self.claim)):
            if not _TEXT.fullmatch(value):
                raise ConfigError(f"gateway.jwt.{name}: got {value!r}, expected letters, digits and ._~:/@+- only")

    def file(self, folder: Path) -> Path:
        """The file of the keys: `keys`, or the one in a folder for those that are fetched from `url`."""
        digest = hashlib.sha256(str(self.url).encode()).hexdigest()[:16]
        return folder / f"jwks-{digest}.json" if self.keys is None else self.keys


@dataclass(frozen=True)
class AthenaSettings:
    """A listener for Athena, whose client cannot send a token: one gRPC call, from listed networks only.

    Attributes:
        port: port for gRPC.
        host: address to listen on.
        networks: networks that may connect, in CIDR notation; by default this machine only.
        tls: whether the listener uses TLS, with the gateway's certificate; Athena uses TLS on port 443 only.
    """

    port: int = 8001
    host: str = LOOPBACK
    networks: tuple[str, ...] = ("127.0.0.0/8",)
    tls: bool = False

    def __post_init__(self) -> None:
        _check_port("gateway.athena.port", self.port, least=1)
        for network in self.networks:
            try:
                ip_network(network, strict=False)
            except ValueError:
                raise ConfigError(
                    f"gateway.athena.networks: got {network!r}, expected a network such as 10.20.0.0/16"
                ) from None


@dataclass(frozen=True)
class GatewaySettings:
    """The gateway, the single address of the fleet: HAProxy with gRPC and HTTP on one port.

    Attributes:
        host: address to listen on; other than loopback it requires `tls`, and `tokens`, `jwt` or `tls.client_ca`.
        port: port for gRPC and HTTP.
        status_port: port on loopback for the gateway's metrics; 0 for a free one.
        balancing: ``least_connections``: the server with the fewest requests relative to its weight; ``least_hits``:
            the server with the smallest sum of the sizes that clients state in the header ``beampipe-size``;
            ``round_robin``: each server in turn.
        tls: certificate of the gateway; None for plain connections.
        tokens: file with a line ``SHA256 NAME`` for each accepted token; None if no token is required. Made by
            `beampipe fleet token`.
        jwt: accepted tokens of an issuer; None for none.
        rate: largest number of requests with one token in 10 s; None for no limit.
        per_client: largest number of requests of one client in progress: of one token, else certificate, else address.
            None for all that the servers have at once, and half of the queue. Users of this machine have one address,
            and are not limited without tokens.
        in_flight: largest number of requests that one server has at once; half as many of those larger than 1 MiB.
        queue: largest number of requests that wait for a server; further ones are refused at once.
        body: largest request [bytes]: the body over HTTP, the message over gRPC by the length in its prefix.
        compressed: whether compressed requests are accepted, which CMS's client can send. A small one can expand to a
            thousand times its size in a server.
        arrival: time limit [s] for the headers of a request, and between two parts of its body.
        slowest: lowest mean rate at which a body may arrive, after the first `arrival` seconds [bytes/s].
        waiting: longest wait of a request for a server [s].
        answer: time limit [s] of a server's answer.
        connections: largest number of connections of clients; one address of another machine may have half of them.
        access_log: whether each request is logged, as a line of JSON in ``logs/access.jsonl`` of the run folder.
        athena: the listener for Athena; None for none.
    """

    host: str = LOOPBACK
    port: int = 8000
    status_port: int = 0
    balancing: Balancing = "least_connections"
    tls: TlsSettings | None = None
    tokens: Path | None = None
    jwt: JwtSettings | None = None
    rate: int | None = None
    per_client: int | None = None
    in_flight: int = 8
    queue: int = 128
    body: int = 64 << 20
    compressed: bool = False
    arrival: float = 5.0
    slowest: int = 128 << 10
    waiting: float = 30.0
    answer: float = 600.0
    connections: int = 10_000
    access_log: bool = False
    athena: AthenaSettings | None = None

    def __post_init__(self) -> None:
        names = "rate per_client in_flight queue body arrival slowest waiting answer connections"
        _check_positive("gateway", self, names)
        _check_seconds("gateway", self, arrival=600, waiting=3600, answer=86400)
        if self.body < 1024:
            raise ConfigError(f"gateway.body: got {self.body} bytes, expected 1024 or more; is it in MiB?")
        _check_port("gateway.port", self.port, least=1)
        _check_port("gateway.status_port", self.status_port)
        if self.rate is not None and not self.wants_token:
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
    def wants_token(self) -> bool:
        """Whether clients must show a token."""
        return self.tokens is not None or self.jwt is not None

    @property
    def asks_who(self) -> bool:
        """Whether clients must show a token or a certificate."""
        return self.wants_token or (self.tls is not None and self.tls.client_ca is not None)


@dataclass(frozen=True)
class ObjectiveSettings:
    """What the service promises; alerts say when it is not kept.

    Attributes:
        share: share of the requests to models that are answered in time. Failed ones, and those that are refused since
            all servers are busy or gone, are not.
        within: longest time of a request at the gateway [s], rounded down to a bound of the histogram, ten per decade.
    """

    share: float = 0.99
    within: float = 1.0

    def __post_init__(self) -> None:
        if not 0.95 <= self.share < 1:
            raise ConfigError(f"monitoring.objective.share: got {self.share:g}, expected a share from 0.95 to below 1")
        if not 1e-3 <= self.within <= 60:
            raise ConfigError(f"monitoring.objective.within: got {self.within:g} s, expected 0.001 to 60; is it in ms?")


@dataclass(frozen=True)
class MonitoringSettings:
    """Settings of Prometheus and the page.

    Attributes:
        prometheus: whether Prometheus runs beside the gateway; None: if it is installed.
        prometheus_port: its port on loopback; 0 for a free one.
        page_port: port on loopback of the page of `beampipe fleet watch`; 0 for a free one.
        interval: time between two scrapes of each server [s].
        retention: time for which Prometheus keeps its data [days].
        objective: share of the requests that are answered within a time, for alerts.
    """

    prometheus: bool | None = None
    prometheus_port: int = 0
    page_port: int = 0
    interval: float = 2.0
    retention: int = 15
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)

    def __post_init__(self) -> None:
        _check_positive("monitoring", self, "interval retention")
        _check_seconds("monitoring", self, interval=300)
        _check_port("monitoring.prometheus_port", self.prometheus_port)
        _check_port("monitoring.page_port", self.page_port)


@dataclass(frozen=True)
class AlertRoute:
    """Where alerts are sent, and again once they have ended.

    Attributes:
        name: name of the route.
        kind: ``webhook``: JSON by POST; ``chat``: an incoming webhook of Mattermost or Slack; ``email``.
        url: address of the webhook or chat.
        url_file: file with that address, since whoever has it can post; in place of `url`.
        to: addresses of e-mail.
        severity: ``warning`` for all alerts, ``critical`` for critical ones only.
    """

    name: str
    kind: Literal["webhook", "chat", "email"]
    url: str | None = None
    url_file: Path | None = None
    to: tuple[str, ...] = ()
    severity: Literal["warning", "critical"] = "warning"

    def __post_init__(self) -> None:
        where = f"alerts.routes.{self.name}"
        _check_name(where, self.name)
        _check_web_address(f"{where}.url", self.url)
        given = {key for key in ("url", "url_file", "to") if getattr(self, key)}
        if given not in ([{"to"}] if self.kind == "email" else [{"url"}, {"url_file"}]):
            expected = "to, addresses" if self.kind == "email" else "url, an address, or url_file"
            raise ConfigError(
                f"{where}: got {self.kind} with {' and '.join(sorted(given)) or 'nothing'}, expected {expected}"
            )
        for address in self.to:
            if not re.fullmatch(r"[^@\s,]+@[^@\s,]+", address):
                raise ConfigError(f"{where}.to: got {address!r}, expected an address such as shift@example.org")


@dataclass(frozen=True)
class SmtpSettings:
    """The server that takes e-mails.

    Attributes:
        host: its name and port, such as ``smtp.example.org:587``.
        sender: address of the sender.
        user: name to log in with; None for no login.
        password_file: file with the password of `user`.
        tls: whether the connection must be encrypted by STARTTLS.
    """

    host: str
    sender: str
    user: str | None = None
    password_file: Path | None = None
    tls: bool = True

    def __post_init__(self) -> None:
        name, _, port = self.host.rpartition(":")
        if not name or not port.isdigit():
            raise ConfigError(
                f"alerts.smtp.host: got {self.host!r}, expected name and port, as in smtp.example.org:587"
            )
        if (self.user is None) != (self.password_file is None):
            raise ConfigError("alerts.smtp: got one of user and password_file, expected both or none")


@dataclass(frozen=True)
class AlertSettings:
    """Alerts that are sent to people, by Alertmanager.

    Attributes:
        routes: where they are sent, by name; each route gets all alerts of its severity.
        smtp: the server for routes of e-mail.
        heartbeat: address that gets a message about once a minute while Prometheus and Alertmanager work: of a service
            elsewhere that raises the alarm when it stops. None for none.
        repeat: time [s] after which a message about an alert that goes on is sent again.
    """

    routes: Mapping[str, AlertRoute]
    smtp: SmtpSettings | None = None
    heartbeat: str | None = None
    repeat: float = 14400.0

    def __post_init__(self) -> None:
        _check_web_address("alerts.heartbeat", self.heartbeat)
        if not 60 <= self.repeat <= 432000:
            raise ConfigError(f"alerts.repeat: got {self.repeat:g} s, expected 60 to 432000, five days")
        if self.smtp is None and any(route.kind == "email" for route in self.routes.values()):
            raise ConfigError("alerts.smtp: got none, expected host and sender, as a route sends e-mails")

    @property
    def files(self) -> dict[str, Path]:
        """The files with secrets, by a name."""
        files = {name: route.url_file for name, route in self.routes.items()}
        files["smtp"] = None if self.smtp is None else self.smtp.password_file
        return {f"alerts-{name}": path for name, path in files.items() if path is not None}


@dataclass(frozen=True)
class ScalingSettings:
    """Limits at which servers are added and removed, up to `ServerGroup.most`.

    Attributes:
        group: the scaled group of servers.
        least: smallest number of servers.
        queue: mean time in the queue [ms] above which a server is added.
        busy: share of time that servers work, below which one is removed.
        patience: time [s] for which a condition must hold, and smallest time between two changes.
    """

    group: str
    least: int = 1
    queue: float = 20.0
    busy: float = 0.3
    patience: float = 30.0

    def __post_init__(self) -> None:
        _check_positive("scaling", self, "least queue patience")
        _check_seconds("scaling", self, patience=3600)
        if self.queue < 0.1:
            raise ConfigError(f"scaling.queue: got {self.queue:g} ms, expected 0.1 ms or more; is it in s?")
        if not 0 < self.busy < 1:
            raise ConfigError(f"scaling.busy: got {self.busy:g}, expected a share between 0 and 1")


@dataclass(frozen=True)
class Fleet:
    """The specification of a fleet.

    Attributes:
        repository: folder of the models, of `beampipe serving export`.
        servers: the servers, by groups.
        name: name of the fleet, by which commands identify it.
        models: names of the models to serve; all of the repository if there are none.
        gateway: settings of the gateway.
        monitoring: Prometheus and the page.
        alerts: where alerts are sent; None for the page only.
        scaling: limits at which servers are added and removed; None for no scaling.
        slurm: settings of Slurm jobs.
        kubernetes: settings of Kubernetes.
        container: images of containers.
        telemetry: traces of requests; None for none.
        checks: checks by the owners of models, by name of the model.
        start_timeout: time limit [s] of a server's start.
        exit_timeout: time limit [s] of work in progress when a server ends.
        patience: time [s] without an answer and without work after which a server counts as hanging.
    """

    repository: Path
    servers: Mapping[str, ServerGroup]
    name: str = "fleet"
    models: tuple[str, ...] = ()
    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    monitoring: MonitoringSettings = field(default_factory=MonitoringSettings)
    alerts: AlertSettings | None = None
    scaling: ScalingSettings | None = None
    slurm: SlurmSettings = field(default_factory=SlurmSettings)
    kubernetes: KubernetesSettings = field(default_factory=KubernetesSettings)
    container: ContainerSettings = field(default_factory=ContainerSettings)
    telemetry: TelemetrySettings | None = None
    checks: Mapping[str, CheckSettings] = field(default_factory=dict)
    start_timeout: float = 120.0
    exit_timeout: int = 5
    patience: float = 3.0

    def __post_init__(self) -> None:
        _check_name("name", self.name)
        _check_positive("fleet", self, "start_timeout exit_timeout patience")
        _check_seconds("fleet", self, start_timeout=3600, exit_timeout=3600, patience=300)
        if repeated := sorted({model for model in self.models if self.models.count(model) > 1}):
            raise ConfigError(f"models: got {', '.join(repeated)} more than once, expected each name once")
        if not any(group.count for group in self.servers.values()):
            raise ConfigError("servers: got no server, expected a table [servers.NAME] with count = 1 or more")
        if self.alerts is not None and self.monitoring.prometheus is False:
            raise ConfigError("alerts: got it with monitoring.prometheus = false, expected true: Prometheus finds them")
        if self.scaling is not None and self.scaling.group not in self.servers:
            raise ConfigError(
                f"scaling.group: got {self.scaling.group!r}, expected a group of servers: {', '.join(self.servers)}"
            )
        if self.scaling is not None and self.scaling.least > (most := self.servers[self.scaling.group].slots):
            raise ConfigError(f"scaling.least: got {self.scaling.least}, expected at most servers.most, {most}")
        ports = {"gateway.port": self.gateway.port, "gateway.status_port": self.gateway.status_port}
        if self.gateway.athena is not None:
            ports["gateway.athena.port"] = self.gateway.athena.port
        ports["monitoring.prometheus_port"] = self.monitoring.prometheus_port
        ports["monitoring.page_port"] = self.monitoring.page_port
        for key, port in ports.items():
            if port and (other := next(name for name, value in ports.items() if value == port)) != key:
                raise ConfigError(f"{key}: got {port}, that of {other} too, expected another port")


def read_fleet(path: Path) -> Fleet:
    """Read the specification of a fleet.

    Args:
        path: a TOML file; paths in it are relative to its folder.

    Raises:
        FileError: the file cannot be read, or is no TOML.
        ConfigError: a key is unknown or missing, or a value does not fit.
        UnknownNameError: a value is none of the choices of its key.
    """
    return build(Fleet, read_toml(path, "the specification of a fleet"), str(path), path.resolve().parent)


def fleet_of_text(text: str, path: Path) -> Fleet:
    """The fleet of the contents that a file had; arguments and errors otherwise as of `read_fleet`."""
    return build(Fleet, tomllib.loads(text), str(path), path.resolve().parent)


def _check_name(where: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{where}: got the name {name!r}, expected small letters, digits and dashes, a letter first")


def _check_web_address(key: str, url: str | None) -> None:
    if url is not None and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
        raise ConfigError(f"{key}: got {url!r}, expected http://... or https://...")


def _check_port(key: str, port: int, least: int = 0) -> None:
    if not least <= port <= 65535:
        raise ConfigError(f"{key}: got {port}, expected {least} to 65535")


def _check_positive(table: str, settings: object, names: str) -> None:
    for key in names.split():
        value: int | float | None = getattr(settings, key)
        if value is not None and not value > 0:
            raise ConfigError(f"{table}.{key}: got {value:g}, expected more than 0")


def _check_seconds(table: str, settings: object, **most: int | float) -> None:
    for key, limit in most.items():
        value: int | float = getattr(settings, key)
        if value > limit:
            raise ConfigError(f"{table}.{key}: got {value:g} s, expected at most {limit:g} s; is it in ms?")
