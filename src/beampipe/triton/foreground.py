"""A server in the foreground: a summary, a status line, and a clean end when a signal comes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from types import FrameType
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from beampipe import terminal
from beampipe.processes import SignalEvent
from beampipe.triton.client.endpoint import is_loopback
from beampipe.triton.metrics import ServerWatch, status_line
from beampipe.triton.model.contract import instance_count
from beampipe.triton.server import management
from beampipe.triton.server.launch import Ports, ServerSettings
from beampipe.triton.server.server import TritonServer
from beampipe.triton.server.watchdog import RestartedChild, restart_when_killed
from beampipe.triton.supervision.interfaces import Incident
from beampipe.triton.systemd import is_managed_by_systemd, notify

_REFRESH: Final = 1.0
"""Time [s] between two readings of the metrics."""
_LINE: Final = 60.0
"""Time [s] between two lines in a log."""


class _Signals:
    """Handler of SIGTERM and SIGINT: the first one ends the server in order, the second one at once."""

    def __init__(self) -> None:
        self.ended = SignalEvent()
        self.server: TritonServer | None = None
        self._starting = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        first = not self.ended.is_set()
        self.ended.set()
        if self._starting:
            self._starting = False
            raise _EndedError
        if not first and self.server is not None:
            self.server.kill_processes()

    @contextmanager
    def starting(self) -> Iterator[None]:
        """A block that a signal leaves at once."""
        self._starting = True
        try:
            if self.ended.is_set():
                raise _EndedError
            yield
        finally:
            self._starting = False


class _EndedError(Exception):
    """A signal came before the server was ready. Not a `BeampipeError`: only `run_server` may catch it."""


def run_server(
    settings: ServerSettings,
    *,
    prepare: Callable[[ServerSettings], AbstractContextManager[ServerSettings]] = nullcontext,
    console: Console | None = None,
    restart: bool = False,
    make: Callable[[ServerSettings, Callable[[Incident], None]], TritonServer] = TritonServer,
) -> None:
    """Serve until a signal comes.

    If systemd has started the process, it gets reports when the server is ready, on incidents, and every second while
    the server answers.

    Args:
        settings: settings of the server.
        prepare: context manager that prepares what is served, such as a temporary repository, and gives the settings
            with it. A signal ends the preparation at once.
        console: console on which to print, by default standard output.
        restart: whether to serve in a child process, and in another one if that is killed, unless systemd does that.
            Then this process must have no other threads, and ends with the service.
        make: makes the server from the settings and a function that is called with each incident.

    Raises:
        BeampipeError: the server cannot be started.
    """
    out = terminal.console() if console is None else console

    def print_line(text: str) -> None:
        _log(out, text, "yellow")

    def print_incident(incident: Incident) -> None:
        if incident.kind not in ("started", "stopped"):  # both are in the output already
            print_line(f"{incident.kind}: {incident.text}")
            notify(STATUS=f"{incident.kind}: {incident.text}")

    child: RestartedChild | None = None
    if restart and not is_managed_by_systemd():
        child = restart_when_killed(print_line)
        if child.state is not None:
            ports = Ports(*child.state)  # those that an earlier child has chosen
            settings = replace(settings, http_port=ports.http, grpc_port=ports.grpc, metrics_port=ports.metrics)
    begin = time.monotonic()
    signals = _Signals()
    before = {number: signal.signal(number, signals) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with ExitStack() as stack:
            with signals.starting():
                prepared = stack.enter_context(prepare(settings))
                server = signals.server = make(prepared, print_incident)
                stack.enter_context(server)
            if child is not None:
                child.ready(server.ports)
            notify(READY="1", STATUS=f"serves {', '.join(server.models)}")
            out.print(_summary(server, time.monotonic() - begin))
            _show_until(signals.ended, server, out)
            notify(STOPPING="1")
            out.print("stopping: requests in progress are finished, new ones refused; once more to stop at once")
        out.print("stopped")
    except _EndedError:
        out.print("stopped before it was ready")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show_until(ended: SignalEvent, server: TritonServer, out: Console) -> None:
    """Show the rates until the end: one changing line on a terminal, a line per minute in a log."""
    watch = ServerWatch(server.metrics_url)
    watch.read()
    line_at = time.monotonic() + _LINE
    with terminal.live(out, transient=True) if out.is_terminal else nullcontext() as show:
        while not ended.wait(_REFRESH):
            if server.answering:
                notify(WATCHDOG="1")
            if show is not None:
                watch.read()
                show(Text(status_line(watch), style="cyan", overflow="ellipsis", no_wrap=True))
            elif time.monotonic() >= line_at:
                watch.read()
                line_at += _LINE
                _log(out, status_line(watch))


def _log(out: Console, text: str, style: str | None = None) -> None:
    """Print a line after the time. A full disk must not end the server: the line is lost then."""
    with suppress(OSError):
        out.print(f"{time.strftime('%H:%M:%S')} {text}", style=style, markup=False, soft_wrap=True)


def _summary(server: TritonServer, seconds: float) -> Table:
    table = Table.grid(padding=(0, 2))
    states = management.model_states(server.http_url)
    names = [name for name, state in states.items() if state == "READY"]
    configs = {name: management.model_config(server.http_url, name) for name in names}
    models = []
    for name, config in configs.items():
        count = instance_count(config)
        instances = {0: "ensemble", 1: "1 instance"}.get(count, f"{count} instances")
        models.append(f"{name} ({instances})")
    table.add_row("[bold]ready[/bold]", f"after {seconds:.1f} s, process {server.pid}")
    table.add_row("watched", f"by process {os.getpid()}")
    access = server.access if server.is_access_controlled else None
    proxied = " (behind HAProxy)" if access is not None and access.proxy_pid else ""
    table.add_row("HTTP", f"http://{server.http_url}{proxied}")
    table.add_row("gRPC", f"grpc://{server.grpc_url}")
    table.add_row("metrics", f"http://{server.metrics_url}/metrics")
    if not is_loopback(server.settings.host):
        table.add_row(
            "[yellow]open to[/yellow]", f"{server.settings.host}: whoever reaches it can send requests to models"
        )
    for weakness in () if access is None else access.weaknesses():
        table.add_row("[yellow]not closed[/yellow]", weakness)
    table.add_row("models", ", ".join(models))
    table.add_row("log", str(server.log))
    table.add_row("to stop", "Ctrl-C, or SIGTERM")
    return table
