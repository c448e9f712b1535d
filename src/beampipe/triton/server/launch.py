"""How a Triton is started: its settings, command line and environment."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from beampipe.errors import ConfigError
from beampipe.triton.door.door import Door
from beampipe.triton.door.settings import DoorSettings
from beampipe.triton.engine import Engine, Interpreter
from beampipe.triton.hosts import LOOPBACK, is_loopback

__all__ = [
    "Ports",
    "ServerSettings",
    "free_port",
    "free_ports",
    "port_is_free",
    "server_command",
    "server_environment",
]

_PORTS: Final = range(20000, 32000)
"""Numbers from which a free port is chosen: below those that the system gives to clients."""


@dataclass(frozen=True)
class ServerSettings:
    """What one server is to be.

    Attributes:
        repository: folder of the models.
        models: names of the models to load; all of the repository if there are none.
        host: address to listen on. By default only this machine can reach it; others reach gRPC, HTTP only with `door`.
        http_port: port for HTTP; 0 for a free one.
        grpc_port: port for gRPC; 0 for a free one.
        metrics_port: port of the Prometheus metrics; 0 for a free one.
        triton: folder of a Triton, by default the installed engine.
        log: file to which the server's log is appended, by default one in a temporary folder.
        threads: number of threads of the math libraries in an instance (`OMP_NUM_THREADS`). Models may set their own.
        start_timeout: time [s] that loading the models may take.
        exit_timeout: time [s] that work in progress may take at the end.
        supervise: whether to bring back what dies or hangs, models as well as the server itself.
        patience: time [s] without an answer and without work after which a model that is asked, or the server, hangs.
        canary: whether to ask each model for the answer that was stored with it, and to refuse one that gives another.
        door: who is let in, and through what.
    """

    repository: Path
    models: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    http_port: int = 0
    grpc_port: int = 0
    metrics_port: int = 0
    triton: Path | None = None
    log: Path | None = None
    threads: int | None = None
    start_timeout: float = 120.0
    exit_timeout: int = 5
    supervise: bool = True
    patience: float = 3.0
    canary: bool = True
    door: DoorSettings = field(default_factory=DoorSettings)

    @property
    def http_host(self) -> str:
        """Address on which the server is for everybody over HTTP."""
        return self.door.http_host(self.host)

    @property
    def metrics_host(self) -> str:
        """Address of the metrics; other machines find them behind the shield, if at all."""
        return self.host if is_loopback(self.host) else LOOPBACK

    @property
    def ports(self) -> Ports:
        """The ports that were asked for, 0 where any will do."""
        return Ports(self.http_port, self.grpc_port, self.metrics_port)

    def __post_init__(self) -> None:
        if not self.patience > 0:
            raise ConfigError(f"patience: got {self.patience:g} s, expected more than 0; 3 is usual")
        ports = [port for port in self.ports if port]
        for port in ports:
            if not 0 < port < 65536:
                raise ConfigError(f"port: got {port}, expected 0 (a free one) or 1 to 65535")
        if len(set(ports)) < len(ports):
            raise ConfigError(
                f"ports: got {', '.join(map(str, ports))}, expected different ones for HTTP, gRPC and metrics"
            )


class Ports(NamedTuple):
    """The ports on which one server listens.

    Attributes:
        http: port for HTTP.
        grpc: port for gRPC.
        metrics: port of the Prometheus metrics.
    """

    http: int
    grpc: int
    metrics: int


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could listen on a port of a host now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def free_port(host: str = LOOPBACK, taken: Collection[int] = ()) -> int:
    """A port of a host that nobody has, and that is not among those `taken`."""
    generator = random.SystemRandom()  # nobody's seed: two processes would choose the same ports
    while (candidate := generator.choice(_PORTS)) in taken or not port_is_free(host, candidate):
        pass
    return candidate


def free_ports(settings: ServerSettings) -> Ports:
    """The ports of the settings, with a free one for each 0."""
    chosen = list(settings.ports)
    for row, port in enumerate(chosen):
        chosen[row] = port or free_port(settings.host, chosen)
    return Ports(*chosen)


def server_command(
    settings: ServerSettings,
    engine: Engine,
    backends: Path,
    door: Door,
    metrics_port: int,
    prefix: str,
    models: tuple[str, ...],
) -> list[str]:
    """The command line of a server.

    Args:
        settings: what the server is to be.
        engine: the Triton that is started.
        backends: folder of the backends, from `prepare_backends`.
        door: ports to listen on; behind a shield only this machine's loopback.
        metrics_port: port of the metrics.
        prefix: prefix of the shared memory, from `new_prefix`.
        models: names of the models to load.
    """
    http_host = settings.http_host if door.inner_http == door.http else LOOPBACK
    grpc_host = settings.host if door.inner_grpc == door.grpc else LOOPBACK
    return [
        str(engine.binary),
        f"--model-repository={settings.repository.absolute()}",
        f"--backend-directory={backends}",
        "--disable-auto-complete-config",  # our configurations are complete; starts several times faster
        "--model-control-mode=explicit",
        *(f"--load-model={model}" for model in models),
        f"--http-address={http_host}",
        f"--http-port={door.inner_http}",
        f"--grpc-address={grpc_host}",
        f"--grpc-port={door.inner_grpc}",
        f"--metrics-address={settings.metrics_host}",
        f"--metrics-port={metrics_port}",
        f"--exit-timeout-secs={settings.exit_timeout}",
        f"--backend-config=python,shm-region-prefix-name={prefix}",
        *([] if Path("/dev/nvidiactl").exists() else ["--allow-gpu-metrics=false"]),
    ]


def server_environment(settings: ServerSettings, engine: Engine, python: Interpreter, backends: Path) -> dict[str, str]:
    """The environment of a server, which its stubs inherit.

    Args:
        settings: what the server is to be.
        engine: the Triton that is started.
        python: the interpreter that the stubs embed.
        backends: folder of the backends, from `prepare_backends`.
    """
    given = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    folders = [backends / "python" / "lib", *([python.library.parent] if python.library else []), *engine.libraries]
    # The first python3 on PATH decides which environment a stub sees.
    path = [str(python.bin), given.get("PATH", os.defpath)]
    libraries = [*(str(folder) for folder in folders if folder.is_dir()), given.get("LD_LIBRARY_PATH", "")]
    threads = str(settings.threads or given.get("OMP_NUM_THREADS") or 1)
    return {
        **given,
        "PATH": os.pathsep.join(path),
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries)),
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
    }
