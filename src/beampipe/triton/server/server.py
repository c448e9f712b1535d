"""A Triton of our own: started, watched, stopped; nothing is left of it whatever happens to its owner."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from beampipe import processes
from beampipe.errors import BeampipeError
from beampipe.triton.server import control, preflight
from beampipe.triton.server.cleanup import clean_leftovers, new_prefix, regions_of, remove
from beampipe.triton.server.engine import find_engine, prepare_backends, this_interpreter
from beampipe.triton.server.launch import Ports, ServerSettings, command, environment, free_ports
from beampipe.triton.server.watchdog import start_guardian

__all__ = ["Incident", "ServerSettings", "Stub", "TritonServer"]

_POLL: Final = 0.01  # s
_ATTEMPTS: Final = 3  # starts, if a free port was taken before the server had it
_FLUSH: Final = 0.3  # s from the end of the last stub until its answer has left the server
_PORT_TAKEN: Final = re.compile(r"address already in use|failed to start (HTTP|GRPC|Metrics)|Socket .* already", re.I)
_USEFUL: Final = re.compile(r"^E\d{4} |error|exception|failed|no module named|cannot open", re.I)
_HARMLESS: Final = re.compile("CudaDriverHelper")  # said wherever there is no GPU


@dataclass(frozen=True)
class Incident:
    """Something that happened to a server.

    Attributes:
        time: when [s since 1970].
        kind: ``started``, ``stub died``, ``model back``, ``model lost``, ``server died``, ``server back``, ``gave up``,
            ``cleaned``, ``watching``, ``stopped``.
        text: for people.
    """

    time: float
    kind: str
    text: str


@dataclass(frozen=True)
class Stub:
    """The process of one instance of a model.

    Attributes:
        pid: its id.
        model: name of the model.
        instance: name of the instance.
        region: name of its shared memory.
    """

    pid: int
    model: str
    instance: str
    region: str

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return processes.is_alive(self.pid)


class TritonServer:
    """One Triton as a child of this process; a context manager.

    >>> with TritonServer(ServerSettings(repository, models=("exatrkx",))) as server:  # doctest: +SKIP
    ...     print(server.http_url)

    Args:
        settings: what it is to be.
        on_incident: is told what happens; from another thread.
    """

    def __init__(
        self, settings: ServerSettings, on_incident: Callable[[Incident], None] = lambda incident: None
    ) -> None:
        self.settings = settings
        self.incidents: list[Incident] = []
        self.prefix = new_prefix()
        self.ports = Ports(settings.http_port, settings.grpc_port, settings.metrics_port)
        self.models: tuple[str, ...] = ()
        self._on_incident = on_incident
        self._process: subprocess.Popen[bytes] | None = None
        self._guardian: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self._watch: contextlib.ExitStack = contextlib.ExitStack()
        self._stopping = threading.Event()
        self._launcher: Callable[[], list[str]] = list
        self._environ: dict[str, str] = {}

    # Addresses

    @property
    def http_url(self) -> str:
        """Address for HTTP, ``host:port``."""
        return self._url(self.ports.http)

    @property
    def grpc_url(self) -> str:
        """Address for gRPC, ``host:port``."""
        return self._url(self.ports.grpc)

    @property
    def metrics_url(self) -> str:
        """Address of the Prometheus metrics, ``host:port``; the path is ``/metrics``."""
        return self._url(self.ports.metrics)

    def _url(self, port: int) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.settings.host, self.settings.host)
        return f"{host}:{port}"

    # State

    @property
    def log(self) -> Path:
        """The log of server and models, with our own notes in between."""
        assert self._folder is not None, "not started"
        return self.settings.log or self._folder / "triton.log"

    @property
    def pid(self) -> int | None:
        """Process id of the server, None if it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def ready(self) -> bool:
        """Whether it answers and all its models are loaded."""
        return self.pid is not None and control.is_ready(self.http_url)

    @property
    def gave_up(self) -> bool:
        """Whether it died so often that nobody starts it again."""
        return any(incident.kind == "gave up" for incident in self.incidents)

    def stubs(self) -> tuple[Stub, ...]:
        """The processes of its models, dead ones included for as long as they have a name."""
        found = []
        server = self.pid
        for pid in () if server is None else processes.children(server):
            arguments = processes.arguments(pid)
            if len(arguments) > 8 and arguments[2].startswith(self.prefix):
                found.append(Stub(pid, Path(arguments[1]).parts[-3], arguments[8], arguments[2]))
        return tuple(found)

    # Models

    def load(self, model: str) -> None:
        """Load a model of the repository.

        Raises:
            UnknownNameError: there is none of that name.
            BeampipeError: Triton cannot load it.
        """
        preflight.check_repository(self.settings.repository, (model,))
        control.load_model(self.http_url, model, timeout=self.settings.start_timeout)

    def unload(self, model: str) -> None:
        """Take a model out of service; what it is working on is finished.

        Raises:
            BeampipeError: Triton refuses.
        """
        control.unload_model(self.http_url, model)

    # Life

    def __enter__(self) -> TritonServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Check, start, and wait until all models are loaded.

        Raises:
            BeampipeError: it cannot be started; nothing is left of it.
        """
        assert self._process is None, "started before"
        settings = self.settings
        self.models = preflight.check_repository(settings.repository, settings.models)
        engine = find_engine(settings.triton)
        python = this_interpreter()
        preflight.check_interpreter(engine, python)
        preflight.check_shared_memory()
        self._folder = Path(tempfile.mkdtemp(prefix=self.prefix))
        try:
            backends = prepare_backends(engine, python, self._folder)
            environ = environment(settings, engine, python, backends)
            preflight.check_stub(backends, environ)
            self._launcher = lambda: command(settings, engine, backends, self.ports, self.prefix, self.models)
            self._environ = environ
            self.ports = free_ports(settings)
            preflight.check_ports(settings, self.ports)
            self.log.parent.mkdir(parents=True, exist_ok=True)
            if cleaned := clean_leftovers():
                self.note("cleaned", f"removed what {len(cleaned)} earlier server(s) had left: {', '.join(cleaned)}")
            self.keep_guardian()
            self._launch_on_free_ports()
            if settings.canary:
                self._check_canaries()
        except BaseException:
            self._end()
            raise
        self.note("started", f"models {', '.join(self.models)}; http {self.http_url}, gRPC {self.grpc_url}")
        if settings.supervise:
            from beampipe.triton.server.supervisor import Supervisor

            self._watch.enter_context(Supervisor(self))

    def _check_canaries(self) -> None:
        from beampipe.triton.model.canary import check_served

        for model in self.models:
            batched = control.model_config(self.http_url, model).get("max_batch_size", 0) > 0
            for version in sorted((self.settings.repository / model).glob("[0-9]*")):
                check_served(self.http_url, version, model, batched=batched)

    def _launch_on_free_ports(self) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                self._launch()
            except BeampipeError as error:
                if attempt + 1 == _ATTEMPTS or not _PORT_TAKEN.search(str(error)):
                    raise
                self.ports = free_ports(self.settings)
                preflight.check_ports(self.settings, self.ports)
            else:
                return

    def _launch(self) -> None:
        """Start the process and wait until it is ready."""
        settings = self.settings
        with self.log.open("ab") as log:
            begin = log.tell()
            self._process = subprocess.Popen(
                self._launcher(),
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a group of its own, so that all of it can be killed
            )
        deadline = time.monotonic() + settings.start_timeout
        while not self._is_up():
            code = self._process.poll()
            if self._stopping.is_set():
                raise BeampipeError("server: stopped while it was starting")
            if code is not None or time.monotonic() > deadline:
                what = f"exit code {code}" if code is not None else f"no answer within {settings.start_timeout:g} s"
                self._kill()
                raise BeampipeError(
                    f"Triton: got {what}, expected it to load {', '.join(self.models)};"
                    f" {f'the log is {settings.log}' if settings.log else 'with a log file given, its log is kept'}:"
                    + "".join(f"\n    {line}" for line in _useful_lines(self.log, begin))
                )
            time.sleep(_POLL)

    def _is_up(self) -> bool:
        """Whether all its services answer: metrics come last, and if their port is taken the server ends again."""
        return control.is_ready(self.http_url) and control.has_metrics(self.metrics_url)

    def restart(self, models: tuple[str, ...]) -> None:
        """Kill what is left of the server and start it again on the same ports with these models.

        Raises:
            BeampipeError: it does not start.
        """
        self._kill()
        self.models = models
        self._launch()

    def keep_guardian(self) -> None:
        """See to it that somebody cleans up if this process is killed."""
        if self._guardian is None or self._guardian.poll() is not None:
            if self._guardian is not None and self._guardian.stdin is not None:
                self._guardian.stdin.close()
            self._guardian = start_guardian(self.prefix, float(self.settings.exit_timeout))

    def note(self, kind: str, text: str) -> None:
        """Keep an incident, write it into the log and tell it."""
        incident = Incident(time.time(), kind, text)
        self.incidents.append(incident)
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(incident.time))
        with contextlib.suppress(OSError), self.log.open("a", encoding="utf-8") as log:
            log.write(f"{stamp} beampipe: {kind}: {text}\n")
        self._on_incident(incident)

    def stop(self) -> None:
        """Finish the work in progress, for a bounded time, and end; may be called twice.

        New requests are refused from the first moment on.
        """
        self._stopping.set()
        self._watch.close()
        process = self._process
        if process is not None and process.poll() is None:
            try:
                with control.connected(self.http_url, timeout=2.0) as unload_all:
                    process.send_signal(signal.SIGTERM)
                    unload_all()
            except OSError:  # it was about to end, or hangs
                process.send_signal(signal.SIGTERM)
            self._wait_for_end(process)
        if self._folder is not None and self._guardian is not None:
            self.note("stopped", "by its owner")
        self._end()

    def kill(self) -> None:
        """End at once, whatever it is doing."""
        self._stopping.set()
        self._watch.close()
        self.kill_processes()
        self.stop()

    def kill_processes(self) -> None:
        """Kill the server and its stubs, and nothing more: for a signal handler, while `stop` goes on."""
        if (pid := self.pid) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def _wait_for_end(self, process: subprocess.Popen[bytes]) -> None:
        """Until the server has ended, or all its stubs have: after that it only waits for idle connections."""
        deadline = time.monotonic() + self.settings.exit_timeout + 1
        idle_since: float | None = None
        while process.poll() is None and (now := time.monotonic()) < deadline:
            idle = not any(stub.alive for stub in self.stubs())
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
        """Kill what is left and remove every trace but the log that was asked for."""
        self._kill()
        if self._guardian is not None:
            self._guardian.kill()
            self._guardian.wait()
            assert self._guardian.stdin is not None
            self._guardian.stdin.close()
            self._guardian = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        assert not regions_of(self.prefix)


def _useful_lines(log: Path, begin: int, count: int = 6) -> list[str]:
    """The last lines of a log that tell of an error, or the last ones at all."""
    with log.open("rb") as stream:
        stream.seek(begin)
        lines = [line.rstrip() for line in stream.read().decode(errors="replace").splitlines() if line.strip()]
    useful = [line for line in lines if _USEFUL.search(line) and not _HARMLESS.search(line)]
    return list(dict.fromkeys(useful or lines))[-count:]
