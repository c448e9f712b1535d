"""`TritonServer`: starts, supervises and stops a Triton; nothing is left behind, even if the owner is killed."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from beampipe.errors import BeampipeError, FileError, ServiceError
from beampipe.notebook import Shown
from beampipe.processes import ManagedProcess, processor_time
from beampipe.triton.client.endpoint import LOOPBACK, authority
from beampipe.triton.engine import find_engine, this_interpreter
from beampipe.triton.server import launch, management
from beampipe.triton.server.access import AccessControl
from beampipe.triton.server.cleanup import clean_up_after_dead_owners, new_prefix, remove, shared_memory_of
from beampipe.triton.server.launch import ServerSettings, free_port, free_ports, server_command
from beampipe.triton.server.management import HttpModelProbe
from beampipe.triton.server.watchdog import Watchdog
from beampipe.triton.supervision.interfaces import Incident, IncidentKind
from beampipe.triton.supervision.stubs import Stub, stubs_of
from beampipe.triton.supervision.supervisor import Supervisor

_USEFUL: Final = re.compile(r"^E\d{4} |error|exception|failed|no module named|cannot open", re.I)
_HARMLESS: Final = re.compile("CudaDriverHelper")  # logged on machines without GPU
_LINES: Final = 6
"""Number of lines of the log that go into a message."""
_LOG_TAIL: Final = 10_000
"""Number of lines of the log that are searched for errors."""
_POLL: Final = 0.01
"""Time [s] between two checks whether the server is up."""

_ATTEMPTS: Final = 3
"""Number of starts, if a free port was taken before the server had it."""

_FLUSH: Final = 0.3
"""Time [s] without stubs and without work in the server after which all answers have been sent."""

_PORT_TAKEN: Final = re.compile(r"address already in use|failed to start (HTTP|GRPC|Metrics)|Socket .* already", re.I)


class TritonServer(Shown):
    """One Triton as a child of this process; a context manager.

    >>> with TritonServer(ServerSettings(repository, models=("doubler",))) as server:  # doctest: +SKIP
    ...     print(server.http_url)

    Args:
        settings: settings of the server.
        on_incident: function that is called with each incident, from another thread.

    Attributes:
        settings: settings of the server.
        incidents: incidents so far, in order.
        prefix: prefix of the names of everything that belongs to the server, by which it is cleaned up.
        ports: ports on which the server listens.
        models: names of the models that are loaded at its start.
    """

    def __init__(
        self, settings: ServerSettings, on_incident: Callable[[Incident], None] = lambda incident: None
    ) -> None:
        self.settings = settings
        self.incidents: list[Incident] = []
        self.prefix = new_prefix()
        self.ports = settings.ports
        self.models: tuple[str, ...] = ()
        self._on_incident = on_incident
        self._process: ManagedProcess | None = None
        self._watchdog = Watchdog(self.prefix, float(settings.exit_timeout))
        self._folder: Path | None = None
        self._access: AccessControl | None = None
        self._supervision = contextlib.ExitStack()
        self._supervisor: Supervisor | None = None
        self._stopping = threading.Event()
        self._start_process: Callable[[], None]

    def facts(self) -> Mapping[str, object]:
        """Names of the models, and the addresses of the server."""
        if self.pid is None:
            return {"repository": self.settings.repository, "state": "not running"}
        return {"models": ", ".join(self.models), "HTTP": self.http_url, "gRPC": self.grpc_url}

    @property
    def http_url(self) -> str:
        """Public address for HTTP, ``host:port``; clients of this user look up the inner port."""
        return _url(self.settings.http_host, self.ports.http)

    @property
    def grpc_url(self) -> str:
        """Address for gRPC, ``host:port``."""
        return _url(self.settings.host, self.ports.grpc)

    @property
    def metrics_url(self) -> str:
        """Address of the Prometheus metrics, ``host:port``; the path is ``/metrics``."""
        return _url(self.settings.metrics_host, self.ports.metrics)

    @property
    def log(self) -> Path:
        """The log of server and models, including incidents."""
        assert self._folder is not None, "not started"
        return self.settings.log or self._folder / "triton.log"

    @property
    def pid(self) -> int | None:
        """Process id of the server, None if it does not run."""
        return None if self._process is None else self._process.pid

    @property
    def ready(self) -> bool:
        """Whether the server answers and all its models are loaded."""
        return self.pid is not None and management.is_ready(self.http_url)

    @property
    def answering(self) -> bool:
        """Whether it answers and nothing in it hangs, as found by its supervisor; without one, whether it is ready."""
        return self.ready if self._supervisor is None else self._supervisor.answering

    @property
    def is_access_controlled(self) -> bool:
        """Whether it has a secret of ours, and perhaps a reverse proxy."""
        return self._access is not None

    @property
    def access(self) -> AccessControl:
        """Secret, hidden arguments and reverse proxy."""
        assert self._access is not None, "not started"
        return self._access

    def stubs(self) -> tuple[Stub, ...]:
        """The processes of the models, dead ones included for as long as they have a command line."""
        server = self.pid
        return () if server is None else stubs_of(server)

    def load(self, model: str) -> None:
        """Load a model of the repository.

        Raises:
            UnknownNameError: the repository has no model of that name.
            BeampipeError: Triton cannot load the model.
        """
        launch.check_repository(self.settings.repository, (model,))
        management.load_model(self.http_url, model, timeout=self.settings.start_timeout)

    def unload(self, model: str) -> None:
        """Take a model out of service; what it is working on is finished.

        Raises:
            BeampipeError: Triton refuses.
        """
        management.unload_model(self.http_url, model)

    def __enter__(self) -> TritonServer:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Check, start, and wait until all models are loaded.

        Raises:
            BeampipeError: the server cannot be started; nothing is left of it.
        """
        assert self._process is None, "started before"
        settings = self.settings
        self._folder = Path(tempfile.mkdtemp(prefix=self.prefix))
        try:
            self._prepare(self._folder)
            try:
                self.log.parent.mkdir(parents=True, exist_ok=True)
                self.log.open("a").close()
            except OSError as error:
                message = f"{self.log}: {error.strerror}, expected to write the server's log there"
                raise FileError(message, path=self.log) from None
            if cleaned := clean_up_after_dead_owners():
                self.note("cleaned", f"removed what {len(cleaned)} earlier server(s) had left: {', '.join(cleaned)}")
            self.ensure_watchdog()
            self._launch_on_free_ports()
            probe = self._probe()
            for model in self.models if settings.canary else ():
                probe.probe_canary(model)
            for model in settings.checks:
                probe.probe_check(model)
        except BaseException:
            self._end()
            raise
        self.note("started", f"models {', '.join(self.models)}; http {self.http_url}, gRPC {self.grpc_url}")
        if settings.supervise:
            self._supervisor = self._supervision.enter_context(Supervisor(self, probe, settings.patience))

    def _prepare(self, folder: Path) -> None:
        """Check the settings, choose the ports, and prepare the command."""
        settings = self.settings
        self.models = launch.check_repository(settings.repository, settings.models)
        engine, python = find_engine(settings.triton), this_interpreter()
        backends, environ = launch.prepare_engine(settings, engine, python, folder)
        self._access = AccessControl(settings.access, settings.host, folder, lambda text: self.note("proxy", text))

        def start_process() -> None:
            hidden = self.access.arguments()
            command = server_command(
                settings, engine, backends, self.access.connection, self.ports.metrics, self.prefix, self.models
            )
            self._process = ManagedProcess(self.log)
            self._process.start([*command, *hidden.command], {**environ, **hidden.environ})

        self._start_process = start_process
        self.ports = free_ports(settings)
        launch.check_ports(settings, self.ports)

    def _probe(self) -> HttpModelProbe:
        """Probe of its models."""
        return HttpModelProbe(self.settings, self.http_url, self.metrics_url)

    def _launch_on_free_ports(self) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                self.access.open(*self.ports, lambda taken: free_port(taken=taken))
                self._launch()
            except BeampipeError as error:
                if attempt + 1 == _ATTEMPTS or not _PORT_TAKEN.search(str(error)):
                    raise
                self.ports = free_ports(self.settings)
                launch.check_ports(self.settings, self.ports)
            else:
                return

    def _launch(self) -> None:
        """Start the process and wait until it is ready."""
        settings = self.settings
        self._start_process()
        process = self._process
        assert process is not None
        deadline = time.monotonic() + settings.start_timeout
        while not self._is_up():
            code = process.exit_code
            if self._stopping.is_set():
                raise ServiceError("server: stopped while it was starting", url=self.http_url)
            if code is not None or time.monotonic() > deadline:
                lines = [line for line in process.last_lines(_LOG_TAIL) if line.strip()]
                errors = [line for line in lines if _USEFUL.search(line) and not _HARMLESS.search(line)]
                complaints = list(dict.fromkeys(errors or lines))
                what = f"exit code {code}" if code is not None else f"no answer within {settings.start_timeout:g} s"
                self._kill()
                raise ServiceError(
                    f"Triton: got {what}, expected it to load {', '.join(self.models)};"
                    f" {f'the log is {settings.log}' if settings.log else 'with a log file given, its log is kept'}:"
                    + "".join(f"\n    {line}" for line in complaints[-_LINES:]),
                    url=self.http_url,
                )
            time.sleep(_POLL)

    def _is_up(self) -> bool:
        """Whether all its services answer; metrics start last, and the server ends if their port is taken."""
        return management.is_ready(self.http_url) and management.has_metrics(self.metrics_url)

    def restart(self, models: tuple[str, ...]) -> None:
        """Kill the remaining processes of the server and start it again on the same ports.

        Args:
            models: names of the models to load.

        Raises:
            BeampipeError: the server does not start.
        """
        self._kill()
        self.models = models
        self._launch()

    def ensure_watchdog(self) -> None:
        """Make sure that the cleanup process runs, in case this process is killed."""
        self._watchdog.keep(self.log)

    def note(self, kind: IncidentKind, text: str) -> None:
        """Record an incident, write it into the log and call `on_incident`."""
        incident = Incident(time.time(), kind, text)
        self.incidents.append(incident)
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(incident.time))
        with contextlib.suppress(OSError), self.log.open("a", encoding="utf-8") as log:
            log.write(f"{stamp} beampipe: {kind}: {text}\n")
        self._on_incident(incident)

    def stop(self) -> None:
        """Finish the work in progress, for a bounded time, and end; may be called twice.

        New requests are refused at once.
        """
        self._stopping.set()
        self._supervision.close()
        if self._access is not None:
            self._access.drain()
        process = self._process
        if process is not None and process.pid is not None:
            try:
                with management.connected(self.http_url, timeout=2.0) as unload_all:
                    process.signal(signal.SIGTERM)
                    unload_all()
            except OSError:  # it is ending already, or hangs
                process.signal(signal.SIGTERM)
            self._wait_for_end(process)
        if self._watchdog.pid is not None:
            self.note("stopped", "by its owner")
        self._end()

    def kill(self) -> None:
        """End at once, without finishing work in progress."""
        self._stopping.set()
        self._supervision.close()
        self.kill_processes()
        self.stop()

    def kill_processes(self) -> None:
        """Kill the server and its stubs only: for a signal handler, while `stop` goes on."""
        if self._process is not None:
            self._process.kill()

    def _wait_for_end(self, process: ManagedProcess) -> None:
        """Wait until the server has ended, or is idle: then it only waits for open connections."""
        deadline = time.monotonic() + self.settings.exit_timeout + 1
        idle_since: float | None = None
        spent: float | None = None
        while (pid := process.pid) is not None and (now := time.monotonic()) < deadline:
            before, spent = spent, processor_time(pid)
            idle = spent == before and not any(stub.alive for stub in self.stubs())
            idle_since = (idle_since or now) if idle else None
            if idle_since is not None and now - idle_since > _FLUSH:
                return
            time.sleep(2 * _POLL)

    def _kill(self) -> None:
        self.kill_processes()
        if self._process is not None:
            self._process.wait()
        remove(self.prefix)

    def _end(self) -> None:
        """Kill remaining processes and remove all files except a log file named in the settings."""
        self._kill()
        if self._access is not None:
            self._access.close()
        self._watchdog.dismiss()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        assert not shared_memory_of(self.prefix)


def _url(host: str, port: int) -> str:
    """Address for clients of a server that listens on an address, possibly a wildcard."""
    return authority({"0.0.0.0": LOOPBACK, "::": "::1"}.get(host, host), port)
