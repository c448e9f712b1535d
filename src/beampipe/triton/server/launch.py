"""Settings, ports, checks before the start, command line and environment of a Triton server.

The checks are for faults that Triton itself reports late or not at all. A stub that lacks a library, or a missing bash,
makes it wait indefinitely without a message; a port in use is noticed only after all models have been loaded; the wrong
Python shows up as "No module named numpy".
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from beampipe.errors import ConfigError, FileError, UnknownNameError
from beampipe.triton.client.endpoint import LOOPBACK, is_loopback
from beampipe.triton.connection_file import ConnectionInfo
from beampipe.triton.engine import STUB, Engine, Interpreter, prepare_backends
from beampipe.triton.server.access import AccessSettings
from beampipe.triton.supervision.stubs import SHARED_MEMORY

_PORTS: Final = range(20000, 32000)
"""Range of free ports: below those that the system assigns to clients."""


_TRACES: Final = "/v1/traces"
"""Path of traces on a collector, by the protocol OTLP."""

_SPAN_DELAY: Final = 1000
"""Longest time [ms] that a span waits in the server before it is sent."""


@dataclass(frozen=True)
class TelemetrySettings:
    """Traces of requests, sent to a collector of OpenTelemetry.

    A request has one span for its way through the server, one for the model, with an event at the end of each stage of
    a native pipeline, and one for its computation. The first is a child of the span that the client states in the
    header ``traceparent``. Over gRPC, Triton 2.51 ignores up to a third of these headers; clients of beampipe send the
    same as id of the request, which is the attribute ``triton.request_id`` of the model's span.

    Attributes:
        traces: address of the collector, for OTLP over HTTP, such as ``http://127.0.0.1:4318``.
        rate: each request of this many is traced, with or without a client's span.
    """

    traces: str
    rate: int = 1

    def __post_init__(self) -> None:
        parts = urlsplit(self.traces)
        if parts.scheme not in ("http", "https") or not parts.hostname or any(sign in self.traces for sign in " \n\t"):
            raise ConfigError(
                f"traces: got {self.traces!r}, expected the URL of a collector, such as http://127.0.0.1:4318"
            )
        if self.rate < 1:
            raise ConfigError(f"trace rate: got {self.rate}, expected 1 (each request) or more (one of so many)")

    @property
    def url(self) -> str:
        """Address to which spans are posted."""
        return self.traces if urlsplit(self.traces).path.strip("/") else self.traces.rstrip("/") + _TRACES

    def arguments(self, server: str) -> list[str]:
        """Options of Triton.

        Args:
            server: name of the server, by which a span tells where it was made.
        """
        values = (
            "mode=opentelemetry",
            "level=TIMESTAMPS",
            f"rate={self.rate}",
            f"opentelemetry,url={self.url}",
            "opentelemetry,resource=service.name=triton",
            f"opentelemetry,resource=service.instance.id={server}",
            f"opentelemetry,bsp_schedule_delay={_SPAN_DELAY}",
        )
        return [f"--trace-config={value}" for value in values]


@dataclass(frozen=True)
class CheckSettings:
    """How the owner of a model checks that it works, beside its canary. While the check fails, the server is not used.

    Attributes:
        program: program and arguments; it ends with 0 if the model works. The environment variables ``BEAMPIPE_URL``
            and ``BEAMPIPE_MODEL`` say where the model is.
        request: file of a request and the answer that it must get, as that of a canary.
        tolerance: largest difference of a value of that answer, absolute or relative; 0 for none, byte for byte.
        timeout: time limit [s] of the program.
    """

    program: tuple[str, ...] = ()
    request: Path | None = None
    tolerance: float = 0.0
    timeout: float = 30.0

    def __post_init__(self) -> None:
        if not self.program and self.request is None:
            raise ConfigError("checks: got neither program nor request, expected one of them")
        if not 0 <= self.tolerance < 1 or not 0 < self.timeout <= 600:
            raise ConfigError(
                f"checks: got tolerance {self.tolerance:g} and timeout {self.timeout:g} s, expected 0 to below 1, and"
                " up to 600 s"
            )


@dataclass(frozen=True)
class ServerSettings:
    """Settings of one server.

    Attributes:
        repository: folder of the models.
        models: names of the models to load; all of the repository if there are none.
        host: address to listen on. By default only this machine can reach it; others reach gRPC, and HTTP only with
            `access`.
        http_port: port for HTTP; 0 for a free one.
        grpc_port: port for gRPC; 0 for a free one.
        metrics_port: port of the Prometheus metrics; 0 for a free one.
        triton: folder of a Triton, by default the installed engine.
        log: file to which the server's log is appended, by default one in a temporary folder. It begins anew at 32 MiB.
        threads: number of threads of the math libraries in an instance (`OMP_NUM_THREADS`). Models may set their own.
        start_timeout: time [s] that loading the models may take.
        exit_timeout: time [s] that work in progress may take at the end.
        supervise: whether to restart models and the server when they die or hang.
        patience: time [s] without an answer and without work after which a model with requests, or the server, hangs.
        canary: whether to compare each model's answer to its canary with the stored one, and to refuse a difference.
        access: secret, restricted APIs, and the reverse proxy.
        telemetry: traces of requests; None for none.
        checks: checks by the owners of models, by name of the model.
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
    access: AccessSettings = field(default_factory=AccessSettings)
    telemetry: TelemetrySettings | None = None
    checks: Mapping[str, CheckSettings] = field(default_factory=dict)

    @property
    def http_host(self) -> str:
        """Public address for HTTP."""
        return self.access.http_host(self.host)

    @property
    def metrics_host(self) -> str:
        """Address of the metrics; other machines reach them through the reverse proxy, if at all."""
        return self.host if is_loopback(self.host) else LOOPBACK

    @property
    def ports(self) -> Ports:
        """The requested ports, 0 for any free one."""
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
    """A free port of a host that is not among those `taken`."""
    generator = random.SystemRandom()  # independent of seeds: two processes must not choose the same ports
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
    connection: ConnectionInfo,
    metrics_port: int,
    prefix: str,
    models: tuple[str, ...],
) -> list[str]:
    """The command line of a server.

    Args:
        settings: settings of the server.
        engine: the Triton to start.
        backends: folder of the backends, from `prepare_backends`.
        connection: ports to listen on; behind a reverse proxy only on loopback.
        metrics_port: port of the metrics.
        prefix: prefix of the shared memory, from `new_prefix`.
        models: names of the models to load.
    """
    http_host = settings.http_host if connection.inner_http == connection.http else LOOPBACK
    grpc_host = settings.host if connection.inner_grpc == connection.grpc else LOOPBACK
    return [
        str(engine.binary),
        f"--model-repository={settings.repository.absolute()}",
        f"--backend-directory={backends}",
        "--disable-auto-complete-config",  # our configurations are complete; starts several times faster
        "--model-control-mode=explicit",
        *(f"--load-model={model}" for model in models),
        f"--http-address={http_host}",
        f"--http-port={connection.inner_http}",
        f"--grpc-address={grpc_host}",
        f"--grpc-port={connection.inner_grpc}",
        f"--metrics-address={settings.metrics_host}",
        f"--metrics-port={metrics_port}",
        f"--exit-timeout-secs={settings.exit_timeout}",
        f"--backend-config=python,shm-region-prefix-name={prefix}",
        *([] if settings.telemetry is None else settings.telemetry.arguments(f"{settings.host}:{connection.grpc}")),
        *([] if Path("/dev/nvidiactl").exists() else ["--allow-gpu-metrics=false"]),
    ]


def server_environment(settings: ServerSettings, engine: Engine, python: Interpreter, backends: Path) -> dict[str, str]:
    """The environment of a server, which its stubs inherit.

    Args:
        settings: settings of the server.
        engine: the Triton to start.
        python: the interpreter that the stubs embed.
        backends: folder of the backends, from `prepare_backends`.
    """
    inherited = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    folders = [backends / "python" / "lib", *([python.library.parent] if python.library else []), *engine.libraries]
    # The first python3 on PATH decides which environment a stub sees.
    path = [str(python.bin), inherited.get("PATH", os.defpath)]
    libraries = [*(str(folder) for folder in folders if folder.is_dir()), inherited.get("LD_LIBRARY_PATH", "")]
    threads = str(settings.threads or inherited.get("OMP_NUM_THREADS") or 1)
    return {
        **inherited,
        "PATH": os.pathsep.join(path),
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries)),
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
    }


_CONFIG: Final = "config.pbtxt"

_STUB_USAGE: Final = "Expected 9 arguments"

_STUB_TIME: Final = 20.0
"""Time limit [s] for a stub to start and print its usage."""

_SHARED_MEMORY: Final = 32 * 2**20
"""Shared memory [bytes] that must be free: one instance takes 1 MiB idle, and twice its largest event."""


def check_repository(repository: Path, models: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the models to load.

    Args:
        repository: folder of the models.
        models: names of the requested models; all if empty.

    Raises:
        FileError: there is no repository, or no model in it.
        UnknownNameError: the repository lacks one of the models.
    """
    if not repository.is_dir():
        raise FileError(
            f"{repository}: got no such folder, expected a model repository: beampipe serving export -o FOLDER"
        )
    available = tuple(sorted(path.parent.name for path in repository.glob(f"*/{_CONFIG}")))
    if not available:
        raise FileError(
            f"{repository}: got a folder without models, expected MODEL/{_CONFIG} in it: beampipe serving export"
            " -o FOLDER"
        )
    for model in models:
        if model not in available:
            raise UnknownNameError(f"model in {repository}", model, available)
    return models or available


def check_interpreter(engine: Engine, python: Interpreter) -> None:
    """Raise unless a stub can embed this Python.

    Raises:
        ConfigError: the engine has no stub for this version, or this Python has no shared library or no ``python3``.
    """
    engine.stub(python.version)
    if python.library is None:
        raise ConfigError(
            f"Python {python.version}: got one without a shared library, expected libpython{python.version}.so.1.0,"
            " into which Triton's stub loads the model; use a Python built with --enable-shared, or on Debian and"
            f" Ubuntu: apt-get install libpython{python.version}"
        )
    if not (python.bin / "python3").exists():
        raise ConfigError(
            f"{python.bin}: got no python3 there, expected one: the first on PATH decides which packages a model sees;"
            " make the environment with: python -m venv"
        )


def check_stub(backends: Path, environ: Mapping[str, str]) -> None:
    """Raise unless a stub starts in the environment that it will have.

    Raises:
        ConfigError: bash or a library is missing.
    """
    if shutil.which("bash", path=environ["PATH"]) is None:
        raise ConfigError(f"PATH: got no bash in {environ['PATH']}, expected one, with which Triton starts its stubs")
    stub = backends / "python" / STUB
    try:
        done = subprocess.run(
            [stub], env=dict(environ), stdin=subprocess.DEVNULL, capture_output=True, timeout=_STUB_TIME, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{stub}: got {error}, expected it to start and ask for arguments") from error
    output = (done.stdout + done.stderr).decode(errors="replace").strip()
    if _STUB_USAGE not in output:
        last = output.splitlines()[-1] if output else f"exit code {done.returncode}"
        raise ConfigError(
            f"{stub}: got {last!r}, expected it to start; with LD_LIBRARY_PATH={environ['LD_LIBRARY_PATH']}"
        )


def prepare_engine(
    settings: ServerSettings, engine: Engine, python: Interpreter, fallback: Path
) -> tuple[Path, dict[str, str]]:
    """The folder of the backends and the environment of a server with an engine.

    Args:
        settings: settings of the server.
        engine: an installed Triton.
        python: the interpreter that the stubs embed.
        fallback: parent of the folder if that of the engine is not writable.

    Raises:
        ConfigError: a stub for this Python is missing or does not start, or there is too little shared memory.
    """
    check_interpreter(engine, python)
    check_shared_memory()
    backends = prepare_backends(engine, python, fallback)
    environ = server_environment(settings, engine, python, backends)
    check_stub(backends, environ)
    return backends, environ


def check_engine(engine: Engine, python: Interpreter) -> None:
    """Raise unless an engine can run models with a Python on this machine, as `prepare_engine` does."""
    with tempfile.TemporaryDirectory() as scratch:
        prepare_engine(ServerSettings(Path()), engine, python, Path(scratch))


def check_ports(settings: ServerSettings, ports: Ports) -> None:
    """Raise unless the server can listen.

    Raises:
        ConfigError: a port is in use, or the address is not of this machine.
    """
    if not port_is_free(settings.host, 0):
        raise ConfigError(
            f"host: got {settings.host}, expected an address of this machine, such as 127.0.0.1 or 0.0.0.0"
        )
    hosts = (settings.http_host, settings.host, settings.metrics_host)
    for name, host, port in zip(("http", "grpc", "metrics"), hosts, ports, strict=True):
        if not port_is_free(host, port):
            raise ConfigError(
                f"--{name}-port: got {port}, which is in use on {host} (or not for this user),"
                " expected a free one; 0 takes any"
            )


def check_shared_memory() -> None:
    """Raise if there is too little shared memory to pass tensors to the stubs.

    Raises:
        ConfigError: ``/dev/shm`` is missing or full.
    """
    if not SHARED_MEMORY.is_dir():
        raise ConfigError(
            f"{SHARED_MEMORY}: got no such folder, expected shared memory, through which Triton passes data to models"
        )
    status = os.statvfs(SHARED_MEMORY)
    free = status.f_bavail * status.f_frsize
    if free < _SHARED_MEMORY:
        raise ConfigError(
            f"{SHARED_MEMORY}: got {free / 2**20:.0f} MiB free, expected {_SHARED_MEMORY / 2**20:.0f} or more;"
            " in a container: --shm-size=1g, or --ipc=host"
        )
